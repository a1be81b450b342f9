"""Part a: seconds per epoch of our trainer, of `model.fit`, and of the matrix products alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise

import numpy as np

from mnist_study.bench.measurements import (
    SPREAD_COLUMNS,
    Lap,
    Table,
    describe_ratio,
    interleave,
    spread_cells,
    walls,
)
from mnist_study.bench.process import BenchProcess
from mnist_study.core.config import ExperimentConfig, NetworkParams, TrainingConfig
from mnist_study.core.trials import Seeds
from mnist_study.data.dataset import Splits

N_CLASSES = 10
SEEDS = Seeds(init_seed=1, dropout_seed=2, shuffle_seed=3)
# As much as lies in the cache anyway: in training, too, a batch was just written when it is read.
N_CACHED_BATCHES = 4
ONE_BLAS_THREAD = {
    name: "1" for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
}

OURS = "our trainer, one core"
FIT = "model.fit, default"
FIT_MANY_STEPS = "model.fit, steps_per_execution=100"
FLOOR_TENSORFLOW = "matrix products alone, TensorFlow, one core"
FLOOR_NUMPY = "matrix products alone, OpenBLAS, one core"


def products(
    units: tuple[int, int, int], batch_size: int
) -> list[tuple[str, tuple[int, int, int]]]:
    """List the matrix products of one training step.

    Per layer the forward one and the gradient of the weights, and from the second layer on the
    gradient of the layer's input. The last short batch aside, they are the same in every step.

    Args:
        units: widths of the three hidden layers.
        batch_size: rows per step.

    Returns:
        For each its name and (m, k, n): an (m, k) matrix times a (k, n) one.
    """
    listed = []
    for layer, (n_in, n_out) in enumerate(pairwise((28 * 28, *units, N_CLASSES)), start=1):
        listed.append((f"forward {layer}", (batch_size, n_in, n_out)))
        listed.append((f"weight gradient {layer}", (n_in, batch_size, n_out)))
        if layer > 1:
            listed.append((f"input gradient {layer}", (batch_size, n_out, n_in)))
    return listed


def measure_epochs(experiment: ExperimentConfig, splits: Splits, *, n_rounds: int) -> list[Table]:
    """Measure part a at batch sizes 32 and 128.

    Args:
        experiment: names the documented network.
        splits: of MNIST.
        n_rounds: how often each candidate runs an epoch.
    """
    return [_measure(experiment.baseline, splits, batch_size, n_rounds) for batch_size in (32, 128)]


def _measure(params: NetworkParams, splits: Splits, batch_size: int, n_rounds: int) -> Table:
    n_rows = len(splits.train_labels)
    with ExitStack() as stack:

        def enter(candidate: BenchProcess[Lap]) -> BenchProcess[Lap]:
            return stack.enter_context(candidate)

        candidates: dict[str, Callable[[], Lap]] = {
            OURS: enter(BenchProcess(our_trainer, params, splits, batch_size)),
            FIT: enter(BenchProcess(model_fit, params, splits, batch_size, 1)),
            FIT_MANY_STEPS: enter(BenchProcess(model_fit, params, splits, batch_size, 100)),
            FLOOR_TENSORFLOW: enter(
                BenchProcess(tensorflow_products, params.units, batch_size, n_rows)
            ),
            FLOOR_NUMPY: enter(
                BenchProcess(
                    numpy_products, params.units, batch_size, n_rows, environment=ONE_BLAS_THREAD
                )
            ),
        }
        laps = interleave(candidates, n_rounds, f"a, batch {batch_size}")

    def seconds(name: str) -> list[float]:
        return walls(laps[name])

    floor = min((FLOOR_TENSORFLOW, FLOOR_NUMPY), key=lambda name: np.median(seconds(name)))
    is_asked = batch_size == 32
    rows = []
    for name, found in laps.items():
        cores = float(np.median([lap.n_cores for lap in found]))
        per_second = "" if "alone" in name else f"{n_rows / np.median(walls(found)):,.0f}"
        rows.append([name, *spread_cells(walls(found), 3), f"{cores:.2f}", per_second])
    return Table(
        title=f"a. Seconds per epoch, batch {batch_size}, {n_rows:,} rows, the documented network",
        columns=("", *SPREAD_COLUMNS, "cores", "rows/s"),
        rows=rows,
        notes=(
            describe_ratio(
                "training rows per second, ours over model.fit default",
                seconds(FIT), seconds(OURS), "at least 5, aim 7" if is_asked else "",
            ),
            describe_ratio(
                "the same over model.fit with steps_per_execution=100",
                seconds(FIT_MANY_STEPS), seconds(OURS),
            ),
            describe_ratio(
                f"our epoch over the faster floor ({floor})",
                seconds(OURS), seconds(floor), "at most 2.0, aim 1.4" if is_asked else "",
            ),
        ),
        samples={
            name: [{"wall": lap.wall_seconds, "cpu": lap.cpu_seconds} for lap in found]
            for name, found in laps.items()
        },
    )  # fmt: skip


@contextmanager
def timed(laps: list[Lap]) -> Iterator[None]:
    """Append how long the block took."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    laps.append(Lap(time.perf_counter() - wall, time.process_time() - cpu))


@contextmanager
def our_trainer(
    params: NetworkParams, splits: Splits, batch_size: int
) -> Iterator[Callable[[], Lap]]:
    """Prepare one epoch of our trainer, in a process set up as a worker is."""
    import tensorflow as tf

    from mnist_study.training.model import build_model
    from mnist_study.training.process import keep_freed_memory, limit_threads
    from mnist_study.training.trainer import EpochTrainer, epoch_inputs

    keep_freed_memory()
    limit_threads()
    config = TrainingConfig(batch_size=batch_size, epochs=1000, schedule="constant")
    n_rows = len(splits.train_labels)
    trainer = EpochTrainer(batch_size, n_rows, "float32")
    trainer.reset(build_model(params, SEEDS).get_weights())
    images, labels = tf.constant(splits.train_images), tf.constant(splits.train_labels)
    epoch = 0

    def run() -> Lap:
        nonlocal epoch
        epoch += 1
        laps: list[Lap] = []
        with timed(laps):
            inputs = epoch_inputs(params, SEEDS, config, n_rows, epoch)
            trainer.run_epoch(images, labels, *inputs)
        return laps[0]

    yield run


@contextmanager
def model_fit(
    params: NetworkParams, splits: Splits, batch_size: int, steps_per_execution: int
) -> Iterator[Callable[[], Lap]]:
    """Prepare one epoch of `model.fit` with TensorFlow's own thread settings."""
    import keras

    from mnist_study.training.model import build_model

    model = build_model(params, SEEDS)
    model.compile(
        optimizer=keras.optimizers.Adam(params.learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=steps_per_execution,
    )
    images = splits.train_images.astype(np.float32) / 255

    def run() -> Lap:
        laps: list[Lap] = []
        with timed(laps):
            model.fit(images, splits.train_labels, batch_size=batch_size, epochs=1, verbose=0)
        return laps[0]

    yield run


@contextmanager
def tensorflow_products(
    units: tuple[int, int, int], batch_size: int, n_rows: int
) -> Iterator[Callable[[], Lap]]:
    """Prepare the products of an epoch as TensorFlow computes them, in a loop inside one graph.

    Each product depends on the batch of its step, so none can be moved out of the loop; each
    gradient is carried on to the next step, so none can be left out.
    """
    import tensorflow as tf

    from mnist_study.training.process import keep_freed_memory, limit_threads

    keep_freed_memory()
    limit_threads()
    weights = [tf.Variable(weight) for weight in _weights(units)]
    batches = tf.constant(_batches(batch_size))
    n_steps = n_rows // batch_size

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec((len(_batches(batch_size)), 784))]
    )
    def epoch(images: tf.Tensor) -> list[tf.Tensor]:
        gradients = [tf.zeros_like(weight) for weight in weights]
        for step in tf.range(n_steps):
            begin = (step % N_CACHED_BATCHES) * batch_size
            layers = [tf.slice(images, [begin, 0], [batch_size, 784])]
            for weight in weights:
                layers.append(tf.matmul(layers[-1], weight))
            gradient = layers[-1]
            found = []
            for layer in reversed(range(4)):
                found.append(tf.matmul(layers[layer], gradient, transpose_a=True))
                if layer:
                    gradient = tf.matmul(gradient, weights[layer], transpose_b=True)
            gradients = found[::-1]  # a new list, which the loop is seen to carry
        return gradients

    def run() -> Lap:
        laps: list[Lap] = []
        with (
            timed(laps),
            tf.experimental.function_executor_type("SINGLE_THREADED_EXECUTOR"),
        ):
            epoch(batches)[0].numpy()
        return laps[0]

    yield run


@contextmanager
def numpy_products(
    units: tuple[int, int, int], batch_size: int, n_rows: int
) -> Iterator[Callable[[], Lap]]:
    """Prepare the products of an epoch as numpy's OpenBLAS computes them, without allocation."""
    weights = _weights(units)
    batches = _batches(batch_size).reshape(N_CACHED_BATCHES, batch_size, 784)
    outputs = [np.empty((batch_size, weight.shape[1]), np.float32) for weight in weights]
    inputs = [np.empty((batch_size, weight.shape[0]), np.float32) for weight in weights]
    gradients = [np.empty_like(weight) for weight in weights]

    def run() -> Lap:
        laps: list[Lap] = []
        with timed(laps):
            for step in range(n_rows // batch_size):
                layers = [batches[step % N_CACHED_BATCHES], *outputs]
                for layer in range(4):
                    np.matmul(layers[layer], weights[layer], out=outputs[layer])
                gradient = outputs[3]
                for layer in reversed(range(4)):
                    np.matmul(layers[layer].T, gradient, out=gradients[layer])
                    if layer:
                        np.matmul(gradient, weights[layer].T, out=inputs[layer])
                        gradient = inputs[layer]
        return laps[0]

    yield run


def _weights(units: tuple[int, int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        rng.normal(0, (2 / (n_in + n_out)) ** 0.5, (n_in, n_out)).astype(np.float32)
        for n_in, n_out in pairwise((28 * 28, *units, N_CLASSES))
    ]


def _batches(batch_size: int) -> np.ndarray:
    return np.random.default_rng(1).random((N_CACHED_BATCHES * batch_size, 784), np.float32)
