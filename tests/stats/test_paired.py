"""Paired effects and the seeds that they need, against scipy, statsmodels and G*Power."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from stats_oracles import EXACT, gaussian
from statsmodels.stats.power import TTestPower

from mnist_study import stats

FACTORS = ("l2", "dropout_2", "dropout_3")


def test_paired_effect_is_scipys_paired_t_test() -> None:
    treatment, control = 0.3 + gaussian(20), gaussian(20, seed=1)
    effect = stats.paired_effect(treatment, control)
    oracle = scipy.stats.ttest_rel(treatment, control)
    ends = oracle.confidence_interval(0.95)
    assert effect.p_value == pytest.approx(oracle.pvalue, **EXACT)
    assert effect.estimate.statistic() == pytest.approx(oracle.statistic, **EXACT)
    assert (effect.interval.low, effect.interval.high) == pytest.approx(tuple(ends), **EXACT)
    assert effect.cohens_dz.estimate == pytest.approx(oracle.statistic / math.sqrt(20), **EXACT)


def test_students_sleep_data() -> None:
    """Student 1908: ten patients, mean extra sleep 1.58 hours, t = 4.062, p = 0.00283."""
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    effect = stats.paired_effect(second, first)
    assert effect.estimate.estimate == pytest.approx(1.58)
    assert effect.estimate.statistic() == pytest.approx(4.0621, abs=5e-5)
    assert effect.p_value == pytest.approx(0.002833, abs=5e-7)
    # Nine gained, one was equal: 9.5 of 10.
    assert effect.probability_positive.estimate == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("n_pairs", "shift"), [(2, 0.1), (20, 0.0), (20, 0.5), (20, 8.0), (200, 3)]
)
def test_ends_of_cohens_dz_put_the_statistic_at_the_tails(n_pairs: int, shift: float) -> None:
    differences = shift + gaussian(n_pairs)
    interval = stats.cohens_dz(differences)
    statistic = scipy.stats.ttest_1samp(differences, 0.0).statistic
    for end, tail in ((interval.low, 0.975), (interval.high, 0.025)):
        noncentral = scipy.stats.nct(n_pairs - 1, end * math.sqrt(n_pairs))
        assert noncentral.cdf(statistic) == pytest.approx(tail, abs=1e-8)


def test_probability_of_improvement_is_the_share_of_pairs_with_wilsons_interval() -> None:
    treatment, control = 0.3 + gaussian(20), gaussian(20, seed=1)
    found = stats.paired_effect(treatment, control).probability_positive
    wins = int((treatment > control).sum())
    oracle = scipy.stats.binomtest(wins, 20).proportion_ci(method="wilson")
    assert found.estimate == wins / 20
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), **EXACT)


def test_equal_arms_show_no_effect_and_a_constant_shift_a_certain_one() -> None:
    ones = np.ones(5)
    equal = stats.paired_effect(ones, ones)
    assert (equal.p_value, equal.cohens_dz.estimate) == (1.0, 0.0)
    assert equal.probability_positive.estimate == 0.5
    shifted = stats.paired_effect(ones, 2 * ones)
    assert (shifted.p_value, shifted.cohens_dz.estimate) == (0.0, -math.inf)
    assert shifted.interval.low == shifted.interval.high == -1.0


def test_arms_that_do_not_pair_up_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got shapes \(3,\) and \(4,\)$"):
        stats.paired_effect(np.zeros(3), np.zeros(4))


def test_required_pairs_of_cohens_medium_effect() -> None:
    """G*Power's worked values for the paired t-test, two-sided: d_z 0.5 needs 34 and 54 pairs."""
    assert stats.required_pairs(0.5, 1.0, power=0.80) == 34
    assert stats.required_pairs(-0.5, 1.0, power=0.95) == 54


@given(effect=st.floats(0.02, 20.0), power=st.floats(0.5, 0.99))
def test_required_pairs_is_the_smallest_number_that_suffices(effect: float, power: float) -> None:
    n_pairs = stats.required_pairs(effect, 1.0, power=power)
    assert n_pairs is not None
    assert stats.power_of_paired_t(effect, 1.0, n_pairs) >= power
    if n_pairs > 2:
        assert stats.power_of_paired_t(effect, 1.0, n_pairs - 1) < power


def test_no_number_of_pairs_tells_equal_configurations_apart() -> None:
    assert stats.required_pairs(0.0, 1.0) is None
    assert stats.required_pairs(0.1, 0.0) == 2


def test_power_is_the_tail_of_the_noncentral_t() -> None:
    critical = scipy.stats.t.ppf(0.975, 19)
    noncentral = scipy.stats.nct(19, 0.6 * math.sqrt(20))
    oracle = noncentral.sf(critical) + noncentral.cdf(-critical)
    assert stats.power_of_paired_t(0.3, 0.5, 20) == pytest.approx(oracle, **EXACT)
    oracle = TTestPower().power(0.6, 20, 0.05)
    assert stats.power_of_paired_t(0.3, 0.5, 20) == pytest.approx(oracle, **EXACT)


def test_power_of_a_large_effect_is_one_where_statsmodels_answers_nan() -> None:
    assert stats.power_of_paired_t(4.0, 1.0, 9) == pytest.approx(1.0)
    assert stats.power_of_paired_t(400.0, 1.0, 90) == pytest.approx(1.0)
    assert stats.power_of_paired_t(0.0, 1.0, 9) == pytest.approx(0.05)


@pytest.mark.parametrize("n_pairs", [3, 20, 60])
def test_smallest_detectable_effect_has_the_power_asked_for(n_pairs: int) -> None:
    """By scipy's noncentral t to 1e-8; statsmodels' own solver stops at about 1e-8 in power."""
    effect = stats.smallest_detectable_effect(0.002, n_pairs)
    critical = scipy.stats.t.ppf(0.975, n_pairs - 1)
    noncentral = scipy.stats.nct(n_pairs - 1, effect / 0.002 * math.sqrt(n_pairs))
    power = noncentral.sf(critical) + noncentral.cdf(-critical)
    assert power == pytest.approx(0.8, rel=1e-8)
    oracle = TTestPower().solve_power(nobs=n_pairs, alpha=0.05, power=0.8)
    assert effect == pytest.approx(0.002 * oracle, rel=1e-6)


def test_predicted_contrast_sd_is_that_of_the_weights() -> None:
    """Variance of a weighted sum: 8 runs of weight 1/4, with noise that they share."""
    blocks = stats.block_contrasts(np.eye(8).reshape(2, 2, 2, 8), FACTORS)
    weights = blocks["l2", "dropout_2"]
    correlation = np.full((8, 8), 0.4) + 0.6 * np.eye(8)
    oracle = 0.0015 * math.sqrt(weights @ correlation @ weights)
    assert stats.contrast_sd(0.0015, 3, correlation=0.4) == pytest.approx(oracle, **EXACT)


@pytest.mark.parametrize("sd", [0.0, -1.0, math.nan, math.inf])
def test_a_design_without_spread_is_refused(sd: float) -> None:
    with pytest.raises(ValueError, match=f"got {sd} and 20$"):
        stats.smallest_detectable_effect(sd, 20)
