"""What a worker is refused for before it trains anything."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from synthetic_study import FAILED, GOOD, SEARCH

from mnist_study.core.config import DataConfig
from mnist_study.core.trials import TrialResult
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


@pytest.mark.parametrize(("trained", "curves"), [(GOOD, b"curves of 0"), (FAILED, None)])
def test_a_worker_draws_the_curves_of_a_trial_that_has_some(
    monkeypatch: pytest.MonkeyPatch, trained: TrialResult, curves: bytes | None
) -> None:
    plugin = DataPlugin(load_training_set("digits"), None, None, None)
    worker = SimpleNamespace(address="tcp://host:1", plugins={plugin.name: plugin})
    monkeypatch.setattr(worker_module, "get_worker", lambda: worker)
    ended = trained if curves else replace(trained, epochs=())
    monkeypatch.setattr(worker_module, "run_trial", lambda *_, **__: ended)
    data = DataConfig(validation_size=287, split_seed=0)
    spec = replace(SearchPlan(SEARCH).suggest(0, [], []), data=data)
    result = run_on_worker(
        spec, plugin.name, "topic", "attempt", lambda drawn: f"curves of {drawn.number}".encode()
    )
    assert result.curves_png == curves
    assert run_on_worker(spec, plugin.name, "topic", "attempt").curves_png is None
