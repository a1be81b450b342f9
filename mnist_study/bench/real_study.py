"""Our study as `mnist-study study` runs it, in blocks, so that others run between them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mnist_study.core.config import ExperimentConfig, NetworkParams
from mnist_study.core.home import Home
from mnist_study.core.identity import StudyIdentity, fingerprint
from mnist_study.core.provenance import collect_provenance
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialSpec
from mnist_study.data.dataset import TrainingSet
from mnist_study.execution.cluster import TrialCluster
from mnist_study.execution.loop import run_plan
from mnist_study.plots import trial_png
from mnist_study.search.history import History
from mnist_study.search.plan import SearchPlan
from mnist_study.tracking.tracker import Tracker


@dataclass(frozen=True, slots=True)
class Block:
    """Some trials of a study, one number after the other.

    Attributes:
        wall_seconds: from the first trial's proposal to the last one's storing.
        tracking_seconds: in which the MLflow record was written, in its own thread.
        propose_seconds: of the driver.
        store_seconds: of the driver.
        params: of the trials, in order.
    """

    wall_seconds: float
    tracking_seconds: float
    propose_seconds: float
    store_seconds: float
    params: Sequence[NetworkParams]

    @property
    def seconds_per_trial(self) -> float:
        """Seconds of the block over its number of trials."""
        return self.wall_seconds / len(self.params)


class Unwatched:
    """An observer that does nothing."""

    def started(self, spec: TrialSpec) -> None:
        """Do nothing."""

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        """Do nothing."""

    def trained(self, number: int) -> None:
        """Do nothing."""

    def finished(self, result: TrialResult) -> None:
        """Do nothing."""

    def notice(self, text: str) -> None:
        """Do nothing."""


class _GrowingPlan(SearchPlan):
    """A search whose end is moved on block by block; what it proposes does not depend on that."""

    end = 0

    @property
    def n_trials(self) -> int:
        """Where the block ends."""
        return self.end


def open_stores(
    experiment: ExperimentConfig, training_set: TrainingSet, home: Home, *, flush_seconds: float = 1
) -> tuple[History, Tracker]:
    """Open history and tracker of a study in a new home."""
    home.path.mkdir(parents=True, exist_ok=True)
    identity = StudyIdentity.of(experiment, training_set.dataset, training_set.content_hash)
    history = History.open(home.storage_url, experiment.name)
    history.check_identity(identity, allow_mixed=False)
    tracker = Tracker(
        home,
        experiment=experiment.name,
        identity=history.mlflow_identity,
        dataset=training_set.record(
            n_validation=experiment.data.validation_size,
            split_seed=experiment.data.split_seed,
        ),
        provenance=collect_provenance(fingerprint=fingerprint(identity), experiment_file=""),
        draw_trial=trial_png,
        flush_seconds=flush_seconds,
    )
    tracker.open({})
    return history, tracker


@contextmanager
def our_study(
    experiment: ExperimentConfig, training_set: TrainingSet, n_workers: int
) -> Iterator[Callable[[int], Block]]:
    """Prepare our study; what is run takes a number of trials and runs the study's next ones."""
    with tempfile.TemporaryDirectory(prefix="mnist-study-bench-") as folder:
        home = Home.at(Path(folder))
        history, tracker = open_stores(experiment, training_set, home)
        plan = _GrowingPlan(experiment)
        with TrialCluster(
            training_set, identity=None, n_workers=n_workers, address=None,
            log_path=home.worker_log, draw_trial=trial_png,
        ) as cluster:  # fmt: skip

            def run(n_trials: int) -> Block:
                begin, busy, start = len(history.results), tracker.busy_seconds, time.perf_counter()
                plan.end = begin + n_trials
                times = run_plan(plan, history, cluster, tracker, Unwatched())
                return Block(
                    wall_seconds=time.perf_counter() - start,
                    tracking_seconds=tracker.busy_seconds - busy,
                    propose_seconds=times.propose,
                    store_seconds=times.store,
                    params=[result.params for result in history.results[begin:]],
                )

            yield run
            tracker.abort()
