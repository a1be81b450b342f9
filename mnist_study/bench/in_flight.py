"""What `in_flight` costs in search quality, and what it saves in waiting workers.

    python -m mnist_study.bench.in_flight [--seeds 50] [--trials 60 240] [--in-flight 1 2] [--json]

The network's accuracy is predicted by a Gaussian process that is fitted to the trials of
the published study; the sampler then searches this surrogate, each trial with the noise that the
fit found. What counts is the surrogate's accuracy, without noise, of the trial that looked best:
its regret is how far it lies below the best of the whole space. Seeds are paired. The waiting is
that of the study loop with trials of random lengths, spread as in the published study.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnist_study.bench.measurements import Table, hardware, say
from mnist_study.core.config import ExperimentConfig, NetworkParams, PrunerConfig, load_experiment
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialState
from mnist_study.search.plan import SearchPlan

_ROOT = Path(__file__).parents[2] / "experiments"
WORKERS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Surrogate:
    """A prediction of accuracy from parameters.

    Attributes:
        experiment: whose space it covers.
        model: Gaussian process of the logarithm of the error rate, over the scaled parameters.
        noise: standard deviation of that logarithm between runs of one configuration.
        n_trials: that it was fitted to.
        r_squared: of predictions of rows that were left out, five folds.
    """

    experiment: ExperimentConfig
    model: Any
    noise: float
    n_trials: int
    r_squared: float

    def log_error(self, params: NetworkParams) -> float:
        """Return the expected logarithm of the error rate."""
        row = scaled(self.experiment, params.model_dump())
        return float(self.model.predict(row[None])[0])

    def best_accuracy(self) -> float:
        """Return the highest expected accuracy in the space, in [0, 1]."""
        from scipy.optimize import minimize

        def predicted(point: np.ndarray) -> float:
            return float(self.model.predict(point[None])[0])

        n_axes = len(self.experiment.search.space)
        points = np.random.default_rng(0).uniform(size=(20_000, n_axes))
        starts = points[np.argsort(self.model.predict(points))[:10]]
        bounds = [(0.0, 1.0)] * n_axes
        lowest = min(float(minimize(predicted, start, bounds=bounds).fun) for start in starts)
        return 1 - float(np.exp(lowest))


def scaled(experiment: ExperimentConfig, values: dict[str, Any]) -> np.ndarray:
    """Return a configuration as a point of the unit cube, one axis for each parameter searched."""
    point = []
    for name, limits in experiment.search.space.items():
        value, low, high = float(values[name]), float(limits.low), float(limits.high)
        if limits.log:
            value, low, high = np.log(value), np.log(low), np.log(high)
        point.append((value - low) / (high - low))
    return np.array(point)


def fit(experiment: ExperimentConfig, rows: Sequence[dict[str, str]]) -> Surrogate:
    """Fit the surrogate to the completed trials of a study.

    Args:
        experiment: of the study.
        rows: of its table of trials.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
    from sklearn.model_selection import KFold, cross_val_predict

    complete = [row for row in rows if row["state"] == "COMPLETE"]
    points = np.array([scaled(experiment, dict(row)) for row in complete])
    errors = np.log([1 - float(row["value"]) for row in complete])
    folds = KFold(5, shuffle=True, random_state=0)  # a study's later trials resemble each other
    # One length scale for all, as a study has too few trials for one each.
    kernel = ConstantKernel(0.1) * Matern(1.0, (0.1, 30), nu=2.5)
    model = GaussianProcessRegressor(
        kernel + WhiteKernel(0.1, (1e-3, 1)), normalize_y=True, random_state=0
    )
    with warnings.catch_warnings():
        # Where accuracy hardly depends on the parameters, the length scale is beyond every bound.
        warnings.simplefilter("ignore", ConvergenceWarning)
        left_out = cross_val_predict(model, points, errors, cv=folds)
        model.fit(points, errors)
    r_squared = 1 - np.square(errors - left_out).sum() / np.square(errors - errors.mean()).sum()
    noise = float(np.sqrt(model.kernel_.k2.noise_level) * errors.std())
    return Surrogate(experiment, model, noise, len(errors), float(r_squared))


def search(
    surrogate: Surrogate, *, in_flight: int, n_trials: Sequence[int], seed: int
) -> list[float]:
    """Return the surrogate's accuracy of the trial that looked best after each number of trials.

    A shorter study is the beginning of a longer one, so that one search serves for all.
    """
    settings = surrogate.experiment.search.model_copy(
        update={
            "in_flight": in_flight,
            "n_trials": max(n_trials),
            "seed": seed,
            "pruner": PrunerConfig(kind="none"),
        }
    )
    plan = SearchPlan(surrogate.experiment.model_copy(update={"study": settings}))
    rng = np.random.default_rng(seed)
    finished: list[TrialResult] = []
    expected: list[float] = []
    for number in range(max(n_trials)):
        n_seen = max(0, number - in_flight + 1)
        active = [result.params for result in finished[n_seen:]]
        params = plan.suggest(number, finished[:n_seen], active).params
        log_error = surrogate.log_error(params)
        expected.append(1 - float(np.exp(log_error)))
        value = 1 - float(np.exp(log_error + rng.normal(0, surrogate.noise)))
        finished.append(_result(number, params, value))
    looked = [result.value or 0.0 for result in finished]
    return [expected[int(np.argmax(looked[:size]))] for size in n_trials]


def _result(number: int, params: NetworkParams, value: float) -> TrialResult:
    epochs = (EpochMetrics(1, 0.1, value, 0.1, value),)
    return TrialResult(
        number, params, TrialState.COMPLETE, epochs, value=value, best_epoch=1,
        weights_sha256=f"{number:064x}",
    )  # fmt: skip


def busy_share(durations: np.ndarray, *, in_flight: int, n_workers: int) -> float:
    """Return which share of the workers' time they train in, by the rule of the study loop.

    Trial k starts when a worker is free, trials 0..k-1 have started and 0..k-in_flight have ended.

    Args:
        durations: of the trials, in any unit, shape (n_trials,).
        in_flight: of the study.
        n_workers: of one thread each.
    """
    free = [0.0] * min(n_workers, len(durations))
    ended_by: list[float] = []  # when all trials up to this one have ended
    started = 0.0
    for number, duration in enumerate(durations):
        awaited = ended_by[number - in_flight] if number >= in_flight else 0.0
        started = max(started, heapq.heappop(free), awaited)
        ended = started + float(duration)
        heapq.heappush(free, ended)
        ended_by.append(max(ended, ended_by[-1] if ended_by else 0.0))
    return float(durations.sum()) / (n_workers * ended_by[-1])


def quality_tables(
    surrogate: Surrogate, sizes: Sequence[int], n_seeds: int, n_trials: Sequence[int]
) -> list[Table]:
    """Search with each `in_flight` and each seed; compare with the smallest by seed."""
    best = surrogate.best_accuracy()
    # Axes: in_flight, seed, number of trials.
    found = np.empty((len(sizes), n_seeds, len(n_trials)))
    for seed in range(n_seeds):
        say(f"seed {seed + 1} of {n_seeds}")
        for index, size in enumerate(sizes):
            found[index, seed] = search(surrogate, in_flight=size, n_trials=n_trials, seed=seed)
    about = (
        f"surrogate: {surrogate.n_trials} trials, R² {surrogate.r_squared:.2f} on rows left "
        f"out; noise {100 * surrogate.noise:.1f} % of the error rate; its best: {100 * best:.3f} %",
    )
    return [
        Table(
            title=f"Regret after {n} trials in points, {n_seeds} seeds",
            columns=("in_flight", "mean (95 %)", f"beyond that of {sizes[0]} (95 %)"),
            rows=[
                [
                    str(size),
                    _with_interval(100 * (best - found[index, :, position])),
                    _with_interval(100 * (found[0, :, position] - found[index, :, position]), "+")
                    if index
                    else "",
                ]
                for index, size in enumerate(sizes)
            ],
            notes=about,
            samples={
                str(size): found[index, :, position].tolist() for index, size in enumerate(sizes)
            },
        )
        for position, n in enumerate(n_trials)
    ]


def _with_interval(values: np.ndarray, sign: str = "") -> str:
    """Write a mean with its 95 % interval, Student's."""
    from scipy import stats

    mean = values.mean()
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{mean:{sign}.3f} ({mean - half:{sign}.3f} to {mean + half:{sign}.3f})"


def waiting_table(durations: np.ndarray, sizes: Sequence[int]) -> Table:
    """Compute the share of the workers' time that they train in."""
    rows = [
        [str(size)]
        + [f"{100 * busy_share(durations, in_flight=size, n_workers=n):.0f}" for n in WORKERS]
        for size in sizes
    ]
    spread = durations.std() / durations.mean()
    return Table(
        title="Share of the workers' time that they train in, in %",
        columns=("in_flight", *(f"{n} workers" for n in WORKERS)),
        rows=rows,
        notes=(f"{len(durations)} trials; their lengths vary by {100 * spread:.0f} % (CV)",),
    )


def main() -> int:
    """Print both tables."""
    arguments = _parse()
    experiment = load_experiment(arguments.experiment)
    with arguments.study.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lengths = np.array([float(row["train_seconds"]) for row in rows if row["state"] == "COMPLETE"])
    durations = np.random.default_rng(0).choice(lengths, 4000)
    tables = [
        waiting_table(durations, arguments.in_flight),
        *quality_tables(
            fit(experiment, rows), arguments.in_flight, arguments.seeds, arguments.trials
        ),
    ]
    if arguments.json:
        document = {"machine": hardware(), "tables": [table.as_json() for table in tables]}
        print(json.dumps(document, indent=2))
    else:
        print("\n\n".join("\n".join(table.lines()) for table in tables))
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mnist_study.bench.in_flight", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--seeds", type=int, default=50, help="studies of each in_flight (50)")
    parser.add_argument("--trials", type=int, nargs="+", default=[60, 240], help="of a study")
    parser.add_argument(
        "--in-flight", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64],
        help="values to compare with the first",
    )  # fmt: skip
    parser.add_argument("--experiment", type=Path, default=_ROOT / "study.toml")
    parser.add_argument("--study", type=Path, default=_ROOT / "results" / "study" / "trials.csv")
    parser.add_argument("--json", action="store_true", help="one document with every sample")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
