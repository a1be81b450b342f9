"""What a worker is refused for before it trains anything."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from synthetic_study import SEARCH

from mnist_study.data.dataset import load_training_set
from mnist_study.execution import worker as worker_module
from mnist_study.execution.worker import DataPlugin, WorkerRefusedError, run_on_worker
from mnist_study.search.plan import SearchPlan
from mnist_study.training import process


def used_threads() -> None:
    raise RuntimeError("Intra op parallelism cannot be modified after initialization.")


@pytest.mark.parametrize(
    ("name", "replaced", "reason"),
    [
        ("keep_to_cpu", lambda: "TensorFlow runs on 2 GPU in this process", "on 2 GPU"),
        ("limit_threads", used_threads, "TensorFlow runs in this process already (Intra op"),
    ],
)
def test_a_process_whose_tensorflow_cannot_be_set_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, name: str, replaced: object, reason: str
) -> None:
    monkeypatch.setattr(process, "limit_threads", lambda: None)
    monkeypatch.setattr(process, name, replaced)
    for unset in ("keep_freed_memory", "import_tensorflow"):
        monkeypatch.setattr(worker_module, unset, lambda: None)
    plugin = DataPlugin(load_training_set("digits"), None, None, None)
    worker = SimpleNamespace(address="tcp://host:1", plugins={plugin.name: plugin})
    plugin.setup(worker)
    monkeypatch.setattr(worker_module, "get_worker", lambda: worker)
    spec = SearchPlan(SEARCH).suggest(0, [], [])
    with pytest.raises(WorkerRefusedError) as refused:
        run_on_worker(spec, plugin.name, "topic", "attempt")
    assert refused.value.address == "tcp://host:1"
    assert reason in refused.value.changed
