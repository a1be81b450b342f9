"""Which worker ran which trial when: the rows of a timeline, from the record alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mnist_study.search.history import History

LONGEST_IDLE = timedelta(minutes=1)
"""Longer idle times are cut out: a study that was resumed the next day stays readable."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A trial on the timeline.

    Attributes:
        worker: row, from 0; no two trials of a row overlap.
        begun: seconds since the first trial began, long idle times left out.
        ended: the same.
    """

    worker: int
    begun: float
    ended: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """When the trials of a record ran.

    Attributes:
        bars: by trial number.
        breaks: seconds at which an idle time was cut out.
        n_workers: rows.
    """

    bars: dict[int, Bar]
    breaks: tuple[float, ...]
    n_workers: int

    @property
    def seconds(self) -> float:
        """From the first trial's beginning to the last one's end, long idle times left out."""
        return max((bar.ended for bar in self.bars.values()), default=0.0)

    @property
    def busy_share(self) -> float:
        """Share of all workers' time in which they ran a trial, in [0, 1]."""
        busy = sum(bar.ended - bar.begun for bar in self.bars.values())
        available = self.n_workers * self.seconds
        return busy / available if available else 0.0


def timeline_of(history: History) -> Timeline:
    """Return the timeline of a record.

    A resumed study's workers have other addresses, so a row is not an address: a trial goes to the
    row that its worker used last if that is free, else to the first free one.
    """
    spans = sorted(_spans(history))
    bars: dict[int, Bar] = {}
    breaks: list[float] = []
    rows: list[tuple[str, datetime]] = []
    until: datetime | None = None
    cut = timedelta(0)
    for begun, ended, number in spans:
        zero = spans[0][0] + cut
        if until is not None and begun - until > LONGEST_IDLE:
            breaks.append((until - zero).total_seconds())
            cut += begun - until
            zero += begun - until
        until = ended if until is None else max(until, ended)
        worker = history.results[number].worker
        row = _row(rows, worker, begun)
        rows[row : row + 1] = [(worker, ended)]
        bars[number] = Bar(row, (begun - zero).total_seconds(), (ended - zero).total_seconds())
    return Timeline(bars, tuple(breaks), len(rows))


def _spans(history: History) -> list[tuple[datetime, datetime, int]]:
    """Return beginning, end and number of each trial."""
    spans = []
    for result, begun, ended in zip(
        history.results, history.begun_at, history.finished_at, strict=True
    ):
        # Records of earlier versions have the moment of storing for both.
        duration = max(ended - begun, timedelta(0)) or timedelta(seconds=result.total_seconds)
        spans.append((ended - duration, ended, result.number))
    return spans


def _row(rows: Sequence[tuple[str, datetime]], worker: str, begun: datetime) -> int:
    """Return the row of a trial, one beyond the last if it needs a new one."""
    free = [row for row, (_, ended) in enumerate(rows) if ended <= begun]
    own = [row for row in free if rows[row][0] == worker]
    return next(iter([*own, *free]), len(rows))
