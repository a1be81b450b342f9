"""Dropout: the masks, and losses and gradients under them."""

from __future__ import annotations

import math
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras_reference import scaled
from numpy.typing import NDArray
from training_runs import PARAMS, PLAIN, SEEDS, TWO_EPOCHS, same_weights

from mnist_study.core.config import Activation
from mnist_study.data.dataset import Splits, TrainingSet
from mnist_study.training import epoch_graph
from mnist_study.training.epoch_graph import EpochTrainer
from mnist_study.training.model import build_model
from mnist_study.training.trainer import train

pytestmark = pytest.mark.usefixtures("one_thread")

MASK_ROWS, MASK_WIDTH = 600, 48


def draw_masks(rate_1: float, rate_2: float, epoch: int = 1) -> list[NDArray[np.float32]]:
    """Both layers' masks, of equal shape so that they can be compared."""
    widths = PARAMS.model_copy(update={"units_2": MASK_WIDTH, "units_3": MASK_WIDTH})
    trainer = EpochTrainer(32, MASK_ROWS, "float32")
    trainer.reset(build_model(widths, SEEDS).get_weights())
    seed = tf.constant(epoch_graph._mask_seed(SEEDS.dropout_seed, epoch), tf.int32)
    rates = tf.constant([rate_1, rate_2])
    return [trainer._dropout_mask(index, rates, seed).numpy() for index in range(2)]


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5, 0.6])
def test_masks_drop_at_their_rate_scale_by_its_rest_and_keep_the_expectation(rate: float) -> None:
    n = MASK_ROWS * MASK_WIDTH
    for mask in draw_masks(rate, rate):
        assert mask.shape == (MASK_ROWS, MASK_WIDTH)
        assert np.unique(mask) == pytest.approx([0, 1 / (1 - rate)], rel=1e-6)
        five_sigma = 5 * math.sqrt(rate * (1 - rate) / n)
        assert abs(np.mean(mask == 0) - rate) < five_sigma
        assert abs(mask.mean() - 1) < five_sigma / (1 - rate)
        # No row and no unit is favoured.
        assert abs(np.mean(mask == 0, axis=1) - rate).max() < 5.5 * math.sqrt(0.25 / MASK_WIDTH)
        assert abs(np.mean(mask == 0, axis=0) - rate).max() < 5.5 * math.sqrt(0.25 / MASK_ROWS)


def test_each_layer_has_its_own_rate() -> None:
    first, second = draw_masks(0.5, 0.0)
    assert 0.4 < np.mean(first == 0) < 0.6
    assert (second == 1).all()


def test_masks_of_epochs_layers_and_rows_are_unrelated() -> None:
    masks = [mask for epoch in (1, 2, 3, 4) for mask in draw_masks(0.5, 0.5, epoch)]
    flat = np.array([mask.ravel() for mask in masks])
    between = np.corrcoef(flat) - np.eye(len(flat))
    assert abs(between).max() < 5 / math.sqrt(flat.shape[1])
    assert len({row.tobytes() for mask in masks for row in mask}) == len(masks) * MASK_ROWS


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_losses_and_gradients_under_dropout_are_those_of_the_keras_layers(
    digits: TrainingSet, activation: Activation
) -> None:
    params = PARAMS.model_copy(update={"units_1": 20, "units_2": 12, "units_3": 9})
    model = build_model(params, SEEDS, activation=activation)
    trainer = EpochTrainer(32, 100, "float32", activation)
    trainer.reset(model.get_weights())
    seed = tf.constant([3, 4], tf.int32)
    masks = [trainer._dropout_mask(i, tf.constant([0.3, 0.2]), seed) for i in range(2)]
    images, labels = digits.images[:100], digits.labels[:100].astype(np.int32)

    hidden, unused = tf.constant(scaled(images, "float32")), list(masks)
    with tf.GradientTape() as tape:
        for layer in model.layers:
            is_dropout = isinstance(layer, keras.layers.Dropout)
            hidden = hidden * unused.pop(0) if is_dropout else layer(hidden)
        theirs = keras.losses.sparse_categorical_crossentropy(labels, hidden)
        mean = tf.reduce_mean(theirs) + sum(model.losses)
    assert unused == []
    expected = tape.gradient(mean, [v.value for v in model.trainable_variables])

    losses, penalty, correct = trainer._update(
        tf.constant(images.reshape(100, 784)), tf.constant(labels), masks,
        tf.constant(0.0), tf.constant(params.l2),
    )  # fmt: skip
    assert losses.numpy() == pytest.approx(theirs.numpy(), abs=1e-5)
    assert float(penalty) == pytest.approx(float(sum(model.losses)), rel=1e-6)
    assert correct.numpy().tolist() == (hidden.numpy().argmax(axis=1) == labels).tolist()
    # After one step from zero Adam's first moment is a tenth of the gradient.
    for moment, gradient in zip(trainer._first_moments, expected, strict=True):
        assert 10 * moment.numpy() == pytest.approx(gradient.numpy(), abs=2e-6)


def test_step_with_dropout_follows_the_gradient_that_tensorflow_derives(
    digits: TrainingSet,
) -> None:
    """The trainer writes its gradients out; `model.fit` cannot be given the same masks."""
    n_rows, l2, step_size = 60, 0.01, 1e-3
    model = build_model(PARAMS.model_copy(update={"l2": l2}), SEEDS, dtype="float64")
    trainer = EpochTrainer(n_rows, n_rows, "float64")
    trainer.reset(model.get_weights())
    rates, seed = tf.constant([0.4, 0.25], tf.float64), tf.constant([3, 4], tf.int32)
    masks = [trainer._dropout_mask(index, rates, seed) for index in range(2)]
    images, labels = digits.images[:n_rows], digits.labels[:n_rows]
    loss, _ = trainer.run_epoch(
        tf.constant(images), tf.constant(labels), tf.range(n_rows),
        tf.constant([step_size], tf.float64), tf.constant(l2, tf.float64), rates, seed,
    )  # fmt: skip

    w1, b1, w2, b2, w3, b3, w4, b4 = variables = [tf.Variable(w) for w in model.get_weights()]
    with tf.GradientTape() as tape:
        hidden = tf.constant(scaled(images, "float64").reshape(n_rows, 784))
        hidden = tf.nn.relu(hidden @ w1 + b1)
        hidden = tf.nn.relu(hidden @ w2 + b2) * masks[0]
        hidden = tf.nn.relu(hidden @ w3 + b3) * masks[1]
        log_probabilities = tf.nn.log_softmax(hidden @ w4 + b4)
        chosen = tf.gather(log_probabilities, labels.astype(np.int32), batch_dims=1)
        expected_loss = l2 * tf.reduce_sum(w1**2) - tf.reduce_mean(chosen)
    assert loss == pytest.approx(float(expected_loss), rel=1e-12)
    for found, gradient in zip(
        trainer._first_moments, tape.gradient(expected_loss, variables), strict=True
    ):
        # The first moment after one step is a tenth of the gradient.
        assert found.numpy() * 10 == pytest.approx(gradient.numpy(), rel=1e-9, abs=1e-15)
        assert np.abs(gradient.numpy()).max() > 1e-3


def test_rate_zero_is_no_dropout_to_the_last_bit() -> None:
    for mask in draw_masks(0.0, 0.0):
        assert (mask == 1).all()


def test_dropout_seed_decides_training_only_where_something_is_dropped(some_rows: Splits) -> None:
    other = replace(SEEDS, dropout_seed=99)
    dropped = [train(PARAMS, seeds, TWO_EPOCHS, some_rows).weights for seeds in (SEEDS, other)]
    plain = [train(PLAIN, seeds, TWO_EPOCHS, some_rows).weights for seeds in (SEEDS, other)]
    assert not same_weights(*dropped)
    assert same_weights(*plain)
    assert not same_weights(dropped[0], plain[0])
