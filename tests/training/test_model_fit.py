"""The trainer against Keras: steps, epochs, metrics, penalty and schedule."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras_reference import compiled, fit_reference, scaled
from numpy.typing import NDArray
from scipy import stats
from training_runs import PARAMS, PLAIN, SEEDS, TWO_EPOCHS, first_rows

from mnist_study.core.config import Activation, NetworkParams, TrainingConfig
from mnist_study.core.trials import derive_seeds
from mnist_study.data.dataset import Splits, TrainingSet, split
from mnist_study.training import epoch_graph
from mnist_study.training.epoch_graph import EpochTrainer, adam_step_sizes, learning_rates
from mnist_study.training.model import build_model
from mnist_study.training.trainer import train

pytestmark = pytest.mark.usefixtures("one_thread")

DOCUMENTED = NetworkParams(
    units_1=128, units_2=64, units_3=32, dropout_1=0.0, dropout_2=0.0, l2=1e-3, learning_rate=2**-10
)


@pytest.fixture
def float64_keras() -> Iterator[None]:
    """Keras computes losses and keeps learning rates in float64."""
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


def largest_difference(ours: Sequence[NDArray[Any]], theirs: Sequence[NDArray[Any]]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))


def test_first_step_agrees_with_model_fit_in_every_weight(some_rows: Splits) -> None:
    one_step = TrainingConfig(batch_size=128, epochs=1, schedule="constant")
    rows = first_rows(some_rows, 128)
    before = build_model(PLAIN, SEEDS).get_weights()
    ours = train(PLAIN, SEEDS, one_step, rows).weights
    theirs = fit_reference(PLAIN, one_step, rows).weights
    assert largest_difference(ours, before) > PLAIN.learning_rate / 2
    assert largest_difference(ours, theirs) < 5e-6


def test_later_step_from_equal_state_agrees_with_model_fit_in_every_weight(
    some_rows: Splits,
) -> None:
    """Bias correction and moments, not only the first step's sign of the gradient."""
    config = TrainingConfig(batch_size=100, epochs=3, schedule="constant")
    reference = fit_reference(PLAIN, config, some_rows)
    optimizer, steps_before = reference.model.optimizer, 30
    assert int(optimizer.iterations.numpy()) == steps_before

    trainer = EpochTrainer(100, 100, "float32")
    trainer.reset(reference.weights)
    moments = [*optimizer._momentums, *optimizer._velocities]
    for ours, theirs in zip(
        [*trainer._first_moments, *trainer._second_moments], moments, strict=True
    ):
        ours.assign(theirs.numpy())
    rows = first_rows(some_rows, 100)
    step_sizes = adam_step_sizes(np.array([PLAIN.learning_rate]), steps_before + 1)
    loss, accuracy = trainer.run_epoch(
        tf.constant(rows.train_images), tf.constant(rows.train_labels),
        tf.range(100), tf.constant(step_sizes, tf.float32), tf.constant(PLAIN.l2),
        tf.constant([0.0, 0.0]), tf.constant([0, 0]),
    )  # fmt: skip
    log = reference.model.fit(
        scaled(rows.train_images, "float32"), rows.train_labels, batch_size=100, verbose=0
    )
    assert largest_difference(trainer.get_weights(), reference.weights) < 5e-6
    assert loss == pytest.approx(log.history["loss"][0], rel=1e-5)
    assert accuracy == pytest.approx(log.history["accuracy"][0], abs=1e-6)


@pytest.mark.usefixtures("float64_keras")
@pytest.mark.parametrize(
    ("schedule", "activation"), [("constant", "relu"), ("cosine", "tanh"), ("cosine", "sigmoid")]
)
def test_hundred_float64_steps_agree_with_model_fit(
    some_rows: Splits, schedule: str, activation: Activation
) -> None:
    config = TrainingConfig.model_validate(dict(batch_size=20, epochs=2, schedule=schedule))
    rows = first_rows(some_rows, 990)  # twice 50 steps, the last of each of 10 rows
    ours = train(PLAIN, SEEDS, config, rows, dtype="float64", activation=activation)
    theirs = fit_reference(PLAIN, config, rows, dtype="float64", activation=activation)
    assert int(theirs.model.optimizer.iterations.numpy()) == 100
    assert ours.weights[0].dtype == np.float64
    # 1e-4 is what is asked for; 3e-9 is what is left when Keras rounds no constant to float32.
    assert largest_difference(ours.weights, theirs.weights) < 1e-7
    for epoch, loss, accuracy in zip(ours.epochs, theirs.losses, theirs.accuracies, strict=True):
        assert epoch.train_loss == pytest.approx(loss, rel=1e-7)
        assert epoch.train_accuracy == pytest.approx(accuracy, abs=1e-9)


def check_losses_differ_by_chance_only(
    params: NetworkParams, splits: Splits, config: TrainingConfig, *, n_seeds: int
) -> None:
    """Compare with `model.fit` over seeds, from the same initial weights and with the same batches.

    Two float32 trajectories part where rounding has a unit on in one that is off in the other: from
    1e-6 to 1e-3 in the loss. One pair says little then; over seeds the differences centre on 0.
    """
    assert len(splits.train_labels) % config.batch_size
    validation = scaled(splits.validation_images, "float32"), splits.validation_labels
    ours: dict[str, list[float]] = {"train_loss": [], "val_loss": []}
    theirs: dict[str, list[float]] = {"train_loss": [], "val_loss": []}
    for number in range(n_seeds):
        seeds = derive_seeds(5, number)
        last = train(params, seeds, config, splits).epochs[-1]
        reference = fit_reference(params, config, splits, seeds=seeds)
        ours["train_loss"].append(last.train_loss)
        ours["val_loss"].append(last.val_loss)
        theirs["train_loss"].append(reference.losses[-1])
        theirs["val_loss"].append(reference.model.evaluate(*validation, verbose=0)[0])
    for name in ours:
        differences = np.subtract(ours[name], theirs[name])
        loss = float(np.mean(theirs[name]))
        # What would let anything pass proves nothing.
        assert differences.std(ddof=1) / math.sqrt(n_seeds) < 0.01 * loss
        is_chance = stats.ttest_1samp(differences, 0.0).pvalue > 1e-4
        is_rounding = np.abs(differences).max() < 1e-5 * loss
        assert is_chance or is_rounding, (name, differences)


def test_float32_epochs_differ_from_model_fit_by_chance_only(some_rows: Splits) -> None:
    params = PLAIN.model_copy(update={"learning_rate": 2**-8})
    config = TrainingConfig(batch_size=8, epochs=3, schedule="constant")
    check_losses_differ_by_chance_only(params, first_rows(some_rows, 999), config, n_seeds=6)


@pytest.mark.slow
def test_full_mnist_epoch_differs_from_model_fit_by_chance_only(
    mnist_training_set: TrainingSet,
) -> None:
    splits = split(mnist_training_set, validation_size=11_990, split_seed=0)
    config = TrainingConfig(batch_size=32, epochs=1, schedule="constant")
    check_losses_differ_by_chance_only(DOCUMENTED, splits, config, n_seeds=9)


def test_validation_metrics_are_what_model_evaluate_says(some_rows: Splits) -> None:
    result = train(PARAMS, SEEDS, TWO_EPOCHS, some_rows)
    model = compiled(build_model(PARAMS, SEEDS), 0.001)
    model.set_weights(list(result.weights))
    images = scaled(some_rows.validation_images, "float32")
    loss, accuracy = model.evaluate(images, some_rows.validation_labels, verbose=0)
    assert result.epochs[-1].val_loss == pytest.approx(loss, rel=1e-6)
    assert result.epochs[-1].val_accuracy == pytest.approx(accuracy, abs=1e-7)


def test_restored_training_metrics_are_what_model_evaluate_says(some_rows: Splits) -> None:
    result = train(PARAMS, SEEDS, TWO_EPOCHS, some_rows)
    model = compiled(build_model(PARAMS, SEEDS), 0.001)
    model.set_weights(list(result.weights))
    images = scaled(some_rows.train_images, "float32")
    loss, accuracy = model.evaluate(images, some_rows.train_labels, verbose=0)
    assert result.restored_train_loss == pytest.approx(loss, rel=1e-6)
    assert result.restored_train_accuracy == pytest.approx(accuracy, abs=1e-7)


def test_evaluation_counts_every_row_when_they_are_no_multiple_of_its_blocks(
    digits: TrainingSet,
) -> None:
    trainer = EpochTrainer(32, 100, "float64")
    trainer.reset(build_model(PARAMS, SEEDS, dtype="float64").get_weights())

    def evaluate(begin: int, end: int) -> NDArray[np.float64]:
        images, labels = digits.images[begin:end], digits.labels[begin:end]
        l2 = tf.constant(0.0, tf.float64)
        return np.array(trainer.evaluate(tf.constant(images), tf.constant(labels), l2))

    n_rows, blocks = 1003, [(0, 400), (400, 401), (401, 1003)]
    assert n_rows > epoch_graph.EVALUATION_ROWS
    parts = sum((end - begin) * evaluate(begin, end) for begin, end in blocks)
    assert evaluate(0, n_rows) == pytest.approx(parts / n_rows, rel=1e-12)


@pytest.mark.parametrize("l2", [1e-2, 1e-5, 0.0])
def test_penalty_is_that_of_the_keras_regularizer(l2: float) -> None:
    params = PARAMS.model_copy(update={"l2": l2})
    model = build_model(params, SEEDS)
    trainer = EpochTrainer(32, 100, "float32")
    trainer.reset(model.get_weights())
    theirs = sum(float(loss) for loss in model.losses)
    assert (theirs > 0) == (l2 > 0)
    assert float(trainer._penalty(tf.constant(l2))) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.usefixtures("float64_keras")
@pytest.mark.parametrize(("n_rows", "batch_size", "epochs"), [(96, 32, 3), (100, 32, 4), (5, 8, 7)])
def test_cosine_schedule_is_that_of_keras_at_every_step(
    n_rows: int, batch_size: int, epochs: int
) -> None:
    config = TrainingConfig(batch_size=batch_size, epochs=epochs, schedule="cosine")
    ours = np.concatenate([learning_rates(config, 0.01, n_rows, e + 1) for e in range(epochs)])
    n_steps = epochs * math.ceil(n_rows / batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(np.float64(0.01), n_steps)
    theirs = [float(schedule(step)) for step in range(n_steps)]
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-16)


def test_constant_schedule_never_changes() -> None:
    config = TrainingConfig(batch_size=32, epochs=5, schedule="constant")
    for epoch in range(1, 6):
        assert learning_rates(config, 0.01, 100, epoch).tolist() == [0.01] * 4
