"""Temperature scaling: calibrated probabilities with the same most probable class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

_RANGE = (0.2, 10.0)


def with_temperature(
    probabilities: NDArray[np.floating], temperature: float
) -> NDArray[np.float64]:
    """Return the probabilities of logits that are divided by a temperature.

    Args:
        probabilities: of a softmax, shape (n_images, n_classes).
        temperature: above 0; 1 changes nothing.
    """
    if temperature == 1.0:
        return np.asarray(probabilities, np.float64)
    divided: NDArray[np.float64] = softmax(_logits(probabilities) / temperature, axis=1)
    return divided


def fit_temperature(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return the temperature that minimizes the cross-entropy.

    Args:
        probabilities: of a softmax, shape (n_images, n_classes), on rows not trained on.
        labels: shape (n_images,), in [0, n_classes).

    References:
        Guo et al., On calibration of modern neural networks, ICML 2017, section 4.2.
    """
    logits, rows = _logits(probabilities), np.arange(len(labels))

    def cross_entropy(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-scaled[rows, labels].mean())

    bounds = (float(np.log(_RANGE[0])), float(np.log(_RANGE[1])))
    return float(np.exp(minimize_scalar(cross_entropy, bounds=bounds, method="bounded").x))


def _logits(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return logits up to a constant; a probability of 0 counts as the smallest float32."""
    least = float(np.finfo(np.float32).tiny)
    logits: NDArray[np.float64] = np.log(np.maximum(np.asarray(probabilities, np.float64), least))
    return logits
