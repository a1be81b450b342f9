"""Workers that are lost: whether a trial kills them, or they die whatever they are given."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

# A trial that kills its worker this often, after it began and before its first epoch, is given up.
# Fewer deaths may be chance: random kills can hit the same trial three times.
MAX_DEATHS_BEFORE_AN_EPOCH = 7
# A trial that gets through an epoch and loses its worker this often will hardly end.
MAX_LOSSES = 50
# The same where the workers were closed in order: they live shorter than a trial takes.
MAX_CLOSED = 10
# Workers that are lost one after the other, and no trial gets through an epoch in between. Larger
# than the number for one trial, so that a single worker gets past a trial that kills it.
MAX_IN_VAIN = 10


@dataclass(slots=True)
class TrialLosses:
    """The workers that one trial has lost.

    Attributes:
        n_early_deaths: died while they trained it, before its first epoch.
        n_closed: were closed in order, as at the end of a worker's lifetime.
        n_all: all of them, those included that died before the trial had begun.
    """

    n_early_deaths: int = 0
    n_closed: int = 0
    n_all: int = 0

    def add(self, *, has_begun: bool, had_epoch: bool, was_closed: bool) -> None:
        """Count a lost worker; one that died before the trial had begun is not the trial's fault.

        Args:
            has_begun: the trial has announced itself from that worker.
            had_epoch: it has finished an epoch there.
            was_closed: the worker did not die but was closed in order.
        """
        self.n_all += 1
        self.n_closed += was_closed
        self.n_early_deaths += has_begun and not had_epoch and not was_closed

    @property
    def is_deadly(self) -> bool:
        """Whether the trial is to be given up, as one that kills its workers."""
        return self.n_early_deaths >= MAX_DEATHS_BEFORE_AN_EPOCH

    @property
    def why_hopeless(self) -> str | None:
        """Why the trial will hardly ever end though it does not kill its workers, or None."""
        if self.n_closed >= MAX_CLOSED:
            return (
                f"{self.n_closed} workers were closed before they had finished it; expected "
                "workers that live longer than a trial takes; give them a longer lifetime"
            )
        if self.n_all >= MAX_LOSSES:
            return (
                f"{self.n_all} workers died before they had finished it; expected workers that are "
                "left alone; look for what kills them, such as too little memory"
            )
        return None


class LossesInVain:
    """Counts the workers that are lost while no trial gets through an epoch.

    Local workers are known by their process ids, so that those that die while they start count
    too; of a running cluster, a worker counts that had a trial of this study.
    """

    def __init__(self, n_workers: int) -> None:
        self._most = max(MAX_IN_VAIN, 3 * n_workers)
        self._n = 0
        self._pids: set[int] = set()

    def progress(self) -> None:
        """A trial has got through an epoch, or has ended."""
        self._n = 0

    def lost(self) -> None:
        """A worker of a running cluster is gone."""
        self._n += 1

    def see(self, pids: Collection[int]) -> None:
        """Look at the local workers: each that was not seen before replaces one that is gone."""
        new = set(pids) - self._pids
        self._n += len(new) if self._pids else 0
        self._pids |= new

    @property
    def is_too_many(self) -> bool:
        """Whether it is no use to go on."""
        return self._n >= self._most

    def __str__(self) -> str:
        return (
            f"{self._n} of them died one after the other, and no trial got through an epoch in "
            "between; expected workers that are left alone and have the memory they need; nothing "
            "of this is stored as a result, so look for what kills them, then run the same command "
            "again"
        )
