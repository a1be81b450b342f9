"""Tuning curves against named oracles, and their intervals against simulated truth."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import genpareto, kstwo

from mnist_study.stats.tuning import (
    FEWEST_FOR_GAIN,
    best_difference,
    distribution_band,
    doubling_gain,
    expected_best,
    joint_probability,
    tuning_curve,
)

Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]


def smooth_optimum(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Random search around a quadratic optimum in three parameters, under normal seed noise."""
    return 98.3 - rng.random(shape) ** (2 / 3) + 0.07 * rng.standard_normal(shape)


# --- the band


@pytest.mark.parametrize(("size", "distance"), [(2, 0.6), (5, 0.4), (60, 0.17), (60, 0.08)])
def test_joint_probability_is_that_of_kolmogorov_and_smirnov(size: int, distance: float) -> None:
    ranks = np.arange(1, size + 1)
    lower = np.clip(ranks / size - distance, 0, 1)
    upper = np.clip((ranks - 1) / size + distance, 0, 1)
    expected = kstwo(size).cdf(distance)
    assert joint_probability(lower, upper) == pytest.approx(expected, rel=1e-6)


def test_joint_probability_of_bounds_that_exclude_each_other_is_zero() -> None:
    assert joint_probability([0.5, 0.5], [0.4, 0.4]) == 0.0


# opda 0.8.0 (Lourie, Cho and He): EmpiricalDistribution.confidence_bands of confidence 0.9, method
# "ld_highest_density", averaged over six generators, because it simulates what is exact here.
OPDA = {
    5: [0.0, 0.0162, 0.1154, 0.2776, 0.4806],
    12: [
        0.0, 0.0019, 0.0207, 0.0563, 0.1039, 0.1612, 0.2272, 0.3016, 0.3850, 0.4782, 0.5827, 0.7045,
    ],
}  # fmt: skip


@pytest.mark.parametrize("size", OPDA)
def test_band_is_that_of_opda(size: int) -> None:
    lower, upper = distribution_band(size, 0.9)
    np.testing.assert_allclose(lower, OPDA[size], atol=2e-3)
    np.testing.assert_allclose(upper, 1 - lower[::-1], atol=1e-9)


@pytest.mark.parametrize(("size", "confidence"), [(2, 0.95), (9, 0.5), (60, 0.95), (200, 0.99)])
def test_band_holds_with_exactly_its_confidence(size: int, confidence: float) -> None:
    lower, upper = distribution_band(size, confidence)
    assert joint_probability(lower, upper) == pytest.approx(confidence, abs=1e-4)
    assert (np.diff(lower) >= 0).all()
    assert (lower < upper).all()


# --- the curve


def test_median_of_the_best_is_that_of_all_equally_likely_draws() -> None:
    values = [0.91, 0.97, 0.93, 0.98, 0.95]
    for n in (1, 2, 3, 4):
        best = sorted(max(draw) for draw in itertools.product(values, repeat=n))
        # The smallest value that at least half of the draws do not pass.
        median = best[math.ceil(len(best) / 2) - 1]
        assert tuning_curve(values, [n]).median == [median]


def test_ends_of_the_curve_are_those_of_opda() -> None:
    # EmpiricalDistribution.quantile_tuning_curve of the bands of confidence 0.95 over 60 values.
    curve = tuning_curve(np.arange(60) / 60, [1, 2, 5, 10, 20, 60])
    assert curve.low == pytest.approx([0.3, 0.516667, 0.7, 0.8, 0.85, 0.9], abs=1e-6)
    assert curve.high == pytest.approx([0.683333, 0.866667, 0.966667, *[math.inf] * 3], abs=1e-6)


def test_curve_never_falls_and_lies_in_its_band() -> None:
    values = smooth_optimum(np.random.default_rng(1), (40,))
    curve = tuning_curve(values, np.arange(1, 41))
    assert (np.diff(curve.median) >= 0).all()
    assert (curve.low <= curve.median).all()
    assert (curve.median <= curve.high).all()


def test_curve_of_two_trials_has_no_lower_end() -> None:
    assert tuning_curve([0.97, 0.98], [1]).low == [-math.inf]


def test_curve_refuses_less_than_one_trial() -> None:
    with pytest.raises(ValueError, match=r"n must be 1 or more, got 0\.0"):
        tuning_curve([0.97, 0.98], [0])


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_expected_best_is_the_mean_over_all_choices(n: int) -> None:
    values = [0.91, 0.97, 0.93, 0.98, 0.93, 0.5]
    choices = [max(choice) for choice in itertools.combinations(values, n)]
    assert expected_best(values, n) == pytest.approx(np.mean(choices))


def test_expected_best_of_more_trials_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="between 1 and the 2 trials given, got 3"):
        expected_best([0.97, 0.98], 3)


# --- what twice as many trials would bring


def test_gain_is_the_posterior_median_by_scipys_generalized_pareto() -> None:
    size, n_tail = 40, 10
    values = np.sort(smooth_optimum(np.random.default_rng(2), (size,)))
    threshold = values[-n_tail - 1]
    excesses = values[-n_tail:] - threshold
    shapes = [shape for shape in np.linspace(-1.0, 0.1, 34) if abs(shape) > 0.004]
    scales = excesses.mean() * np.geomspace(1 / 3, 6, 90)
    # Share of the best of n among the upper tail, by numerical integration over its density.
    tails = (np.arange(200_000) + 0.5) / 200_000
    gains, weights = [], []
    for shape in shapes:
        rise = [
            np.mean(tail_quantile(1 - tails ** (1 / n), shape, size / n_tail)) for n in (40, 80)
        ]
        for scale in scales:
            gains.append(scale * (rise[1] - rise[0]))
            weights.append(math.exp(genpareto.logpdf(excesses, shape, scale=scale).sum()))
    order = np.argsort(gains)
    cumulative = np.cumsum(np.array(weights)[order]) / sum(weights)
    expected = [np.array(gains)[order][np.searchsorted(cumulative, p)] for p in (0.5, 0.025, 0.975)]
    gain = doubling_gain(values)
    assert [gain.estimate, gain.low, gain.high] == pytest.approx(expected, rel=2e-3)


def tail_quantile(tail: NDArray[np.float64], shape: float, ratio: float) -> NDArray[np.float64]:
    """The value that a share `tail` of all trials passes, for a scale of 1 above the threshold."""
    return np.asarray(((tail * ratio) ** -shape - 1) / shape)


def test_gain_is_in_the_unit_of_the_values() -> None:
    values = smooth_optimum(np.random.default_rng(3), (60,))
    in_points, as_rates = doubling_gain(values), doubling_gain(values / 100)
    assert as_rates.estimate == pytest.approx(in_points.estimate / 100)
    assert as_rates.high == pytest.approx(in_points.high / 100)
    assert 0 <= in_points.low < in_points.estimate < in_points.high


def test_gain_of_equal_values_is_zero() -> None:
    gain = doubling_gain([0.98] * 30)
    assert (gain.estimate, gain.low, gain.high) == (0.0, 0.0, 0.0)


def test_gain_of_too_few_trials_is_refused() -> None:
    with pytest.raises(ValueError, match="n >= 20"):
        doubling_gain([0.98] * (FEWEST_FOR_GAIN - 1))


# --- two searches


def test_difference_at_one_trial_is_that_of_the_means() -> None:
    rng = np.random.default_rng(4)
    one, other = rng.normal(0, 1, 60), rng.normal(0.5, 1, 40)
    found = best_difference(one, other, 1, rng=np.random.default_rng(0))
    assert found.estimate == pytest.approx(other.mean() - one.mean())
    standard_error = math.hypot(one.std() / 60**0.5, other.std() / 40**0.5)
    assert found.high - found.low == pytest.approx(2 * 1.96 * standard_error, rel=0.07)


def test_difference_depends_on_its_generator_alone() -> None:
    values = smooth_optimum(np.random.default_rng(5), (2, 60))
    first, again = (
        best_difference(values[0], values[1], 10, rng=np.random.default_rng(7)) for _ in range(2)
    )
    assert first == again


def test_difference_of_too_many_trials_is_refused() -> None:
    with pytest.raises(ValueError, match="between 1 and 10, a sixth of 60 trials, got 11"):
        best_difference(np.arange(60.0), np.arange(70.0), 11, rng=np.random.default_rng(0))


# --- calibration: the small versions run always, the full ones are marked slow


def band_coverage(draw: Draw, n_trials: int, n_studies: int) -> float:
    """Return how often the whole true curve up to 1,000 trials lies in its band."""
    rng = np.random.default_rng(0)
    ns = np.unique(np.geomspace(1, 1000, 60).astype(int))
    truth = np.quantile(draw(rng, (2_000_000,)), 0.5 ** (1 / ns))
    covered = 0
    for _ in range(n_studies):
        curve = tuning_curve(draw(rng, (n_trials,)), ns)
        covered += bool(((curve.low <= truth) & (truth <= curve.high)).all())
    return covered / n_studies


def gain_coverage(draw: Draw, n_trials: int, n_studies: int) -> float:
    rng = np.random.default_rng(0)
    twice = draw(rng, (20_000, 2 * n_trials))
    truth = float((twice.max(axis=1) - twice[:, :n_trials].max(axis=1)).mean())
    gains = [doubling_gain(draw(rng, (n_trials,))) for _ in range(n_studies)]
    return float(np.mean([gain.contains(truth) for gain in gains]))


def difference_coverage(draw: Draw, n: int, n_studies: int) -> float:
    """Of a search whose values lie half as far from the optimum as the other's."""
    rng = np.random.default_rng(0)

    def better(shape: tuple[int, ...]) -> NDArray[np.float64]:
        return 98.3 - (98.3 - draw(rng, shape)) / 2

    truth = float((better((40_000, n)).max(axis=1) - draw(rng, (40_000, n)).max(axis=1)).mean())
    found = [
        best_difference(draw(rng, (60,)), better((60,)), n, rng=rng, n_resamples=500)
        for _ in range(n_studies)
    ]
    return float(np.mean([interval.contains(truth) for interval in found]))


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return rng.standard_normal(shape)


def exponential(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return rng.exponential(size=shape)


def counted(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Of few distinct values, as accuracies on few images are."""
    return rng.binomial(100, 0.98, size=shape).astype(np.float64)


def test_band_covers_the_whole_curve_in_a_small_simulation() -> None:
    assert band_coverage(smooth_optimum, 20, 400) >= 0.94


@pytest.mark.slow
@pytest.mark.parametrize("n_trials", [9, 20, 60])
def test_band_covers_the_distribution_function_as_often_as_it_says(n_trials: int) -> None:
    lower, upper = distribution_band(n_trials, 0.95)
    uniform = np.sort(np.random.default_rng(0).random((20_000, n_trials)), axis=1)
    coverage = ((lower <= uniform) & (uniform <= upper)).all(axis=1).mean()
    print(f"{n_trials} trials: {coverage:.4f}")
    assert 0.945 <= coverage <= 0.955


@pytest.mark.slow
@pytest.mark.parametrize("n_trials", [9, 20, 60])
@pytest.mark.parametrize("draw", [smooth_optimum, normal, counted])
def test_band_covers_the_curve_at_least_as_often_as_it_says(draw: Draw, n_trials: int) -> None:
    # More often, because the curve of whole trials is only the upper half of the distribution.
    coverage = band_coverage(draw, n_trials, 2000)
    print(f"{draw.__name__}, {n_trials} trials: {coverage:.4f}")
    assert coverage >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("n_trials", [20, 60, 120])
@pytest.mark.parametrize("draw", [smooth_optimum, normal, exponential])
def test_gain_covers_about_as_often_as_it_says(draw: Draw, n_trials: int) -> None:
    coverage = gain_coverage(draw, n_trials, 2000)
    print(f"{draw.__name__}, {n_trials} trials: {coverage:.4f}")
    assert coverage >= 0.87


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 5, 10])
@pytest.mark.parametrize("draw", [smooth_optimum, normal])
def test_difference_covers_about_as_often_as_it_says(draw: Draw, n: int) -> None:
    coverage = difference_coverage(draw, n, 1000)
    print(f"{draw.__name__}, best of {n}: {coverage:.4f}")
    assert 0.89 <= coverage <= 0.97
