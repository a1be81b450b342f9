"""Read-outs of a run: sets of its weights, measured on training, validation and test images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import tensorflow as tf
from scipy.special import log_softmax

from mnist_study.core.readouts import Readout, pack_bits
from mnist_study.data.dataset import Splits, TestSet
from mnist_study.stats.calibration import expected_calibration_error
from mnist_study.training.epoch_graph import EpochTrainer
from mnist_study.training.kept_weights import KeptWeights
from mnist_study.training.model import weights_sha256


def read_out(
    kept_at: Mapping[str, KeptWeights], trainer: EpochTrainer, splits: Splits, test_set: TestSet
) -> tuple[Readout, ...]:
    """Measure sets of weights of a run; those that are the same are measured once.

    Args:
        kept_at: the weights, by name of the read-out.
        trainer: whose graphs are used; its weights are replaced.
        splits: the rows of the run.
        test_set: the held-out images; this is what reads them.

    Returns:
        The read-outs, in the order of the names.
    """
    measured: dict[str, Readout] = {}
    readouts = []
    for name, kept in kept_at.items():
        identity = weights_sha256(kept.weights)
        if identity not in measured:
            measured[identity] = _measure(kept, identity, trainer, splits, test_set)
        readouts.append(
            replace(
                measured[identity],
                point=name,
                epoch=kept.epoch,
                epochs_trained=kept.epochs_trained,
            )
        )
    return tuple(readouts)


def _measure(
    kept: KeptWeights, identity: str, trainer: EpochTrainer, splits: Splits, test_set: TestSet
) -> Readout:
    trainer.reset(kept.weights)
    no_penalty = tf.constant(0, "float32")
    train_loss, train_accuracy = trainer.evaluate(
        tf.constant(splits.train_images), tf.constant(splits.train_labels), no_penalty
    )
    val_loss, val_accuracy = trainer.evaluate(
        tf.constant(splits.validation_images), tf.constant(splits.validation_labels), no_penalty
    )
    logits = trainer.logits(test_set.images).astype(np.float64)
    log_probabilities = log_softmax(logits, axis=1)
    correct = logits.argmax(axis=1) == test_set.labels
    of_truth = log_probabilities[np.arange(len(correct)), test_set.labels]
    return Readout(
        point="",
        epoch=kept.epoch,
        epochs_trained=kept.epochs_trained,
        weights_sha256=identity,
        train_accuracy=train_accuracy,
        train_loss=train_loss,
        test_accuracy=float(correct.mean()),
        test_loss=float(-of_truth.mean()),
        calibration_error=expected_calibration_error(np.exp(log_probabilities), test_set.labels),
        correct_bits=pack_bits(correct),
        val_accuracy=val_accuracy,
        val_loss=val_loss,
        kernel_norms=tuple(float(np.linalg.norm(kernel)) for kernel in kept.weights[::2]),
    )
