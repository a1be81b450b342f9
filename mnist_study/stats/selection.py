"""Choosing among configurations from paired replicates: the finalists, and the winner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from mnist_study.stats.estimates import FloatArray, TEstimate, as_sample, check_rate, mean_estimate


@dataclass(frozen=True)
class WithinMargin:
    """Which configurations are shown to be no more than a margin worse than the best.

    Attributes:
        best: position of the highest mean, the first of equals.
        lower_bounds: joint one-sided lower bounds of each mean difference to the best, in the unit
            of the values; 0 for the best itself.
        within: whether the bound lies above minus the margin; true for the best.
    """

    best: int
    lower_bounds: tuple[float, ...]
    within: tuple[bool, ...]


def best_of(values: ArrayLike, n: int) -> list[int]:
    """Return the positions of the `n` highest means, best first, ties in order of position.

    Args:
        values: shape (n_replicates, n_configurations).
        n: how many; all configurations if there are fewer.
    """
    means = _as_table(values, at_least=1).mean(axis=0)
    return [int(position) for position in np.argsort(-means, kind="stable")[:n]]


def within_margin(values: ArrayLike, margin: float, *, confidence: float = 0.95) -> WithinMargin:
    """Find the configurations whose paired difference to the best is shown to be within a margin.

    These are the best itself and all others for which the one-sided lower bound of the mean
    difference to it lies above minus the margin. The bounds hold jointly: each of the m - 1
    comparisons has confidence 1 - (1 - confidence) / (m - 1). A difference that is only not
    significant does not suffice; with few replicates no bound reaches the margin, and only the
    best is within it.

    Args:
        values: shape (n_replicates, n_configurations), paired by row, two of each or more.
        margin: above zero, in the unit of the values, declared before they were seen.
        confidence: of all bounds together, in (0, 1).

    Raises:
        ValueError: another shape, a value that is not finite, or a margin that is not above zero.

    References:
        Hsu, Constrained simultaneous confidence intervals for multiple comparisons with the best,
        Annals of Statistics 12, 1984 (the comparisons; Bonferroni's correction is used here, which
        assumes nothing about their correlation).
    """
    check_rate("confidence", confidence)
    table = _as_table(values, at_least=2)
    n_replicates, n_configurations = table.shape
    if n_configurations < 2:
        raise ValueError(f"needs two configurations or more, got {n_configurations}")
    if not (margin > 0.0 and math.isfinite(margin)):
        raise ValueError(f"margin must be finite and above zero, got {margin}")
    best = int(np.argmax(table.mean(axis=0)))
    differences = table - table[:, [best]]
    standard_errors = differences.std(axis=0, ddof=1) / math.sqrt(n_replicates)
    level = 1.0 - (1.0 - confidence) / (n_configurations - 1)
    quantile = float(special.stdtrit(n_replicates - 1, level))
    bounds = differences.mean(axis=0) - quantile * standard_errors
    within = bounds > -margin  # the best's own bound is exactly 0
    return WithinMargin(
        best, tuple(float(bound) for bound in bounds), tuple(bool(is_in) for is_in in within)
    )


def smallest(allowed: Sequence[bool], sizes: Sequence[float], means: Sequence[float]) -> int:
    """Return the position of the smallest allowed network; among equals, that of the highest mean.

    Raises:
        ValueError: none is allowed.
    """
    positions = [position for position, is_allowed in enumerate(allowed) if is_allowed]
    return min(positions, key=lambda position: (sizes[position], -means[position]))


def corrected_resampled_estimate(values: ArrayLike, test_share: float) -> TEstimate:
    """Estimate a mean over random splits of one data set, corrected for their overlap.

    The training sets of random splits share most of their rows, so the values are correlated and
    the usual variance of their mean is too small as a statement about other data of that size.
    The correction takes (1/J + n_test/n_train) s^2 in place of s^2/J.

    Args:
        values: one per split, such as paired differences, shape (n_splits,), n_splits >= 2.
        test_share: n_test/n_train, the held-out rows over the training rows of a split, >= 0.

    Returns:
        The mean with the corrected standard error and n_splits - 1 degrees of freedom.

    Raises:
        ValueError: fewer than two values, a value that is not finite, or a negative share.

    References:
        Nadeau and Bengio, Inference for the generalization error, Machine Learning 52, 2003.
    """
    if not (test_share >= 0.0 and math.isfinite(test_share)):
        raise ValueError(f"test_share must be finite and not negative, got {test_share}")
    sample = as_sample("values", values)
    plain = mean_estimate(sample)
    widening = math.sqrt(1.0 + len(sample) * test_share)
    return TEstimate(plain.estimate, plain.standard_error * widening, plain.degrees_of_freedom)


def _as_table(values: ArrayLike, *, at_least: int) -> FloatArray:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] < at_least:
        raise ValueError(
            f"values needs shape (n_replicates, n_configurations) with n_replicates >= {at_least}, "
            f"got {table.shape}"
        )
    if not np.isfinite(table).all():
        raise ValueError(f"values must be finite, got {table[~np.isfinite(table)][0]}")
    return table
