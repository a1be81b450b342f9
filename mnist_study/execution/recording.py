"""Recording results in trial order: MLflow first, then history; the training need not wait."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol, Self

from mnist_study.core.interrupts import undisturbed
from mnist_study.core.trials import TrialResult, TrialSpec
from mnist_study.execution.kept_results import KeptResults, Trained
from mnist_study.search.history import History
from mnist_study.tracking.tracker import Tracker

# MLflow takes a tenth of a second for a trial, a busy server ten times as long.
USUAL_SECONDS = 3.0
LATE_SECONDS = 0.5


class RecordingObserver(Protocol):
    """Is told what becomes of results."""

    def finished(self, result: TrialResult) -> None:
        """A trial was stored."""

    def notice(self, text: str) -> None:
        """A message for the user."""


class Recorder:
    """Records results one after the other; late, while MLflow does not take one.

    While it is late, the training goes on, and what is trained is kept on disk. So neither the end
    of the driver nor that of the store's patience loses it.

    As a context manager it says, when an error ends the block, what is kept.

    Attributes:
        store_seconds: time spent in history.
    """

    def __init__(
        self,
        history: History,
        tracker: Tracker,
        observer: RecordingObserver,
        kept: KeptResults | None,
        on_result: Callable[[TrialResult], None],
    ) -> None:
        """Begin with nothing to record.

        Args:
            history: each result is appended to it.
            tracker: records each result before history does.
            observer: is told.
            kept: the results on disk; None keeps none there.
            on_result: called with each result before anything of it is recorded.
        """
        self.store_seconds = 0.0
        self._history = history
        self._tracker = tracker
        self._observer = observer
        self._kept = kept
        self._on_result = on_result
        self._waiting: deque[Trained] = deque()
        self._is_late = False
        self._is_disk_full = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is not None and self._is_late and self._kept:
            self._observer.notice(
                f"{len(self._kept)} trained trials that MLflow does not hold yet are kept in "
                f"{self._kept.folder}; the same command records them and trains none of them again"
            )

    @property
    def is_late(self) -> bool:
        """Whether MLflow has not taken a result for a while."""
        return self._is_late

    @property
    def has_room(self) -> bool:
        """Whether more trials may begin."""
        if not self._is_late:
            return True
        return self._kept is not None and self._kept.has_room and not self._is_disk_full

    def take_back(self, spec: TrialSpec) -> Trained | None:
        """Return the result of a trial that an earlier driver has kept, if there is one."""
        return None if self._kept is None else self._kept.take(spec)

    def keep(self, trained: Trained) -> None:
        """Keep a result on disk while MLflow is late; a fault of the surroundings is no result."""
        number = trained.result.number
        if not self._is_late or self._kept is None or trained.result.is_fault:
            return
        if number in self._kept or self._is_disk_full:
            return
        try:
            self._kept.keep(trained)
        except OSError as error:
            self._is_disk_full = True
            self._observer.notice(
                f"{self._kept.folder}: trained results cannot be kept there "
                f"({error.strerror or error}); no further trial begins until MLflow answers"
            )

    def record(self, trained: Iterable[Trained]) -> None:
        """Record the next results, or let them wait for the earlier ones.

        Raises:
            UserFacingError: a store cannot be written.
        """
        for each in trained:
            self._on_result(each.result)
            self._waiting.append(each)
            self.keep(each)
        if not self._is_late:
            self.go_on(USUAL_SECONDS)

    def go_on(self, seconds: float = LATE_SECONDS) -> None:
        """Record what waits, for as long as MLflow takes each within so many seconds.

        Raises:
            UserFacingError: a store cannot be written.
        """
        while self._waiting:
            if not self._record_first(seconds):
                self._is_late = True
                for each in self._waiting:
                    self.keep(each)
                return
        self._is_late = self._is_disk_full = False

    def _record_first(self, seconds: float) -> bool:
        first = self._waiting[0]
        # Ctrl-C between the two would leave a run that has ended in MLflow and is not stored.
        with undisturbed():
            run_id = self._tracker.finish_within(first.result, seconds)
            if run_id is None:
                return False
            began = time.perf_counter()
            self._history.append(first.result, run_id, (first.begun, first.ended))
        self.store_seconds += time.perf_counter() - began
        self._waiting.popleft()
        if self._kept is not None:
            self._kept.remove(first.result.number)
        self._observer.finished(self._history.results[-1])
        return True
