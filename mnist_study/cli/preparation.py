"""What commands gather before their work: data, experiment, options, how they were called."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console

    from mnist_study.config import ExperimentConfig
    from mnist_study.data import TrainingSet
    from mnist_study.runner import RunOptions


def load_data(
    console: Console, dataset: Literal["auto", "mnist", "digits"], data: Path | None
) -> TrainingSet:
    """Load the training images, and say which they are."""
    from mnist_study.data import load_training_set
    from mnist_study.live import say

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
    from mnist_study.data import validation_rows
    from mnist_study.live import say

    wanted = experiment.data.validation_size
    n_rows = validation_rows(wanted, training_set)
    if n_rows == wanted:
        return experiment
    say(
        console,
        f"validation: {n_rows} of the stand-in's {len(training_set.labels):,} rows, in place of "
        f"{wanted:,} of MNIST's",
    )
    settings = experiment.data.model_copy(update={"validation_size": n_rows})
    return experiment.model_copy(update={"data": settings})


def run_options(
    home: Path | None, workers: int | None, cluster: str | None, allow_mixed: bool
) -> RunOptions:
    """Gather what the command line decides about a run."""
    from mnist_study.home import Home
    from mnist_study.runner import RunOptions

    return RunOptions(
        home=Home.at(home),
        command=command_text(),
        n_workers=workers or os.cpu_count() or 1,
        cluster_address=cluster,
        allow_mixed=allow_mixed,
    )


def command_text() -> str:
    """Return the command as it was typed, for the records."""
    return " ".join(["mnist-study", *sys.argv[1:]])
