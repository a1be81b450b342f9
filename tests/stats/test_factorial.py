"""Contrasts of a factorial, against regression and analyses of variance."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from factorial_contrasts import factorial_contrasts
from stats_oracles import EXACT, gaussian
from statsmodels.stats.anova import AnovaRM

from mnist_study import stats

FACTORS = ("l2", "dropout_2", "dropout_3")


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
    values = gaussian(2, 2, 2, 20)
    rows = [(*index, values[index]) for index in np.ndindex(values.shape)]
    frame = pd.DataFrame(rows, columns=[*FACTORS, "replicate", "y"])
    frame[list(FACTORS)] = 2 * frame[list(FACTORS)] - 1
    fit = smf.ols("y ~ l2 * dropout_2 * dropout_3", frame).fit()
    results = factorial_contrasts(values, FACTORS)
    assert len(results) == 7
    for name, contrast in results.items():
        assert contrast.estimate.estimate == pytest.approx(2 * fit.params[name], **EXACT)


def test_error_term_over_replicates_is_that_of_the_repeated_measures_analysis_of_variance() -> None:
    values = gaussian(2, 2, 2, 20) + gaussian(20, seed=1)
    rows = [(*index, values[index]) for index in np.ndindex(values.shape)]
    frame = pd.DataFrame(rows, columns=[*FACTORS, "replicate", "y"])
    table = AnovaRM(frame, "y", "replicate", within=list(FACTORS)).fit().anova_table
    for name, contrast in factorial_contrasts(values, FACTORS).items():
        row = table.loc[name]
        assert contrast.estimate.statistic() ** 2 == pytest.approx(row["F Value"], rel=1e-8)
        assert contrast.p_value == pytest.approx(row["Pr > F"], rel=1e-8)
        assert contrast.estimate.degrees_of_freedom == row["Den DF"]


def test_contrasts_of_images_average_to_the_contrasts_of_runs() -> None:
    correct = (gaussian(2, 2, 2, 4, 50) > -1).astype(np.uint8)
    of_images = stats.block_contrasts(correct, FACTORS)
    of_runs = stats.block_contrasts(correct.mean(axis=-1), FACTORS)
    for names, per_replicate in of_images.items():
        np.testing.assert_allclose(per_replicate.mean(axis=-1), of_runs[names], atol=1e-12)


def test_a_factor_with_three_levels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got shape \(2, 3, 3, 20\)$"):
        factorial_contrasts(np.zeros((2, 3, 3, 20)), ("l2", "dropout_2"))
