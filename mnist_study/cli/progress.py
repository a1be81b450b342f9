"""Progress while a study runs: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

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
from mnist_study.execution.job import NO_OTHERS, Others

REFRESHES_PER_SECOND = 4


@dataclass(frozen=True, slots=True)
class Work:
    """The work of a command, of which a view shows one job.

    Attributes:
        n_trials: of the finished job.
        describe: describes a trial, by number; None describes it by its parameters and shows the
            best trial, which only a search has.
        weight: how long a trial takes, by number, in any unit.
        others: the jobs beside this one.
    """

    n_trials: int
    describe: Callable[[int], str] | None = None
    weight: Callable[[int], float] = lambda number: 1.0
    others: Others = NO_OTHERS

    @property
    def total(self) -> int:
        """The trials of all jobs."""
        return self.n_trials + self.others.n_trials

    def described(self, result: TrialResult) -> str:
        """Describe a finished trial in one line."""
        return describe_result(result, self.describe and self.describe(result.number))


class PlainView:
    """One line per event, without escape codes."""

    def __init__(self, console: Console, work: Work, results: list[TrialResult]) -> None:
        """Start from the trials that were finished before.

        Args:
            console: for messages; results go to stdout.
            work: of the command.
            results: the trials finished so far.
        """
        self._console = console
        self._work = work
        self._results = list(results)
        self._n_before = len(results)
        self._training_since: float | None = None
        self._trained_share: dict[int, float] = {}
        self._n_epochs: dict[int, int] = {}

    def phase(self, text: str) -> None:
        """Print the step that has begun."""
        self.notice(f"{text} …")

    def started(self, spec: TrialSpec) -> None:
        """Start the clock; prints nothing, as each result gets its line in order."""
        if self._training_since is None:
            self._training_since = time.monotonic()
        self._n_epochs[spec.number] = spec.training.epochs
        self._trained_share[spec.number] = 0.0

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        """Count the epoch; prints nothing, as a line per epoch would bury the results."""
        if number in self._n_epochs:
            self._trained_share[number] = metrics.epoch / self._n_epochs[number]

    def trained(self, number: int) -> None:
        """Count the trial as trained; it is printed when the trials before it are finished."""
        self._trained_share[number] = 1.0

    def finished(self, result: TrialResult) -> None:
        """Print the trial, the best so far, the pace and the time left."""
        self._note(result)
        done = f"{len(self._results) + self._work.others.n_done}/{self._work.total}"
        self.notice(f"{self._work.described(result)}  [{done}, {self.progress()}]")

    def notice(self, text: str) -> None:
        """Print a line."""
        say(self._console, text)

    def progress(self) -> str:
        """Return the best so far, the pace and the time left."""
        since = self._training_since
        return progress_text(
            self._results,
            self._work,
            n_before=self._n_before,
            shares=self._trained_share,
            seconds=time.monotonic() - since if since is not None else 0.0,
        )

    def _note(self, result: TrialResult) -> None:
        self._results.append(result)
        self._n_epochs.pop(result.number, None)
        self._trained_share.pop(result.number, None)


class LiveView(PlainView):
    """A bar for the study and one for each running trial; finished trials scroll above."""

    def __init__(
        self, console: Console, work: Work, results: list[TrialResult], progress: Progress
    ) -> None:
        """Add the study's bar.

        Args:
            console: that of `progress`.
            work: of the command.
            results: the trials finished so far.
            progress: with columns as `study_view` makes them.
        """
        super().__init__(console, work, results)
        self._progress = progress
        self._bars: dict[int, TaskID] = {}
        self._study = progress.add_task(
            "study" if work.describe is None else "all runs",
            total=work.total,
            completed=len(results) + work.others.n_done,
            text=self.progress,
        )

    def phase(self, text: str) -> None:
        """Show beside the study's bar which step has begun, and for how long it has run."""
        since = time.monotonic()
        self._show(lambda: f"{text} … {time.monotonic() - since:.0f} s")

    def started(self, spec: TrialSpec) -> None:
        """Add a bar for the trial."""
        super().started(spec)
        self._show(self.progress)
        noun = "trial" if self._work.describe is None else "run"
        self._bars[spec.number] = self._progress.add_task(
            f"{noun} {spec.number}", total=spec.training.epochs, text=lambda: "first epoch"
        )

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        """Move the trial's bar."""
        super().epoch(number, metrics)
        if number in self._bars:
            text = f"validation {metrics.val_accuracy:.2%}"
            self._progress.update(self._bars[number], completed=metrics.epoch, text=lambda: text)

    def trained(self, number: int) -> None:
        """Show in the trial's bar that it waits for earlier trials."""
        super().trained(number)
        self._progress.update(
            self._bars[number], text=lambda: "trained, waiting for earlier trials"
        )

    def finished(self, result: TrialResult) -> None:
        """Remove the trial's bar, print the trial, move the study's bar."""
        self._progress.remove_task(self._bars.pop(result.number))
        self._note(result)
        self.notice(self._work.described(result))
        done = len(self._results) + self._work.others.n_done
        self._progress.update(self._study, completed=done)

    def _show(self, text: Callable[[], str]) -> None:
        self._progress.update(self._study, text=text)


@contextmanager
def study_view(
    console: Console, work: Work, results: list[TrialResult]
) -> Iterator[PlainView | LiveView]:
    """Yield the view that fits the console.

    Args:
        console: for messages; results go to stdout.
        work: of the command.
        results: the finished trials; grows by each new one.
    """
    plain = PlainView(console, work, results)
    n_trials = work.n_trials
    if results:
        plain.notice(f"resuming: {len(results)} of {n_trials} trials are done")
    try:
        if console.is_terminal and not console.is_dumb_terminal:
            with _bars(console) as progress:
                yield LiveView(console, work, results, progress)
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


def describe_result(result: TrialResult, what: str | None = None) -> str:
    """Describe a finished trial in one line.

    Args:
        result: of the trial.
        what: description of the run; None takes its widths and learning rate.
    """
    noun = "trial" if what is None else "run"
    label = f"{noun} {result.number:>3} {result.state:<8}"
    if result.state is TrialState.FAILED:
        reason = (result.reason or "").strip().splitlines()[-1]
        return f"{label} {reason}" if what is None else f"{label} {what}: {reason}"
    assert result.value is not None
    units = "-".join(str(units) for units in result.params.units)
    about = what or f"{units:<11} learning rate {result.params.learning_rate:.2g}"
    return (
        f"{label} {result.value:.2%} {len(result.epochs):>3} epochs {result.train_seconds:5.1f} s  "
        f"{about}"
    )


def progress_text(
    results: list[TrialResult],
    work: Work,
    *,
    n_before: int,
    shares: Mapping[int, float],
    seconds: float,
) -> str:
    """Describe the best so far of a search, the pace and the remaining time.

    Args:
        results: all finished trials.
        work: of the command.
        n_before: how many were finished when the clock started.
        shares: how much of the running trials is done, by number, in [0, 1].
        seconds: on the clock.
    """
    parts = []
    best = select(results).best
    if best is not None and work.describe is None:
        parts.append(f"best {value_of(best):.2%} (trial {best.number})")
    n_new = len(results) - n_before + sum(shares.values())
    if n_new >= 1 and seconds > 0:
        noun = "trials" if work.describe is None else "runs"
        parts.append(f"{3600 * n_new / seconds:.0f} {noun}/h")
        done = sum(work.weight(r.number) for r in results[n_before:])
        done += sum(share * work.weight(number) for number, share in shares.items())
        finished = {result.number for result in results}
        numbers = (n for n in range(work.n_trials) if n not in finished)
        left = sum(work.weight(n) * (1 - shares.get(n, 0.0)) for n in numbers)
        left += work.others.work_left
        if left > 0 and done > 0:
            parts.append(f"{duration(seconds * left / done)} left")
    return ", ".join(parts) or "no trial has completed yet"
