"""A detector of out-of-distribution images: how familiar an image is to a training set.

A network trained only on digits assigns a digit to a letter too, often with high probability. A
second, small network is trained to separate the training images from other drawings, and
generalizes to unseen kinds of drawings (Hendrycks, Mazeika and Dietterich, Deep anomaly detection
with outlier exposure, ICLR 2019). It learns the classes too, with the drawings as one more: of
letters of unknown fonts and of unknown shapes it refuses more than a network that only separates.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

_LAYERS, _EPOCHS, _BATCH = (256, 64), 10, 256


@dataclass(frozen=True, slots=True, eq=False)
class Familiarity:
    """A network that gives each image a familiarity.

    Attributes:
        weights: of each layer, float32 (n_inputs, n_outputs); the last output is "other drawings".
        biases: of each layer, float32 (n_outputs,).
    """

    weights: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]

    def of(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the familiarity of each image, (n,), 0 to 1; training images are near 1.

        Args:
            images: uint8 (n, 28, 28).
        """
        activity = _inputs(images)
        last = len(self.weights) - 1
        for layer, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            activity = activity @ weights + biases
            if layer < last:
                activity = np.maximum(activity, 0)
        if activity.shape[1] == 1:
            # A network that learned no classes says how much more an image is than something else.
            activity = np.concatenate([activity, np.zeros_like(activity)], axis=1)
        familiar: NDArray[np.float64] = 1 - softmax(activity.astype(np.float64), axis=1)[:, -1]
        return familiar

    def as_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the parameters by name, as arrays for a file."""
        named: dict[str, NDArray[np.generic]] = {}
        for layer, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            named |= {f"weights_{layer}": weights, f"biases_{layer}": biases}
        return named

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> Familiarity:
        """Return the network from the arrays of `as_arrays`."""
        n_layers = len(arrays) // 2
        return cls(
            tuple(np.asarray(arrays[f"weights_{i}"], np.float32) for i in range(n_layers)),
            tuple(np.asarray(arrays[f"biases_{i}"], np.float32) for i in range(n_layers)),
        )


def fit_familiarity(
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    others: NDArray[np.uint8],
    *,
    seed: int,
) -> Familiarity:
    """Train the network that separates training images from other drawings.

    Args:
        images: uint8 (n, 28, 28), of the training set.
        labels: their classes, (n,), at least two of them.
        others: uint8 (m, 28, 28), other drawings.
        seed: of the initial weights and the order of rows.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    inputs = np.concatenate([_inputs(images), _inputs(others)])
    # The greatest label is the last output.
    classes = np.append(labels, np.full(len(others), int(labels.max()) + 1))
    network = MLPClassifier(
        _LAYERS, batch_size=min(_BATCH, len(inputs)), max_iter=_EPOCHS, random_state=seed
    )
    with warnings.catch_warnings():
        # The number of epochs is fixed; training is not meant to converge.
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(inputs, classes)
    return Familiarity(
        tuple(np.asarray(w, np.float32) for w in network.coefs_),
        tuple(np.asarray(b, np.float32) for b in network.intercepts_),
    )


def _inputs(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(images, np.float32).reshape(len(images), -1) / np.float32(255)
