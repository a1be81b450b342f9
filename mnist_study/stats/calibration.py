"""Calibration of predicted probabilities: the expected calibration error."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, *, n_bins: int = 15
) -> float:
    """Return the expected calibration error of the predicted class.

    Images fall into equal-width bins of confidence, the highest probability of an image; bin b of
    n_bins holds confidences in ((b - 1) / n_bins, b / n_bins]. The error is the mean over images
    of |accuracy of the bin - mean confidence of the bin|. It is biased upward in small samples and
    depends on the bins, so compare only values with equal `n_bins` and equal number of images.

    Args:
        probabilities: shape (n_images, n_classes), in [0, 1]; each row sums to 1 within 1e-3.
        labels: integers, shape (n_images,), in [0, n_classes).
        n_bins: number of bins, at least 1.

    Returns:
        A rate in [0, 1].

    Raises:
        ValueError: shapes, probabilities or labels that do not fit.

    References:
        Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian
        binning, AAAI 2015.
        Guo et al., On calibration of modern neural networks, ICML 2017, section 2 (for several
        classes; 15 bins in table 1).
    """
    predicted = np.asarray(probabilities, dtype=np.float64)
    truth = np.asarray(labels)
    if predicted.ndim != 2 or predicted.shape[0] == 0 or truth.shape != predicted.shape[:1]:
        raise ValueError(
            "needs probabilities (n_images, n_classes) and labels (n_images,), got "
            f"{predicted.shape} and {truth.shape}"
        )
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    if not ((predicted >= 0.0) & (predicted <= 1.0 + 1e-6)).all():
        raise ValueError(
            f"probabilities must lie in [0, 1], got {np.min(predicted)} to {np.max(predicted)}"
        )
    worst_sum = float(np.max(np.abs(predicted.sum(axis=1) - 1.0)))
    if worst_sum > 1e-3:
        raise ValueError(f"each row must sum to 1 within 1e-3, got one that is off by {worst_sum}")
    n_classes = predicted.shape[1]
    if not np.issubdtype(truth.dtype, np.integer) or truth.min() < 0 or truth.max() >= n_classes:
        raise ValueError(
            f"labels must be integers in [0, {n_classes}), got {truth.dtype} "
            f"from {truth.min()} to {truth.max()}"
        )
    confidence = predicted.max(axis=1)
    correct = predicted.argmax(axis=1) == truth
    upper_edges = np.arange(1, n_bins) / n_bins
    bins = np.searchsorted(upper_edges, confidence, side="left")
    # |accuracy - confidence| times the share of images in the bin is |sum of differences| / n.
    differences = np.bincount(bins, weights=correct - confidence, minlength=n_bins)
    return float(np.abs(differences).sum() / len(confidence))
