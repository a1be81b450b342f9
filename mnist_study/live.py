"""What the user sees while a study runs: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mnist_study.records import EpochMetrics, TrialResult, TrialSpec, TrialState

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


class PlainView:
    """One line per event, without escape codes."""

    def __init__(self, console: Console, n_trials: int, results: list[TrialResult]) -> None:
        self._console = console
        self._n_trials = n_trials
        self._results = list(results)
        self._n_before = len(results)
        self._start = time.monotonic()

    def started(self, spec: TrialSpec) -> None:
        """Say nothing: results come in order and tell enough."""

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        """Say nothing: a line per epoch would bury the results."""

    def finished(self, result: TrialResult) -> None:
        """Print the trial, the best so far, the pace and the time left."""
        self._results.append(result)
        self.notice(f"{describe_result(result)}  [{self.pace()}]")

    def notice(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def pace(self) -> str:
        """Return progress, best so far, trials per hour and time left."""
        return progress_text(
            self._results, self._n_trials, self._n_before, time.monotonic() - self._start
        )


class LiveView(PlainView):
    """A bar for the study and one for each running trial; finished trials scroll above."""

    def __init__(
        self, console: Console, n_trials: int, results: list[TrialResult], progress: Progress
    ) -> None:
        super().__init__(console, n_trials, results)
        self._progress = progress
        self._bars: dict[int, TaskID] = {}
        self._study = progress.add_task(
            "study", total=n_trials, completed=len(results), text="waiting for the first trial"
        )

    def started(self, spec: TrialSpec) -> None:
        """Add a bar for the trial."""
        self._bars[spec.number] = self._progress.add_task(
            f"trial {spec.number}", total=spec.training.epochs, text="starting"
        )

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        """Move the trial's bar."""
        if number in self._bars:
            self._progress.update(
                self._bars[number],
                completed=metrics.epoch,
                text=f"epoch {metrics.epoch}, validation {metrics.val_accuracy:.2%}",
            )

    def finished(self, result: TrialResult) -> None:
        """Remove the trial's bar, print the trial, move the study's bar."""
        self._progress.remove_task(self._bars.pop(result.number))
        self._results.append(result)
        self.notice(describe_result(result))
        self._progress.update(self._study, completed=len(self._results), text=self.pace())


@contextmanager
def study_view(
    console: Console, n_trials: int, results: list[TrialResult]
) -> Iterator[PlainView | LiveView]:
    """Yield the view that fits the console."""
    plain = PlainView(console, n_trials, results)
    if results:
        plain.notice(f"resuming: {len(results)} of {n_trials} trials are done")
    if not console.is_terminal:
        yield plain
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    progress = Progress(
        TextColumn("{task.description:>9}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        console=console,
        transient=True,
    )
    with progress:
        yield LiveView(console, n_trials, results, progress)


def describe_result(result: TrialResult) -> str:
    """Describe a finished trial in one line."""
    label = f"trial {result.number:>3} {result.state:<8}"
    if result.state is TrialState.FAILED:
        return f"{label} {(result.reason or '').strip().splitlines()[-1]}"
    assert result.value is not None
    units = "-".join(str(units) for units in result.params.units)
    return (
        f"{label} {result.value:.2%} after {len(result.epochs):>2} epochs, "
        f"{result.train_seconds:4.1f} s, {units}, learning rate "
        f"{result.params.learning_rate:.2g}, L2 {result.params.l2:.1g}"
    )


def progress_text(results: list[TrialResult], n_trials: int, n_before: int, seconds: float) -> str:
    """Describe progress, best so far, pace and remaining time.

    Args:
        results: all finished trials.
        n_trials: wanted in all.
        n_before: how many of them were there when the clock started.
        seconds: on the clock.
    """
    complete = [r for r in results if r.state is TrialState.COMPLETE and r.value is not None]
    best = max(complete, key=lambda r: r.value or 0.0, default=None)
    parts = [f"{len(results)}/{n_trials}"]
    if best is not None:
        parts.append(f"best {best.value:.2%} (trial {best.number})")
    n_new = len(results) - n_before
    if n_new and seconds > 0:
        per_hour = 3600 * n_new / seconds
        parts.append(f"{per_hour:.0f} trials/h")
        parts.append(f"{duration(3600 * max(0, n_trials - len(results)) / per_hour)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Write a duration as 45 s, 12 min or 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
