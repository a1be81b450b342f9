"""How many trials a second one driver keeps up with, for workers that only sleep.

    python -m mnist_study.bench.many_workers [--workers 256] [--finished 1000 10000] [--trials 600]

The study loop, the sampler, the MLflow record and Optuna's storage are the real ones, on SQLite in
a temporary home; a worker sleeps as long as a trial takes and sends its epochs. Trials are short
enough that the workers ask for more than the driver can do, so that what is measured is the driver.
What Dask adds is not in it. The finished trials were made up; with `--history-only` they are in
Optuna's storage alone, which fills a home a few times faster.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np

from mnist_study.bench.driver import MODEL_BYTES, draw_params, synthetic_result
from mnist_study.bench.measurements import Table, hardware, say
from mnist_study.bench.real_study import Unwatched, open_stores
from mnist_study.core.config import ExperimentConfig, load_experiment
from mnist_study.core.home import Home
from mnist_study.core.trials import TrialSpec, derive_seeds
from mnist_study.data.dataset import TrainingSet, load_training_set
from mnist_study.execution.cluster import EpochEvent, Event, ResultEvent, TrialCluster
from mnist_study.execution.loop import run_plan
from mnist_study.search.history import History
from mnist_study.search.plan import SearchPlan
from mnist_study.tracking.tracker import Tracker

_EXPERIMENT = Path(__file__).parents[2] / "experiments" / "study.toml"


@dataclass(slots=True)
class SleepingWorkers:
    """Workers that take the time of a trial and make up its result.

    Attributes:
        n_slots: how many there are.
        seconds: of a trial, on average; single ones vary by a third.
        busy_seconds: of all workers together, in trials that have ended.
    """

    n_slots: int
    seconds: float
    busy_seconds: float = 0.0
    _due: list[tuple[float, int, int]] = field(default_factory=list)
    _running: dict[int, TrialSpec] = field(default_factory=dict)
    _rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    @property
    def n_running(self) -> int:
        """How many trials were submitted and have not ended."""
        return len(self._running)

    def submit(self, spec: TrialSpec) -> None:
        """Begin a trial: its epochs are due one after the other, and then its end."""
        length = self.seconds * float(self._rng.gamma(9, 1 / 9))
        n_epochs, now = spec.training.epochs, time.monotonic()
        self._running[spec.number] = spec
        self.busy_seconds += length
        for epoch in range(1, n_epochs + 1):
            heapq.heappush(self._due, (now + length * epoch / n_epochs, spec.number, epoch))

    def events(self, timeout_seconds: float) -> Iterator[Event]:
        """Wait for what is due next, then yield all that is."""
        if self._due:
            wait = self._due[0][0] - time.monotonic()
            time.sleep(min(max(wait, 0.0), timeout_seconds))
        while self._due and self._due[0][0] <= time.monotonic():
            _, number, epoch = heapq.heappop(self._due)
            spec = self._running[number]
            n_epochs = spec.training.epochs
            result = synthetic_result(number, spec.params, n_epochs, bytes(MODEL_BYTES))
            yield EpochEvent(number, result.epochs[epoch - 1])
            if epoch == n_epochs:
                del self._running[number]
                yield ResultEvent(result)


def fill(
    experiment: ExperimentConfig, history: History, tracker: Tracker, n_trials: int, *, logged: bool
) -> None:
    """Store made-up trials until there are as many."""
    rng = np.random.default_rng(0)
    study = experiment.search
    for number in range(len(history.results), n_trials):
        params = draw_params(study.space, experiment.baseline, rng)
        result = synthetic_result(number, params, experiment.training.epochs, None)
        run_id = f"{number:032x}"
        if logged:
            seeds = derive_seeds(study.seed, number)
            spec = TrialSpec(number, params, seeds, experiment.training, experiment.data)
            tracker.start(spec)
            run_id = tracker.finish(result)
        history.append(result, run_id)


def measure(
    experiment: ExperimentConfig,
    training_set: TrainingSet,
    *,
    n_workers: int,
    n_finished: int,
    n_trials: int,
    seconds: float,
    logged: bool,
) -> list[str]:
    """Run more trials in a home with as many finished ones; return a row of the table."""
    update = {"in_flight": 2 * n_workers, "n_trials": n_finished + n_trials}
    study = experiment.search.model_copy(update=update)
    experiment = experiment.model_copy(update={"study": study})
    with tempfile.TemporaryDirectory(prefix="mnist-study-bench-") as folder:
        history, tracker = open_stores(experiment, training_set, Home.at(Path(folder)))
        say(f"filling a home with {n_finished} trials")
        fill(experiment, history, tracker, n_finished, logged=logged)
        workers = SleepingWorkers(n_workers, seconds)
        say(f"{n_trials} trials on {n_workers} workers of {seconds:g} s a trial")
        busy, start, cpu = tracker.busy_seconds, time.perf_counter(), time.process_time()
        times = run_plan(
            SearchPlan(experiment), history, cast("TrialCluster", workers), tracker, Unwatched()
        )
        wall = time.perf_counter() - start
        cpu = time.process_time() - cpu
        logging = tracker.busy_seconds - busy
        tracker.abort()
    return [
        str(n_finished),
        f"{n_trials / wall:.2f}",
        f"{n_workers / seconds:.1f}",
        f"{100 * workers.busy_seconds / (n_workers * wall):.0f}",
        f"{1e3 * times.propose / n_trials:.0f}",
        f"{1e3 * logging / n_trials:.0f}",
        f"{1e3 * times.store / n_trials:.0f}",
        f"{1e3 * cpu / n_trials:.0f}",
        f"{cpu / wall:.2f}",
    ]


def main() -> int:
    """Print the table."""
    arguments = _parse()
    experiment = load_experiment(_EXPERIMENT)
    training_set = load_training_set("digits")
    rows = [
        measure(
            experiment,
            training_set,
            n_workers=arguments.workers,
            n_finished=size,
            n_trials=arguments.trials,
            seconds=arguments.seconds,
            logged=not arguments.history_only,
        )
        for size in arguments.finished
    ]
    table = Table(
        title=f"One driver, {arguments.workers} sleeping workers, {arguments.trials} trials",
        columns=(
            "finished", "trials/s", "asked for/s", "busy %", "propose ms", "MLflow ms", "wait ms",
            "CPU ms", "cores",
        ),
        rows=rows,
        notes=(
            "busy: share of the workers' time; wait: for the MLflow record of a trial, and its "
            "insert into Optuna's storage",
            "the MLflow record is written by one thread, which saturates at 1000 / (MLflow ms) "
            "trials a second; CPU: of the whole driver, which says "
            "more than the clock on a busy machine",
        ),
    )  # fmt: skip
    if arguments.json:
        print(json.dumps({"machine": hardware(), "tables": [table.as_json()]}, indent=2))
    else:
        print("\n".join(table.lines()))
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mnist_study.bench.many_workers",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("--workers", type=int, default=256, help="that sleep (256)")
    parser.add_argument("--finished", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--trials", type=int, default=600, help="to measure (600)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a trial, on average (20)")
    parser.add_argument("--history-only", action="store_true", help="finished trials without runs")
    parser.add_argument("--json", action="store_true", help="one document")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
