"""Which worker ran which trial when, from the record alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from handmade import MemoryHistory, completed, study_identity

from mnist_study.core.config import load_experiment
from mnist_study.experiments.timeline import timeline_of

EXPERIMENT = load_experiment(Path(__file__).parents[2] / "experiments" / "smoke.toml")
START = datetime(2026, 3, 1, 23, 50)


def a_record(*spans: tuple[str, float, float]) -> MemoryHistory:
    """Record trials by worker, beginning and end in seconds after the start."""
    history = MemoryHistory(EXPERIMENT.name, study_identity(EXPERIMENT))
    for number, (worker, begun, ended) in enumerate(spans):
        result = completed(number, EXPERIMENT.baseline, 0.9, worker=worker, total_seconds=7.0)
        times = (START + timedelta(seconds=begun), START + timedelta(seconds=ended))
        history.append(result, f"run-{number}", times)
    return history


def test_each_worker_has_a_row_of_its_own() -> None:
    record = a_record(("a", 0, 30), ("b", 1, 10), ("b", 10, 40), ("a", 30.5, 35), ("b", 41, 60))
    timeline = timeline_of(record)
    assert [timeline.bars[number].worker for number in range(5)] == [0, 1, 1, 0, 1]
    assert (timeline.bars[3].begun, timeline.bars[3].ended) == (30.5, 35.0)
    assert timeline.n_workers == 2
    assert timeline.seconds == 60.0
    assert timeline.busy_share == pytest.approx((30 + 9 + 30 + 4.5 + 19) / 120)


def test_a_worker_that_came_back_under_another_address_takes_a_free_row() -> None:
    timeline = timeline_of(a_record(("a", 0, 30), ("b", 1, 20), ("c", 25, 50), ("a", 30, 50)))
    assert [timeline.bars[number].worker for number in range(4)] == [0, 1, 1, 0]


def test_the_night_between_two_sessions_is_left_out_and_a_minute_is_not() -> None:
    night = 9 * 3600.0
    first = [("a", 0, 10), ("b", 2, 30), ("a", 90, 100)]
    record = a_record(*first, ("c", night, night + 20), ("d", night + 5, night + 9))
    timeline = timeline_of(record)
    assert timeline.breaks == (100.0,)
    assert (timeline.bars[2].begun, timeline.bars[3].begun) == (90.0, 100.0)
    assert timeline.bars[4].ended == 109.0
    assert timeline.seconds == 120.0


def test_a_record_of_before_there_were_beginnings_takes_the_trials_durations() -> None:
    timeline = timeline_of(a_record(("a", 10, 10), ("a", 20, 20)))
    assert [(bar.begun, bar.ended) for bar in timeline.bars.values()] == [(0.0, 7.0), (10.0, 17.0)]


def test_a_record_without_trials_has_an_empty_timeline() -> None:
    timeline = timeline_of(a_record())
    assert (timeline.bars, timeline.n_workers, timeline.seconds) == ({}, 0, 0.0)
    assert timeline.busy_share == 0.0
