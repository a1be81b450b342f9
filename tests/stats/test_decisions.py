"""Corrections, equivalence and verdicts, against statsmodels, scipy and worked examples."""

import math

import numpy as np
import pytest
import scipy.stats
from stats_oracles import EXACT, gaussian
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from mnist_study import stats


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
        (0.2, 0.01, "increase", 0.001, "equivalent"),  # inside the margin is none that counts
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


@pytest.mark.parametrize(
    ("verdicts", "combined"),
    [
        (["supported", "supported"], "supported"),
        (["contradicted"], "contradicted"),
        (["supported", "contradicted"], "depends"),
        (["supported", "undecided", "supported"], "depends"),
        (["equivalent", "supported"], "depends"),
        (["undecided", "undecided"], "undecided"),
    ],
)
def test_only_what_every_setting_says_is_said_of_a_claim(
    verdicts: list[str], combined: str
) -> None:
    assert stats.combine(map(stats.Verdict, verdicts)) == combined


def test_a_claim_without_a_setting_has_no_verdict() -> None:
    with pytest.raises(ValueError, match="no setting"):
        stats.combine([])


def test_a_verdict_needs_a_declared_direction_and_real_p_values() -> None:
    with pytest.raises(ValueError, match=r"got 'better'$"):
        stats.decide(0.1, 0.01, "better", 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got nan$"):
        stats.decide(0.1, math.nan, "increase", 0.5)
