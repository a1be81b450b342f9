"""Intervals of a mean and of one more run, against scipy and statsmodels."""

import math

import numpy as np
import pytest
import scipy.stats
from stats_oracles import EXACT, gaussian
from statsmodels.api import OLS

from mnist_study import stats


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
