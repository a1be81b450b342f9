"""The views of a running study."""

from __future__ import annotations

import io
import signal
from typing import Any

import pytest
from rich.console import Console

from mnist_study.cli.progress import Work, progress_text, study_view
from mnist_study.core.config import DataConfig, NetworkParams, TrainingConfig
from mnist_study.core.interrupts import Stopped
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialSpec, TrialState, derive_seeds
from mnist_study.execution.job import Others

PARAMS = NetworkParams(
    units_1=128, units_2=64, units_3=32, dropout_1=0.3, dropout_2=0.2, l2=0.001, learning_rate=0.002
)


def spec(number: int) -> TrialSpec:
    return TrialSpec(
        number,
        PARAMS,
        derive_seeds(0, number),
        TrainingConfig(batch_size=32, epochs=4, schedule="constant"),
        DataConfig(validation_size=10, split_seed=0),
    )


def epoch(number: int) -> EpochMetrics:
    return EpochMetrics(number, 1.0, 0.5, 1.0, 0.5 + number / 20)


def result(number: int, value: float = 0.9) -> TrialResult:
    return TrialResult(
        number, PARAMS, TrialState.COMPLETE, tuple(epoch(n) for n in range(1, 5)), value=value
    )


def on_a_terminal(width: int = 100) -> tuple[Console, io.StringIO]:
    screen = io.StringIO()
    return Console(file=screen, force_terminal=True, width=width, height=30), screen


def test_the_live_view_shows_a_bar_per_running_trial_and_one_for_the_study() -> None:
    console, screen = on_a_terminal()
    with study_view(console, Work(8), []) as view:
        view.phase("opening the record in MLflow")
        shown = frame(view, console)
        assert "0/8" in shown
        assert "opening the record in MLflow … 0 s" in shown
        for number in (0, 1, 2):
            view.started(spec(number))
        view.epoch(0, epoch(1))
        view.epoch(1, epoch(3))
        view.trained(2)
        shown = frame(view, console)
        rows = {row.split()[0] + row.split()[1]: row for row in shown.splitlines()}
        assert "1/4 validation 55.00%" in rows["trial0"]
        assert "3/4 validation 65.00%" in rows["trial1"]
        assert "trained, waiting for earlier trials" in rows["trial2"]
        view.finished(result(0, 0.91))
        shown = frame(view, console)
        assert [row.split()[:2] for row in shown.splitlines()[1:]] == [
            ["trial", "1"],
            ["trial", "2"],
        ]
        assert "1/8 best 91.00% (trial 0), " in shown
        assert " trials/h, " in shown
        assert " left" in shown
    assert "trial   0 COMPLETE 91.00%   4 epochs" in screen.getvalue()


def frame(view: Any, console: Console) -> str:  # noqa: ANN401
    """Return what the live view shows now, without escape codes."""
    with console.capture() as capture:
        plain = Console(file=io.StringIO(), width=console.width, record=True)
        plain.print(view._progress.get_renderable())
    assert not capture.get()
    return plain.export_text()


def test_the_live_view_keeps_to_one_line_per_bar_on_a_narrow_terminal() -> None:
    console, _ = on_a_terminal(width=60)
    with study_view(console, Work(8), []) as view:
        view.started(spec(0))
        view.finished(result(0))
        view.started(spec(1))
        view.epoch(1, epoch(2))
        assert len(frame(view, console).strip().splitlines()) == 2


def test_a_view_says_on_stopping_what_is_stored() -> None:
    results = [result(0)]
    screen = io.StringIO()

    def be_stopped() -> None:
        with study_view(Console(file=screen), Work(8), results):
            results.append(result(1))
            raise Stopped(signal.SIGINT)

    with pytest.raises(Stopped) as caught:
        be_stopped()
    assert caught.value.status == 130
    assert caught.value.standing == ": 2 of 8 trials are stored; the same command resumes"
    assert screen.getvalue() == "resuming: 1 of 8 trials are done\n"


def test_the_time_left_counts_what_running_trials_have_done() -> None:
    two = [result(0), result(1, 0.95)]
    text = progress_text(two, Work(5), n_before=0, shares={2: 0.5, 3: 0.5}, seconds=30.0)
    assert text == "best 95.00% (trial 1), 360 trials/h, 20 s left"
    resumed = progress_text(two, Work(5), n_before=2, shares={2: 0.5}, seconds=30.0)
    assert resumed == "best 95.00% (trial 1)"
    done = progress_text(two, Work(2), n_before=0, shares={}, seconds=20.0)
    assert done == "best 95.00% (trial 1), 360 trials/h"


def test_several_jobs_have_one_total_and_one_time_left_by_the_length_of_their_runs() -> None:
    """Two short runs in 20 s; a long one and ten units of another job are left."""
    work = Work(
        3,
        describe=lambda number: f"study, l2, execution 1, seed {number + 1}",
        weight=lambda number: 4.0 if number == 2 else 1.0,
        others=Others(n_trials=7, n_done=2, work_left=10.0),
    )
    two = [result(0), result(1, 0.95)]
    text = progress_text(two, work, n_before=0, shares={}, seconds=20.0)
    assert text == "360 runs/h, 2 min left"
    screen = io.StringIO()
    with study_view(Console(file=screen, width=200), work, two[:1]) as view:
        view.started(spec(1))
        view.finished(two[1])
    line = screen.getvalue().splitlines()[-1]
    assert line.startswith("run   1 COMPLETE 95.00%   4 epochs")
    assert "study, l2, execution 1, seed 2  [4/10, " in line
    assert "best" not in line
