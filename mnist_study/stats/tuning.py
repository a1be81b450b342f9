"""The expected best of n trials of a search, and whether more trials would pay.

Trials are treated as independent draws. They are independent where a sampler draws at random, and
only roughly so where it learns from earlier trials. Values go in and come out in one unit; larger
is better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from mnist_study.stats.estimates import FloatArray, Interval, as_sample, check_rate

FEWEST_FOR_GAIN = 20
"""With fewer trials the spacings of the best ones say too little about further ones."""


@dataclass(frozen=True)
class TuningCurve:
    """The median of the best of n trials, for several n.

    Attributes:
        n: numbers of trials, shape (n_points,).
        median: the best of n trials is at least this with probability one half.
        low: lower ends of a band that holds for all n together; -inf where there is none.
        high: upper ends; inf where there is none.
        confidence: that the whole true curve lies in the band, at least.
    """

    n: FloatArray
    median: FloatArray
    low: FloatArray
    high: FloatArray
    confidence: float


def tuning_curve(values: ArrayLike, n: ArrayLike, *, confidence: float = 0.95) -> TuningCurve:
    """Estimate the median of the best of n independent trials, with a band for the whole curve.

    A simultaneous confidence band of the values' distribution function, exact in finite samples
    whatever the distribution, is turned into a band of the curve. Each order statistic of uniform
    values follows a beta distribution; the band consists of their highest-density intervals at the
    one level at which they hold simultaneously. The curve depends on the upper half of the
    distribution alone, so the band covers more often than its nominal level (simulated: 99 %
    instead of 95 %).

    Args:
        values: one per trial, shape (n_trials,), n_trials >= 2.
        n: numbers of trials to ask for, each 1 or more, shape (n_points,).
        confidence: of the band, in (0, 1).

    Raises:
        ValueError: fewer than two values, one that is not finite, or an n below 1.

    References:
        Lourie, Cho and He, Show your work with confidence: confidence bands for tuning curves,
        NAACL 2024.
        Dodge et al., Show your work: improved reporting of experimental results, EMNLP 2019.
    """
    ordered = np.sort(as_sample("values", values))
    numbers = np.atleast_1d(np.asarray(n, dtype=np.float64))
    if not (numbers >= 1.0).all():
        raise ValueError(f"n must be 1 or more, got {numbers[~(numbers >= 1.0)][0]}")
    size = len(ordered)
    lower, upper = distribution_band(size, confidence)
    # The best of n lies below y with probability F(y)^n: its median is that quantile of F.
    quantiles = 0.5 ** (1.0 / numbers)
    # F is at least `lower[i]` from the i-th value on, and at most `upper[i]` below it.
    reached = np.searchsorted(np.arange(1, size + 1) / size, quantiles - 1e-12)
    surely_reached = np.searchsorted(lower, quantiles)
    perhaps_reached = np.searchsorted(upper, quantiles)
    return TuningCurve(
        n=numbers,
        median=ordered[np.minimum(reached, size - 1)],
        low=np.concatenate([[-math.inf], ordered])[np.minimum(perhaps_reached, size)],
        high=np.concatenate([ordered, [math.inf]])[surely_reached],
        confidence=confidence,
    )


def expected_best(values: ArrayLike, n: int) -> float:
    """Return the mean of the best of n trials over all choices of n of the given trials.

    Re-sampling without replacement converges to it. It is unbiased for independent trials; with
    replacement (Dodge et al. 2019) the estimate is too low.

    Args:
        values: one per trial, shape (n_trials,).
        n: from 1 to n_trials.

    Raises:
        ValueError: n outside that range, or a value that is not finite.

    References:
        Tang et al., Showing your work doesn't always work, ACL 2020.
    """
    ordered = np.sort(as_sample("values", values, at_least=1))
    return float(_weights_of_best(len(ordered), n) @ ordered)


def best_difference(
    control: ArrayLike,
    treatment: ArrayLike,
    n: int,
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Estimate by how much the expected best of n trials differs between two searches.

    The interval comes from re-sampling the trials of each search (percentile bootstrap). It covers
    other trials like these, not another run of a search that learns. Simulated with 60 trials each,
    95 % intervals cover in 90 to 95 % of samples for n up to a sixth of the trials, and in fewer
    for larger n, which are therefore refused.

    Args:
        control: values of the one search, shape (n_control,).
        treatment: of the other, shape (n_treatment,).
        n: 1 or more, and at most a sixth of the trials of each.
        rng: the only source of randomness.
        n_resamples: of each search.
        confidence: of the interval.

    Returns:
        Treatment minus control.

    Raises:
        ValueError: n outside its range, or a value that is not finite.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    check_rate("confidence", confidence)
    samples = [as_sample(name, values) for name, values in
               (("control", control), ("treatment", treatment))]  # fmt: skip
    smallest = min(map(len, samples))
    if not 1 <= n <= largest_comparable(smallest):
        raise ValueError(
            f"n must lie between 1 and {largest_comparable(smallest)}, a sixth of {smallest} "
            f"trials, got {n}"
        )
    means = []
    for sample in samples:
        weights = _weights_of_best(len(sample), n)
        places = rng.integers(0, len(sample), size=(n_resamples, len(sample)))
        resampled = np.sort(sample[places], axis=1) @ weights
        means.append((float(np.sort(sample) @ weights), resampled))
    (control_mean, control_resampled), (treatment_mean, treatment_resampled) = means
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(treatment_resampled - control_resampled, [tail, 1.0 - tail])
    return Interval(treatment_mean - control_mean, float(low), float(high), confidence)


def largest_comparable(n_trials: int) -> int:
    """Return the largest n for which two searches of at least `n_trials` trials are compared."""
    return n_trials // 6


def _weights_of_best(size: int, n: int) -> FloatArray:
    """Return the share of all choices of n of `size` values whose best is the i-th smallest."""
    if not 1 <= n <= size:
        raise ValueError(f"n must lie between 1 and the {size} trials given, got {n}")
    ranks = np.arange(n, size + 1)
    weights = np.zeros(size)
    weights[n - 1 :] = np.exp(_log_choices(ranks - 1, n - 1) - _log_choices(np.array(size), n))
    return weights


def doubling_gain(values: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Estimate by how much the expected best would rise if there were twice as many trials.

    Extrapolating beyond the trials needs a model of the tail: the excesses of the best quarter over
    the next best value follow a generalized Pareto distribution. Its prior is flat in the shape,
    from -1 (values end abruptly at a bound) to 0.1 (a little heavier than exponential), and in the
    logarithm of the scale; its posterior gives that of the gain. Simulated with 20 to 120 trials,
    95 % intervals cover in 88 to 99 % of samples where values are normal, exponential, or those of
    a smooth optimum under noise; where values crowd at a bound, both ends are too high.

    Args:
        values: one per trial, shape (n_trials,), at least `FEWEST_FOR_GAIN`.
        confidence: of the interval.

    Returns:
        The posterior's median with its equal-tailed interval, 0 or more, in the unit of `values`.

    Raises:
        ValueError: too few values, or one that is not finite.

    References:
        Coles, An Introduction to Statistical Modeling of Extreme Values, 2001, chapters 4 and 9.
    """
    check_rate("confidence", confidence)
    ordered = np.sort(as_sample("values", values, at_least=FEWEST_FOR_GAIN))[::-1]
    size, n_tail = len(ordered), len(ordered) // 4
    excesses = ordered[:n_tail] - ordered[n_tail]
    mean_excess = float(excesses.mean())
    if mean_excess == 0.0:
        return Interval(0.0, 0.0, 0.0, confidence)
    shape = _SHAPES[:, None]
    scale = mean_excess * np.exp(np.linspace(math.log(1 / 3), math.log(6), 90))[None, :]
    inner = 1.0 + shape[..., None] * excesses / scale[..., None]
    possible = (inner > 0.0).all(axis=-1)
    log_sum = np.log(np.where(inner > 0.0, inner, 1.0)).sum(axis=-1)
    log_likelihood = -n_tail * np.log(scale) - (1.0 + 1.0 / shape) * log_sum
    weights = np.where(possible, np.exp(log_likelihood - log_likelihood[possible].max()), 0.0)
    # The tail probability T of the best of n follows Beta(1, n); its value goes with T ** -shape.
    log_best = [_log_beta_moment(m, -_SHAPES) for m in (2 * size, size)]
    rise = (np.exp(log_best[0]) - np.exp(log_best[1])) * (size / n_tail) ** -_SHAPES / _SHAPES
    gains = rise[:, None] * scale
    order = np.argsort(gains, axis=None)
    cumulative = np.cumsum(weights.flat[order])
    tail = (1.0 - confidence) / 2
    probabilities = np.array([0.5, tail, 1.0 - tail]) * cumulative[-1]
    middle, low, high = gains.flat[order[np.searchsorted(cumulative, probabilities)]]
    return Interval(float(middle), float(low), float(high), confidence)


# Without values near 0, where the formulas divide by the shape.
_SHAPES = np.array([shape for shape in np.linspace(-1.0, 0.1, 34) if abs(shape) > 0.004])


def _log_beta_moment(n: int, power: FloatArray) -> FloatArray:
    """Return log E[T ** power] for T distributed as the smallest of n uniform values."""
    return np.asarray(
        special.gammaln(n + 1.0) + special.gammaln(1.0 + power) - special.gammaln(n + 1.0 + power)
    )


@lru_cache(maxsize=16)
def distribution_band(size: int, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Bound the distribution function simultaneously at all order statistics of a sample.

    Args:
        size: of the sample, 2 or more.
        confidence: that all bounds hold simultaneously.

    Returns:
        Lower and upper bounds of F at the i-th smallest value, each shape (size,).
    """
    check_rate("confidence", confidence)
    # The level lies between that of a single interval and Bonferroni's; bisect the logarithm of
    # one minus the level, because the level is close to 1.
    low, high = math.log((1.0 - confidence) / size), math.log(1.0 - confidence)
    for _ in range(22):
        middle = (low + high) / 2
        bounds = _highest_density(size, -math.expm1(middle))
        if joint_probability(*bounds) >= confidence:
            low = middle
        else:
            high = middle
    return _highest_density(size, -math.expm1(low))


def _highest_density(size: int, level: float) -> tuple[FloatArray, FloatArray]:
    """Return the shortest intervals with probability `level` of all uniform order statistics."""
    a, b = np.arange(1.0, size + 1), np.arange(size, 0.0, -1)
    # Given the level, the lower end determines the upper one. At the highest-density interval both
    # ends have equal density, so bisect on which end has the lower one.
    tail_low, tail_high = np.zeros(size), np.full(size, 1.0 - level)
    for _ in range(45):
        tail = (tail_low + tail_high) / 2
        lower, upper = _between(a, b, tail, level)
        # If the density is lower at the lower end, cut off more there.
        more = _log_density(lower, a, b) < _log_density(upper, a, b)
        tail_low, tail_high = np.where(more, tail, tail_low), np.where(more, tail_high, tail)
    lower, upper = _between(a, b, (tail_low + tail_high) / 2, level)
    # The densities of the smallest and the largest value are highest at 0 and at 1.
    lower[0], upper[0] = 0.0, float(special.betaincinv(1.0, size, level))
    lower[-1], upper[-1] = float(special.betaincinv(size, 1.0, 1.0 - level)), 1.0
    return lower, upper


def _between(
    a: FloatArray, b: FloatArray, tail: FloatArray, level: float
) -> tuple[FloatArray, FloatArray]:
    """Return the ends of intervals of the beta distributions, by the probability below them."""
    return special.betaincinv(a, b, tail), special.betainccinv(a, b, 1.0 - level - tail)


def _log_density(x: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    return np.asarray(special.xlogy(a - 1, x) + special.xlog1py(b - 1, -x))


def joint_probability(lower: ArrayLike, upper: ArrayLike) -> float:
    """Return the probability that all order statistics of a uniform sample keep to their bounds.

    Computes the distribution of the number of values below each bound in turn, for a Poisson
    process conditioned on its total.

    Args:
        lower: least allowed for the i-th smallest value, non-decreasing, shape (size,), in [0, 1].
        upper: largest allowed, likewise.

    References:
        Moscovich and Nadler, Fast calculation of boundary crossing probabilities for Poisson
        processes, Statistics and Probability Letters 123, 2017.
    """
    lower, upper = as_sample("lower", lower), as_sample("upper", upper)
    size = len(lower)
    times = np.concatenate([lower, upper, [1.0]])
    times = np.unique(np.clip(times, 0.0, 1.0))
    # The number of values below t is at least the number of upper bounds up to t, and at most the
    # number of lower bounds below t.
    fewest = np.searchsorted(np.sort(upper), times, side="right")
    most = np.searchsorted(np.sort(lower), times, side="left")
    log_factorials = special.gammaln(np.arange(size + 1) + 1.0)
    first, chances, before = 0, np.array([1.0]), 0.0
    for time, least, greatest in zip(times, fewest, most, strict=True):
        if least > greatest:
            return 0.0
        rate = size * (time - before)
        steps = np.arange(greatest - first + 1)
        arrivals = np.exp(special.xlogy(steps, rate) - rate - log_factorials[steps])
        reachable = np.convolve(chances, arrivals)[: greatest - first + 1]
        chances = reachable[max(0, least - first) :]
        first, before = max(first, int(least)), float(time)
    all_here = math.exp(size * math.log(size) - size - log_factorials[size])
    return min(1.0, float(chances[-1]) / all_here) if first + len(chances) - 1 == size else 0.0


def _log_choices(n: FloatArray | np.ndarray, k: int) -> FloatArray:
    return np.asarray(-np.log(n + 1.0) - special.betaln(n - k + 1.0, k + 1.0))
