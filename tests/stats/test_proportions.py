"""Accuracies on the same images, against scipy, statsmodels and worked examples."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from stats_oracles import EXACT
from statsmodels.stats.contingency_tables import mcnemar

from mnist_study import stats


def test_wilson_interval_of_newcombes_example() -> None:
    """Newcombe 1998 (single proportion), 81 of 263: 0.2553 to 0.3662; 0 of 20: 0 to 0.1611."""
    interval = stats.wilson_interval(81, 263)
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert stats.wilson_interval(0, 20).high == pytest.approx(0.1611, abs=5e-5)
    oracle = scipy.stats.binomtest(9728, 10000).proportion_ci(method="wilson")
    interval = stats.wilson_interval(9728, 10000)
    assert (interval.low, interval.high) == pytest.approx((oracle.low, oracle.high), **EXACT)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_exact_sign_test(first: int, second: int) -> None:
    oracle = scipy.stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert stats.mcnemar_exact(first, second) == pytest.approx(oracle, **EXACT)


def test_tango_interval_of_fagerlands_example() -> None:
    """Fagerland, Lydersen and Laake 2014: 1 and 7 of 21 discordant give -0.517 to -0.026."""
    interval = stats.tango_interval(1, 7, 21)
    assert interval.estimate == pytest.approx(-6 / 21)
    assert (interval.low, interval.high) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("first", "second", "n"), [(40, 20, 160), (3, 1, 20), (70, 45, 10000)])
def test_tango_interval_ends_at_zero_where_mcnemars_test_just_rejects(
    first: int, second: int, n: int
) -> None:
    table = [[n - first - second, first], [second, 0]]
    p_value = mcnemar(table, exact=False, correction=False).pvalue
    interval = stats.tango_interval(first, second, n, confidence=1 - p_value)
    assert interval.low == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize(("first", "second", "n"), [(40, 20, 160), (1, 7, 21), (70, 45, 10000)])
def test_tango_interval_ends_where_the_score_statistic_is_critical(
    first: int, second: int, n: int
) -> None:
    """The restricted estimate found by maximizing the likelihood numerically, not in closed form.

    A numerical maximum is good to the root of the rounding error, hence 1e-5 here.
    """
    interval = stats.tango_interval(first, second, n)
    for difference, expected in ((interval.low, 1.959963985), (interval.high, -1.959963985)):

        def negative_log_likelihood(q: float, shift: float = difference) -> float:
            rest = n - first - second
            return -(
                first * math.log(q + shift)
                + second * math.log(q)
                + rest * math.log(1 - 2 * q - shift)
            )

        bounds = (max(0.0, -difference) + 1e-12, (1 - difference) / 2 - 1e-12)
        fit = minimize_scalar(negative_log_likelihood, bounds=bounds, options={"xatol": 1e-13})
        variance = n * (2 * fit.x + difference * (1 - difference))
        score = (first - second - n * difference) / math.sqrt(variance)
        assert score == pytest.approx(expected, abs=1e-5)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_tango_interval_holds_its_estimate_and_mirrors(first: int, second: int, rest: int) -> None:
    n = first + second + rest
    if n == 0:
        return
    interval = stats.tango_interval(first, second, n)
    mirrored = stats.tango_interval(second, first, n)
    assert -1.0 <= interval.low <= interval.estimate <= interval.high <= 1.0
    assert (mirrored.low, mirrored.high) == pytest.approx((-interval.high, -interval.low), abs=1e-9)


def test_comparison_of_classifiers_counts_the_discordant_images() -> None:
    first = np.array([1, 1, 1, 0, 0, 1], dtype=np.uint8)
    second = np.array([1, 0, 0, 1, 0, 0], dtype=np.uint8)
    result = stats.compare_classifiers(first, second)
    assert (result.n_only_first_correct, result.n_only_second_correct) == (3, 1)
    assert result.difference.estimate == pytest.approx(first.mean() - second.mean())
    assert result.p_value == pytest.approx(scipy.stats.binomtest(3, 4).pvalue, **EXACT)


def test_labels_given_for_correctness_are_refused() -> None:
    with pytest.raises(ValueError, match=r"only 0 and 1, got \[0, 7\]$"):
        stats.compare_classifiers([0, 7], [1, 0])


@pytest.mark.parametrize(("n_correct", "n_images"), [(5, 4), (-1, 4), (0, 0)])
def test_impossible_counts_are_refused(n_correct: int, n_images: int) -> None:
    with pytest.raises(ValueError, match=f"got {n_correct} of {n_images}$"):
        stats.wilson_interval(n_correct, n_images)
