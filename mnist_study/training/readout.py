"""Read-outs of a run on the test set: at its last epoch, and where early stopping restores."""

from __future__ import annotations

from typing import Literal

import numpy as np
import tensorflow as tf
from scipy.special import log_softmax

from mnist_study.core.trials import Readout, pack_bits
from mnist_study.data.dataset import Splits, TestSet
from mnist_study.stats.calibration import expected_calibration_error
from mnist_study.training.epoch_graph import trainer_of
from mnist_study.training.model import weights_sha256
from mnist_study.training.trainer import KeptWeights, TrainingResult


def read_out(
    trained: TrainingResult, batch_size: int, splits: Splits, test_set: TestSet
) -> tuple[Readout, Readout]:
    """Measure both sets of weights of a run that trained to its last epoch.

    Args:
        trained: with a read-out rule, and without early stopping of its own.
        batch_size: of the training; its graphs are used again.
        splits: the rows that it trained on.
        test_set: the held-out images; this is what reads them.

    Returns:
        The last epoch's, then the restored one's.

    Raises:
        ValueError: the run has no second set of weights.
    """
    if trained.by_rule is None:
        raise ValueError("this run was trained without a read-out rule")
    n_epochs = len(trained.epochs)
    at_end = KeptWeights(n_epochs, n_epochs, trained.weights)
    last = _measure("last", at_end, batch_size, splits, test_set)
    restored = _measure("restored", trained.by_rule, batch_size, splits, test_set)
    return last, restored


def _measure(
    point: Literal["last", "restored"],
    kept: KeptWeights,
    batch_size: int,
    splits: Splits,
    test_set: TestSet,
) -> Readout:
    trainer = trainer_of(batch_size, len(splits.train_labels))
    trainer.reset(kept.weights)
    train_loss, train_accuracy = trainer.evaluate(
        tf.constant(splits.train_images),
        tf.constant(splits.train_labels),
        tf.constant(0, "float32"),  # no penalty
    )
    logits = trainer.logits(test_set.images).astype(np.float64)
    log_probabilities = log_softmax(logits, axis=1)
    correct = logits.argmax(axis=1) == test_set.labels
    of_truth = log_probabilities[np.arange(len(correct)), test_set.labels]
    return Readout(
        point=point,
        epoch=kept.epoch,
        epochs_trained=kept.epochs_trained,
        weights_sha256=weights_sha256(kept.weights),
        train_accuracy=train_accuracy,
        train_loss=train_loss,
        test_accuracy=float(correct.mean()),
        test_loss=float(-of_truth.mean()),
        calibration_error=expected_calibration_error(np.exp(log_probabilities), test_set.labels),
        correct_bits=pack_bits(correct),
    )
