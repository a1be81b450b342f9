"""Part b: seconds per trial of our study and of the usual script, and all workers against one."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from mnist_study.bench.epochs import our_trainer
from mnist_study.bench.measurements import (
    SPREAD_COLUMNS,
    Lap,
    Table,
    describe_ratio,
    say,
    spread_cells,
    walls,
)
from mnist_study.bench.process import BenchProcess
from mnist_study.bench.real_study import Block, our_study
from mnist_study.core.config import ExperimentConfig, NetworkParams, PrunerConfig, TrainingConfig
from mnist_study.data.dataset import Splits, TrainingSet

_EPOCHS_PER_BLOCK = 9


def without_pruning(experiment: ExperimentConfig) -> ExperimentConfig:
    """Return the study with every trial trained for all its epochs, at a constant rate."""
    training = TrainingConfig(
        batch_size=experiment.training.batch_size,
        epochs=experiment.training.epochs,
        schedule="constant",
    )
    study = experiment.search.model_copy(update={"pruner": PrunerConfig(kind="none")})
    return experiment.model_copy(update={"training": training, "study": study})


def of_documented(experiment: ExperimentConfig) -> ExperimentConfig:
    """Return the study with nothing to search: every trial is the documented network."""
    study = experiment.search.model_copy(update={"space": {}})
    return experiment.model_copy(update={"study": study})


def measure_trials(
    experiment: ExperimentConfig,
    training_set: TrainingSet,
    splits: Splits,
    *,
    networks: str,
    n_workers: int,
    n_blocks: int,
    block_size: int,
) -> Table:
    """Measure part b: our study with all workers against the usual script.

    Args:
        experiment: with a study; trains without pruning and early stopping here.
        training_set: MNIST.
        splits: of it.
        networks: which ones the study trains, in words.
        n_workers: of our study, one core each.
        n_blocks: how often each candidate runs a block.
        block_size: trials per block; our last worker idles at the end of each.
    """
    experiment = without_pruning(experiment)
    training = experiment.training
    ours = f"our study, {n_workers} workers"
    blocks: list[Block] = []
    script_seconds: list[float] = []
    with (
        BenchProcess(our_study, experiment, training_set, n_workers) as study,
        BenchProcess(usual_study, splits, training.epochs, training.batch_size) as script,
    ):
        say(f"b, {networks}: warm-up")
        script(study(2 * n_workers).params[:1])
        for index in range(n_blocks):
            say(f"b, {networks}: block {index + 1} of {n_blocks}, {block_size} trials each")
            blocks.append(study(block_size))
            script_seconds.append(script(blocks[-1].params) / block_size)
    seconds = {
        ours: [block.seconds_per_trial for block in blocks],
        "the usual script": script_seconds,
    }
    share = [block.tracking_seconds / block.wall_seconds for block in blocks]
    return _table(
        f"b. Seconds per trial, {networks}, {training.epochs} epochs, batch "
        f"{training.batch_size}, no pruning, every model logged; {block_size} trials per block",
        seconds,
        describe_ratio(
            "trials per hour, ours over the usual script",
            script_seconds, seconds[ours], "at least 8, aim 15",
        ),
        f"tracking's share of our study's wall time: {100 * np.median(share):.1f} % (in its "
        "own thread, beside the training)",
    )  # fmt: skip


def measure_scaling(
    experiment: ExperimentConfig,
    training_set: TrainingSet,
    splits: Splits,
    *,
    n_workers: int,
    n_blocks: int,
    block_size: int,
) -> Table:
    """Measure part b: our study with all workers against itself with one, documented networks.

    Cores share caches, memory and clock, so even processes that know nothing of each other are
    slower at once. Epochs of as many bare trainers at once and of one alone tell how much of the
    ratio is the machine's.

    Args:
        experiment: with a study; trains without pruning and early stopping here.
        training_set: MNIST.
        splits: of it.
        n_workers: of the larger study, one core each.
        n_blocks: how often each runs a block.
        block_size: trials per block, so many that the idling at its end weighs little.
    """
    experiment = of_documented(without_pruning(experiment))
    ours, alone = f"our study, {n_workers} workers", "our study, 1 worker"
    one_epoch: list[float] = []
    epochs_at_once: list[float] = []
    seconds: dict[str, list[float]] = {ours: [], alone: []}
    with ExitStack() as stack:
        studies = {
            name: stack.enter_context(BenchProcess(our_study, experiment, training_set, n))
            for name, n in ((ours, n_workers), (alone, 1))
        }
        trainers = _bare_trainers(stack, experiment, splits, n_workers)
        say("b: warm-up of the studies with all workers and with one")
        for study in studies.values():
            study(2 * n_workers)
        _at_once(trainers)
        for index in range(n_blocks):
            say(f"b: scaling, block {index + 1} of {n_blocks}, {block_size} trials each")
            for name, study in studies.items():
                seconds[name].append(study(block_size).seconds_per_trial)
            for _ in range(_EPOCHS_PER_BLOCK):
                one_epoch.append(trainers[0]().wall_seconds)
                epochs_at_once.append(float(np.mean(walls(_at_once(trainers)))) / n_workers)
    return _table(
        "b. Seconds per trial of the documented network, all workers and one; "
        f"{block_size} trials per block",
        seconds,
        describe_ratio(
            f"throughput, {n_workers} workers over 1",
            seconds[alone], seconds[ours], "at least 1.7, aim 1.9 for two",
        ),
        describe_ratio(
            f"what this machine gives {n_workers} bare trainers at once over one, in epochs of the "
            "documented network", one_epoch, epochs_at_once,
        ),
    )  # fmt: skip


def _bare_trainers(
    stack: ExitStack, experiment: ExperimentConfig, splits: Splits, n: int
) -> list[BenchProcess[Lap]]:
    """Start n processes that train epochs of the experiment's baseline."""
    batch_size = experiment.training.batch_size
    return [
        stack.enter_context(BenchProcess(our_trainer, experiment.baseline, splits, batch_size))
        for _ in range(n)
    ]


def _at_once(trainers: Sequence[BenchProcess[Lap]]) -> list[Lap]:
    """Let every trainer run an epoch at the same time, each in its own process."""
    with ThreadPoolExecutor(len(trainers)) as pool:
        return list(pool.map(lambda trainer: trainer(), trainers))


def _table(title: str, seconds: dict[str, list[float]], *notes: str) -> Table:
    return Table(
        title=title,
        columns=("", *SPREAD_COLUMNS, "trials/hour"),
        rows=[
            [name, *spread_cells(found, 2), f"{3600 / np.median(found):,.0f}"]
            for name, found in seconds.items()
        ],
        notes=notes,
        samples=seconds,
    )


@contextmanager
def usual_study(
    splits: Splits, epochs: int, batch_size: int
) -> Iterator[Callable[[Sequence[NetworkParams]], float]]:
    """Prepare the usual script; what is run trains these networks and returns the seconds taken."""
    import mlflow
    import optuna

    from mnist_study.bench.usual_script import Objective

    with tempfile.TemporaryDirectory(prefix="mnist-study-bench-") as folder:
        mlflow.set_tracking_uri(f"sqlite:///{Path(folder, 'mlflow.db')}")
        mlflow.create_experiment("usual", artifact_location=Path(folder, "artifacts").as_uri())
        mlflow.set_experiment("usual")
        objective = Objective(splits, epochs=epochs, batch_size=batch_size)
        study = optuna.create_study(direction="maximize")

        def run(params: Sequence[NetworkParams]) -> float:
            for chosen in params:
                study.enqueue_trial(chosen.model_dump())
            start = time.perf_counter()
            study.optimize(objective, n_trials=len(params))
            return time.perf_counter() - start

        yield run
