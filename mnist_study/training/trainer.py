"""The training loop: epochs of the compiled graph, early stopping, and what is kept.

`model.fit` stays the slow reference (see `tests/training`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from mnist_study.core.config import EarlyStoppingConfig, NetworkParams, TrainingConfig
from mnist_study.core.trials import EpochMetrics, Seeds
from mnist_study.data.dataset import Splits
from mnist_study.training.early_stopping import EarlyStopping
from mnist_study.training.epoch_graph import EpochTrainer, epoch_inputs, trainer_of
from mnist_study.training.model import build_model

OnEpoch = Callable[[EpochMetrics], bool]
"""Called after each epoch; returns True to end the training (prune the trial)."""


@dataclass(frozen=True, slots=True)
class KeptWeights:
    """The weights of one epoch of a run.

    Attributes:
        epoch: whose weights these are.
        epochs_trained: epochs until the rule stops, or until training ends.
        weights: in the order of `model.get_weights()`.
    """

    epoch: int
    epochs_trained: int
    weights: tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The outcome of one training run.

    Attributes:
        epochs: metrics of each epoch, in order.
        best_epoch: the epoch whose weights are kept; 0 if training diverged.
        weights: the kept weights, in the order of `model.get_weights()`.
        restored_train_loss: loss on the training rows with the kept weights, without dropout.
        restored_train_accuracy: the matching accuracy.
        pruned: `on_epoch` ended the training.
        diverged: the last epoch's loss was not finite; nothing was kept.
        train_seconds: wall time of the training loop.
        by_rule: the weights that the read-out rule would have restored; None without a rule, or if
            training diverged.
    """

    epochs: tuple[EpochMetrics, ...]
    best_epoch: int
    weights: tuple[np.ndarray, ...]
    restored_train_loss: float
    restored_train_accuracy: float
    pruned: bool
    diverged: bool
    train_seconds: float
    by_rule: KeptWeights | None = None


def train(
    params: NetworkParams,
    seeds: Seeds,
    config: TrainingConfig,
    splits: Splits,
    *,
    on_epoch: OnEpoch = lambda metrics: False,
    readout_rule: EarlyStoppingConfig | None = None,
    dtype: str = "float32",
) -> TrainingResult:
    """Train one network: a function of its arguments alone.

    Args:
        params: the network and its learning rate.
        seeds: decide initial weights, dropout masks and the order of rows.
        config: batch size, epochs, schedule and early stopping.
        splits: training and validation rows.
        on_epoch: sees each epoch's metrics and may end the training.
        readout_rule: keep also the weights that this rule would have restored; it ends nothing.
        dtype: float32; float64 serves the tests.

    Returns:
        The metrics and the kept weights.
    """
    n_rows = len(splits.train_labels)
    trainer = trainer_of(config.batch_size, n_rows, dtype)
    trainer.reset(build_model(params, seeds, dtype=dtype).get_weights())
    images, labels = tf.constant(splits.train_images), tf.constant(splits.train_labels)
    val_images = tf.constant(splits.validation_images)
    val_labels = tf.constant(splits.validation_labels)
    l2 = tf.constant(params.l2, dtype)

    stopping = _WeightKeeper(config.early_stopping)
    rule = None if readout_rule is None else _WeightKeeper(readout_rule)
    epochs: list[EpochMetrics] = []
    pruned = diverged = False
    start = time.perf_counter()
    for epoch in range(1, config.epochs + 1):
        inputs = epoch_inputs(params, seeds, config, n_rows, epoch, dtype=dtype)
        train_loss, train_accuracy = trainer.run_epoch(images, labels, *inputs)
        val_loss, val_accuracy = trainer.evaluate(val_images, val_labels, l2)
        metrics = EpochMetrics(epoch, train_loss, train_accuracy, val_loss, val_accuracy)
        epochs.append(metrics)
        diverged = not (math.isfinite(metrics.train_loss) and math.isfinite(metrics.val_loss))
        if not diverged:
            for keeper in filter(None, (stopping, rule)):
                keeper.update(metrics, trainer)
        # Called for a diverged epoch too: the observer sees every epoch.
        pruned = on_epoch(metrics)
        if diverged or pruned or stopping.should_stop:
            break
    train_seconds = time.perf_counter() - start

    kept = None if diverged else stopping.kept
    restored_loss = restored_accuracy = math.nan
    if kept is not None:
        trainer.reset(kept.weights)
        restored_loss, restored_accuracy = trainer.evaluate(images, labels, l2)
    return TrainingResult(
        epochs=tuple(epochs),
        best_epoch=0 if kept is None else kept.epoch,
        weights=() if kept is None else kept.weights,
        restored_train_loss=restored_loss,
        restored_train_accuracy=restored_accuracy,
        pruned=pruned,
        diverged=diverged,
        train_seconds=train_seconds,
        by_rule=None if diverged or rule is None else rule.kept,
    )


class _WeightKeeper:
    """The weights that an early-stopping rule would restore, as training goes on.

    Attributes:
        kept: the weights of the rule's best epoch so far; None before the first epoch.
    """

    def __init__(self, rule: EarlyStoppingConfig | None) -> None:
        self._stopping = EarlyStopping(rule)
        self.kept: KeptWeights | None = None

    @property
    def should_stop(self) -> bool:
        """Whether the rule would have ended the training."""
        return self._stopping.should_stop

    def update(self, metrics: EpochMetrics, trainer: EpochTrainer) -> None:
        """Take in one epoch, whose weights `trainer` holds."""
        if self.should_stop:
            return
        if self._stopping.update(metrics) or self.kept is None:
            self.kept = KeptWeights(metrics.epoch, metrics.epoch, trainer.get_weights())
        else:
            self.kept = replace(self.kept, epochs_trained=metrics.epoch)
