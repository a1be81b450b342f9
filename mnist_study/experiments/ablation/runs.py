"""The runs of an ablation: from the stores, as tidy rows, and as arrays."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mnist_study.core.identity import AblationIdentity, ArmIdentity
from mnist_study.core.readouts import Readout
from mnist_study.core.trials import Seeds, TrialResult, derive_seed, derive_seeds
from mnist_study.experiments.ablation.outcomes import (
    DERIVED,
    OUTCOMES,
    Outcome,
    has_diverged,
    of_diverged,
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

    def key(self, point: str) -> Key:
        """Return the key of a read-out.

        Read-outs under a cap, "last@24", are those of an arm of their own, "24 epochs".
        """
        name, _, cap = point.partition("@")
        return self.part, f"{cap} epochs" if cap else self.arm.label, name

    def whole(self, target: float | None) -> dict[Outcome, float]:
        """Return the outcomes that the run has as a whole; `target` as in `of_run`."""
        return of_run(
            self.result,
            target=target,
            planned=self.arm.training.epochs,
            all_rows=self.arm.all_rows,
        )

    def measured(self) -> Iterable[tuple[Key, Readout | None, dict[Outcome, float]]]:
        """Yield each read-out with its outcomes; None where a diverged run did not come to it."""
        found = {readout.point: readout for readout in self.result.readouts}
        for point in self.arm.readouts:
            readout = found.get(point.name)
            if readout is not None:
                allowed = point.until or self.arm.training.epochs
                yield (
                    self.key(point.name),
                    readout,
                    of_readout(self.result, readout, allowed=allowed, all_rows=self.arm.all_rows),
                )
            elif has_diverged(self.result):
                yield self.key(point.name), None, of_diverged()


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
        whole = run.whole(target)
        rows = list(run.measured())
        for (_, arm, point), readout, outcomes in rows:
            _write(writer, run, arm, point, readout, whole | outcomes)
        if not rows:
            known: dict[Outcome, float] = {}
            if run.result.epochs:
                known["val_accuracy"] = run.result.epochs[-1].val_accuracy
            _write(writer, run, run.arm.label, "", None, whole | known)
    return buffer.getvalue()


def _write(
    writer: Any,  # noqa: ANN401  (csv has no public type of a writer)
    run: Run,
    arm: str,
    point: str,
    readout: Readout | None,
    outcomes: Mapping[Outcome, float],
) -> None:
    """Write a row; of a run without this read-out with the run's epochs and weights."""
    n_epochs, weights = len(run.result.epochs), run.result.weights_sha256 or ""
    norms: Sequence[float | str] = readout.kernel_norms if readout else ()
    writer.writerow(
        [
            *_design(run, arm), point, readout.epoch if readout else n_epochs,
            *(_cell(outcomes.get(o, np.nan)) for o in _MEASURED), *(norms or [""] * len(_NORMS)),
            readout.train_loss if readout else "", readout.weights_sha256 if readout else weights,
        ]
    )  # fmt: skip


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
        arrays = self._stacked(weights, source)
        usable: NDArray[np.bool_] = np.asarray(np.isfinite(arrays).all(axis=0))
        if outcome == "epochs_to_target" and len(weights) > 1:
            # Of runs that all miss the target, which would have come first is unknown.
            usable &= (self._stacked(weights, "target_missed") == 0).any(axis=0)
        sums = []
        for rows, chosen in zip(arrays.swapaxes(0, 1), usable, strict=True):
            rows = rows[:, chosen]
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
        begun = self._stacked(weights, source)[0].size
        return int(begun) - sum(len(sums) for sums in self.weighted(weights, outcome))

    def _stacked(self, weights: Iterable[Key], outcome: Outcome) -> Array:
        """Return an outcome at several keys, shape (n_keys, n_executions, n_replicates).

        As many replicates as the shortest of them has.
        """
        arrays = [self.of(key, outcome) for key in weights]
        n_executions, n_replicates = (min(a.shape[axis] for a in arrays) for axis in (0, 1))
        return np.stack([array[:n_executions, :n_replicates] for array in arrays])

    def per_image(self, weights: Mapping[Key, float]) -> Array:
        """Return a weighted sum of correct answers for each test image.

        Returns:
            Shape (n_replicates of all executions, n_images), of those that `weighted` takes.
        """
        accuracy = self._stacked(weights, "test_accuracy")
        _, n_executions, n_replicates = accuracy.shape
        complete = np.isfinite(accuracy).all(axis=0)
        n_images = next(self.correct[key].shape[2] for key in weights)
        total = np.zeros((int(complete.sum()), n_images))
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
        for point in run.arm.readouts:
            put(run.key(point.name), run, run.whole(target))
        for key, readout, values in run.measured():
            put(key, run, values)
            shape = (n_executions, n_replicates[run.part], n_images)
            images = correct.setdefault(key, np.zeros(shape, np.bool_))
            if readout is not None:
                images[run.execution, run.replicate] = readout.correct_images(n_images)
    return Values(outcomes, correct)
