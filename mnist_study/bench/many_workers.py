"""How many trials a second one driver keeps up with, for workers that only sleep.

    python -m mnist_study.bench.many_workers [--workers 256] [--finished 1000 10000] [--trials 300]

The study loop, the sampler, the MLflow record and Optuna's storage are the real ones, on SQLite in
a temporary home, or with `--finished 0` on the servers that the environment names; a worker sleeps
as long as a trial takes and sends its epochs. Trials are short enough that the workers ask for more
than the driver can do, so that what is measured is the driver. It begins when as many trials as may
be in flight have been recorded: until then proposals run ahead of the record. Figures are drawn by
workers. What Dask adds is not in it. The rows of finished trials are copies of one made-up trial's
(`mnist_study.bench.filling`).
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

import numpy as np

from mnist_study.bench.driver import MODEL_BYTES, synthetic_result
from mnist_study.bench.filling import fill
from mnist_study.bench.measurements import Table, hardware, say
from mnist_study.bench.real_study import Unwatched, open_stores
from mnist_study.core.config import ExperimentConfig, load_experiment
from mnist_study.core.home import Home
from mnist_study.core.trials import TrialResult, TrialSpec
from mnist_study.data.dataset import TrainingSet, load_training_set
from mnist_study.execution.cluster import EpochEvent, Event, ResultEvent, TrialCluster
from mnist_study.execution.loop import run_plan
from mnist_study.plots import trial_png
from mnist_study.search.plan import SearchPlan

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")
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
    _running: dict[int, TrialResult] = field(default_factory=dict)
    _png: bytes | None = None
    _rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    @property
    def n_running(self) -> int:
        """How many trials were submitted and have not ended."""
        return len(self._running)

    def submit(self, spec: TrialSpec) -> None:
        """Begin a trial: its epochs are due one after the other, and then its end."""
        length = self.seconds * float(self._rng.gamma(9, 1 / 9))
        n_epochs, now = spec.training.epochs, time.monotonic()
        result = synthetic_result(spec.number, spec.params, n_epochs, bytes(MODEL_BYTES))
        if self._png is None:
            self._png = trial_png(result)
        self._running[spec.number] = replace(result, curves_png=self._png)
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
            result = self._running[number]
            yield EpochEvent(number, result.epochs[epoch - 1])
            if epoch == len(result.epochs):
                del self._running[number]
                yield ResultEvent(result)


class EnoughError(Exception):
    """As many trials were recorded as are to be measured; ends the study loop."""


class Clock(Unwatched):
    """Sums up the processor time of the driver's steps, from a number of recorded trials on.

    Args:
        begin: called when the first of them have been recorded.
        n_before: so many.
        n_trials: to measure after them.
    """

    def __init__(self, begin: Callable[[], None], n_before: int, n_trials: int) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: defaultdict[str, int] = defaultdict(int)
        self._begin = begin
        self._n_left = n_before + n_trials
        self._n_trials = n_trials

    def per_call(self, name: str) -> float:
        """Return the milliseconds of one call, on average; 0 where there was none."""
        return 1e3 * self.seconds[name] / max(self.calls[name], 1)

    def timed(self, name: str, work: Callable[_Args, _Result]) -> Callable[_Args, _Result]:
        """Return work that adds its thread's processor time to a sum."""

        def measured(*args: _Args.args, **kwargs: _Args.kwargs) -> _Result:
            began = time.thread_time()
            try:
                return work(*args, **kwargs)
            finally:
                self.seconds[name] += time.thread_time() - began
                self.calls[name] += 1

        return measured

    def finished(self, result: TrialResult) -> None:
        """Begin when enough were recorded, and end after as many as are to be measured."""
        self._n_left -= 1
        if self._n_left == self._n_trials:
            self.seconds.clear()
            self.calls.clear()
            self._begin()
        elif self._n_left == 0:
            raise EnoughError


def measure(
    experiment: ExperimentConfig,
    training_set: TrainingSet,
    *,
    n_workers: int,
    n_finished: int,
    n_trials: int,
    seconds: float,
) -> list[str]:
    """Run more trials in a home with as many finished ones; return a row of the table."""
    in_flight = 2 * n_workers
    # The workers ask for more until the end.
    n_all = n_finished + in_flight + n_trials + in_flight
    update = {"in_flight": in_flight, "n_trials": n_all}
    study = experiment.search.model_copy(update=update)
    # On a server there may be those of earlier times.
    name = f"{experiment.name}-bench-{uuid.uuid4().hex[:8]}"
    experiment = experiment.model_copy(update={"study": study, "name": name})
    with tempfile.TemporaryDirectory(prefix="mnist-study-bench-") as folder:
        home = Home.at(Path(folder))
        history, tracker = open_stores(experiment, training_set, home)
        if n_finished:
            say(f"filling a home with {n_finished} trials")
            fill(experiment, home, history, tracker, n_finished)
        workers = SleepingWorkers(n_workers, seconds)
        say(f"{n_workers} workers, {seconds:g} s a trial: {in_flight} first, {n_trials} to measure")
        began: list[float] = []

        def now() -> list[float]:
            return [time.perf_counter(), time.process_time(), workers.busy_seconds]

        clock = Clock(lambda: began.extend(now()), in_flight, n_trials)
        plan = SearchPlan(experiment)
        plan.suggest = clock.timed("propose", plan.suggest)  # type: ignore[method-assign]
        history.append = clock.timed("store", history.append)  # type: ignore[method-assign]
        tracker._writer._do = clock.timed("write", tracker._writer._do)  # type: ignore[method-assign]
        with suppress(EnoughError):
            run_plan(plan, history, cast("TrialCluster", workers), tracker, clock)
        wall, cpu, busy = (end - start for end, start in zip(now(), began, strict=True))
        mlflow, total = 1e3 * clock.seconds["write"] / n_trials, 1e3 * cpu / n_trials
        known = (clock.per_call("propose"), mlflow, clock.per_call("store"))
        tracker.abort()  # writes as well
    return [
        str(n_finished),
        f"{n_trials / wall:.2f}",
        f"{1e3 / total:.1f}",
        f"{n_workers / seconds:.1f}",
        f"{100 * busy / (n_workers * wall):.0f}",
        *(f"{value:.0f}" for value in (*known, total - sum(known), total)),
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
        )
        for size in arguments.finished
    ]
    table = Table(
        title=f"One driver, {arguments.workers} sleeping workers, {arguments.trials} trials",
        columns=(
            "finished", "trials/s", "per CPU s", "asked for/s", "busy %", "propose", "MLflow",
            "Optuna", "rest", "all, CPU ms",
        ),
        rows=rows,
        notes=(
            "per CPU s: what one free core allows, as one thread at a time runs Python; from "
            "propose on: milliseconds of processor time for a trial; busy: share of the workers' "
            "time",
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
    parser.add_argument("--trials", type=int, default=300, help="to measure (300)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a trial, on average (20)")
    parser.add_argument("--json", action="store_true", help="one document")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
