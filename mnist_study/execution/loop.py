"""The study loop: propose, run, take results in trial order, record.

A study is a fold: trial k is a function of the results of trials 0..k-L and of the parameters of
the L-1 trials between, where L is the study's `in_flight`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from mnist_study.core.errors import UserFacingError
from mnist_study.core.text import error_line
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialSpec
from mnist_study.execution.cluster import EpochEvent, NoticeEvent, TrialCluster
from mnist_study.execution.kept_results import KeptResults, Trained
from mnist_study.execution.recording import Recorder
from mnist_study.search.history import History
from mnist_study.search.plan import Plan
from mnist_study.tracking.tracker import Tracker

POLL_SECONDS = 0.5
# So many trials in a row that fail, and not by a diverged loss, have a common cause outside.
MAX_FAULTS_IN_A_ROW = 3


class SurroundingsError(UserFacingError):
    """A fault of the surroundings, which is no result of a study."""


class Observer(Protocol):
    """Watches a study; must not influence it."""

    def started(self, spec: TrialSpec) -> None:
        """A trial was submitted to the workers."""

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        """A trial finished an epoch; may come twice."""

    def trained(self, number: int) -> None:
        """A trial's training ended; it is stored when all before it are."""

    def finished(self, result: TrialResult) -> None:
        """A trial was stored."""

    def notice(self, text: str) -> None:
        """A message for the user."""


@dataclass(slots=True)
class DriverTimes:
    """Where the driver's time went, in seconds; MLflow's is the tracker's `busy_seconds`."""

    propose: float = 0.0
    store: float = 0.0
    total: float = 0.0


def run_plan(
    plan: Plan,
    history: History,
    cluster: TrialCluster,
    tracker: Tracker,
    observer: Observer,
    *,
    on_result: Callable[[TrialResult], None] = lambda result: None,
    kept: KeptResults | None = None,
) -> DriverTimes:
    """Run trials until the history holds as many as planned.

    Trial k depends on the results of trials 0..k-L and the parameters of the L-1 trials between,
    whatever else is known by then. So neither the number of workers nor an interruption changes the
    study: interrupted trials are re-proposed and retrained identically. Nor does it wait for the
    record: while MLflow is away, trials are trained on, and their results kept.

    Args:
        plan: of the trials.
        history: of the finished trials; each new one is appended.
        cluster: trains the trials.
        tracker: opened; records every trial before history does.
        observer: shows the progress.
        on_result: called with each result in trial order before anything is recorded.
        kept: where results wait while MLflow does not take them, and have waited since an earlier
            driver ended; None keeps none.

    Raises:
        SurroundingsError: trials in a row failed, and none by a diverged loss; they are not stored.
    """
    times, start = DriverTimes(), time.perf_counter()
    finished = list(history.results)
    unstored: list[Trained] = []
    in_flight: dict[int, TrialSpec] = {}
    arrived: dict[int, Trained] = {}
    begun: dict[int, datetime] = {}
    ready: TrialSpec | None = None

    with Recorder(history, tracker, observer, kept, on_result) as recorder:
        # One step at a time, the most urgent first: an idle worker, a result to record, waiting.
        while len(finished) < plan.n_trials or recorder.is_late:
            number = len(finished) + len(in_flight)
            if ready is None and number < min(plan.n_trials, len(finished) + plan.in_flight):
                # While the workers train, so that the next idle one need not wait for the proposal.
                began = time.perf_counter()
                ready = _suggest(plan, number, finished, in_flight)
                times.propose += time.perf_counter() - began

            known = None if ready is None else recorder.take_back(ready)
            is_free = recorder.has_room and cluster.n_running < cluster.n_slots
            if ready is not None and (known is not None or is_free):
                tracker.start(ready)
                observer.started(ready)
                in_flight[number] = ready
                if known is None:
                    cluster.submit(ready)
                    begun[number] = datetime.now()
                else:
                    observer.trained(number)
                    arrived[number] = known
                ready = None
            elif len(finished) in arrived:
                latest = arrived.pop(len(finished))
                finished.append(replace(latest.result, model_keras=None, curves_png=None))
                del in_flight[latest.spec.number]
                unstored.append(latest)
                if _is_to_be_stored(latest.result, unstored, plan):
                    recorder.record(unstored)
                    unstored = []
            else:
                recorder.go_on()
                for result in _ended(cluster, tracker, observer):
                    at = (begun.pop(result.number), datetime.now())
                    arrived[result.number] = Trained(in_flight[result.number], result, *at)
                for trained in arrived.values():
                    recorder.keep(trained)
        times.store = recorder.store_seconds
    times.total = time.perf_counter() - start
    return times


def _is_to_be_stored(result: TrialResult, unstored: Sequence[Trained], plan: Plan) -> bool:
    """Decide whether the latest result shows that it and those before it are results.

    Args:
        result: the latest.
        unstored: the faults in a row that end with it, or with the one before it.
        plan: of the trials.

    Raises:
        SurroundingsError: there are too many faults in a row.
    """
    if not result.is_fault:
        return True
    if len(unstored) < min(MAX_FAULTS_IN_A_ROW, plan.n_trials):
        return result.number == plan.n_trials - 1
    cause = error_line(result.reason or "")
    raise SurroundingsError(
        f"trials {unstored[0].spec.number} to {result.number} failed one after the other, and none "
        f"by a diverged loss, the last of: {cause}; that is a fault of the surroundings and no "
        "result, so none of them is stored; correct the cause, which workers.log in the home may "
        "tell more about, then run the same command again"
    )


def _suggest(
    plan: Plan,
    number: int,
    finished: Sequence[TrialResult],
    in_flight: Mapping[int, TrialSpec],
) -> TrialSpec:
    """Suggest a trial from the results 0..number-L and the parameters of the L-1 trials after."""
    n_completed = max(0, number - plan.in_flight + 1)
    active = [result.params for result in finished[n_completed:]]
    active += [in_flight[running].params for running in sorted(in_flight)]
    return plan.suggest(number, finished[:n_completed], active)


def _ended(cluster: TrialCluster, tracker: Tracker, observer: Observer) -> Iterator[TrialResult]:
    """Wait for events of the workers, pass epochs and notices on, and yield results."""
    for event in cluster.events(POLL_SECONDS):
        if isinstance(event, EpochEvent):
            tracker.log_epoch(event.number, event.metrics)
            observer.epoch(event.number, event.metrics)
        elif isinstance(event, NoticeEvent):
            observer.notice(event.text)
        else:
            observer.trained(event.result.number)
            yield event.result
