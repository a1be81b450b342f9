"""The training loop: epochs of the compiled graph, early stopping, and what is kept.

`model.fit` stays the slow reference (see `tests/training`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from mnist_study.core.config import Activation, NetworkParams, TrainingConfig
from mnist_study.core.readouts import ReadoutPoint
from mnist_study.core.trials import EpochMetrics, Seeds
from mnist_study.data.dataset import Splits
from mnist_study.training.epoch_graph import epoch_inputs, trainer_of
from mnist_study.training.kept_weights import KeptWeights, RestoredKeeper, keeper_of
from mnist_study.training.model import build_model

OnEpoch = Callable[[EpochMetrics], bool]
"""Called after each epoch; returns True to end the training (prune the trial)."""


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
        kept_at: the weights of each read-out, by name; if training diverged, of those alone that no
            later epoch would have changed.
    """

    epochs: tuple[EpochMetrics, ...]
    best_epoch: int
    weights: tuple[np.ndarray, ...]
    restored_train_loss: float
    restored_train_accuracy: float
    pruned: bool
    diverged: bool
    train_seconds: float
    kept_at: Mapping[str, KeptWeights] = field(default_factory=dict)


def train(
    params: NetworkParams,
    seeds: Seeds,
    config: TrainingConfig,
    splits: Splits,
    *,
    on_epoch: OnEpoch = lambda metrics: False,
    readouts: Sequence[ReadoutPoint] = (),
    activation: Activation = "relu",
    dtype: str = "float32",
) -> TrainingResult:
    """Train one network: a function of its arguments alone.

    Args:
        params: the network and its learning rate.
        seeds: decide initial weights, dropout masks and the order of rows.
        config: batch size, epochs, schedule and early stopping.
        splits: training and validation rows.
        on_epoch: gets each epoch's metrics and may end the training.
        readouts: keep the weights of these as well; they do not end the training.
        activation: of the hidden layers.
        dtype: float32; float64 serves the tests.

    Returns:
        The metrics and the kept weights.
    """
    n_rows = len(splits.train_labels)
    trainer = trainer_of(config.batch_size, n_rows, dtype, activation)
    model = build_model(params, seeds, dtype=dtype, activation=activation)
    trainer.reset(model.get_weights())
    images, labels = tf.constant(splits.train_images), tf.constant(splits.train_labels)
    val_images = tf.constant(splits.validation_images)
    val_labels = tf.constant(splits.validation_labels)
    l2 = tf.constant(params.l2, dtype)

    stopping = RestoredKeeper(config.early_stopping)
    keepers = {point.name: keeper_of(point) for point in readouts}
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
            for keeper in (stopping, *keepers.values()):
                keeper.update(metrics, trainer.get_weights)
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
        kept_at={
            name: keeper.kept
            for name, keeper in keepers.items()
            if keeper.kept is not None and (keeper.is_final or not diverged)
        },
    )
