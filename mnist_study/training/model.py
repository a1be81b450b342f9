"""The documented architecture as an ordinary Keras model, every seed explicit."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from mnist_study.core.config import Activation, NetworkParams
from mnist_study.core.errors import UserFacingError
from mnist_study.core.text import first_line
from mnist_study.core.trials import Seeds
from mnist_study.data.dataset import TestSet
from mnist_study.data.values import N_CLASSES, SIDE

IMAGE_SHAPE = (SIDE, SIDE)


class NetworkFileError(UserFacingError):
    """A file that holds no network as training writes it."""


def build_model(
    params: NetworkParams,
    seeds: Seeds,
    *,
    dtype: str = "float32",
    activation: Activation = "relu",
) -> keras.Model:
    """Build the network of the document with the given widths and regularization.

    Args:
        params: widths, dropout rates and L2 strength.
        seeds: `init_seed` decides the initial weights, `dropout_seed` the layers' own masks.
        dtype: of weights and activations; float64 serves the tests.
        activation: of the hidden layers.

    Returns:
        A Keras model from images (batch, 28, 28), scaled to [0, 1], to probabilities (batch, 10).
    """
    init_seeds = np.random.SeedSequence(seeds.init_seed).generate_state(4, np.uint32) >> 1
    dropout_seeds = np.random.SeedSequence(seeds.dropout_seed).generate_state(2, np.uint32) >> 1

    def dense(index: int, units: int, function: str, l2: float = 0.0) -> keras.layers.Dense:
        return keras.layers.Dense(
            units,
            activation=function,
            kernel_initializer=keras.initializers.GlorotUniform(seed=int(init_seeds[index])),
            kernel_regularizer=keras.regularizers.L2(l2) if l2 else None,
            dtype=dtype,
            name=f"dense_{index + 1}",
        )

    def dropout(index: int, rate: float) -> keras.layers.Dropout:
        seed = int(dropout_seeds[index])
        return keras.layers.Dropout(rate, seed=seed, dtype=dtype, name=f"dropout_{index + 1}")

    return keras.Sequential(
        [
            keras.layers.Input(IMAGE_SHAPE, dtype=dtype, name="image"),
            keras.layers.Flatten("channels_last", dtype=dtype, name="flatten"),
            dense(0, params.units_1, activation, params.l2),
            dense(1, params.units_2, activation),
            dropout(0, params.dropout_1),
            dense(2, params.units_3, activation),
            dropout(1, params.dropout_2),
            dense(3, N_CLASSES, "softmax"),
        ],
        name="mnist_network",
    )


def probabilities(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return a model's probabilities for images, float32 (n, 10).

    Args:
        model: from scaled images (n, 28, 28) to probabilities (n, 10).
        images: uint8 (n, 28, 28).
    """
    probabilities: np.ndarray = model.predict(images / np.float32(255), batch_size=1000, verbose=0)
    return probabilities


def measure(model: keras.Model, test_set: TestSet) -> dict[str, float]:
    """Measure a model on test images, without dropout or penalty.

    Args:
        model: from scaled images (n, 28, 28) to probabilities (n, 10).
        test_set: the held-out images.

    Returns:
        `test/accuracy` in [0, 1] and `test/loss`, the mean cross-entropy in nats.
    """
    return measure_probabilities(probabilities(model, test_set.images), test_set)


def measure_probabilities(probabilities: np.ndarray, test_set: TestSet) -> dict[str, float]:
    """Do what `measure` does, from a model's probabilities for the test images, float32 (n, 10)."""
    of_truth = probabilities[np.arange(len(test_set.labels)), test_set.labels].astype(np.float64)
    correct = probabilities.argmax(axis=1) == test_set.labels
    return {
        "test/accuracy": float(correct.mean()),
        "test/loss": float(-np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)).mean()),
    }


def look_for_devices() -> None:
    """Let Keras's backend look for devices, and print its messages, now rather than later."""
    keras.ops.zeros(1)


def weights_sha256(weights: Sequence[np.ndarray]) -> str:
    """Return the identity of a network: SHA-256 over dtype, shape and bytes of each weight array.

    Two saved files of one model differ in their bytes; the weights do not.
    """
    digest = hashlib.sha256()
    for weight in weights:
        digest.update(f"{weight.dtype.str}{weight.shape}".encode())
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def model_to_bytes(model: keras.Model) -> bytes:
    """Return the `.keras` file of a model that was never compiled (no optimizer state)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


def forget_models() -> None:
    """Free the memory that Keras and TensorFlow keep for every model built, about 1 MB each.

    Must not be called while another thread builds a model.
    """
    keras.backend.clear_session(free_memory=False)


def model_from_bytes(content: bytes) -> keras.Model:
    """Return the model of a `.keras` file; code inside the file is refused by Keras.

    Raises:
        NetworkFileError: Keras refuses the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(content)
        try:
            return keras.models.load_model(path, compile=False, safe_mode=True)
        # Keras raises errors of many kinds for a file that it did not write.
        except Exception as error:
            raise NetworkFileError(
                f"the network cannot be loaded ({first_line(error)}); expected a .keras file as "
                "training writes it, without code in it; restore it from a copy of the store, or "
                "promote another model"
            ) from error
