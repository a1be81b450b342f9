"""The fold itself: propose, run, take results in trial order, record."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mnist_study.cluster import EpochEvent, NoticeEvent, TrialCluster
from mnist_study.config import ExperimentConfig, NetworkParams
from mnist_study.history import History
from mnist_study.proposal import Proposer
from mnist_study.pruning import prune_trial
from mnist_study.records import (
    EpochMetrics,
    PruneTrial,
    PruneView,
    TrialResult,
    TrialSpec,
    derive_seeds,
)
from mnist_study.stopping import undisturbed
from mnist_study.tracking import Tracker

POLL_SECONDS = 0.5


class Observer(Protocol):
    """Who watches a study; must not influence it."""

    def started(self, spec: TrialSpec) -> None:
        """A trial was handed to the workers."""

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        """A trial finished an epoch; may come twice."""

    def trained(self, number: int) -> None:
        """A trial's training ended; it is stored when all before it are."""

    def finished(self, result: TrialResult) -> None:
        """A trial was stored."""

    def notice(self, text: str) -> None:
        """Something worth a line happened."""


@dataclass(slots=True)
class DriverTimes:
    """Where the driver's time went, in seconds; MLflow's is the tracker's `busy_seconds`."""

    propose: float = 0.0
    store: float = 0.0
    total: float = 0.0


class Plan(Protocol):
    """What is to be run: a fixed list of trials, or a search.

    Attributes:
        n_trials: how many in all.
        in_flight: trial k may depend on the results of trials 0..k-in_flight.
    """

    @property
    def n_trials(self) -> int: ...  # noqa: D102

    @property
    def in_flight(self) -> int: ...  # noqa: D102

    def specify(
        self, number: int, visible: Sequence[TrialResult], hidden: Sequence[NetworkParams]
    ) -> TrialSpec:
        """Specify a trial from what it may see.

        Args:
            number: of the trial; asked for in order.
            visible: the results of trials 0..number-in_flight.
            hidden: the parameters of the trials between those and this one.
        """


class SearchPlan:
    """The trials of a study: the baseline first, then what the sampler proposes."""

    def __init__(self, experiment: ExperimentConfig) -> None:
        if experiment.study is None:
            raise ValueError(f"{experiment.name} has no study to plan")
        self._experiment = experiment
        self._study = experiment.study
        self._proposer = Proposer(experiment.name, experiment.study, experiment.baseline)
        self._prunable: list[PruneTrial] = []

    @property
    def n_trials(self) -> int:
        """As many as the experiment file asks for."""
        return self._study.n_trials

    @property
    def in_flight(self) -> int:
        """The study's L."""
        return self._study.in_flight

    def specify(
        self, number: int, visible: Sequence[TrialResult], hidden: Sequence[NetworkParams]
    ) -> TrialSpec:
        """Propose the trial and put together what its pruner may see."""
        view = None
        if self._study.pruner.kind != "none":
            running = (PruneTrial(state=None),) * len(hidden)
            # Finished trials never change, so each is read once.
            self._prunable += map(prune_trial, visible[len(self._prunable) :])
            seen = (*self._prunable, *running)
            view = PruneView(self._experiment.name, self._study.pruner, seen)
        return TrialSpec(
            number=number,
            params=self._proposer.propose(number, visible, hidden),
            seeds=derive_seeds(self._study.seed, number),
            training=self._experiment.training,
            data=self._experiment.data,
            prune_view=view,
        )


class FixedPlan:
    """Trials that depend on nothing but their number.

    Args:
        n_trials: how many.
        make: specifies the trial of a number.
    """

    def __init__(self, n_trials: int, make: Callable[[int], TrialSpec]) -> None:
        self._n_trials = n_trials
        self._make = make

    @property
    def n_trials(self) -> int:
        """How many trials."""
        return self._n_trials

    @property
    def in_flight(self) -> int:
        """All of them: none waits for another."""
        return self._n_trials

    def specify(
        self, number: int, visible: Sequence[TrialResult], hidden: Sequence[NetworkParams]
    ) -> TrialSpec:
        """Specify the trial of a number."""
        return self._make(number)


def run_plan(
    plan: Plan,
    history: History,
    cluster: TrialCluster,
    tracker: Tracker,
    observer: Observer,
    *,
    on_result: Callable[[TrialResult], None] = lambda result: None,
    keeps_models: bool = True,
) -> DriverTimes:
    """Run trials until the history holds as many as planned.

    Trial k is specified from the results of trials 0..k-L and the parameters of the L-1 trials
    between, whatever else is known by then; so neither the number of workers nor an interruption
    can change what is found.

    Args:
        plan: what is to be run.
        history: the finished trials; grows by each new one.
        cluster: where trials train.
        tracker: opened; gets every trial before history does.
        observer: is told of progress.
        on_result: gets each result in trial order before anything is recorded.
        keeps_models: whether trials save their networks.
    """
    times, start = DriverTimes(), time.perf_counter()
    finished = history.results
    in_flight: dict[int, NetworkParams] = {}
    arrived: dict[int, TrialResult] = {}
    ready: TrialSpec | None = None

    # One step at a time, the most urgent first: a worker without work, a result to record, waiting.
    while len(finished) < plan.n_trials:
        number = len(finished) + len(in_flight)
        if ready is None and number < min(plan.n_trials, len(finished) + plan.in_flight):
            # While the workers train, so that the first one that is free need not wait for it.
            began = time.perf_counter()
            n_visible = max(0, number - plan.in_flight + 1)
            hidden = [result.params for result in finished[n_visible:]]
            hidden += [in_flight[running] for running in sorted(in_flight)]
            ready = plan.specify(number, finished[:n_visible], hidden)
            ready = ready if keeps_models else replace(ready, keeps_model=False)
            times.propose += time.perf_counter() - began

        if ready is not None and cluster.n_running < cluster.n_slots:
            tracker.start(ready)
            cluster.submit(ready)
            observer.started(ready)
            in_flight[number] = ready.params
            ready = None
        elif len(finished) in arrived:
            result = arrived.pop(len(finished))
            on_result(result)
            # Ctrl-C between the two would leave a run that says it has ended, and is not stored.
            with undisturbed():
                run_id = tracker.finish(result)
                began = time.perf_counter()
                history.append(result, run_id)
            times.store += time.perf_counter() - began
            del in_flight[result.number]
            observer.finished(history.results[-1])
        else:
            for event in cluster.events(POLL_SECONDS):
                if isinstance(event, EpochEvent):
                    tracker.log_epoch(event.number, event.metrics)
                    observer.epoch(event.number, event.metrics)
                elif isinstance(event, NoticeEvent):
                    observer.notice(event.text)
                else:
                    arrived[event.result.number] = event.result
                    observer.trained(event.result.number)
    times.total = time.perf_counter() - start
    return times
