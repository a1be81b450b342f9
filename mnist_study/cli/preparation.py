"""What commands gather before their work: data, experiment, options, how they were called."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console

    from mnist_study.core.config import ExperimentConfig
    from mnist_study.data.dataset import TrainingSet
    from mnist_study.execution.driver import RunOptions
    from mnist_study.experiments.ablation.config import AblationConfig


def load_data(
    console: Console, dataset: Literal["auto", "mnist", "digits"], data: Path | None
) -> TrainingSet:
    """Load the training images, and say which they are."""
    from mnist_study.cli.progress import say
    from mnist_study.data.dataset import load_training_set

    training_set = load_training_set(dataset, data)
    say(console, f"data: {training_set.source}")
    if training_set.dataset == "digits":
        say(
            console,
            "WARNING: this is the handwritten-digits stand-in, not MNIST; nothing it shows is a "
            "result about MNIST",
        )
    return training_set


def fitted(
    experiment: ExperimentConfig, training_set: TrainingSet, console: Console
) -> ExperimentConfig:
    """Return the experiment with as many validation rows as the data can give."""
    n_rows = _validation_rows(experiment.data.validation_size, training_set, console)
    settings = experiment.data.model_copy(update={"validation_size": n_rows})
    return experiment.model_copy(update={"data": settings})


def fitted_ablation(
    ablation: AblationConfig, training_set: TrainingSet, console: Console
) -> AblationConfig:
    """Return the ablation with as many rows, to validate with and to train on, as there are."""
    from mnist_study.cli.progress import say

    wanted = ablation.validation_size
    n_rows = _validation_rows(wanted, training_set, console)
    fitting = ablation.model_copy(update={"validation_size": n_rows})
    if n_rows == wanted or ablation.training_size is None:
        return fitting
    parts = ablation.training_size.with_share(n_rows / wanted)
    names = ", ".join(str(size.rows) for size in parts.sizes)
    say(console, f"training-set sizes: the same shares of the stand-in's rows, {names}")
    return fitting.model_copy(update={"training_size": parts})


def _validation_rows(wanted: int, training_set: TrainingSet, console: Console) -> int:
    from mnist_study.cli.progress import say
    from mnist_study.data.dataset import validation_rows

    n_rows = validation_rows(wanted, training_set)
    if n_rows != wanted:
        say(
            console,
            f"validation: {n_rows} of the stand-in's {len(training_set.labels):,} rows, in place "
            f"of {wanted:,} of MNIST's",
        )
    return n_rows


def run_options(
    home: Path | None, workers: int | None, cluster: str | None, allow_mixed: bool
) -> RunOptions:
    """Gather what the command line decides about a run."""
    from mnist_study.core.home import Home
    from mnist_study.execution.driver import RunOptions

    return RunOptions(
        home=Home.at(home),
        command=command_text(),
        n_workers=workers or available_cores(),
        cluster_address=cluster,
        allow_mixed=allow_mixed,
    )


def available_cores() -> int:
    """Return how many cores this process may use; a container may leave it fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def command_text() -> str:
    """Return the command as it was typed, for the records."""
    return storable(" ".join(["mnist-study", *sys.argv[1:]]))


def storable(text: str) -> str:
    """Return an argument in characters that every store takes, those of no encoding escaped."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
