"""From estimates to decisions: corrections for many tests, equivalence, verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import false_discovery_control

from mnist_study.stats.estimates import FloatArray, Interval, TEstimate, check_rate

Direction = Literal["increase", "decrease"]


class Verdict(StrEnum):
    """The verdict on a hypothesis that was declared with a direction."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    EQUIVALENT = "equivalent"
    DEPENDS = "depends"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests against a margin.

    Attributes:
        margin: half-width of the region that counts as equal, in the unit of the estimate.
        p_value: the larger of the two one-sided p-values.
        interval: with confidence 1 - 2 alpha; it lies within +-margin where p_value < alpha.
        equivalent: whether p_value is below alpha.
    """

    margin: float
    p_value: float
    interval: Interval
    equivalent: bool


def holm(p_values: ArrayLike) -> FloatArray:
    """Adjust the p-values of a pre-declared family so that its family-wise error is controlled.

    Args:
        p_values: shape (n_tests,), each in [0, 1].

    Returns:
        Adjusted p-values in the same order: compare each with the family's level.

    Raises:
        ValueError: a p-value outside [0, 1], or another shape.

    References:
        Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
        Statistics 6, 1979.
    """
    checked = _as_p_values(p_values)
    # statsmodels' multipletests gives the same, but runs a full garbage collection on every call,
    # which takes 70 ms in a process with many objects, against microseconds here.
    order = np.argsort(checked)
    steps = np.arange(len(checked), 0, -1) * checked[order]
    adjusted = np.empty_like(checked)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def benjamini_hochberg(p_values: ArrayLike) -> FloatArray:
    """Adjust the p-values of exploratory tests so that their false discovery rate is controlled.

    Args:
        p_values: shape (n_tests,), each in [0, 1].

    Returns:
        Adjusted p-values in the same order.

    Raises:
        ValueError: a p-value outside [0, 1], or another shape.

    References:
        Benjamini and Hochberg, Controlling the false discovery rate, JRSS B 57, 1995.
    """
    checked = _as_p_values(p_values)
    return np.asarray(false_discovery_control(checked, method="bh")) if len(checked) else checked


def equivalence(estimate: TEstimate, margin: float, *, alpha: float = 0.05) -> Equivalence:
    """Test that the true value lies within +-margin, by two one-sided t-tests (TOST).

    Args:
        estimate: of a difference or contrast.
        margin: above zero, in the unit of the estimate, declared before the data were seen.
        alpha: level of each of the two tests, and of both together, below 0.5.

    Raises:
        ValueError: a margin that is not above zero, or alpha outside (0, 0.5).

    References:
        Schuirmann, A comparison of the two one-sided tests procedure and the power approach,
        Journal of Pharmacokinetics and Biopharmaceutics 15, 1987.
    """
    _check_margin(margin)
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha must lie strictly between 0 and 0.5, got {alpha}")
    above_lower = estimate.tail(-margin)
    below_upper = TEstimate(
        -estimate.estimate, estimate.standard_error, estimate.degrees_of_freedom
    ).tail(-margin)
    p_value = max(above_lower, below_upper)
    return Equivalence(
        margin=margin,
        p_value=p_value,
        interval=estimate.interval(1.0 - 2.0 * alpha),
        equivalent=p_value < alpha,
    )


def outside_p_value(estimate: TEstimate, margin: float) -> float:
    """Return the p-value for the true value lying outside +-margin; 1 if the estimate lies inside.

    It is two-sided against the nearer end, so it is below alpha exactly where the whole interval
    with confidence 1 - alpha lies outside.

    Args:
        estimate: of a value, difference or contrast.
        margin: above zero, in the unit of the estimate.

    Raises:
        ValueError: a margin that is not above zero.
    """
    _check_margin(margin)
    distance = TEstimate(
        abs(estimate.estimate), estimate.standard_error, estimate.degrees_of_freedom
    )
    return min(1.0, 2.0 * distance.tail(margin))


def decide(
    estimate: float,
    adjusted_p_value: float,
    direction: Direction,
    equivalence_p_value: float,
    *,
    alpha: float = 0.05,
) -> Verdict:
    """Return the verdict on a hypothesis that was declared with a direction.

    A difference that is shown to lie within the margin is equivalent, even if it differs
    significantly from zero, because the margin defines what matters. Any other significant
    difference is supported or contradicted by its sign; the rest is undecided.

    Args:
        estimate: the effect.
        adjusted_p_value: two-sided, after the correction for the family.
        direction: the declared sign of the effect.
        equivalence_p_value: of the two one-sided tests against the declared margin, after a
            correction for the family of its own.
        alpha: level of both.

    Raises:
        ValueError: an unknown direction, or a p-value outside [0, 1] (NaN included).

    References:
        Lakens, Equivalence tests, Social Psychological and Personality Science 8, 2017, figure 1
        (the four outcomes of a difference test beside an equivalence test).
    """
    check_rate("alpha", alpha)
    if direction not in ("increase", "decrease"):
        raise ValueError(f"direction must be 'increase' or 'decrease', got {direction!r}")
    _as_p_values([adjusted_p_value, equivalence_p_value])
    if equivalence_p_value < alpha:
        return Verdict.EQUIVALENT
    if adjusted_p_value < alpha and estimate != 0.0:
        agrees = (estimate > 0.0) == (direction == "increase")
        return Verdict.SUPPORTED if agrees else Verdict.CONTRADICTED
    return Verdict.UNDECIDED


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict over all settings at which a claim was examined.

    A claim gets a verdict that all settings share. Where the settings' verdicts differ, it depends
    on the setting.

    Args:
        verdicts: of the settings, at least one.

    Raises:
        ValueError: there is none.

    References:
        Berger, Multiparameter hypothesis testing and acceptance sampling, Technometrics 24, 1982
        (a conjunction is supported at the level of its tests where each of them rejects).
    """
    found = set(verdicts)
    if not found:
        raise ValueError("no setting, so no verdict")
    return found.pop() if len(found) == 1 else Verdict.DEPENDS


def _check_margin(margin: float) -> None:
    if not (margin > 0.0 and math.isfinite(margin)):
        raise ValueError(f"margin must be finite and above zero, got {margin}")


def _as_p_values(p_values: ArrayLike) -> FloatArray:
    checked = np.asarray(p_values, dtype=np.float64)
    if checked.ndim != 1:
        raise ValueError(f"p_values needs shape (n_tests,), got {checked.shape}")
    # Written so that NaN, for which every comparison is false, is refused too.
    bad = checked[~((checked >= 0.0) & (checked <= 1.0))]
    if len(bad):
        raise ValueError(f"p-values must lie in [0, 1], got {bad[0]}")
    return checked
