"""Paired comparisons over seeds, and how many seeds they need."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special
from scipy.optimize import brentq

from mnist_study.stats.estimates import Interval, TEstimate, as_sample, check_rate, mean_estimate
from mnist_study.stats.proportions import wilson_interval


@dataclass(frozen=True)
class PairedEffect:
    """The effect of a treatment over replicates that share everything else.

    Attributes:
        n_pairs: independent replicates behind the estimate.
        estimate: mean difference, standard error and degrees of freedom.
        interval: t interval of the mean difference, in the unit of the outcome.
        sd: standard deviation of the differences.
        p_value: two-sided, of no mean difference.
        cohens_dz: mean difference over `sd`, with its noncentral-t interval.
        probability_positive: that the difference of a fresh replicate is positive, ties counting
            half, with its Wilson interval. It is the probability of improvement where more is
            better, and one minus it where less is.
    """

    n_pairs: int
    estimate: TEstimate
    interval: Interval
    sd: float
    p_value: float
    cohens_dz: Interval
    probability_positive: Interval


def paired_effect(
    treatment: ArrayLike, control: ArrayLike, *, confidence: float = 0.95
) -> PairedEffect:
    """Estimate what the treatment changes, by a paired t procedure.

    The interval covers the variation between replicates, not the choice of test images; for both
    see `crossed_mean`. Replicates must be independent, each with a seed and a split of its own.

    Args:
        treatment: outcomes in any one unit, shape (n_pairs,).
        control: the same without the treatment, paired by position.
        confidence: of all intervals, in (0, 1).

    Returns:
        The effect of treatment minus control.

    Raises:
        ValueError: shapes differ, fewer than two pairs, or a value that is not finite.

    References:
        Student, The probable error of a mean, Biometrika 6, 1908.
    """
    treated = as_sample("treatment", treatment)
    controlled = as_sample("control", control)
    if treated.shape != controlled.shape:
        raise ValueError(
            f"treatment and control must pair up, got shapes {treated.shape} and {controlled.shape}"
        )
    return mean_effect(treated - controlled, confidence=confidence)


def mean_effect(differences: ArrayLike, *, confidence: float = 0.95) -> PairedEffect:
    """Estimate a mean difference, or a contrast of several runs, over independent replicates.

    Args:
        differences: one per replicate, shape (n_pairs,), n_pairs >= 2, in the unit of the outcome.
        confidence: of all intervals, in (0, 1).

    Raises:
        ValueError: fewer than two differences, another shape, or a value that is not finite.
    """
    sample = as_sample("differences", differences)
    estimate = mean_estimate(sample)
    return PairedEffect(
        n_pairs=len(sample),
        estimate=estimate,
        interval=estimate.interval(confidence),
        sd=float(np.std(sample, ddof=1)),
        p_value=estimate.p_value,
        cohens_dz=cohens_dz(sample, confidence=confidence),
        probability_positive=probability_positive(sample, confidence=confidence),
    )


def cohens_dz(differences: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Standardize the mean difference by the standard deviation of the differences.

    Where all differences are equal their standard deviation is zero: d_z is then 0 if they are
    zero and infinite otherwise, with the interval collapsed onto it.

    Args:
        differences: shape (n_pairs,), n_pairs >= 2.
        confidence: of the interval, which inverts the noncentral t distribution.

    Raises:
        ValueError: fewer than two differences, another shape, or a value that is not finite.

    References:
        Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd ed. 1988, chapter 2.
        Steiger and Fouladi, Noncentrality interval estimation and the evaluation of statistical
        models, in What if there were no significance tests?, 1997.
    """
    check_rate("confidence", confidence)
    sample = as_sample("differences", differences)
    statistic = mean_estimate(sample).statistic()
    root_n = math.sqrt(len(sample))
    if math.isinf(statistic):
        return Interval(statistic, statistic, statistic, confidence)
    if np.ptp(sample) == 0.0:
        return Interval(0.0, 0.0, 0.0, confidence)
    tail = (1.0 - confidence) / 2
    low = _noncentrality(statistic, len(sample) - 1, 1.0 - tail)
    high = _noncentrality(statistic, len(sample) - 1, tail)
    return Interval(statistic / root_n, low / root_n, high / root_n, confidence)


def _noncentrality(statistic: float, degrees_of_freedom: float, probability: float) -> float:
    """Solve P(T <= statistic) = probability for the noncentrality of T."""

    def excess(noncentrality: float) -> float:
        cdf = float(special.nctdtr(degrees_of_freedom, noncentrality, statistic))
        if math.isnan(cdf):  # scipy returns NaN far out in the tails
            cdf = 0.0 if noncentrality > statistic else 1.0
        return cdf - probability

    # The statistic itself is within about one unit of the solution; the spread of a noncentral t
    # grows with |statistic| / sqrt(2 df).
    reach = 10.0 * (1.0 + abs(statistic) / math.sqrt(2.0 * degrees_of_freedom))
    return float(brentq(excess, statistic - reach, statistic + reach, xtol=1e-12))


def probability_positive(differences: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Estimate the probability that the difference of a fresh replicate is positive.

    The paired form of the probability of improvement. Ties count one half. The interval is
    Wilson's, which with ties is conservative.

    Args:
        differences: shape (n_pairs,), n_pairs >= 2.
        confidence: of the interval, in (0, 1).

    Raises:
        ValueError: fewer than two differences, another shape, or a value that is not finite.

    References:
        Agarwal et al., Deep reinforcement learning at the edge of the statistical precipice,
        NeurIPS 2021, section 4 (unpaired form).
        Wilson, Probable inference, the law of succession, and statistical inference, JASA 22, 1927.
    """
    sample = as_sample("differences", differences)
    wins = float(np.count_nonzero(sample > 0) + 0.5 * np.count_nonzero(sample == 0))
    return wilson_interval(wins, len(sample), confidence=confidence)


def power_of_paired_t(effect: float, sd: float, n_pairs: int, *, alpha: float = 0.05) -> float:
    """Return the power of the two-sided paired t-test for a true mean difference.

    Args:
        effect: true mean difference, in the unit of `sd`.
        sd: standard deviation of the differences, above zero.
        n_pairs: number of pairs, at least 2.
        alpha: two-sided level, in (0, 1).

    Raises:
        ValueError: `sd` not above zero or `n_pairs` below 2.

    References:
        Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd ed. 1988, chapter 2.
    """
    _check_design(sd, n_pairs, alpha)
    degrees_of_freedom = n_pairs - 1
    noncentrality = abs(effect) / sd * math.sqrt(n_pairs)
    critical = float(special.stdtrit(degrees_of_freedom, 1.0 - alpha / 2))
    # statsmodels' TTestPower computes the same, but returns NaN for large effects (4 sd, 9 pairs),
    # because scipy's noncentral t does where its distribution function is practically zero.
    not_above, below = special.nctdtr(
        degrees_of_freedom, noncentrality, np.array([critical, -critical])
    )
    return float(1.0 - np.nan_to_num(not_above) + np.nan_to_num(below))


def required_pairs(
    effect: float, sd: float, *, alpha: float = 0.05, power: float = 0.80
) -> int | None:
    """Return how many pairs detect a mean difference with the given power.

    Args:
        effect: true mean difference, in the unit of `sd`.
        sd: standard deviation of the differences, 0 or more.
        alpha: two-sided level of the paired t-test.
        power: wanted, in (0, 1).

    Returns:
        The smallest number that reaches the power, at least 2; None where `effect` is zero or
        so small that no number below a thousand million pairs suffices.

    Raises:
        ValueError: a negative or non-finite `sd`, or a rate outside (0, 1).

    References:
        Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd ed. 1988, chapter 2.
    """
    check_rate("power", power)
    check_rate("alpha", alpha)
    if not (math.isfinite(sd) and sd >= 0.0 and math.isfinite(effect)):
        raise ValueError(f"effect and sd must be finite and sd >= 0, got {effect} and {sd}")
    if effect == 0.0:
        return None
    if sd == 0.0:
        return 2

    def suffices(n_pairs: int) -> bool:
        return power_of_paired_t(effect, sd, n_pairs, alpha=alpha) >= power

    # Power grows with n: double until it suffices, then halve the bracket. statsmodels'
    # solve_power does not converge where the answer is below about three.
    enough = 2
    while not suffices(enough):
        enough *= 2
        if enough > 1_000_000_000:
            return None
    too_few = enough // 2
    while enough - too_few > 1 and enough > 2:
        middle = (enough + too_few) // 2
        too_few, enough = (too_few, middle) if suffices(middle) else (middle, enough)
    return enough


def smallest_detectable_effect(
    sd: float, n_pairs: int, *, alpha: float = 0.05, power: float = 0.80
) -> float:
    """Return the smallest mean difference that the paired t-test finds with the given power.

    Args:
        sd: standard deviation of the differences (or contrasts) over the replicates.
        n_pairs: number of independent replicates, at least 2.
        alpha: two-sided level; divide by the family's size for the first step of Holm's procedure.
        power: wanted, in (alpha, 1).

    Returns:
        A positive effect in the unit of `sd`.

    Raises:
        ValueError: `sd` not above zero, `n_pairs` below 2, or `power` not in (alpha, 1).

    References:
        Bloom, Minimum detectable effects, Evaluation Review 19, 1995.
    """
    _check_design(sd, n_pairs, alpha)
    if not alpha < power < 1.0:
        raise ValueError(f"power must lie between alpha = {alpha} and 1, got {power}")

    def shortfall(standardized: float) -> float:
        return power_of_paired_t(standardized, 1.0, n_pairs, alpha=alpha) - power

    high = 1.0
    while shortfall(high) < 0.0:
        high *= 2.0
    return sd * float(brentq(shortfall, 0.0, high, xtol=1e-14, rtol=1e-14))


def contrast_sd(run_sd: float, n_factors: int, *, correlation: float = 0.0) -> float:
    """Predict the standard deviation of a replicate's factorial contrast before running.

    A contrast on the scale of a main effect takes 2**n_factors runs with weights
    +-2 / 2**n_factors. This assumes that the effect itself does not vary over replicates; where it
    does, the predicted value is too small.

    Args:
        run_sd: standard deviation of the outcome over runs of one cell.
        n_factors: crossed two-level factors.
        correlation: between two cells that share seed and split, below 1.

    Raises:
        ValueError: a count below 1, or a correlation outside [-1, 1).

    References:
        Box, Hunter and Hunter, Statistics for Experimenters, 2nd ed. 2005, chapter 5.
    """
    if n_factors < 1 or not -1.0 <= correlation < 1.0:
        raise ValueError(
            f"needs n_factors >= 1 and correlation in [-1, 1), got {n_factors} and {correlation}"
        )
    return 2.0 * run_sd * math.sqrt((1.0 - correlation) / 2**n_factors)


def _check_design(sd: float, n_pairs: int, alpha: float) -> None:
    check_rate("alpha", alpha)
    if not (math.isfinite(sd) and sd > 0.0) or n_pairs < 2:
        raise ValueError(f"needs a finite sd > 0 and n_pairs >= 2, got {sd} and {n_pairs}")
