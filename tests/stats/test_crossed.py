"""Intervals over runs and images at once, against the two-way analysis of variance."""

import math

import numpy as np
import pytest
from stats_oracles import gaussian, two_way_table
from statsmodels.stats.weightstats import DescrStatsW

from mnist_study import stats


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
