"""The fold itself: propose, run, take results in trial order, record."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from mnist_study.cluster import EpochEvent, NoticeEvent, TrialCluster
from mnist_study.config import ExperimentConfig, NetworkParams, StudyConfig
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
from mnist_study.tracking import Tracker

POLL_SECONDS = 0.5


class Observer(Protocol):
    """Who watches a study; must not influence it."""

    def started(self, spec: TrialSpec) -> None:
        """A trial was handed to the workers."""

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        """A trial finished an epoch; may come twice."""

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


def run_study(
    experiment: ExperimentConfig,
    history: History,
    cluster: TrialCluster,
    tracker: Tracker,
    observer: Observer,
) -> DriverTimes:
    """Run trials until the study has as many as its file asks for.

    Trial k is proposed from the results of trials 0..k-L and the parameters of the L-1 trials
    between, whatever else is known by then; so neither the number of workers nor an interruption
    can change what a study finds.

    Args:
        experiment: with a `study` table.
        history: the finished trials; grows by each new one.
        cluster: where trials train.
        tracker: opened; gets every trial before history does.
        observer: is told of progress.
    """
    config = experiment.study
    assert config is not None
    times, start = DriverTimes(), time.perf_counter()
    proposer = Proposer(experiment.name, config, experiment.baseline)
    finished = history.results
    in_flight: dict[int, NetworkParams] = {}
    arrived: dict[int, TrialResult] = {}

    while len(finished) < config.n_trials:
        number = len(finished) + len(in_flight)
        n_slots = cluster.n_slots
        while (
            number < min(config.n_trials, len(finished) + config.in_flight)
            and cluster.n_running < n_slots
        ):
            began = time.perf_counter()
            visible = finished[: max(0, number - config.in_flight + 1)]
            params = proposer.propose(
                number, visible, _params_after(len(visible), finished, in_flight)
            )
            spec = _specify(number, params, experiment, config, visible)
            times.propose += time.perf_counter() - began
            tracker.start(spec)
            cluster.submit(spec)
            observer.started(spec)
            in_flight[number] = params
            number += 1

        for event in cluster.events(POLL_SECONDS):
            if isinstance(event, EpochEvent):
                tracker.log_epoch(event.number, event.metrics)
                observer.epoch(event.number, event.metrics)
            elif isinstance(event, NoticeEvent):
                observer.notice(event.text)
            else:
                arrived[event.result.number] = event.result

        while len(finished) in arrived:
            result = arrived.pop(len(finished))
            run_id = tracker.finish(result)
            began = time.perf_counter()
            history.append(result, run_id)
            times.store += time.perf_counter() - began
            del in_flight[result.number]
            observer.finished(history.results[-1])
    times.total = time.perf_counter() - start
    return times


def _params_after(
    n_visible: int, finished: list[TrialResult], in_flight: Mapping[int, NetworkParams]
) -> list[NetworkParams]:
    """Return the parameters of the trials that a proposal sees as running, finished or not."""
    hidden = [result.params for result in finished[n_visible:]]
    return hidden + [in_flight[number] for number in sorted(in_flight)]


def _specify(
    number: int,
    params: NetworkParams,
    experiment: ExperimentConfig,
    config: StudyConfig,
    visible: list[TrialResult],
) -> TrialSpec:
    """Put together everything that trial `number` is a function of."""
    view = None
    if config.pruner.kind != "none":
        running = (PruneTrial(state=None),) * (number - len(visible))
        seen = tuple(prune_trial(result) for result in visible)
        view = PruneView(experiment.name, config.pruner, seen + running)
    return TrialSpec(
        number=number,
        params=params,
        seeds=derive_seeds(config.seed, number),
        training=experiment.training,
        prune_view=view,
    )
