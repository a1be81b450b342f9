"""Part c: the driver's own time per trial, at few and at many finished trials."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from mnist_study.bench.measurements import SPREAD_COLUMNS, Table, say, spread_cells
from mnist_study.bench.process import BenchProcess
from mnist_study.bench.real_study import open_stores, our_study
from mnist_study.core.config import ExperimentConfig, FloatRange, NetworkParams, Range
from mnist_study.core.home import Home
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialSpec, TrialState
from mnist_study.data.dataset import TrainingSet
from mnist_study.search.plan import SearchPlan

# The documented network's `.keras` file.
MODEL_BYTES = 457_000
STEPS = ("propose", "log to MLflow", "store in Optuna", "all")


def draw_params(
    space: dict[str, Range], baseline: NetworkParams, rng: np.random.Generator
) -> NetworkParams:
    """Draw a network from a search space, at random and on a log scale where it asks for one."""
    values: dict[str, float] = {}
    for name, limits in space.items():
        low, high = np.log((limits.low, limits.high)) if limits.log else (limits.low, limits.high)
        value = float(rng.uniform(low, high))
        value = min(max(float(np.exp(value)) if limits.log else value, limits.low), limits.high)
        values[name] = value if isinstance(limits, FloatRange) else round(value)
    return baseline.model_copy(update=values)


def synthetic_result(
    number: int, params: NetworkParams, n_epochs: int, model_keras: bytes | None
) -> TrialResult:
    """Make up a finished trial whose accuracy depends on its parameters, with some noise."""
    rng = np.random.default_rng((number, 1))
    peak = 0.985 - 0.01 * params.dropout_1 - 0.5 * params.l2 + 0.003 * float(rng.standard_normal())
    rises = [peak - 0.1 * 0.7**epoch for epoch in range(1, n_epochs + 1)]
    epochs = tuple(
        EpochMetrics(epoch, 2 * (1 - value), value + 0.003, 3 * (1 - value), value)
        for epoch, value in enumerate(rises, start=1)
    )
    return TrialResult(
        number=number,
        params=params,
        state=TrialState.COMPLETE,
        epochs=epochs,
        value=rises[-1],
        best_epoch=n_epochs,
        restored_train_accuracy=0.99,
        restored_train_loss=0.03,
        n_parameters=100_000,
        weights_sha256=f"{number:064x}",
        model_keras=model_keras,
        train_seconds=5.0,
        total_seconds=6.0,
        worker="tcp://127.0.0.1:40000",
    )


class SyntheticStudy:
    """A study in stores of its own, whose trials were made up instead of trained.

    Proposals, MLflow record and history are the real ones.
    """

    def __init__(self, experiment: ExperimentConfig, training_set: TrainingSet, home: Home) -> None:
        self._experiment = experiment
        self._study = experiment.search
        self._plan = SearchPlan(experiment)
        # Live epochs come several at a flush, as with a trial of some seconds.
        self._flush_seconds = 0.02
        self._history, self._tracker = open_stores(
            experiment, training_set, home, flush_seconds=self._flush_seconds
        )
        self._rng = np.random.default_rng(0)

    @property
    def n_finished(self) -> int:
        """How many trials are stored."""
        return len(self._history.results)

    def fill(self, n_trials: int) -> None:
        """Store trials with random parameters and without model files, until there are as many."""
        for number in range(self.n_finished, n_trials):
            params = draw_params(self._study.space, self._experiment.baseline, self._rng)
            spec = self._plan_spec(number, params)
            self._tracker.start(spec)
            self._finish(spec, None)

    def run_trial(self) -> dict[str, float]:
        """Propose, log and store one trial; return the driver's seconds for each step.

        As in a study, the trial sees all but the last `in_flight` - 1 of the trials before it.
        """
        results = self._history.results
        number = len(results)
        n_completed = max(0, number - self._study.in_flight + 1)
        active = [result.params for result in results[n_completed:]]
        start = time.perf_counter()
        spec = self._plan.suggest(number, results[:n_completed], active)
        propose_seconds = time.perf_counter() - start
        busy = self._tracker.busy_seconds
        self._tracker.start(spec)
        made_up = synthetic_result(number, spec.params, self._experiment.training.epochs, None)
        for metrics in made_up.epochs:
            self._tracker.log_epoch(number, metrics)
            if metrics.epoch % 4 == 0:
                time.sleep(3 * self._flush_seconds)
        store_seconds = self._finish(spec, bytes(MODEL_BYTES))
        log_seconds = self._tracker.busy_seconds - busy
        return {
            "propose": propose_seconds,
            "log to MLflow": log_seconds,
            "store in Optuna": store_seconds,
            "all": propose_seconds + log_seconds + store_seconds,
        }

    def close(self) -> None:
        """End the writer thread."""
        self._tracker.abort()

    def _plan_spec(self, number: int, params: NetworkParams) -> TrialSpec:
        from mnist_study.core.trials import derive_seeds

        return TrialSpec(
            number=number,
            params=params,
            seeds=derive_seeds(self._study.seed, number),
            training=self._experiment.training,
            data=self._experiment.data,
        )

    def _finish(self, spec: TrialSpec, model_keras: bytes | None) -> float:
        n_epochs = self._experiment.training.epochs
        result = synthetic_result(spec.number, spec.params, n_epochs, model_keras)
        run_id = self._tracker.finish(result)
        start = time.perf_counter()
        self._history.append(result, run_id)
        return time.perf_counter() - start


def measure_driver(
    experiment: ExperimentConfig,
    training_set: TrainingSet,
    *,
    n_workers: int,
    sizes: tuple[int, ...],
    n_trials: int,
    n_real_trials: int,
) -> list[Table]:
    """Measure part c.

    Args:
        experiment: with a study; its own pruner, sampler and number of epochs.
        training_set: what the real study trains on.
        n_workers: of the real study.
        sizes: numbers of finished trials to measure at.
        n_trials: how many trials to measure at each.
        n_real_trials: of the real study; 0 leaves it out.
    """
    with tempfile.TemporaryDirectory(prefix="mnist-study-bench-") as folder, ExitStack() as stack:
        studies: dict[int, SyntheticStudy] = {}
        for size in sizes:
            say(f"c: filling a home with {size} trials")
            studies[size] = SyntheticStudy(
                experiment, training_set, Home.at(Path(folder, f"{size}"))
            )
            stack.callback(studies[size].close)
            studies[size].fill(size - n_trials // 2)
        laps: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
        for index in range(-1, n_trials):
            for size, study in studies.items():
                lap = study.run_trial()
                if index >= 0:
                    laps[size].append(lap)
    tables = [
        Table(
            title=f"c. Driver time per trial in ms, SQLite, {experiment.training.epochs} epochs",
            columns=("", *SPREAD_COLUMNS),
            rows=[
                [f"{step}, {size} finished", *spread_cells([1e3 * lap[step] for lap in found], 1)]
                for size, found in laps.items()
                for step in STEPS
            ],
            notes=("asked for: all at most 150 ms, aim 50 ms, at 60 and at 1,000",),
            samples={str(size): found for size, found in laps.items()},
        )
    ]
    if n_real_trials:
        tables.append(_measure_share(experiment, training_set, n_workers, n_real_trials))
    return tables


def _measure_share(
    experiment: ExperimentConfig, training_set: TrainingSet, n_workers: int, n_trials: int
) -> Table:
    with BenchProcess(our_study, experiment, training_set, n_workers) as study:
        say("c: warm-up of the real study")
        study(2 * n_workers)
        say(f"c: the real study, {n_trials} trials, {n_workers} workers")
        block = study(n_trials)
    seconds = {
        "propose": block.propose_seconds,
        "log to MLflow (own thread)": block.tracking_seconds,
        "store in Optuna": block.store_seconds,
        "wall time of the study": block.wall_seconds,
    }
    return Table(
        title=f"c. A real study of {n_trials} trials with pruning, {n_workers} workers",
        columns=("", "seconds", "ms per trial", "share of wall time"),
        rows=[
            [name, f"{s:.2f}", f"{1e3 * s / n_trials:.1f}", f"{100 * s / block.wall_seconds:.1f} %"]
            for name, s in seconds.items()
        ],
        samples=seconds,
    )
