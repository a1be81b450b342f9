"""The runs of an ablation as tidy rows, and its factorial as arrays."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_study.core.identity import AblationIdentity
from mnist_study.core.trials import Readout, TrialResult, TrialState
from mnist_study.experiments.ablation.config import FACTORS, ReadoutPoint
from mnist_study.experiments.ablation.design import CELLS, Cell
from mnist_study.search.history import History

POINTS: tuple[ReadoutPoint, ReadoutPoint] = ("last", "restored")
RUN_OUTCOMES = (
    "test_accuracy", "test_loss", "overfitting_gap", "calibration_error", "epochs_trained",
)  # fmt: skip
"""The outcomes of a single run; rates in [0, 1], losses in nats."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run and its position in the design.

    Attributes:
        part: of the ablation.
        arm: its label.
        cell: the factors that are on; None off the factorial.
        seed: index, from 0.
        split: index, from 0.
        n_rows: training rows.
        result: of the training.
    """

    part: str
    arm: str
    cell: Cell | None
    seed: int
    split: int
    n_rows: int
    result: TrialResult

    @property
    def is_complete(self) -> bool:
        """Whether it trained to its last epoch."""
        return self.result.state is TrialState.COMPLETE

    def readout(self, point: ReadoutPoint) -> Readout:
        """Return a read-out of a complete run."""
        return self.result.readouts[POINTS.index(point)]


def runs_of(history: History) -> list[Run]:
    """Return the runs of a part, in order; those of the tuning have no read-outs."""
    identity = history.identity_as(AblationIdentity)
    arms, n_splits = identity.arms, len(identity.settings.split_seeds)
    runs = []
    for result in history.results:
        block, arm_index = divmod(result.number, len(arms))
        seed, split = divmod(block, n_splits)
        if identity.part == "tuning":
            seed, split = block, block % n_splits
        arm = arms[arm_index]
        runs.append(
            Run(
                part=identity.part,
                arm=arm.label,
                cell=arm.cell,
                seed=seed,
                split=split,
                n_rows=arm.n_rows or identity.data.n_train,
                result=result,
            )
        )
    return runs


def outcome_of(readout: Readout, outcome: str) -> float:
    """Return one of `RUN_OUTCOMES` of a read-out."""
    if outcome == "overfitting_gap":
        return readout.train_accuracy - readout.test_accuracy
    return float(getattr(readout, outcome))


COLUMNS = (
    "part", "arm", "units", "dropout_1", "dropout_2", "l2", "learning_rate", "n_rows", "seed",
    "split", "state", "readout", "epoch", *RUN_OUTCOMES, "train_accuracy", "train_loss",
    "val_accuracy", "val_loss", "weights_sha256",
)  # fmt: skip


def tidy_table(runs: Iterable[Run]) -> str:
    """Return a CSV with a row for each read-out, and one for each run without any."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for run in runs:
        result, params = run.result, run.result.params
        design: list[object] = [
            run.part, run.arm, "-".join(map(str, params.units)), params.dropout_1,
            params.dropout_2, params.l2, params.learning_rate, run.n_rows, run.seed, run.split,
            result.state.value,
        ]  # fmt: skip
        for readout in result.readouts:
            epoch = result.epochs[readout.epoch - 1]
            writer.writerow(
                [
                    *design, readout.point, readout.epoch,
                    *(outcome_of(readout, outcome) for outcome in RUN_OUTCOMES),
                    readout.train_accuracy, readout.train_loss, epoch.val_accuracy, epoch.val_loss,
                    readout.weights_sha256,
                ]
            )  # fmt: skip
        if not result.readouts and result.epochs:
            epoch = result.epochs[-1]
            writer.writerow(
                [
                    *design, "", epoch.epoch, *[""] * (len(RUN_OUTCOMES) + 2), epoch.val_accuracy,
                    epoch.val_loss, result.weights_sha256 or "",
                ]
            )  # fmt: skip
    return buffer.getvalue()


def tidy_digest(table: str) -> str:
    """Return the SHA-256 of the tidy rows."""
    return hashlib.sha256(table.encode()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Factorial:
    """The cells as arrays: off and on of each factor, then split, then seed.

    Attributes:
        seeds: the indices of the seeds that are complete in every cell and split.
        n_dropped: number of the other seeds that were begun.
        values: by outcome and read-out, float64, shape (2, 2, 2, n_splits, n_seeds).
        correct: by read-out, bool, shape (2, 2, 2, n_splits, n_seeds, n_images).
    """

    seeds: tuple[int, ...]
    n_dropped: int
    values: Mapping[tuple[str, ReadoutPoint], NDArray[np.float64]]
    correct: Mapping[ReadoutPoint, NDArray[np.bool_]]

    @property
    def n_seeds(self) -> int:
        """The number of seeds in the arrays."""
        return len(self.seeds)


def cell_index(cell: Cell) -> tuple[int, ...]:
    """Return the index of a cell on the leading axes."""
    return tuple(int(name in cell) for name in FACTORS)


def factorial(runs: Iterable[Run], n_images: int) -> Factorial | None:
    """Arrange the runs of the cells as arrays; a seed that lacks a run is left out of all cells.

    Args:
        runs: of the factorial, one for each cell, seed and split.
        n_images: how many test images there are.

    Returns:
        The arrays; None with fewer than two complete seeds.
    """
    placed = {(run.cell, run.split, run.seed): run for run in runs}
    splits = sorted({run.split for run in placed.values()})
    begun = sorted({run.seed for run in placed.values()})

    def is_whole(seed: int) -> bool:
        wanted = [placed.get((cell, split, seed)) for cell in CELLS for split in splits]
        return all(run is not None and run.is_complete for run in wanted)

    seeds = tuple(seed for seed in begun if is_whole(seed))
    if len(seeds) < 2:
        return None
    shape = (2, 2, 2, len(splits), len(seeds))
    values = {(o, p): np.empty(shape) for o in RUN_OUTCOMES for p in POINTS}
    correct = {point: np.empty((*shape, n_images), np.bool_) for point in POINTS}
    for cell in CELLS:
        for i, split in enumerate(splits):
            for j, seed in enumerate(seeds):
                index = (*cell_index(cell), i, j)
                for point in POINTS:
                    readout = placed[cell, split, seed].readout(point)
                    correct[point][index] = readout.correct_images(n_images)
                    for outcome in RUN_OUTCOMES:
                        values[outcome, point][index] = outcome_of(readout, outcome)
    for point in POINTS:
        values["accuracy_deviation", point] = deviations(values["test_accuracy", point])
    return Factorial(seeds, len(begun) - len(seeds), values, correct)


def deviations(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each run's distance from the median over the seeds of its cell and split.

    Brown and Forsythe's test compares it: its mean grows with the spread between runs.

    Args:
        values: seeds on the last axis.

    References:
        Brown and Forsythe, Robust tests for the equality of variances, JASA 69, 1974.
    """
    middle = np.median(values, axis=-1, keepdims=True)
    return np.asarray(np.abs(values - middle))


def with_retuned(documented: Iterable[Run], retuned: Iterable[Run]) -> list[Run]:
    """Return the factorial's runs at the chosen learning rates.

    Cells that keep the documented rate keep their runs, those of the same seeds.
    """
    new = list(retuned)
    cells, seeds = {run.cell for run in new}, {run.seed for run in new}
    kept = [run for run in documented if run.cell not in cells and run.seed in seeds]
    return kept + new
