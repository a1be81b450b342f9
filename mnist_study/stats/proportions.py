"""Accuracies as proportions of images: of one classifier, and of two on the same images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from scipy.optimize import brentq
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from mnist_study.stats.estimates import Interval, check_rate


@dataclass(frozen=True)
class ClassifierComparison:
    """Two classifiers on the same images.

    Attributes:
        n_images: images that both classified.
        n_only_first_correct, n_only_second_correct: the discordant images.
        difference: accuracy of the first minus that of the second, with Tango's score interval.
        p_value: McNemar's exact test, two-sided.
    """

    n_images: int
    n_only_first_correct: int
    n_only_second_correct: int
    difference: Interval
    p_value: float


def wilson_interval(n_correct: float, n_images: int, *, confidence: float = 0.95) -> Interval:
    """Return Wilson's score interval of a proportion, such as an accuracy.

    It covers the choice of test images for one fixed classifier, not the variation between seeds.

    Args:
        n_correct: successes, 0 <= n_correct <= n_images; halves are allowed for ties.
        n_images: number of trials, at least 1.
        confidence: in (0, 1).

    Returns:
        The proportion in [0, 1] with its interval.

    Raises:
        ValueError: counts that cannot be.

    References:
        Wilson, Probable inference, the law of succession, and statistical inference, JASA 22, 1927.
    """
    check_rate("confidence", confidence)
    if n_images < 1 or not 0 <= n_correct <= n_images:
        raise ValueError(
            f"needs n_images >= 1 and 0 <= n_correct <= n_images, got {n_correct} of {n_images}"
        )
    low, high = proportion_confint(n_correct, n_images, alpha=1.0 - confidence, method="wilson")
    # Rounding can put an end at 0 or 1 on the wrong side of the estimate, by one unit.
    estimate = n_correct / n_images
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate), confidence)


def compare_classifiers(
    first_correct: ArrayLike, second_correct: ArrayLike, *, confidence: float = 0.95
) -> ClassifierComparison:
    """Compare the accuracies of two fixed classifiers on the same images.

    Args:
        first_correct: whether the first classified each image correctly, bool or 0/1, shape
            (n_images,).
        second_correct: the same for the second, paired by position.
        confidence: of the interval of the difference.

    Raises:
        ValueError: shapes differ, no image, or a value other than 0 and 1.

    References:
        McNemar, Note on the sampling error of the difference between correlated proportions or
        percentages, Psychometrika 12, 1947.
        Dietterich, Approximate statistical tests for comparing supervised classification learning
        algorithms, Neural Computation 10, 1998.
    """
    first = _as_correctness("first_correct", first_correct)
    second = _as_correctness("second_correct", second_correct)
    if first.shape != second.shape:
        raise ValueError(
            f"both classifiers need the same images, got shapes {first.shape} and {second.shape}"
        )
    only_first = int(np.count_nonzero(first & ~second))
    only_second = int(np.count_nonzero(second & ~first))
    return ClassifierComparison(
        n_images=len(first),
        n_only_first_correct=only_first,
        n_only_second_correct=only_second,
        difference=tango_interval(only_first, only_second, len(first), confidence=confidence),
        p_value=mcnemar_exact(only_first, only_second),
    )


def mcnemar_exact(n_only_first_correct: int, n_only_second_correct: int) -> float:
    """Return the two-sided p-value of McNemar's exact test, 1 where nothing is discordant.

    Raises:
        ValueError: a negative count.

    References:
        McNemar, Note on the sampling error of the difference between correlated proportions or
        percentages, Psychometrika 12, 1947.
    """
    _check_discordant(n_only_first_correct, n_only_second_correct)
    table = [[0, n_only_first_correct], [n_only_second_correct, 0]]
    return min(1.0, float(mcnemar(table, exact=True).pvalue))


def tango_interval(
    n_only_first_correct: int,
    n_only_second_correct: int,
    n_images: int,
    *,
    confidence: float = 0.95,
) -> Interval:
    """Return Tango's score interval of the difference of two paired proportions.

    It inverts the score test, so it agrees with McNemar's (asymptotic, uncorrected) test: zero is
    outside the interval exactly where that test rejects at 1 - confidence.

    Args:
        n_only_first_correct: images that only the first classified correctly.
        n_only_second_correct: images that only the second classified correctly.
        n_images: all pairs, concordant ones included.
        confidence: in (0, 1).

    Returns:
        First minus second proportion, in [-1, 1].

    Raises:
        ValueError: counts that cannot be.

    References:
        Tango, Equivalence test and confidence interval for the difference in proportions for the
        paired-sample design, Statistics in Medicine 17, 1998.
    """
    check_rate("confidence", confidence)
    _check_discordant(n_only_first_correct, n_only_second_correct)
    discordant = n_only_first_correct + n_only_second_correct
    if n_images < 1 or discordant > n_images:
        raise ValueError(
            f"needs n_images >= 1 and no more discordant pairs than images, got {discordant} "
            f"of {n_images}"
        )
    estimate = (n_only_first_correct - n_only_second_correct) / n_images
    critical = float(special.ndtri(0.5 + confidence / 2))

    def end(target: float, outermost: float) -> float:
        """Find where the score reaches `target` between the estimate and `outermost`."""

        def excess(difference: float) -> float:
            # brentq needs finite values; far out only the sign matters.
            score = _tango_score(difference, n_only_first_correct, n_only_second_correct, n_images)
            return min(max(score, -1e6), 1e6) - target

        if excess(outermost) * target <= 0.0 or estimate == outermost:
            return outermost
        return float(brentq(excess, estimate, outermost, xtol=1e-15, rtol=1e-14))

    return Interval(estimate, end(critical, -1.0), end(-critical, 1.0), confidence)


def _tango_score(difference: float, n_first: int, n_second: int, n_images: int) -> float:
    """Return Tango's z for a hypothesized difference; it falls from +inf to -inf over (-1, 1).

    Args:
        difference: hypothesized, of the first minus the second proportion.
        n_first: images that only the first classified correctly.
        n_second: images that only the second classified correctly.
        n_images: all pairs.
    """
    # Restricted maximum-likelihood estimate of P(only second correct).
    b = -(n_first + n_second) + (2 * n_images - n_first + n_second) * difference
    c = -n_second * difference * (1 - difference)
    root = math.sqrt(max(b * b - 8 * n_images * c, 0.0))
    # The two forms of the root of the quadratic; the one without cancellation is taken.
    q21 = (root - b) / (4 * n_images) if b <= 0 else -2 * c / (b + root)
    variance = n_images * (2 * q21 + difference * (1 - difference))
    numerator = n_images * ((n_first - n_second) / n_images - difference)
    if variance <= 0.0:
        return 0.0 if numerator == 0.0 else math.copysign(math.inf, numerator)
    return numerator / math.sqrt(variance)


def _as_correctness(name: str, values: ArrayLike) -> NDArray[np.bool_]:
    correct = np.asarray(values)
    if correct.ndim != 1 or len(correct) == 0:
        raise ValueError(f"{name} needs shape (n_images,) with an image, got {correct.shape}")
    if not np.isin(correct, (0, 1)).all():
        raise ValueError(f"{name} must hold only 0 and 1, got {np.unique(correct)[:5].tolist()}")
    return correct.astype(bool)


def _check_discordant(only_first: int, only_second: int) -> None:
    if only_first < 0 or only_second < 0:
        raise ValueError(f"counts must not be negative, got {only_first} and {only_second}")
