"""The epoch graph: one epoch is one TensorFlow graph call.

It is faster than `model.fit` because batches are sliced inside the graph, the update is
TensorFlow's fused Adam kernel, and the dropout masks of an epoch are drawn at once. Everything that
may differ between the trials of a study (widths, rates, L2 strength, learning rates, seeds) enters
as a tensor or in a variable, so a worker traces the graph once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import tensorflow as tf

from mnist_study.core.config import Activation, NetworkParams, TrainingConfig
from mnist_study.core.trials import Seeds
from mnist_study.data.values import N_CLASSES

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7  # the defaults of keras.optimizers.Adam
EVALUATION_ROWS = 1000
# One thread needs no scheduler of ready operations: about 15 % less time per epoch.
EXECUTOR = "SINGLE_THREADED_EXECUTOR"


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


def adam_step_sizes(rates: np.ndarray, epoch: int) -> np.ndarray:
    """Return Adam's bias-corrected step size for each step of an epoch, shape (steps,).

    That is rate * sqrt(1 - beta_2^t) / (1 - beta_1^t), t from 1 over all epochs.
    """
    steps = np.arange((epoch - 1) * len(rates), epoch * len(rates)) + 1
    sizes: np.ndarray = rates * np.sqrt(1 - BETA_2**steps) / (1 - BETA_1**steps)
    return sizes


def epoch_inputs(
    params: NetworkParams,
    seeds: Seeds,
    config: TrainingConfig,
    n_rows: int,
    epoch: int,
    *,
    dtype: str = "float32",
) -> tuple[tf.Tensor, ...]:
    """Return the inputs of `EpochTrainer.run_epoch` after images and labels."""
    rates = learning_rates(config, params.learning_rate, n_rows, epoch)
    return (
        tf.constant(batch_order(seeds.shuffle_seed, epoch, n_rows)),
        tf.constant(adam_step_sizes(rates, epoch), dtype),
        tf.constant(params.l2, dtype),
        tf.constant([params.dropout_1, params.dropout_2], dtype),
        tf.constant(_mask_seed(seeds.dropout_seed, epoch), tf.int32),
    )


class EpochTrainer:
    """The traced graph of an epoch, reused for every trial: it does not depend on the widths.

    The gradients are written by hand: they need no static widths, and TensorFlow's automatic
    gradients took 5 % longer to run and twice as long to trace.
    """

    def __init__(
        self, batch_size: int, n_rows: int, dtype: str, activation: Activation = "relu"
    ) -> None:
        self._batch_size = batch_size
        self._n_rows = n_rows
        self._dtype = tf.as_dtype(dtype)
        self._activate, self._through_activation = _ACTIVATIONS[activation]
        # The derivative of relu can be computed from outputs that dropout has set to 0.
        self._needs_undropped = activation != "relu"
        widths = (28 * 28, None, None, None, N_CLASSES)
        shapes = [s for n_in, n_out in pairwise(widths) for s in ((n_in, n_out), (n_out,))]
        self._variables, self._first_moments, self._second_moments = (
            [self._variable(shape) for shape in shapes] for _ in range(3)
        )
        self._first_gradient = self._variable(shapes[0])
        rows, labels = tf.TensorSpec((None, 28, 28), tf.uint8), tf.TensorSpec((None,), tf.uint8)
        order, step_sizes = tf.TensorSpec((n_rows,), tf.int32), tf.TensorSpec((None,), self._dtype)
        number, pair = tf.TensorSpec((), self._dtype), tf.TensorSpec((2,), self._dtype)
        seed = tf.TensorSpec((2,), tf.int32)
        self._epoch_graph = tf.function(
            self._run_epoch, input_signature=[rows, labels, order, step_sizes, number, pair, seed]
        )
        self._evaluation_graph = tf.function(self._evaluate, input_signature=[rows, labels, number])
        self._logits_graph = tf.function(self._logits, input_signature=[rows])

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

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return the logits without dropout, shape (n, 10)."""
        with tf.experimental.function_executor_type(EXECUTOR):
            parts = [
                self._logits_graph(tf.constant(images[begin : begin + EVALUATION_ROWS])).numpy()
                for begin in range(0, len(images), EVALUATION_ROWS)
            ]
        return np.concatenate(parts)

    def reset(self, weights: Sequence[np.ndarray]) -> None:
        """Start from these weights, of any widths, with a fresh optimizer."""
        for variable, weight in zip(self._variables, weights, strict=True):
            variable.assign(weight)
        for moments in (self._first_moments, self._second_moments):
            for moment, weight in zip(moments, weights, strict=True):
                moment.assign(np.zeros_like(weight))

    def get_weights(self) -> tuple[np.ndarray, ...]:
        """Return copies of the weights, in the order of `model.get_weights()`."""
        return tuple(variable.numpy().copy() for variable in self._variables)

    def _variable(self, shape: tuple[int | None, ...]) -> tf.Variable:
        return tf.Variable(tf.zeros([n or 1 for n in shape], self._dtype), shape=shape)

    def _run_epoch(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        order: tf.Tensor,
        step_sizes: tf.Tensor,
        l2: tf.Tensor,
        dropout_rates: tf.Tensor,
        dropout_seed: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Train on every row once; return the mean loss and accuracy as Keras counts them."""
        n_rows, size = self._n_rows, self._batch_size
        n_full = n_rows // size
        images = tf.gather(tf.reshape(images, (-1, 28 * 28)), order)
        labels = tf.cast(tf.gather(labels, order), tf.int32)
        masks = [self._dropout_mask(index, dropout_rates, dropout_seed) for index in range(2)]

        # Sums run over batches at each position first, and over positions at the end: fewer ops.
        losses, penalties = tf.zeros((size,), self._dtype), tf.zeros((), self._dtype)
        correct = tf.zeros((size,), tf.int32)
        for step in tf.range(n_full):
            begin = step * size
            batch_losses, penalty, batch_correct = self._update(
                tf.slice(images, [begin, 0], [size, 28 * 28]), tf.slice(labels, [begin], [size]),
                [tf.slice(mask, [begin, 0], [size, -1]) for mask in masks],
                tf.gather(step_sizes, step), l2,
            )  # fmt: skip
            losses += batch_losses
            penalties += penalty
            correct += batch_correct
        loss = tf.reduce_sum(losses) + size * penalties
        n_correct = tf.reduce_sum(correct)
        # The short last batch gets its own copy of the step.
        if n_full * size < n_rows:
            begin = n_full * size
            losses, penalty, correct = self._update(
                images[begin:], labels[begin:], [mask[begin:] for mask in masks],
                step_sizes[-1], l2,
            )  # fmt: skip
            loss += tf.reduce_sum(losses) + (n_rows - begin) * penalty
            n_correct += tf.reduce_sum(correct)
        return tf.cast(loss, tf.float64) / n_rows, tf.cast(n_correct, tf.float64) / n_rows

    def _update(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        masks: Sequence[tf.Tensor],
        step_size: tf.Tensor,
        l2: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Do one step of Adam.

        The same arithmetic as the Keras layers and their gradients do, in fewer and faster ops
        (compared in the tests).

        Args:
            images: uint8 (batch, 784).
            labels: int32 (batch,).
            masks: of the two dropouts, inverted, each (batch, width).
            step_size: see `adam_step_sizes`.
            l2: strength of the first layer's penalty.

        Returns:
            Losses (batch,) without the penalty, the penalty, and which answers were correct as
            0 or 1 (batch,), all from before the step.
        """
        inputs, outputs, logits = self._forward(images, masks)
        losses, to_logits = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(
            features=logits, labels=labels
        )
        penalty = self._penalty(l2)

        # Gradients of the mean loss with respect to each layer's pre-activation; 0 where relu or
        # dropout gave 0.
        w1, _, w2, _, w3, _, w4, _ = self._variables
        output_1, output_2, output_3 = outputs if self._needs_undropped else inputs[1:]
        through = self._through_activation
        to_4 = to_logits / tf.cast(tf.shape(labels)[0], self._dtype)
        to_3 = through(tf.matmul(to_4, w4, transpose_b=True) * masks[1], output_3)
        to_2 = through(tf.matmul(to_3, w3, transpose_b=True) * masks[0], output_2)
        to_1 = through(tf.matmul(to_2, w2, transpose_b=True), output_1)
        gradients = []
        for layer_input, to_layer in zip(inputs, (to_1, to_2, to_3, to_4), strict=True):
            gradients += [
                tf.matmul(layer_input, to_layer, transpose_a=True),
                tf.raw_ops.BiasAddGrad(out_backprop=to_layer),
            ]
        # Adds the penalty's gradient, 2 l2 w1, in place: 4 % less time than a product and a sum.
        self._first_gradient.assign(gradients[0])
        tf.raw_ops.ResourceApplyGradientDescent(
            var=self._first_gradient.handle, alpha=-2 * l2, delta=w1
        )
        gradients[0] = self._first_gradient.read_value()
        self._apply_adam(gradients, step_size)
        answers = tf.argmax(logits, axis=-1, output_type=tf.int32)
        return losses, penalty, tf.cast(tf.equal(answers, labels), tf.int32)

    def _apply_adam(self, gradients: Sequence[tf.Tensor], step_size: tf.Tensor) -> None:
        """Update the weights; bias correction is folded into the step size: beta powers are 0."""
        zero, beta_1, beta_2, epsilon = (
            tf.constant(number, self._dtype) for number in (0, BETA_1, BETA_2, EPSILON)
        )
        for variable, first, second, gradient in zip(
            self._variables, self._first_moments, self._second_moments, gradients, strict=True
        ):
            # The stock Keras optimizer leaks 7 MB per traced network; this op does not.
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle, m=first.handle, v=second.handle, beta1_power=zero,
                beta2_power=zero, lr=step_size, beta1=beta_1, beta2=beta_2, epsilon=epsilon,
                grad=gradient,
            )  # fmt: skip

    def _forward(
        self, images: tf.Tensor, masks: Sequence[tf.Tensor] | None
    ) -> tuple[Sequence[tf.Tensor], Sequence[tf.Tensor], tf.Tensor]:
        """Apply the network to uint8 rows (batch, 784), up to its softmax.

        Dropout multiplies by the given masks, or is off.

        Returns:
            The inputs of the four layers, the outputs of the three hidden ones before dropout, and
            the logits.
        """
        w1, b1, w2, b2, w3, b3, w4, b4 = self._variables
        pixels = tf.cast(images, self._dtype) * tf.constant(1 / 255, self._dtype)
        output_1 = self._activate(_dense(pixels, w1, b1))
        output_2 = self._activate(_dense(output_1, w2, b2))
        hidden_2 = output_2 if masks is None else output_2 * masks[0]
        output_3 = self._activate(_dense(hidden_2, w3, b3))
        hidden_3 = output_3 if masks is None else output_3 * masks[1]
        return (
            (pixels, output_1, hidden_2, hidden_3),
            (output_1, output_2, output_3),
            _dense(hidden_3, w4, b4),
        )

    def _penalty(self, l2: tf.Tensor) -> tf.Tensor:
        """Keras's L2 penalty of the first layer, by the op that reads the weights once."""
        return 2 * l2 * tf.nn.l2_loss(self._variables[0])

    def _dropout_mask(self, index: int, rates: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Draw inverted-dropout masks (n_rows, width): 0 with the rate, else 1 / (1 - rate).

        Two masks share one random 32-bit number, so a rate is met to 1/65,536.
        """
        width = tf.shape(self._variables[2 * index + 3])[0]  # of that layer's bias
        n_masks = self._n_rows * width
        words = tf.random.stateless_uniform(
            ((n_masks + 1) // 2,), seed=seed + tf.constant([0, index]),
            minval=None, maxval=None, dtype=tf.uint32,
        )  # fmt: skip
        halves = tf.reshape(tf.bitcast(words, tf.uint16), (-1,))[:n_masks]
        threshold = tf.cast(tf.minimum(tf.round(rates[index] * 2**16), 2**16 - 1), tf.uint16)
        kept = tf.reshape(halves >= threshold, (self._n_rows, width))
        return tf.cast(kept, self._dtype) / (1 - rates[index])

    def _logits(self, images: tf.Tensor) -> tf.Tensor:
        return self._forward(tf.reshape(images, (-1, 28 * 28)), None)[-1]

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
            logits = self._forward(images[begin:end], None)[-1]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch_labels, logits)
            loss_sum += tf.cast(tf.reduce_sum(losses), tf.float64)
            answers = tf.argmax(logits, axis=-1, output_type=tf.int32)
            n_correct += tf.math.count_nonzero(tf.equal(answers, batch_labels), dtype=tf.int32)
        n = tf.cast(n_rows, tf.float64)
        penalty = tf.cast(self._penalty(l2), tf.float64)
        return loss_sum / n + penalty, tf.cast(n_correct, tf.float64) / n


def _dense(rows: tf.Tensor, kernel: tf.Variable, bias: tf.Variable) -> tf.Tensor:
    return tf.nn.bias_add(tf.matmul(rows, kernel), bias)


def _through_relu(gradient: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.ReluGrad(gradients=gradient, features=output)


def _through_tanh(gradient: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.TanhGrad(y=output, dy=gradient)


def _through_sigmoid(gradient: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.SigmoidGrad(y=output, dy=gradient)


_Function = Callable[[tf.Tensor], tf.Tensor]
_Backward = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
_ACTIVATIONS: dict[Activation, tuple[_Function, _Backward]] = {
    "relu": (tf.nn.relu, _through_relu),
    "tanh": (tf.nn.tanh, _through_tanh),
    "sigmoid": (tf.nn.sigmoid, _through_sigmoid),
}
"""Each function with the gradient with respect to its input, from that of its output."""


@lru_cache(maxsize=4)
def trainer_of(
    batch_size: int, n_rows: int, dtype: str = "float32", activation: Activation = "relu"
) -> EpochTrainer:
    """Return the trainer; tracing takes half a second, so those of a few sizes are cached."""
    return EpochTrainer(batch_size, n_rows, dtype, activation)


def _mask_seed(dropout_seed: int, epoch: int) -> np.ndarray:
    """Return the pair of seeds for an epoch's masks; the layer's index is added to the second."""
    words = np.random.SeedSequence((dropout_seed, epoch)).generate_state(2, np.uint32) >> 2
    return words.astype(np.int32)
