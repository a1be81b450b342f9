"""Estimates with t-based uncertainty, as all modules of this package use them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from statsmodels.stats.weightstats import DescrStatsW

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A point estimate with the ends of its two-sided interval, all in the unit of the estimate."""

    estimate: float
    low: float
    high: float
    confidence: float = 0.95

    def contains(self, value: float) -> bool:
        """Tell whether `value` lies in the closed interval."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class TEstimate:
    """An estimate whose error divided by its standard error follows Student's t.

    Attributes:
        estimate: the point estimate.
        standard_error: of the estimate, same unit.
        degrees_of_freedom: of the standard error; infinite is allowed and means normal.
    """

    estimate: float
    standard_error: float
    degrees_of_freedom: float

    def statistic(self, null_value: float = 0.0) -> float:
        """Return t against `null_value`; 0 or +-inf where the standard error is exactly zero."""
        distance = self.estimate - null_value
        if self.standard_error == 0.0:
            return 0.0 if distance == 0.0 else math.copysign(math.inf, distance)
        return distance / self.standard_error

    def tail(self, null_value: float = 0.0) -> float:
        """Return P(T >= t), the one-sided p-value for the estimate lying above `null_value`."""
        return float(student_t_cdf(-self.statistic(null_value), self.degrees_of_freedom))

    @property
    def p_value(self) -> float:
        """Two-sided p-value of the hypothesis that the true value is zero."""
        return min(1.0, 2.0 * float(student_t_cdf(-abs(self.statistic()), self.degrees_of_freedom)))

    def interval(self, confidence: float = 0.95) -> Interval:
        """Return the two-sided t interval."""
        check_rate("confidence", confidence)
        quantile = float(special.stdtrit(self.degrees_of_freedom, 0.5 + confidence / 2))
        half_width = quantile * self.standard_error
        return Interval(
            self.estimate, self.estimate - half_width, self.estimate + half_width, confidence
        )


@dataclass(frozen=True)
class RunDistribution:
    """What repeated runs of one configuration look like, in the unit of the values given."""

    n_runs: int
    mean: float
    sd: float
    mean_interval: Interval
    prediction_interval: Interval


def mean_estimate(values: ArrayLike) -> TEstimate:
    """Estimate a mean from independent values.

    Args:
        values: shape (n,), n >= 2, finite.

    Raises:
        ValueError: fewer than two values, another shape, or a value that is not finite.
    """
    sample = DescrStatsW(as_sample("values", values))
    return TEstimate(float(sample.mean), float(sample.std_mean), float(sample.nobs - 1))


def run_distribution(values: ArrayLike, *, confidence: float = 0.95) -> RunDistribution:
    """Summarize runs that differ only by their seeds.

    The interval of the mean says where the mean of infinitely many runs lies; the prediction
    interval says where one more run falls, so it is the one to compare a single documented number
    with. The prediction interval, unlike that of the mean, relies on the values being normal.

    Args:
        values: one per run, shape (n_runs,), n_runs >= 2, any unit.
        confidence: of both intervals, in (0, 1).

    Raises:
        ValueError: fewer than two values, another shape, or a value that is not finite.

    References:
        Hahn and Meeker, Statistical Intervals, Wiley 1991, chapter 4.
    """
    sample = as_sample("values", values)
    estimate = mean_estimate(sample)
    sd = float(np.std(sample, ddof=1))
    one_more_run = TEstimate(
        estimate.estimate, sd * math.sqrt(1 + 1 / len(sample)), estimate.degrees_of_freedom
    )
    return RunDistribution(
        n_runs=len(sample),
        mean=estimate.estimate,
        sd=sd,
        mean_interval=estimate.interval(confidence),
        prediction_interval=one_more_run.interval(confidence),
    )


def student_t_cdf(value: ArrayLike, degrees_of_freedom: float) -> FloatArray:
    """Return Student's t distribution function, exact 0 and 1 at the infinities.

    `scipy.special.stdtr` is what `scipy.stats.t` calls, without 50 microseconds of overhead; it
    returns NaN at infinity and for infinite degrees of freedom.
    """
    value = np.asarray(value, dtype=np.float64)
    if math.isinf(degrees_of_freedom):
        return np.asarray(special.ndtr(value))
    finite = np.where(np.isinf(value), 0.0, value)
    cdf = special.stdtr(degrees_of_freedom, finite)
    return np.where(np.isinf(value), (value > 0).astype(np.float64), cdf)


def as_sample(name: str, values: ArrayLike, *, at_least: int = 2) -> FloatArray:
    """Return `values` as float64 of shape (n,), refusing other shapes, few or non-finite values.

    Raises:
        ValueError: another shape, fewer than `at_least` values, or a value that is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) < at_least:
        raise ValueError(f"{name} needs shape (n,) with n >= {at_least}, got {sample.shape}")
    if not np.isfinite(sample).all():
        raise ValueError(f"{name} must be finite, got {sample[~np.isfinite(sample)][0]}")
    return sample


def check_rate(name: str, value: float) -> None:
    """Refuse a probability that is not strictly between 0 and 1.

    Raises:
        ValueError: the value is outside (0, 1).
    """
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}")
