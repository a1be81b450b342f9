"""Whether one classifier is shown to be no more than a margin worse than another."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike

from mnist_study.stats.estimates import check_rate
from mnist_study.stats.proportions import ClassifierComparison, compare_classifiers, tango_interval


@dataclass(frozen=True)
class NonInferiority:
    """A one-sided test of non-inferiority on the same images.

    Attributes:
        margin: how much worse still counts as good enough, a share of images.
        lower_bound: one-sided lower bound of the accuracy difference, first minus second.
        is_shown: whether the bound lies above minus the margin.
        comparison: the two-sided difference test on the same answers.
    """

    margin: float
    lower_bound: float
    is_shown: bool
    comparison: ClassifierComparison


def non_inferiority(
    first_correct: ArrayLike,
    second_correct: ArrayLike,
    margin: float,
    *,
    confidence: float = 0.95,
) -> NonInferiority:
    """Test that the first classifier is less than a margin worse than the second.

    The bound is the lower end of Tango's two-sided score interval with confidence
    2 * confidence - 1. A classifier that is truly the margin worse passes with a probability of
    1 - confidence.

    Args:
        first_correct: whether the first classified each image correctly, bool or 0/1, shape
            (n_images,).
        second_correct: the same for the second, paired by position.
        margin: in (0, 1), declared before the answers were seen.
        confidence: of the one-sided bound, in (0.5, 1).

    Raises:
        ValueError: shapes differ, no image, a value other than 0 and 1, or a rate out of range.

    References:
        Tango, Equivalence test and confidence interval for the difference in proportions for the
        paired-sample design, Statistics in Medicine 17, 1998.
    """
    check_rate("margin", margin)
    if not (0.5 < confidence < 1.0 and math.isfinite(confidence)):
        raise ValueError(f"confidence must lie strictly between 0.5 and 1, got {confidence}")
    comparison = compare_classifiers(first_correct, second_correct)
    bound = tango_interval(
        comparison.n_only_first_correct,
        comparison.n_only_second_correct,
        comparison.n_images,
        confidence=2.0 * confidence - 1.0,
    ).low
    return NonInferiority(margin, bound, bound > -margin, comparison)
