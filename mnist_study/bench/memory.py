"""Part d: how much a worker's memory grows with each trial, over networks of differing widths."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import psutil

from mnist_study.bench.driver import draw_params
from mnist_study.bench.measurements import Table, say
from mnist_study.bench.process import BenchProcess
from mnist_study.core.config import ExperimentConfig, TrainingConfig
from mnist_study.core.trials import TrialSpec, derive_seeds
from mnist_study.data.dataset import Splits
from mnist_study.execution.run_trial import run_trial

N_ROWS, N_EPOCHS = 1_000, 2
MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class Growth:
    """A line through memory over trials.

    Attributes:
        slope: MB per trial.
        standard_error: of the slope, by least squares.
        scatter: standard deviation of the readings around the line, in MB.
    """

    slope: float
    standard_error: float
    scatter: float


def fit_growth(megabytes: np.ndarray) -> Growth:
    """Fit a line through readings taken after each trial, at least three."""
    n = len(megabytes)
    trials = np.arange(n) - (n - 1) / 2
    slope = float(trials @ megabytes / (trials @ trials))
    residuals = megabytes - megabytes.mean() - slope * trials
    variance = float(residuals @ residuals) / (n - 2)
    return Growth(slope, (variance / float(trials @ trials)) ** 0.5, variance**0.5)


def measure_memory(
    experiment: ExperimentConfig, splits: Splits, *, n_trials: int, n_warm_up: int
) -> Table:
    """Measure part d.

    Args:
        experiment: with a study, whose space the widths are drawn from.
        splits: of any data set; a few rows of it are used.
        n_trials: in one process.
        n_warm_up: first trials that are left out of the line.
    """
    with BenchProcess(one_trial, experiment, splits) as trial:
        readings = []
        for number in range(n_trials):
            if number % 20 == 0:
                say(f"d: trial {number} of {n_trials}")
            readings.append(trial(number))
    memory = np.array(readings)
    kept = memory[n_warm_up:]
    growth = fit_growth(kept)
    halves = [fit_growth(half) for half in np.array_split(kept, 2)]
    rows = [
        [
            f"trials {first} to {last}",
            f"{g.slope:.3f}",
            f"{g.standard_error:.3f}",
            f"{g.scatter:.1f}",
        ]
        for g, first, last in (
            (growth, n_warm_up, n_trials - 1),
            (halves[0], n_warm_up, n_warm_up + (len(kept) + 1) // 2 - 1),
            (halves[1], n_warm_up + (len(kept) + 1) // 2, n_trials - 1),
        )
    ]
    return Table(
        title=(
            f"d. Memory growth of one worker process, MB per trial, {n_trials} trials of differing "
            "widths"
        ),
        columns=("", "MB per trial", "standard error", "scatter in MB"),
        rows=rows,
        notes=(
            f"resident memory after gc and malloc_trim: {memory[0]:.0f} MB after the first trial, "
            f"{memory[n_warm_up]:.0f} after {n_warm_up}, {memory[-1]:.0f} at the end",
            "asked for: at most 0.5 MB per trial, aim 0.05",
        ),
        samples={"resident_mb": readings},
    )


@contextmanager
def one_trial(experiment: ExperimentConfig, splits: Splits) -> Iterator[Callable[[int], float]]:
    """Prepare trials on few rows, as on a worker; each returns the resident MB after it."""
    from mnist_study.training.process import keep_freed_memory, limit_threads

    space = experiment.search.space
    keep_freed_memory()
    limit_threads()
    few = replace(
        splits,
        train_images=splits.train_images[:N_ROWS],
        train_labels=splits.train_labels[:N_ROWS],
        validation_images=splits.validation_images[:N_ROWS],
        validation_labels=splits.validation_labels[:N_ROWS],
    )
    training = TrainingConfig(
        batch_size=experiment.training.batch_size, epochs=N_EPOCHS, schedule="constant"
    )
    process = psutil.Process()
    rng = np.random.default_rng(0)

    def run(number: int) -> float:
        spec = TrialSpec(
            number=number,
            params=draw_params(space, experiment.baseline, rng),
            seeds=derive_seeds(0, number),
            training=training,
            data=experiment.data,
        )
        result = run_trial(spec, few)
        if result.model_keras is None:
            raise RuntimeError(f"trial {number} failed: {result.reason}")
        del result
        gc.collect()
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)
        return float(process.memory_info().rss) / MEGABYTE

    yield run
