"""Each statistic against a named oracle, and each refusal.

The oracles are statsmodels, scipy, scikit-learn, or a worked example from the cited source.
Calibration by simulation is in test_stats_simulation.py.
"""

import math
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.formula.api as smf
from factorial_contrasts import factorial_contrasts
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.calibration import calibration_curve
from statsmodels.api import OLS
from statsmodels.stats.anova import AnovaRM, anova_lm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW, ttost_paired

from mnist_study import stats

FACTORS = ("l2", "dropout_2", "dropout_3")
EXACT: dict[str, Any] = {"rel": 1e-8, "abs": 1e-12}


def gaussian(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(shape)


# --- one configuration over seeds --------------------------------------------------------------


def test_interval_of_the_mean_is_scipys() -> None:
    values = 0.97 + 0.002 * gaussian(30)
    result = stats.run_distribution(values)
    oracle = scipy.stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (result.mean_interval.low, result.mean_interval.high) == pytest.approx(
        tuple(oracle), **EXACT
    )
    assert result.mean == pytest.approx(np.mean(values), **EXACT)
    assert result.sd == pytest.approx(np.std(values, ddof=1), **EXACT)


def test_prediction_interval_is_that_of_the_regression_on_a_constant() -> None:
    values = 0.97 + 0.002 * gaussian(30)
    frame = OLS(values, np.ones(30)).fit().get_prediction([[1.0]]).summary_frame(alpha=0.05)
    interval = stats.run_distribution(values).prediction_interval
    assert interval.low == pytest.approx(frame["obs_ci_lower"].iloc[0], **EXACT)
    assert interval.high == pytest.approx(frame["obs_ci_upper"].iloc[0], **EXACT)
    assert interval.contains(interval.low)
    assert not interval.contains(math.nextafter(interval.low, 0.0))


def test_infinite_degrees_of_freedom_mean_the_normal_distribution() -> None:
    estimate = stats.TEstimate(1.0, 0.5, math.inf)
    assert estimate.p_value == pytest.approx(2 * scipy.stats.norm.sf(2.0), **EXACT)
    assert estimate.interval().high == pytest.approx(1 + 0.5 * scipy.stats.norm.ppf(0.975), **EXACT)


@pytest.mark.parametrize(
    ("values", "received"),
    [([0.9], r"\(1,\)"), ([[1.0, 2.0]], r"\(1, 2\)"), ([1.0, np.nan], "nan")],
)
def test_values_that_no_interval_can_be_had_from_are_refused(
    values: list[float], received: str
) -> None:
    with pytest.raises(ValueError, match=f"got {received}$"):
        stats.run_distribution(values)


# --- paired effects ----------------------------------------------------------------------------


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


# --- seeds needed ------------------------------------------------------------------------------


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
    """Variance of a weighted sum: 8 runs x 3 splits of weight 1/4/3, with shared seed noise."""
    blocks = stats.block_contrasts(np.eye(8).reshape(2, 2, 2, 8), FACTORS)
    weights = blocks["l2", "dropout_2"]
    correlation = np.full((8, 8), 0.4) + 0.6 * np.eye(8)
    oracle = 0.0015 * math.sqrt(weights @ correlation @ weights / 3)
    assert stats.contrast_sd(0.0015, 3, 3, correlation=0.4) == pytest.approx(oracle, **EXACT)


@pytest.mark.parametrize("sd", [0.0, -1.0, math.nan, math.inf])
def test_a_design_without_spread_is_refused(sd: float) -> None:
    with pytest.raises(ValueError, match=f"got {sd} and 20$"):
        stats.smallest_detectable_effect(sd, 20)


# --- accuracies on the same images -------------------------------------------------------------


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


# --- factorial ---------------------------------------------------------------------------------


def test_contrasts_of_the_pilot_plant() -> None:
    """Box, Hunter and Hunter, chapter 5, pilot plant: T 23, C -5, K 1.5, TC 1.5, TK 10, CK 0."""
    # Standard order, temperature fastest: axes are (catalyst, concentration, temperature).
    yields = np.array([60, 72, 54, 68, 52, 83, 45, 80]).reshape(2, 2, 2)
    contrasts = stats.block_contrasts(yields, ("K", "C", "T"))
    assert {":".join(names): float(value) for names, value in contrasts.items()} == {
        "K": 1.5,
        "C": -5.0,
        "T": 23.0,
        "K:C": 0.0,
        "K:T": 10.0,
        "C:T": 1.5,
        "K:C:T": 0.5,
    }


def test_contrasts_are_twice_the_coefficients_of_the_effect_coded_regression() -> None:
    values = gaussian(2, 2, 2, 3, 20)
    rows = [(*index, values[index]) for index in np.ndindex(values.shape)]
    frame = pd.DataFrame(rows, columns=[*FACTORS, "split", "seed", "y"])
    frame[list(FACTORS)] = 2 * frame[list(FACTORS)] - 1
    fit = smf.ols("y ~ l2 * dropout_2 * dropout_3", frame).fit()
    results = factorial_contrasts(values, FACTORS)
    assert len(results) == 7
    for contrast in results:
        assert contrast.estimate.estimate == pytest.approx(2 * fit.params[contrast.name], **EXACT)


def test_error_term_over_seeds_is_that_of_the_repeated_measures_analysis_of_variance() -> None:
    values = gaussian(2, 2, 2, 3, 20) + gaussian(2, 2, 2, 1, 20, seed=1)
    rows = [
        (*index, values[(*index[:3], slice(None), index[3])].mean())
        for index in product(range(2), range(2), range(2), range(20))
    ]
    frame = pd.DataFrame(rows, columns=[*FACTORS, "seed", "y"])
    table = AnovaRM(frame, "y", "seed", within=list(FACTORS)).fit().anova_table
    for contrast in factorial_contrasts(values, FACTORS):
        row = table.loc[contrast.name]
        assert contrast.estimate.statistic() ** 2 == pytest.approx(row["F Value"], rel=1e-8)
        assert contrast.p_value == pytest.approx(row["Pr > F"], rel=1e-8)
        assert contrast.estimate.degrees_of_freedom == row["Den DF"]


def test_effect_that_differs_between_splits_is_tested_by_the_two_way_analysis_of_variance() -> None:
    blocks = gaussian(3, 20) + np.array([[0.0], [0.3], [0.9]])
    table = two_way_table(blocks)
    contrast = stats.contrast_of_blocks(blocks, ["l2"])
    assert contrast.split_p_value == pytest.approx(table.loc["C(row)", "PR(>F)"], rel=1e-8)


def test_a_within_run_factor_is_one_more_axis() -> None:
    """Early stopping: its main effect is the paired difference of the two read-outs."""
    values = gaussian(2, 2, 2, 2, 3, 20)
    contrast = factorial_contrasts(values, (*FACTORS, "early_stopping"))[3]
    assert contrast.name == "early_stopping"
    per_seed = values.mean(axis=(0, 1, 2, 4))
    oracle = scipy.stats.ttest_rel(per_seed[1], per_seed[0])
    assert contrast.p_value == pytest.approx(oracle.pvalue, **EXACT)
    assert contrast.interval.low == pytest.approx(oracle.confidence_interval().low, **EXACT)


def test_contrasts_of_images_average_to_the_contrasts_of_runs() -> None:
    correct = (gaussian(2, 2, 2, 3, 4, 50) > -1).astype(np.uint8)
    of_images = stats.block_contrasts(correct, FACTORS)
    of_runs = stats.block_contrasts(correct.mean(axis=-1), FACTORS)
    for names, blocks in of_images.items():
        np.testing.assert_allclose(blocks.mean(axis=-1), of_runs[names], atol=1e-12)


def test_a_factor_with_three_levels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got shape \(2, 3, 3, 20\)$"):
        factorial_contrasts(np.zeros((2, 3, 3, 20)), ("l2", "dropout_2"))


# --- runs and images at once -------------------------------------------------------------------


def two_way_table(layout: NDArray[np.float64]) -> pd.DataFrame:
    rows = [(*index, layout[index]) for index in np.ndindex(layout.shape)]
    frame = pd.DataFrame(rows, columns=["row", "column", "y"])
    return anova_lm(smf.ols("y ~ C(row) + C(column)", frame).fit())


def test_mean_squares_are_those_of_the_two_way_analysis_of_variance() -> None:
    layout = gaussian(5, 12) + gaussian(5, 1, seed=1) + gaussian(1, 12, seed=2)
    squares = stats.crossed_mean_squares(layout)
    table = two_way_table(layout)
    assert squares.rows == pytest.approx(table.loc["C(row)", "mean_sq"], rel=1e-8)
    assert squares.columns == pytest.approx(table.loc["C(column)", "mean_sq"], rel=1e-8)
    assert squares.residual == pytest.approx(table.loc["Residual", "mean_sq"], rel=1e-8)
    estimate = stats.crossed_mean(layout)
    parts = table["mean_sq"].to_numpy() * [1, 1, -1]
    assert estimate.standard_error == pytest.approx(math.sqrt(parts.sum() / 60), rel=1e-8)
    satterthwaite = parts.sum() ** 2 / (parts**2 / table["df"]).sum()
    assert estimate.degrees_of_freedom == pytest.approx(satterthwaite, rel=1e-8)


def test_runs_that_agree_on_every_image_leave_the_interval_over_images() -> None:
    """With no run effect and no residual, only the images vary: DescrStatsW over images."""
    images = gaussian(1, 500)
    estimate = stats.crossed_mean(np.repeat(images, 20, axis=0))
    assert estimate.standard_error == pytest.approx(DescrStatsW(images[0]).std_mean, rel=1e-8)
    assert estimate.degrees_of_freedom == pytest.approx(499, rel=1e-6)


def test_images_that_agree_in_every_run_leave_the_interval_over_runs() -> None:
    runs = gaussian(20, 1)
    estimate = stats.crossed_mean(np.repeat(runs, 500, axis=1))
    assert estimate.standard_error == pytest.approx(DescrStatsW(runs[:, 0]).std_mean, rel=1e-8)
    assert estimate.degrees_of_freedom == pytest.approx(19, rel=1e-6)


def test_a_single_run_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(1, 10000\)$"):
        stats.crossed_mean(np.zeros((1, 10000)))


def test_identical_arms_give_a_collapsed_interval() -> None:
    estimate = stats.crossed_mean(np.zeros((4, 9)))
    interval = estimate.interval()
    assert (interval.low, interval.high, estimate.p_value) == (0.0, 0.0, 1.0)


# --- decisions ---------------------------------------------------------------------------------


def test_holm_on_a_worked_family() -> None:
    """Holm's steps by hand: 4 x 0.005, 3 x 0.01, then 2 x 0.03, and never below the last."""
    assert stats.holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize("n_tests", [1, 2, 7, 40])
def test_corrections_are_those_of_statsmodels(n_tests: int) -> None:
    p_values = np.random.default_rng(n_tests).beta(0.3, 1.0, n_tests).round(2)
    for correct, method in ((stats.holm, "holm"), (stats.benjamini_hochberg, "fdr_bh")):
        oracle = multipletests(p_values, method=method)[1]
        np.testing.assert_allclose(correct(p_values), oracle, rtol=1e-8)


def test_benjamini_and_hochbergs_own_example() -> None:
    """Their section 3.2: of 15 p-values they reject four at 0.05, and Holm's procedure three."""
    p_values = [
        *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459),
        *(0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000),
    ]
    assert np.count_nonzero(stats.benjamini_hochberg(p_values) <= 0.05) == 4
    assert np.count_nonzero(stats.holm(p_values) <= 0.05) == 3
    oracle = scipy.stats.false_discovery_control(p_values, method="bh")
    np.testing.assert_allclose(stats.benjamini_hochberg(p_values), oracle, rtol=1e-8)


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_what_is_no_p_value_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=f"got {bad}$"):
        stats.holm([0.5, bad])


@pytest.mark.parametrize("margin", [0.05, 0.4, 1.0])
def test_equivalence_is_statsmodels_tost(margin: float) -> None:
    treatment, control = gaussian(20), gaussian(20, seed=1)
    estimate = stats.paired_effect(treatment, control).estimate
    result = stats.equivalence(estimate, margin)
    oracle, _, _ = ttost_paired(treatment, control, -margin, margin)
    assert result.p_value == pytest.approx(oracle, **EXACT)
    inside = -margin < result.interval.low and result.interval.high < margin
    assert result.equivalent == inside == (oracle < 0.05)
    assert result.interval.confidence == pytest.approx(0.90)


@pytest.mark.parametrize("shift", [-2.0, -1.2, 0.3, 1.2, 2.0])
def test_lying_outside_is_scipys_test_against_the_nearer_end(shift: float) -> None:
    sample = shift + 0.5 * gaussian(20)
    estimate = stats.mean_estimate(sample)
    end = math.copysign(1.0, estimate.estimate)
    oracle = scipy.stats.ttest_1samp(sample, end).pvalue if abs(estimate.estimate) > 1 else 1.0
    assert stats.outside_p_value(estimate, 1.0) == pytest.approx(oracle, **EXACT)
    interval = estimate.interval()
    outside = interval.low > 1.0 or interval.high < -1.0
    assert (stats.outside_p_value(estimate, 1.0) < 0.05) == outside


def test_a_margin_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got 0\.0$"):
        stats.outside_p_value(stats.TEstimate(0.0, 1.0, 19), 0.0)
    with pytest.raises(ValueError, match=r"got 0\.0$"):
        stats.equivalence(stats.TEstimate(0.0, 1.0, 19), 0.0)


@pytest.mark.parametrize(
    ("estimate", "p_value", "direction", "equivalence_p_value", "verdict"),
    [
        (0.2, 0.01, "increase", 0.9, "supported"),
        (-0.2, 0.01, "decrease", 0.9, "supported"),
        (-0.2, 0.01, "increase", 0.9, "contradicted"),
        (0.2, 0.01, "decrease", 0.9, "contradicted"),
        (0.2, 0.01, "increase", 0.001, "supported"),
        (0.2, 0.30, "increase", 0.01, "equivalent"),
        (0.2, 0.30, "increase", 0.20, "undecided"),
        (0.2, 0.05, "increase", 0.05, "undecided"),
        (0.0, 1.0, "decrease", 0.0, "equivalent"),
    ],
)
def test_verdict(
    estimate: float,
    p_value: float,
    direction: stats.Direction,
    equivalence_p_value: float,
    verdict: str,
) -> None:
    assert stats.decide(estimate, p_value, direction, equivalence_p_value) == verdict


def test_a_verdict_needs_a_declared_direction_and_real_p_values() -> None:
    with pytest.raises(ValueError, match=r"got 'better'$"):
        stats.decide(0.1, 0.01, "better", 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got nan$"):
        stats.decide(0.1, math.nan, "increase", 0.5)


# --- calibration -------------------------------------------------------------------------------


def test_calibration_error_of_a_worked_example() -> None:
    """Two bins: |1/2 - 0.65| over two images, |2/2 - 0.95| over two, so 0.075 + 0.025."""
    probabilities = [[0.6, 0.4], [0.7, 0.3], [0.9, 0.1], [0.0, 1.0]]
    error = stats.expected_calibration_error(probabilities, [0, 1, 0, 1], n_bins=5)
    # Five bins of width 0.2: 0.6 falls into (0.4, 0.6], 0.7 alone into (0.6, 0.8].
    assert error == pytest.approx((abs(1 - 0.6) + abs(0 - 0.7) + abs(2 - 1.9)) / 4)
    wide = stats.expected_calibration_error(probabilities, [0, 1, 0, 1], n_bins=1)
    assert wide == pytest.approx(abs(0.75 - 0.8))


def test_calibration_error_is_that_of_scikit_learns_curve() -> None:
    rng = np.random.default_rng(5)
    probabilities = rng.dirichlet(np.full(10, 0.2), size=2000)
    labels = rng.integers(10, size=2000)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    accuracy, mean_confidence = calibration_curve(correct, confidence, n_bins=15)
    counts = np.histogram(confidence, bins=np.linspace(0, 1, 16))[0]
    oracle = np.average(np.abs(accuracy - mean_confidence), weights=counts[counts > 0])
    assert stats.expected_calibration_error(probabilities, labels) == pytest.approx(oracle, **EXACT)


@pytest.mark.parametrize(
    ("probabilities", "labels", "received"),
    [
        ([[0.5, 0.4]], [0], "off by 0.0999"),
        ([[1.5, -0.5]], [0], "got -0.5 to 1.5"),
        ([[0.5, 0.5]], [2], "from 2 to 2"),
        ([[0.5, 0.5]], [0, 1], r"got \(1, 2\) and \(2,\)"),
    ],
)
def test_what_is_no_distribution_over_classes_is_refused(
    probabilities: list[list[float]], labels: list[int], received: str
) -> None:
    with pytest.raises(ValueError, match=received):
        stats.expected_calibration_error(probabilities, labels)
