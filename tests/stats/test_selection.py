"""The choice among confirmed configurations: rules, oracles, and what the choice loses.

    pytest tests/stats/test_selection.py -m slow -s     # prints the measured losses

Accuracies of the simulations are in points. The spread of a run about the mean of its configuration
and split is 0.06 to 0.07 points on MNIST (published confirmation); all configurations share the
splits.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from mnist_study.cli.commands import confirm
from mnist_study.stats import mean_estimate, paired_effect
from mnist_study.stats.selection import (
    best_of,
    corrected_resampled_estimate,
    smallest,
    within_margin,
)

MARGIN = 0.05
DEFAULTS = {
    name: parameter.default for name, parameter in inspect.signature(confirm).parameters.items()
}
SPLIT_SD = 0.10

Values = NDArray[np.float64]


def test_bounds_are_those_of_paired_t_tests_with_bonferronis_correction() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal((0.0, -0.02, -0.3, -0.01), 0.07, (30, 4))
    found = within_margin(values, MARGIN)
    best = int(np.argmax(values.mean(axis=0)))
    assert found.best == best
    for position in set(range(4)) - {best}:
        test = scipy_stats.ttest_rel(values[:, position], values[:, best], alternative="greater")
        bound = test.confidence_interval(1 - 0.05 / 3).low
        assert found.lower_bounds[position] == pytest.approx(bound, abs=1e-12)
        assert found.within[position] == (bound > -MARGIN)
    assert found.lower_bounds[best] == 0.0
    assert found.within[best]
    # With one comparison there is nothing to correct for.
    pair = within_margin(values[:, :2], MARGIN)
    low = paired_effect(values[:, 1 - pair.best], values[:, pair.best], confidence=0.90).interval
    assert pair.lower_bounds[1 - pair.best] == pytest.approx(low.low, abs=1e-12)


def test_a_difference_that_is_not_significant_is_not_enough() -> None:
    # Twelve replicates: 0.03 points lower, p = 0.3, and yet the bound lies far below the margin.
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.1, 12)
    values = np.column_stack([np.zeros(12), noise - noise.mean() - 0.03])
    assert paired_effect(values[:, 1], values[:, 0]).p_value > 0.05
    assert within_margin(values, MARGIN).within == (True, False)
    # Equal values differ by nothing, and nothing lies within any margin.
    assert within_margin(np.ones((5, 3)), 1e-9).within == (True, True, True)


def test_the_smallest_allowed_wins_and_of_equal_ones_the_better() -> None:
    sizes, means = [1, 3, 2, 2], [0.97, 0.98, 0.975, 0.976]
    assert smallest([True, True, True, True], sizes, means) == 0
    assert smallest([False, True, True, True], sizes, means) == 3
    assert smallest([False, True, False, False], sizes, means) == 1


def test_finalists_are_the_highest_means_the_earlier_of_equals_first() -> None:
    values = [[0.1, 0.4, 0.3, 0.4], [0.3, 0.4, 0.1, 0.4]]
    assert best_of(values, 3) == [1, 3, 0]
    assert best_of(values, 9) == [1, 3, 0, 2]


def test_correction_for_shared_rows_is_nadeau_and_bengios() -> None:
    values = np.array([0.98, 0.983, 0.979, 0.981, 0.984])
    estimate = corrected_resampled_estimate(values, 12_000 / 48_000)
    variance = (1 / 5 + 0.25) * np.var(values, ddof=1)
    assert estimate.standard_error == pytest.approx(math.sqrt(variance), rel=1e-12)
    assert estimate.estimate == pytest.approx(values.mean())
    assert estimate.degrees_of_freedom == 4
    assert corrected_resampled_estimate(values, 0.0) == mean_estimate(values)


@pytest.mark.parametrize(
    ("values", "margin", "words"),
    [
        (np.zeros(4), 0.1, "shape"),
        (np.zeros((1, 2)), 0.1, "n_replicates >= 2"),
        (np.zeros((3, 1)), 0.1, "two configurations"),
        (np.array([[0.1, np.nan], [0.1, 0.2]]), 0.1, "finite"),
        (np.zeros((3, 2)), 0.0, "above zero"),
        (np.zeros((3, 2)), math.nan, "above zero"),
    ],
)
def test_what_cannot_be_compared_is_refused(values: Values, margin: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        within_margin(values, margin)


def test_a_negative_share_of_test_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        corrected_resampled_estimate([0.1, 0.2], -0.1)


@dataclass
class Truth:
    """True means of the candidates and of the documented network, in points, and their sizes."""

    candidates: Values
    sizes: Values
    documented: float


def confirmation(
    rng: np.random.Generator, truth: Truth, run_sd: float, n_seeds: int, joint: bool = True
) -> float:
    """Run both stages with the default design; return the true mean of the winner."""

    def runs(means: Values, n: int) -> Values:
        splits = SPLIT_SD * rng.standard_normal((n, 1))
        return means + splits + run_sd * rng.standard_normal((n, len(means)))

    screened = runs(truth.candidates, DEFAULTS["screening_seeds"])
    chosen = best_of(screened, DEFAULTS["finalists"])
    means = np.array([truth.documented, *truth.candidates[chosen]])
    values = runs(means, n_seeds)
    # One bound of 95 % for each configuration, as if it were the only one.
    confidence = 0.95 if joint else 1 - 0.05 * (len(means) - 1)
    allowed = within_margin(values, MARGIN, confidence=confidence).within
    sizes = [-np.inf, *truth.sizes[chosen]]
    return float(means[smallest(allowed, sizes, list(values.mean(axis=0)))])


def drawn_truth(rng: np.random.Generator, true_sd: float, size_correlation: float) -> Truth:
    """Draw candidates whose sizes go along with their accuracy, fully or not at all."""
    standardized = rng.standard_normal(DEFAULTS["top"])
    other = math.sqrt(1 - size_correlation**2) * rng.standard_normal(DEFAULTS["top"])
    return Truth(true_sd * standardized, size_correlation * standardized + other, -0.48)


def mean_regret(
    run_sd: float, true_sd: float, size_correlation: float, n: int, joint: bool = True
) -> float:
    """Return how much worse the winner truly is than the best candidate, in points."""
    rng = np.random.default_rng(7)
    lost = []
    for _ in range(n):
        truth = drawn_truth(rng, true_sd, size_correlation)
        won = confirmation(rng, truth, run_sd, DEFAULTS["seeds"], joint)
        lost.append(truth.candidates.max() - won)
    return float(np.mean(lost))


def documented_wins(n_seeds: int, run_sd: float, n: int) -> float:
    """Return how often the documented network wins although it is 0.48 points worse."""
    rng = np.random.default_rng(n_seeds)
    won = [
        confirmation(rng, drawn_truth(rng, 0.03, 0.5), run_sd, n_seeds) == -0.48 for _ in range(n)
    ]
    return float(np.mean(won))


def test_a_much_worse_documented_network_does_not_win() -> None:
    for n_seeds in (10, 30):
        assert documented_wins(n_seeds, 0.07, 300) == 0.0


def test_little_is_lost_against_the_best_candidate() -> None:
    assert mean_regret(0.065, 0.03, 0.5, 1000) < 0.008


@pytest.mark.slow
@pytest.mark.parametrize("n_seeds", [10, 12, 15, 20, 30, 60, 100])
def test_documented_network_wins_in_under_one_percent(n_seeds: int) -> None:
    rates = {run_sd: documented_wins(n_seeds, run_sd, 10_000) for run_sd in (0.06, 0.07, 0.1)}
    print(n_seeds, rates)
    assert max(rates.values()) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("run_sd", [0.06, 0.07])
@pytest.mark.parametrize("size_correlation", [0.0, 0.5, 1.0])
def test_regret_at_thirty_seeds_is_at_most_a_hundredth_of_a_point(
    run_sd: float, size_correlation: float
) -> None:
    """Also where every larger network is the better one; the standard error is 0.0001 points."""
    found = {
        true_sd: (
            mean_regret(run_sd, true_sd, size_correlation, 10_000),
            mean_regret(run_sd, true_sd, size_correlation, 10_000, joint=False),
        )
        for true_sd in (0.006, 0.012, 0.02, 0.03, 0.05)
    }
    print(run_sd, size_correlation, "joint bounds, single bounds:", found)
    assert max(joint for joint, _ in found.values()) <= 0.010
