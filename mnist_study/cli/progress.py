"""What the user sees while a study runs: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.table import Column
from rich.text import Text

from mnist_study.cli.output import say
from mnist_study.core.interrupts import Stopped
from mnist_study.core.text import duration
from mnist_study.core.trials import (
    EpochMetrics,
    TrialResult,
    TrialSpec,
    TrialState,
    select,
    value_of,
)

REFRESHES_PER_SECOND = 4


class PlainView:
    """One line per event, without escape codes."""

    def __init__(self, console: Console, n_trials: int, results: list[TrialResult]) -> None:
        """Take note of what was finished before.

        Args:
            console: of messages, not of results.
            n_trials: wanted in all.
            results: the trials finished so far.
        """
        self._console = console
        self._n_trials = n_trials
        self._results = list(results)
        self._n_before = len(results)
        self._training_since: float | None = None
        self._trained_share: dict[int, float] = {}
        self._n_epochs: dict[int, int] = {}

    def phase(self, text: str) -> None:
        """Say what is being waited for."""
        self.notice(f"{text} …")

    def started(self, spec: TrialSpec) -> None:
        """Say nothing: results come in order and tell enough."""
        if self._training_since is None:
            self._training_since = time.monotonic()
        self._n_epochs[spec.number] = spec.training.epochs
        self._trained_share[spec.number] = 0.0

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        """Say nothing: a line per epoch would bury the results."""
        if number in self._n_epochs:
            self._trained_share[number] = metrics.epoch / self._n_epochs[number]

    def trained(self, number: int) -> None:
        """Say nothing: the trial is told of in its turn."""
        self._trained_share[number] = 1.0

    def finished(self, result: TrialResult) -> None:
        """Print the trial, the best so far, the pace and the time left."""
        self._note(result)
        done = f"{len(self._results)}/{self._n_trials}"
        self.notice(f"{describe_result(result)}  [{done}, {self.progress()}]")

    def notice(self, text: str) -> None:
        """Print a line."""
        say(self._console, text)

    def progress(self) -> str:
        """Return the best so far, the pace and the time left."""
        since = self._training_since
        return progress_text(
            self._results,
            self._n_trials,
            n_before=self._n_before,
            n_partial=sum(self._trained_share.values()),
            seconds=time.monotonic() - since if since is not None else 0.0,
        )

    def _note(self, result: TrialResult) -> None:
        self._results.append(result)
        self._n_epochs.pop(result.number, None)
        self._trained_share.pop(result.number, None)


class LiveView(PlainView):
    """A bar for the study and one for each running trial; finished trials scroll above."""

    def __init__(
        self, console: Console, n_trials: int, results: list[TrialResult], progress: Progress
    ) -> None:
        """Add the study's bar.

        Args:
            console: that of `progress`.
            n_trials: wanted in all.
            results: the trials finished so far.
            progress: with columns as `study_view` makes them.
        """
        super().__init__(console, n_trials, results)
        self._progress = progress
        self._bars: dict[int, TaskID] = {}
        self._study = progress.add_task(
            "study", total=n_trials, completed=len(results), text=self.progress
        )

    def phase(self, text: str) -> None:
        """Say beside the study's bar what is being waited for, and for how long by now."""
        since = time.monotonic()
        self._show(lambda: f"{text} … {time.monotonic() - since:.0f} s")

    def started(self, spec: TrialSpec) -> None:
        """Add a bar for the trial."""
        super().started(spec)
        self._show(self.progress)
        self._bars[spec.number] = self._progress.add_task(
            f"trial {spec.number}", total=spec.training.epochs, text=lambda: "first epoch"
        )

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        """Move the trial's bar."""
        super().epoch(number, metrics)
        if number in self._bars:
            text = f"validation {metrics.val_accuracy:.2%}"
            self._progress.update(self._bars[number], completed=metrics.epoch, text=lambda: text)

    def trained(self, number: int) -> None:
        """Say in the trial's bar that it waits for its turn."""
        super().trained(number)
        self._progress.update(self._bars[number], text=lambda: "trained, waits for earlier trials")

    def finished(self, result: TrialResult) -> None:
        """Remove the trial's bar, print the trial, move the study's bar."""
        self._progress.remove_task(self._bars.pop(result.number))
        self._note(result)
        self.notice(describe_result(result))
        self._progress.update(self._study, completed=len(self._results))

    def _show(self, text: Callable[[], str]) -> None:
        self._progress.update(self._study, text=text)


@contextmanager
def study_view(
    console: Console, n_trials: int, results: list[TrialResult]
) -> Iterator[PlainView | LiveView]:
    """Yield the view that fits the console.

    Args:
        console: of messages, not of results.
        n_trials: wanted in all.
        results: the finished trials; grows by each new one.
    """
    plain = PlainView(console, n_trials, results)
    if results:
        plain.notice(f"resuming: {len(results)} of {n_trials} trials are done")
    try:
        if console.is_terminal and not console.is_dumb_terminal:
            with _bars(console) as progress:
                yield LiveView(console, n_trials, results, progress)
        else:
            yield plain
    except Stopped as stopped:
        stopped.standing = (
            f": {len(results)} of {n_trials} trials are stored; the same command resumes"
        )
        raise


class _TextColumn(ProgressColumn):
    """The task's `text` function, called at each refresh and cut off at the terminal's edge."""

    max_refresh = None

    def render(self, task: Task) -> Text:
        return Text(task.fields["text"]())


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:>9}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        _TextColumn(Column(no_wrap=True, overflow="ellipsis")),
        console=console,
        refresh_per_second=REFRESHES_PER_SECOND,
        transient=True,
    )


def describe_result(result: TrialResult) -> str:
    """Describe a finished trial in one line."""
    label = f"trial {result.number:>3} {result.state:<8}"
    if result.state is TrialState.FAILED:
        return f"{label} {(result.reason or '').strip().splitlines()[-1]}"
    assert result.value is not None
    units = "-".join(str(units) for units in result.params.units)
    return (
        f"{label} {result.value:.2%} {len(result.epochs):>3} epochs {result.train_seconds:5.1f} s  "
        f"{units:<11} learning rate {result.params.learning_rate:.2g}"
    )


def progress_text(
    results: list[TrialResult], n_trials: int, *, n_before: int, n_partial: float, seconds: float
) -> str:
    """Describe the best so far, the pace and the remaining time.

    Args:
        results: all finished trials.
        n_trials: wanted in all.
        n_before: how many of them were there when the clock started.
        n_partial: the running trials' work so far, a whole trial being 1.
        seconds: on the clock.
    """
    parts = []
    best = select(results).best
    if best is not None:
        parts.append(f"best {value_of(best):.2%} (trial {best.number})")
    n_new = len(results) - n_before + n_partial
    if n_new >= 1 and seconds > 0:
        per_hour = 3600 * n_new / seconds
        parts.append(f"{per_hour:.0f} trials/h")
        if len(results) < n_trials:
            n_left = max(0.0, n_trials - len(results) - n_partial)
            parts.append(f"{duration(3600 * n_left / per_hour)} left")
    return ", ".join(parts) or "no trial has completed yet"
