"""The plain data that travels between the driver, the workers and the stores."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np

from mnist_study.core.config import (
    Activation,
    DataConfig,
    NetworkParams,
    PrunerConfig,
    TrainingConfig,
)
from mnist_study.core.readouts import Readout, ReadoutPoint


def digest(results: Iterable[TrialResult]) -> str:
    """Return the identity of a study's outcome.

    SHA-256 over every trial's number, parameters, per-epoch values, final value, state and the
    hash of its weights; floats are written exactly. Times and machines are not covered.
    """
    sha = hashlib.sha256()
    for result in results:
        content = {
            "number": result.number,
            "params": {k: _exact(v) for k, v in result.params.model_dump().items()},
            "epochs": [[_exact(v) for v in epoch_row(metrics)] for metrics in result.epochs],
            "value": _exact(result.value),
            "best_epoch": result.best_epoch,
            "state": str(result.state),
            "weights_sha256": result.weights_sha256,
        }
        if result.test_metrics:
            content["test_metrics"] = {k: _exact(v) for k, v in result.test_metrics.items()}
        if result.readouts:
            content["readouts"] = [
                {k: _exact(v) for k, v in readout.as_document().items()}
                for readout in result.readouts
            ]
        sha.update(json.dumps(content, sort_keys=True).encode() + b"\n")
    return sha.hexdigest()


def _exact(value: Any) -> Any:  # noqa: ANN401
    """Return what JSON writes exactly: floats, also those of a tuple, in hexadecimal."""
    if isinstance(value, tuple):
        return [_exact(one) for one in value]
    return value.hex() if isinstance(value, float) else value


def epoch_row(metrics: EpochMetrics) -> Sequence[float]:
    """Return the values of an epoch in the order of its fields."""
    return (
        metrics.epoch, metrics.train_loss, metrics.train_accuracy,
        metrics.val_loss, metrics.val_accuracy,
    )  # fmt: skip


BASELINE_NUMBER = 0
DIVERGED = "diverged"
"""Begins the reason of a FAILED trial whose loss is not finite: a result, not a fault."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The trials of a study, grouped by how figures draw them.

    Attributes:
        complete: COMPLETE with a finite value, by number.
        pruned: PRUNED with a finite value, by number.
        failed: all others, by number.
        baseline: trial 0 if it is COMPLETE.
        best: the COMPLETE trial of the highest value, the earliest of equals.
    """

    complete: tuple[TrialResult, ...]
    pruned: tuple[TrialResult, ...]
    failed: tuple[TrialResult, ...]
    baseline: TrialResult | None
    best: TrialResult | None


def select(rows: Sequence[TrialResult]) -> Selection:
    """Group trials by how figures draw them."""
    ordered = sorted(rows, key=lambda row: row.number)
    complete = tuple(r for r in ordered if r.state is TrialState.COMPLETE and has_value(r))
    pruned = tuple(r for r in ordered if r.state is TrialState.PRUNED and has_value(r))
    shown = {row.number for row in (*complete, *pruned)}
    return Selection(
        complete=complete,
        pruned=pruned,
        failed=tuple(row for row in ordered if row.number not in shown),
        baseline=next((row for row in complete if row.number == BASELINE_NUMBER), None),
        best=max(complete, key=lambda row: (value_of(row), -row.number), default=None),
    )


def has_value(row: TrialResult) -> bool:
    """Return whether a trial ended with a finite value."""
    return row.value is not None and math.isfinite(row.value)


def value_of(row: TrialResult) -> float:
    """Return the validation accuracy of a trial that has one, in [0, 1]."""
    if row.value is None:
        raise ValueError(f"trial {row.number} has no value; it ended {row.state}")
    return row.value


def in_percent(row: TrialResult) -> float:
    """Return the validation accuracy of a trial that has one, in percent."""
    return 100.0 * value_of(row)


def by_value(rows: Sequence[TrialResult]) -> list[TrialResult]:
    """Return rows with values, best first, ties in trial order."""
    return sorted(rows, key=lambda row: (-value_of(row), row.number))


class TrialState(StrEnum):
    """How a trial ended."""

    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Seeds:
    """The seeds of one training run, each named by what it decides; integers in [0, 2**31)."""

    init_seed: int
    dropout_seed: int
    shuffle_seed: int


class SeedStream(IntEnum):
    """The purpose of a sequence of seeds, so that no two kinds of run share a seed.

    The trials of a study have no stream: theirs are derived from study seed and number alone. The
    numbers are part of every result and never change.
    """

    BASELINE = 1
    CONFIRMATION = 2
    ABLATION = 3
    ABLATION_TUNING = 4
    FINAL_TRAINING = 5
    SCREENING = 6
    PRUNER_SURVIVAL = 7


def derive_seeds(*entropy: int) -> Seeds:
    """Derive the seeds of one training run from whole numbers, such as study seed and trial number.

    Uses numpy's SeedSequence, so that neighbouring numbers give unrelated seeds. Everything but a
    study's trials puts its `SeedStream` last.
    """
    return Seeds(*_seed_words(entropy, 3))


def derive_seed(*entropy: int) -> int:
    """Derive a single seed in [0, 2**31), as `derive_seeds` does."""
    (seed,) = _seed_words(entropy, 1)
    return seed


def _seed_words(entropy: tuple[int, ...], n_words: int) -> list[int]:
    words = np.random.SeedSequence(entropy).generate_state(n_words, np.uint32) >> 1
    return [int(word) for word in words]


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """What one epoch of training measured.

    Losses are mean cross-entropies plus the L2 penalty, as Keras reports them. The training values
    are running means over the epoch, measured with dropout while the weights change.

    Attributes:
        epoch: counts from 1.
        train_loss: mean loss over the training rows.
        train_accuracy: share of training rows classified correctly, in [0, 1].
        val_loss: loss over the validation rows at the end of the epoch.
        val_accuracy: share of validation rows classified correctly, in [0, 1].
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float

    def as_metrics(self) -> dict[str, float]:
        """Return the values under the names that files, stores and reports use."""
        return {
            "train/loss": self.train_loss,
            "train/accuracy": self.train_accuracy,
            "val/loss": self.val_loss,
            "val/accuracy": self.val_accuracy,
        }


@dataclass(frozen=True, slots=True)
class PruneTrial:
    """What a pruner reads of one earlier trial.

    Attributes:
        state: how it ended; None while it is in flight.
        intermediate_values: validation accuracy by epoch.
        value: the objective, where it has one.
        system_attrs: what the pruner itself noted (rungs of successive halving).
    """

    state: TrialState | None
    intermediate_values: Mapping[int, float] = field(default_factory=dict)
    value: float | None = None
    system_attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PruneView:
    """Everything that the pruning decisions of one trial may depend on.

    Attributes:
        study_name: fixed, because Hyperband hashes it to choose a bracket.
        pruner: which pruner, with its settings.
        trials: all trials before this one, in order, so that this one gets its true number.
    """

    study_name: str
    pruner: PrunerConfig
    trials: tuple[PruneTrial, ...]


@dataclass(frozen=True, slots=True)
class TrainRows:
    """A subset of the training rows; with equal seeds smaller subsets lie within larger ones.

    Attributes:
        n_rows: number of rows.
        subset_seed: decides which rows.
    """

    n_rows: int
    subset_seed: int


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """Everything that one trial is a function of, together with the training set.

    Attributes:
        number: position in the study, from 0.
        params: the network and its learning rate.
        seeds: initial weights, dropout and order of rows.
        training: what is the same for all trials of the study.
        data: which rows are training and which are validation rows.
        prune_view: what the pruner may see; None trains to the end.
        reads_test_set: the kept weights are to be measured on the test images; only the steps that
            the ledger knows may ask for that.
        readouts: which sets of the run's weights are measured, on the test images too.
        train_rows: train on a part of the training rows; None takes all.
        all_rows: train on the validation rows too; their metrics then have no meaning.
        activation: of the hidden layers.
        keeps_model: save the network's file.
    """

    number: int
    params: NetworkParams
    seeds: Seeds
    training: TrainingConfig
    data: DataConfig
    prune_view: PruneView | None = None
    reads_test_set: bool = False
    readouts: tuple[ReadoutPoint, ...] = ()
    train_rows: TrainRows | None = None
    all_rows: bool = False
    activation: Activation = "relu"
    keeps_model: bool = True


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The result of a trial: a function of its `TrialSpec` and splits, but for times and worker.

    Attributes:
        number: position in the study.
        params: as in the specification.
        state: COMPLETE, PRUNED or FAILED.
        epochs: metrics of every epoch that ran, the failed or pruned one included.
        value: validation accuracy at the restored epoch (COMPLETE) or at the last one (PRUNED);
            None for FAILED.
        best_epoch: the epoch whose weights were kept; None for FAILED.
        restored_train_accuracy: accuracy on the training rows without dropout at `best_epoch`.
        restored_train_loss: the matching loss.
        n_parameters: trainable numbers in the network.
        weights_sha256: identity of the kept weights (see `training.model.weights_sha256`).
        reason: why it FAILED, with the traceback where there is one; at which epoch PRUNED.
        system_attrs: what the pruner noted about this trial.
        model_keras: the saved Keras model (the bytes of a `.keras` file); None for FAILED.
        curves_png: its learning curves as its worker drew them; None where it did not.
        train_seconds: wall time of the training loop.
        total_seconds: wall time of the whole trial in its worker, saving included.
        worker: address or name of the worker, for the record only.
        lost_worker: the trial was given up because it killed its workers.
        test_metrics: `test/accuracy` and `test/loss` (cross-entropy alone) of the kept weights;
            empty unless the specification asked for them.
        readouts: those of the specification, in its order.
    """

    number: int
    params: NetworkParams
    state: TrialState
    epochs: tuple[EpochMetrics, ...] = ()
    value: float | None = None
    best_epoch: int | None = None
    restored_train_accuracy: float | None = None
    restored_train_loss: float | None = None
    n_parameters: int | None = None
    weights_sha256: str | None = None
    reason: str | None = None
    system_attrs: Mapping[str, Any] = field(default_factory=dict)
    model_keras: bytes | None = field(default=None, repr=False)
    curves_png: bytes | None = field(default=None, repr=False, compare=False)
    train_seconds: float = 0.0
    total_seconds: float = 0.0
    worker: str = ""
    lost_worker: bool = False
    test_metrics: Mapping[str, float] = field(default_factory=dict)
    readouts: tuple[Readout, ...] = ()

    @property
    def is_fault(self) -> bool:
        """Whether it FAILED for another reason than a diverged loss, such as lack of memory."""
        reason = self.reason or ""
        return self.state is TrialState.FAILED and not reason.startswith(DIVERGED)

    @property
    def overfitting_gap(self) -> float | None:
        """Accuracy on the training rows minus on the validation rows at the restored epoch."""
        if self.restored_train_accuracy is None or self.best_epoch is None:
            return None
        return self.restored_train_accuracy - self.epochs[self.best_epoch - 1].val_accuracy
