"""Running one trial in a worker."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any, cast

import pytest
from synthetic_study import SEARCH

from mnist_study.core.trials import TrialSpec
from mnist_study.execution import run_trial as trial_module
from mnist_study.search.plan import SearchPlan


def test_a_trial_that_waits_for_another_of_its_process_has_not_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the process dies, the one that trained is to blame, and not those that waited."""
    first = SearchPlan(SEARCH).suggest(0, [], [])
    specs = [first, replace(first, number=1)]
    begun: list[int] = []
    training, go_on = threading.Event(), threading.Event()

    def slow(spec: TrialSpec, *_: object) -> None:
        training.set()
        go_on.wait(10)

    monkeypatch.setattr(trial_module, "_run_trial", slow)
    threads = [
        threading.Thread(
            target=lambda spec=spec: trial_module.run_trial(
                spec, cast("Any", None), on_start=lambda: begun.append(spec.number)
            )
        )
        for spec in specs
    ]
    threads[0].start()
    assert training.wait(10)
    threads[1].start()
    time.sleep(0.2)
    assert begun == [0]
    go_on.set()
    for thread in threads:
        thread.join()
    assert begun == [0, 1]
