"""The runs of an ablation: from the stores, as tidy rows, and as arrays."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mnist_study.core.identity import AblationIdentity, ArmIdentity
from mnist_study.core.trials import Readout, Seeds, TrialResult, derive_seed, derive_seeds
from mnist_study.experiments.ablation.outcomes import (
    DERIVED,
    OUTCOMES,
    Outcome,
    of_readout,
    of_run,
)
from mnist_study.experiments.ablation.specification import place, stream_of
from mnist_study.search.history import History

Array = NDArray[np.float64]
Key = tuple[str, str, str]
"""Part, label of the arm, and name of the read-out."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run and its position in the design.

    Attributes:
        part: of the ablation.
        arm: what it is a run of.
        execution: index, from 0.
        replicate: index within its execution, from 0.
        seeds: of the run.
        split_seed: of the run.
        n_rows: training rows.
        result: of the training.
    """

    part: str
    arm: ArmIdentity
    execution: int
    replicate: int
    seeds: Seeds
    split_seed: int
    n_rows: int
    result: TrialResult

    def keyed_readouts(self) -> Iterable[tuple[Key, Readout, int]]:
        """Yield the read-outs with their keys, and the epochs that each could have taken.

        Read-outs under a cap, "last@24", are those of an arm of their own, "24 epochs".
        """
        for readout in self.result.readouts:
            name, _, cap = readout.point.partition("@")
            arm = f"{cap} epochs" if cap else self.arm.label
            yield (self.part, arm, name), readout, int(cap or self.arm.training.epochs)


def runs_of(history: History) -> list[Run]:
    """Return the runs of a part, in order; those of the tuning have no read-outs."""
    identity = history.identity_as(AblationIdentity)
    stream = stream_of(identity.part)
    runs = []
    for result in history.results:
        arm_index, execution, replicate = place(
            result.number, len(identity.arms), len(identity.executions)
        )
        arm, seed = identity.arms[arm_index], identity.executions[execution]
        n_rows = arm.n_rows or identity.data.n_train + arm.all_rows * identity.validation_size
        runs.append(
            Run(
                part=identity.part,
                arm=arm,
                execution=execution,
                replicate=replicate,
                seeds=derive_seeds(seed, replicate, stream),
                split_seed=derive_seed(seed, replicate, stream, 1),
                n_rows=n_rows,
                result=result,
            )
        )
    return runs


_NORMS = tuple(f"kernel_norm_{layer}" for layer in range(1, 5))
_MEASURED = tuple(o for o in OUTCOMES if o not in DERIVED and o not in _NORMS)
COLUMNS = (
    "part", "arm", "units", "dropout_1", "dropout_2", "l2", "learning_rate", "activation",
    "batch_size", "epochs", "schedule", "n_rows", "execution", "replicate", "init_seed",
    "dropout_seed", "shuffle_seed", "split_seed", "state", "readout", "epoch", *_MEASURED, *_NORMS,
    "train_loss", "weights_sha256",
)  # fmt: skip


def tidy_table(runs: Iterable[Run], target: float | None) -> str:
    """Return a CSV with a row for each read-out, and one for each run without any.

    Args:
        runs: in any order.
        target: as in `of_run`.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for run in runs:
        whole: dict[Outcome, float] = of_run(run.result, target)
        for (_, arm, point), readout, allowed in run.keyed_readouts():
            values = whole | of_readout(run.result, readout, allowed)
            if run.arm.all_rows:  # the validation rows are trained on
                values |= {"val_accuracy": np.nan, "plotted_gap": np.nan}
            norms = readout.kernel_norms or ("",) * len(_NORMS)
            writer.writerow(
                [
                    *_design(run, arm), point, readout.epoch,
                    *(_cell(values[o]) for o in _MEASURED), *norms, readout.train_loss,
                    readout.weights_sha256,
                ]
            )  # fmt: skip
        if not run.result.readouts:
            known = dict(whole)
            if run.result.epochs:
                known["val_accuracy"] = run.result.epochs[-1].val_accuracy
            writer.writerow(
                [
                    *_design(run, run.arm.label), "", len(run.result.epochs),
                    *(_cell(known.get(o, np.nan)) for o in _MEASURED), *[""] * (len(_NORMS) + 1),
                    run.result.weights_sha256 or "",
                ]
            )  # fmt: skip
    return buffer.getvalue()


def _cell(value: float) -> float | str:
    return "" if np.isnan(value) else value


def _design(run: Run, arm: str) -> list[object]:
    params, training = run.arm.params, run.arm.training
    return [
        run.part, arm, "-".join(map(str, params.units)), params.dropout_1, params.dropout_2,
        params.l2, params.learning_rate, run.arm.activation, training.batch_size, training.epochs,
        training.schedule, run.n_rows, run.execution, run.replicate, run.seeds.init_seed,
        run.seeds.dropout_seed, run.seeds.shuffle_seed, run.split_seed, run.result.state.value,
    ]  # fmt: skip


def tidy_digest(table: str) -> str:
    """Return the SHA-256 of the tidy rows."""
    return hashlib.sha256(table.encode()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """The outcomes of runs as arrays.

    Attributes:
        outcomes: by key and outcome, float64, shape (n_executions, n_replicates); NaN where there
            is no run, or where it has no such outcome.
        correct: by key, bool, shape (n_executions, n_replicates, n_images).
    """

    outcomes: Mapping[Key, Mapping[Outcome, Array]]
    correct: Mapping[Key, NDArray[np.bool_]] = field(default_factory=dict)

    def of(self, key: Key, outcome: Outcome) -> Array:
        """Return an outcome, shape (n_executions, n_replicates); empty if there are no runs."""
        known = self.outcomes.get(key, {})
        return known.get(outcome, np.empty((0, 0)))

    def with_copies(self, sources: Mapping[Key, Key]) -> Values:
        """Return the values with those of some keys under other keys as well.

        Args:
            sources: the known key by the new one.
        """
        return Values(
            {**self.outcomes, **_copied(self.outcomes, sources)},
            {**self.correct, **_copied(self.correct, sources)},
        )

    def weighted(self, weights: Mapping[Key, float], outcome: Outcome) -> list[Array]:
        """Return a weighted sum in each replicate that has every run it takes.

        Args:
            weights: of the keys.
            outcome: of `OUTCOMES`.

        Returns:
            For each execution the sums, shape (n_replicates,); nothing where a key has no runs.
        """
        source, derive = DERIVED.get(outcome, (outcome, None))
        arrays = [self.of(key, source) for key in weights]
        n_executions = min(len(array) for array in arrays)
        n_replicates = min(array.shape[1] for array in arrays)
        sums = []
        for execution in range(n_executions):
            rows = np.stack([array[execution, :n_replicates] for array in arrays])
            rows = rows[:, np.isfinite(rows).all(axis=0)]
            if derive is not None and rows.size:
                rows = derive(rows)
            sums.append(np.array(list(weights.values())) @ rows)
        return sums

    def mean(self, key: Key, outcome: Outcome) -> float:
        """Return the mean over all replicates that have the outcome; NaN without any."""
        values = self.of(key, outcome)
        known = values[np.isfinite(values)]
        return float(known.mean()) if len(known) else math.nan

    def spread(self, key: Key, outcome: Outcome) -> float:
        """Return the standard deviation of a run over replicates, within its execution.

        NaN where no execution has two replicates.
        """
        known = [row[np.isfinite(row)] for row in self.of(key, outcome)]
        squares = sum(float(((row - row.mean()) ** 2).sum()) for row in known if len(row))
        freedom = sum(len(row) - 1 for row in known if len(row))
        return math.sqrt(squares / freedom) if freedom > 0 else math.nan

    def n_incomplete(self, weights: Mapping[Key, float], outcome: Outcome) -> int:
        """Return how many replicates were begun but lack a run or its outcome."""
        source, _ = DERIVED.get(outcome, (outcome, None))
        arrays = [self.of(key, source) for key in weights]
        begun = min(array.size for array in arrays)
        return begun - sum(len(sums) for sums in self.weighted(weights, outcome))

    def per_image(self, weights: Mapping[Key, float]) -> Array:
        """Return a weighted sum of correct answers for each test image.

        Returns:
            Shape (n_replicates of all executions, n_images), of those that `weighted` takes.
        """
        shapes = [self.correct[key].shape for key in weights]
        n_executions, n_replicates = (min(shape[axis] for shape in shapes) for axis in (0, 1))
        accuracy = np.stack(
            [self.of(key, "test_accuracy")[:n_executions, :n_replicates] for key in weights]
        )
        complete = np.isfinite(accuracy).all(axis=0)
        total = np.zeros((int(complete.sum()), shapes[0][2]))
        for key, weight in weights.items():
            total += weight * self.correct[key][:n_executions, :n_replicates][complete]
        return total


_Value = TypeVar("_Value")


def _copied(values: Mapping[Key, _Value], sources: Mapping[Key, Key]) -> dict[Key, _Value]:
    return {new: values[known] for new, known in sources.items() if known in values}


def values_of(runs: Iterable[Run], n_images: int, target: float | None) -> Values:
    """Arrange runs as arrays.

    Args:
        runs: of any parts.
        n_images: how many test images there are.
        target: as in `of_run`.
    """
    runs = list(runs)
    n_executions = max((run.execution for run in runs), default=-1) + 1
    n_replicates: dict[str, int] = {}
    for run in runs:
        n_replicates[run.part] = max(n_replicates.get(run.part, 0), run.replicate + 1)
    outcomes: dict[Key, dict[Outcome, Array]] = {}
    correct: dict[Key, NDArray[np.bool_]] = {}

    def put(key: Key, run: Run, values: Mapping[Outcome, float]) -> None:
        shape = (n_executions, n_replicates[run.part])
        arrays = outcomes.setdefault(key, {})
        for outcome, value in values.items():
            array = arrays.setdefault(outcome, np.full(shape, np.nan))
            array[run.execution, run.replicate] = value

    for run in runs:
        whole = of_run(run.result, target)
        # A failed run has no read-outs, and still tells that it diverged.
        for name in {point.name for point in run.arm.readouts if "@" not in point.name}:
            put((run.part, run.arm.label, name), run, whole)
        for key, readout, allowed in run.keyed_readouts():
            put(key, run, of_readout(run.result, readout, allowed))
            shape = (n_executions, n_replicates[run.part], n_images)
            images = correct.setdefault(key, np.zeros(shape, np.bool_))
            images[run.execution, run.replicate] = readout.correct_images(n_images)
    return Values(outcomes, correct)
