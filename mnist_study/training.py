"""The compiled-epoch trainer: one epoch is one TensorFlow graph call.

`model.fit` stays the slow reference (see `tests/test_training.py`). What makes the difference:
batches are gathered inside the graph, the update is TensorFlow's fused Adam kernel, and the
dropout masks of an epoch are drawn at once. Everything that may differ between trials of one shape
(rates, L2 strength, learning rates, seeds) enters as a tensor, so the graph is traced once a shape.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import tensorflow as tf

from mnist_study.config import NetworkParams, TrainingConfig
from mnist_study.data import Splits
from mnist_study.early_stopping import EarlyStopping
from mnist_study.model import N_CLASSES, build_model
from mnist_study.records import EpochMetrics, Seeds

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7  # the defaults of keras.optimizers.Adam
EVALUATION_ROWS = 1000
# One thread needs no scheduler of ready operations: about 15 % less time per epoch.
EXECUTOR = "SINGLE_THREADED_EXECUTOR"

OnEpoch = Callable[[EpochMetrics], bool]
"""Called after each epoch; returns whether training is to be given up (pruned)."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What one training run came to.

    Attributes:
        epochs: metrics of each epoch, in order.
        best_epoch: the epoch whose weights are kept; 0 if training diverged.
        weights: the kept weights, in the order of `model.get_weights()`.
        restored_train_loss: loss on the training rows with the kept weights, without dropout.
        restored_train_accuracy: the matching accuracy.
        pruned: `on_epoch` asked for the end.
        diverged: the last epoch's loss was not finite; nothing was kept.
        train_seconds: wall time of the training loop.
    """

    epochs: tuple[EpochMetrics, ...]
    best_epoch: int
    weights: tuple[np.ndarray, ...]
    restored_train_loss: float
    restored_train_accuracy: float
    pruned: bool
    diverged: bool
    train_seconds: float


def limit_threads() -> None:
    """Give TensorFlow one thread; more make networks of this size slower, and runs differ.

    Raises:
        RuntimeError: TensorFlow already runs with other settings.
    """
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def learning_rates(config: TrainingConfig, base: float, n_rows: int, epoch: int) -> np.ndarray:
    """Return the learning rate of each step of an epoch, float64, shape (steps per epoch,).

    The cosine schedule is Keras's `CosineDecay` from `base` to 0 over all epochs.
    """
    n_steps = math.ceil(n_rows / config.batch_size)
    if config.schedule == "constant":
        return np.full(n_steps, base)
    steps = np.arange((epoch - 1) * n_steps, epoch * n_steps)
    return base * 0.5 * (1 + np.cos(np.pi * steps / (config.epochs * n_steps)))


def batch_order(shuffle_seed: int, epoch: int, n_rows: int) -> np.ndarray:
    """Return the order in which an epoch visits the rows, int32, shape (n_rows,)."""
    return np.random.default_rng((shuffle_seed, epoch)).permutation(n_rows).astype(np.int32)


def epoch_inputs(
    params: NetworkParams,
    seeds: Seeds,
    config: TrainingConfig,
    n_rows: int,
    epoch: int,
    *,
    dtype: str = "float32",
) -> tuple[tf.Tensor, ...]:
    """Return what `EpochTrainer.run_epoch` takes besides images and labels, for an epoch from 1."""
    n_steps = math.ceil(n_rows / config.batch_size)
    return (
        tf.constant(batch_order(seeds.shuffle_seed, epoch, n_rows)),
        tf.constant(learning_rates(config, params.learning_rate, n_rows, epoch), dtype),
        tf.constant((epoch - 1) * n_steps, dtype),
        tf.constant(params.l2, dtype),
        tf.constant([params.dropout_1, params.dropout_2], dtype),
        tf.constant(_mask_seed(seeds.dropout_seed, epoch), tf.int32),
    )


class EpochTrainer:
    """The graph of one network shape, to be reset and used for any trial of that shape."""

    def __init__(
        self, units: tuple[int, int, int], batch_size: int, n_rows: int, dtype: str
    ) -> None:
        self._units = units
        self._batch_size = batch_size
        self._n_rows = n_rows
        self._dtype = tf.as_dtype(dtype)
        widths = (28 * 28, *units, N_CLASSES)
        self._variables: list[tf.Variable] = []
        for n_in, n_out in pairwise(widths):
            self._variables += [
                tf.Variable(tf.zeros((n_in, n_out), self._dtype)),
                tf.Variable(tf.zeros((n_out,), self._dtype)),
            ]
        self._kernel_gradient = tf.Variable(tf.zeros_like(self._variables[0]))
        self._first_moments = [tf.Variable(tf.zeros_like(v)) for v in self._variables]
        self._second_moments = [tf.Variable(tf.zeros_like(v)) for v in self._variables]
        rows, labels = tf.TensorSpec((None, 28, 28), tf.uint8), tf.TensorSpec((None,), tf.uint8)
        order, rates = tf.TensorSpec((n_rows,), tf.int32), tf.TensorSpec((None,), self._dtype)
        number, pair = tf.TensorSpec((), self._dtype), tf.TensorSpec((2,), self._dtype)
        seed = tf.TensorSpec((2,), tf.int32)
        self._epoch_graph = tf.function(
            self._run_epoch,
            input_signature=[rows, labels, order, rates, number, number, pair, seed],
        )
        self._evaluation_graph = tf.function(self._evaluate, input_signature=[rows, labels, number])

    def run_epoch(self, *inputs: tf.Tensor) -> tuple[float, float]:
        """Train for one epoch (see `_run_epoch`); return mean loss and accuracy."""
        with tf.experimental.function_executor_type(EXECUTOR):
            loss, accuracy = self._epoch_graph(*inputs)
        return float(loss), float(accuracy)

    def evaluate(self, *inputs: tf.Tensor) -> tuple[float, float]:
        """Return mean loss, with the penalty, and accuracy without dropout."""
        with tf.experimental.function_executor_type(EXECUTOR):
            loss, accuracy = self._evaluation_graph(*inputs)
        return float(loss), float(accuracy)

    def reset(self, weights: list[np.ndarray]) -> None:
        """Start from these weights with a fresh optimizer."""
        for variable, weight in zip(self._variables, weights, strict=True):
            variable.assign(weight)
        for moment in (*self._first_moments, *self._second_moments):
            moment.assign(tf.zeros_like(moment))

    def get_weights(self) -> tuple[np.ndarray, ...]:
        """Return copies of the weights, in the order of `model.get_weights()`."""
        return tuple(variable.numpy().copy() for variable in self._variables)

    def _logits(self, images: tf.Tensor, masks: Sequence[tf.Tensor] | None) -> tf.Tensor:
        """Apply the network to uint8 rows (batch, 784) up to its softmax.

        The same arithmetic as the Keras layers do, in fewer and faster ops (compared in the tests).
        Dropout multiplies by the given masks, or is off.
        """
        hidden = tf.cast(images, self._dtype) * tf.constant(1 / 255, self._dtype)
        w1, b1, w2, b2, w3, b3, w4, b4 = self._variables
        hidden = tf.nn.relu(tf.nn.bias_add(tf.matmul(hidden, w1), b1))
        hidden = tf.nn.relu(tf.nn.bias_add(tf.matmul(hidden, w2), b2))
        hidden = hidden if masks is None else hidden * masks[0]
        hidden = tf.nn.relu(tf.nn.bias_add(tf.matmul(hidden, w3), b3))
        hidden = hidden if masks is None else hidden * masks[1]
        return tf.nn.bias_add(tf.matmul(hidden, w4), b4)

    def _penalty(self, l2: tf.Tensor) -> tf.Tensor:
        """Keras's L2 penalty of the first layer, by the op that reads the weights once."""
        return 2 * l2 * tf.nn.l2_loss(self._variables[0])

    def _run_epoch(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        order: tf.Tensor,
        learning_rates: tf.Tensor,
        first_step: tf.Tensor,
        l2: tf.Tensor,
        dropout_rates: tf.Tensor,
        dropout_seed: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Train on every row once; return the mean loss and accuracy as Keras counts them."""
        n_rows, size = self._n_rows, self._batch_size
        n_full = n_rows // size
        n_even = n_full * size
        images = tf.reshape(images, (-1, 28 * 28))
        step_sizes = self._step_sizes(learning_rates, first_step)
        masks = [self._dropout_mask(index, dropout_rates, dropout_seed) for index in range(2)]
        by_row = [order, tf.cast(tf.gather(labels, order), tf.int32), *masks]
        loss_sum, n_correct = tf.constant(0, self._dtype), tf.constant(0, tf.int32)

        # Full batches have a shape known when the graph is traced, and are cut by one op each.
        full = [tf.reshape(x[:n_even], (n_full, size, *x.shape[1:])) for x in by_row]
        for step in tf.range(n_full):
            rows, batch_labels, *batch_masks = [tf.gather(x, step) for x in full]
            loss, correct = self._update(
                tf.gather(images, rows), batch_labels, batch_masks, tf.gather(step_sizes, step), l2
            )
            loss_sum += loss
            n_correct += correct
        if n_even < n_rows:
            rows, batch_labels, *batch_masks = [x[n_even:] for x in by_row]
            loss, correct = self._update(
                tf.gather(images, rows), batch_labels, batch_masks, step_sizes[-1], l2
            )
            loss_sum += loss
            n_correct += correct
        return tf.cast(loss_sum, tf.float64) / n_rows, tf.cast(n_correct, tf.float64) / n_rows

    def _step_sizes(self, learning_rates: tf.Tensor, first_step: tf.Tensor) -> tf.Tensor:
        """Return Adam's bias-corrected learning rate of each step, shape (steps,)."""
        one = tf.constant(1, self._dtype)
        steps = first_step + tf.range(1, tf.size(learning_rates) + 1, dtype=self._dtype)
        beta_1, beta_2 = tf.constant(BETA_1, self._dtype), tf.constant(BETA_2, self._dtype)
        return learning_rates * tf.sqrt(one - beta_2**steps) / (one - beta_1**steps)

    def _update(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        masks: Sequence[tf.Tensor],
        step_size: tf.Tensor,
        l2: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Do one step of Adam; return the batch's summed loss and number of correct answers."""
        size = labels.shape[0]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._variables)
            logits = self._logits(images, masks)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        of_mean = tf.fill((size,), tf.constant(1 / size, self._dtype))
        gradients = tape.gradient(losses, self._variables, output_gradients=of_mean)
        kernel, decay = self._variables[0], 2 * l2
        loss = tf.reduce_sum(losses) + size * decay * tf.nn.l2_loss(kernel)
        # gradient + decay * kernel in one pass over memory, where two ops would take two.
        self._kernel_gradient.assign(gradients[0])
        tf.raw_ops.ResourceApplyGradientDescent(
            var=self._kernel_gradient.handle, alpha=-decay, delta=kernel
        )
        gradients[0] = self._kernel_gradient.read_value()
        zero = tf.constant(0, self._dtype)
        for variable, first, second, gradient in zip(
            self._variables, self._first_moments, self._second_moments, gradients, strict=True
        ):
            # The stock Keras optimizer leaks 7 MB per traced network; this op does not. Its own
            # bias correction is off (powers of 0): the step size has it.
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle, m=first.handle, v=second.handle,
                beta1_power=zero, beta2_power=zero, lr=step_size,
                beta1=tf.constant(BETA_1, self._dtype), beta2=tf.constant(BETA_2, self._dtype),
                epsilon=tf.constant(EPSILON, self._dtype), grad=gradient,
            )  # fmt: skip
        return loss, _n_correct(labels, logits)

    def _dropout_mask(self, index: int, rates: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Draw inverted-dropout masks (n_rows, width): 0 with the rate, else 1 / (1 - rate).

        Two units share one random 32-bit number, so a rate is met to 1/65,536.
        """
        shape = (self._n_rows, self._units[index + 1])
        n_units = math.prod(shape)
        bits = tf.random.stateless_uniform(
            ((n_units + 1) // 2,), seed=seed + tf.constant([0, index]),
            minval=None, maxval=None, dtype=tf.int32,
        )  # fmt: skip
        halves = tf.reshape(tf.reshape(tf.bitcast(bits, tf.uint16), (-1,))[:n_units], shape)
        threshold = tf.cast(tf.round(rates[index] * 65536), tf.uint16)
        return tf.cast(halves >= threshold, self._dtype) / (1 - rates[index])

    def _evaluate(
        self, images: tf.Tensor, labels: tf.Tensor, l2: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return mean loss (with the penalty) and accuracy without dropout."""
        n_rows = tf.size(labels)
        images = tf.reshape(images, (-1, 28 * 28))
        loss_sum, n_correct = tf.constant(0, tf.float64), tf.constant(0, tf.int32)
        for begin in tf.range(0, n_rows, EVALUATION_ROWS):
            end = tf.minimum(begin + EVALUATION_ROWS, n_rows)
            batch_labels = tf.cast(labels[begin:end], tf.int32)
            logits = self._logits(images[begin:end], None)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch_labels, logits)
            loss_sum += tf.cast(tf.reduce_sum(losses), tf.float64)
            n_correct += _n_correct(batch_labels, logits)
        n = tf.cast(n_rows, tf.float64)
        penalty = tf.cast(self._penalty(l2), tf.float64)
        return loss_sum / n + penalty, tf.cast(n_correct, tf.float64) / n


def _n_correct(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    predicted = tf.argmax(logits, axis=-1, output_type=tf.int32)
    return tf.math.count_nonzero(tf.equal(predicted, labels), dtype=tf.int32)


@lru_cache(maxsize=1)
def _trainer(units: tuple[int, int, int], batch_size: int, n_rows: int, dtype: str) -> EpochTrainer:
    """Return the trainer of a shape; the last one is kept, as many trials of one shape may come."""
    return EpochTrainer(units, batch_size, n_rows, dtype)


def train(
    params: NetworkParams,
    seeds: Seeds,
    config: TrainingConfig,
    splits: Splits,
    *,
    on_epoch: OnEpoch = lambda metrics: False,
    dtype: str = "float32",
) -> TrainingResult:
    """Train one network: a function of its arguments alone.

    Args:
        params: the network and its learning rate.
        seeds: decide initial weights, dropout masks and the order of rows.
        config: batch size, epochs, schedule and early stopping.
        splits: training and validation rows.
        on_epoch: sees each epoch's metrics and may end the training.
        dtype: float32; float64 serves the tests.

    Returns:
        The metrics and the kept weights.
    """
    n_rows = len(splits.train_labels)
    trainer = _trainer(params.units, config.batch_size, n_rows, dtype)
    trainer.reset(build_model(params, seeds, dtype=dtype).get_weights())
    images, labels = tf.constant(splits.train_images), tf.constant(splits.train_labels)
    val_images = tf.constant(splits.validation_images)
    val_labels = tf.constant(splits.validation_labels)
    l2 = tf.constant(params.l2, dtype)

    stopping = EarlyStopping(config.early_stopping)
    epochs: list[EpochMetrics] = []
    weights: tuple[np.ndarray, ...] = ()
    pruned = diverged = False
    start = time.perf_counter()
    for epoch in range(1, config.epochs + 1):
        inputs = epoch_inputs(params, seeds, config, n_rows, epoch, dtype=dtype)
        train_loss, train_accuracy = trainer.run_epoch(images, labels, *inputs)
        val_loss, val_accuracy = trainer.evaluate(val_images, val_labels, l2)
        metrics = EpochMetrics(epoch, train_loss, train_accuracy, val_loss, val_accuracy)
        epochs.append(metrics)
        diverged = not (math.isfinite(metrics.train_loss) and math.isfinite(metrics.val_loss))
        if not diverged and stopping.update(metrics):
            weights = trainer.get_weights()
        # Asked even for a diverged epoch, so that whoever watches sees every epoch.
        pruned = on_epoch(metrics)
        if diverged or pruned or stopping.should_stop:
            break
    train_seconds = time.perf_counter() - start

    restored_loss = restored_accuracy = math.nan
    if not diverged:
        trainer.reset(list(weights))
        restored_loss, restored_accuracy = trainer.evaluate(images, labels, l2)
    return TrainingResult(
        epochs=tuple(epochs),
        best_epoch=0 if diverged else stopping.best_epoch,
        weights=() if diverged else weights,
        restored_train_loss=restored_loss,
        restored_train_accuracy=restored_accuracy,
        pruned=pruned,
        diverged=diverged,
        train_seconds=train_seconds,
    )


def _mask_seed(dropout_seed: int, epoch: int) -> np.ndarray:
    """Return the pair of seeds for an epoch's masks; the layer's index is added to the second."""
    words = np.random.SeedSequence((dropout_seed, epoch)).generate_state(2, np.uint32) >> 2
    return words.astype(np.int32)
