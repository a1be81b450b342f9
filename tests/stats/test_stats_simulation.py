"""Calibration of the statistics on simulated data: false positives, power, coverage.

Every simulation draws from a generator with a fixed seed, so a result is the same on every run.
The small versions run always and have wide bounds; the full-size ones, marked slow, have the
bounds that are published. The standard error of a rate near 5 % is 0.5 points over 2,000 studies.

    pytest tests/stats/test_stats_simulation.py -m slow -s     # prints the measured rates
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
from factorial_contrasts import factorial_contrasts
from numpy.typing import NDArray
from scipy import special

from mnist_study import stats

FACTORS = ("l2", "dropout_2", "dropout_3")
N_SEEDS, N_TEST_IMAGES = 20, 10_000
# Size of each source of variation of test accuracy; the first is common to all cells.
REPLICATE_SD, RUN_SD = 0.0014, 0.0012

Layout = tuple[NDArray[np.float64], float]


def simulated_study(
    rng: np.random.Generator, effects: dict[tuple[str, ...], float]
) -> NDArray[np.float64]:
    """Draw the (2, 2, 2, n_seeds) test accuracies of a study with known effects.

    Each seed has a split of its own; what both change is common to the cells. Accuracies are
    counts of correct images, as real ones are.
    """
    shape = (2, 2, 2, N_SEEDS)
    rate = np.full(shape, 0.98)
    rate += REPLICATE_SD * rng.standard_normal(N_SEEDS) + RUN_SD * rng.standard_normal(shape)
    signs = np.meshgrid(*[[-1.0, 1.0]] * 3, indexing="ij")
    for names, effect in effects.items():
        coding = np.prod([signs[FACTORS.index(name)] for name in names], axis=0)
        rate += effect / 2 * coding[..., None]
    n_correct = rng.binomial(N_TEST_IMAGES, np.minimum(rate, 1.0))
    return np.asarray(n_correct / N_TEST_IMAGES)


def contrast_sd_of_simulated_study() -> float:
    """Return the true standard deviation of a per-seed contrast of `simulated_study`."""
    return math.sqrt((RUN_SD**2 + 0.98 * 0.02 / N_TEST_IMAGES) * 8 / 16)


def null_rates(n_studies: int, seed: int) -> tuple[float, float, float]:
    """Return false positives per test, family-wise errors after Holm, and coverage."""
    rng = np.random.default_rng(seed)
    n_rejected = n_families = n_covered = n_tests = 0
    for _ in range(n_studies):
        contrasts = factorial_contrasts(simulated_study(rng, {}), FACTORS).values()
        p_values = [contrast.p_value for contrast in contrasts]
        n_tests += len(p_values)
        n_rejected += sum(p_value < 0.05 for p_value in p_values)
        n_families += bool((stats.holm(p_values) < 0.05).any())
        n_covered += sum(contrast.interval.contains(0.0) for contrast in contrasts)
    return n_rejected / n_tests, n_families / n_studies, n_covered / n_tests


def two_arm_false_positive_rate(n_studies: int, seed: int) -> float:
    """Return how often two arms with the same setting are told apart, 20 paired seeds each."""
    rng = np.random.default_rng(seed)
    n_rejected = 0
    for _ in range(n_studies):
        shared = 0.98 + REPLICATE_SD * rng.standard_normal(N_SEEDS)
        arms = shared + RUN_SD * rng.standard_normal((2, N_SEEDS))
        accuracy = rng.binomial(N_TEST_IMAGES, np.minimum(arms, 1.0)) / N_TEST_IMAGES
        n_rejected += stats.paired_effect(accuracy[1], accuracy[0]).p_value < 0.05
    return n_rejected / n_studies


def measured_power(n_studies: int, power: float, seed: int) -> dict[str, float]:
    """Inject effects of exactly the size that the design should find with `power`."""
    rng = np.random.default_rng(seed)
    sd = contrast_sd_of_simulated_study()
    effect = stats.smallest_detectable_effect(sd, N_SEEDS, power=power)
    injected = {("l2",): effect, ("dropout_2", "dropout_3"): -effect}
    n_found = dict.fromkeys((":".join(names) for names in injected), 0)
    for _ in range(n_studies):
        contrasts = factorial_contrasts(simulated_study(rng, injected), FACTORS)
        for name in n_found:
            n_found[name] += contrasts[name].p_value < 0.05
    return {name: found / n_studies for name, found in n_found.items()}


def additive(
    rng: np.random.Generator, n_rows: int, n_columns: int, row: float, column: float, both: float
) -> Layout:
    """Draw a normal two-way layout with the given standard deviations and mean zero."""
    values = row * rng.standard_normal((n_rows, 1)) + column * rng.standard_normal((1, n_columns))
    return values + both * rng.standard_normal((n_rows, n_columns)), 0.0


def correctness(
    rng: np.random.Generator, run: float, image: float, both: float, shift: float
) -> Layout:
    """Draw the difference of two arms' correctness on 1,000 images and its true mean.

    A probit model: an image is classified correctly where ease + effects + noise is above zero,
    97 to 99 % of them are; the normal integral gives the true accuracies in closed form.
    """
    n_runs, n_images = 20, 1000
    ease = 8.0 + 3.0 * rng.standard_normal(n_images)
    arms = []
    for arm_shift in (0.0, shift):
        of_images = image * rng.standard_normal(n_images)
        of_runs = run * rng.standard_normal((n_runs, 1))
        noise = both * rng.standard_normal((n_runs, n_images))
        arms.append(ease + arm_shift + of_images + of_runs + noise > 0)
    spread = math.sqrt(9.0 + run**2 + image**2 + both**2)
    truth = float(special.ndtr((8.0 + shift) / spread) - special.ndtr(8.0 / spread))
    return arms[1].astype(np.float64) - arms[0], truth


CROSSED_LAYOUTS: dict[str, Callable[[np.random.Generator], Layout]] = {
    "correctness": lambda rng: correctness(rng, run=0.15, image=0.5, both=1.0, shift=0.3),
    "correctness, images dominate": lambda rng: correctness(rng, 0.02, 2.0, 0.3, shift=0.5),
    "residuals only": lambda rng: additive(rng, 20, 300, 0.0, 0.0, 1.0),
    "runs dominate": lambda rng: additive(rng, 20, 300, 1.0, 0.0, 1.0),
    "all alike": lambda rng: additive(rng, 20, 400, 0.05, 0.2, 1.0),
}


def crossed_coverage(name: str, n_studies: int, seed: int) -> dict[str, float]:
    """Return how often the truth is covered, by construction."""
    rng = np.random.default_rng(seed)
    n_covered = dict.fromkeys(("crossed", "runs only"), 0)
    for _ in range(n_studies):
        values, truth = CROSSED_LAYOUTS[name](rng)
        runs_only = stats.mean_estimate(values.mean(axis=1)).interval()
        n_covered["crossed"] += stats.crossed_mean(values).interval().contains(truth)
        n_covered["runs only"] += runs_only.contains(truth)
    return {construction: covered / n_studies for construction, covered in n_covered.items()}


# --- small versions, always run ----------------------------------------------------------------


def test_nothing_is_found_where_nothing_is() -> None:
    per_test, family_wise, coverage = null_rates(200, seed=1)
    assert per_test == pytest.approx(0.05, abs=0.02)
    assert family_wise <= 0.05 + 0.035
    assert coverage == pytest.approx(0.95, abs=0.02)


def test_injected_effects_are_found_about_as_often_as_promised() -> None:
    assert list(measured_power(200, 0.80, seed=2).values()) == pytest.approx([0.8, 0.8], abs=0.08)


def test_crossed_interval_covers_where_an_interval_over_runs_does_not() -> None:
    coverage = crossed_coverage("correctness", 200, seed=3)
    assert coverage["crossed"] == pytest.approx(0.95, abs=0.045)
    assert coverage["runs only"] < 0.88


# --- full size ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_false_positives_before_and_after_correction() -> None:
    per_test, family_wise, coverage = null_rates(10_000, seed=4)
    print(f"factorial: per test {per_test:.4f}, family {family_wise:.4f}, coverage {coverage:.4f}")
    assert per_test == pytest.approx(0.05, abs=0.01)
    assert family_wise <= 0.05
    assert coverage == pytest.approx(0.95, abs=0.015)


@pytest.mark.slow
def test_two_arms_with_the_same_setting_are_told_apart_as_often_as_stated() -> None:
    rate = two_arm_false_positive_rate(2_000, seed=5)
    print(f"two arms: false positives {rate:.4f}")
    assert rate == pytest.approx(0.05, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_power_is_as_stated(power: float) -> None:
    measured = measured_power(2_000, power, seed=6)
    print(f"power {power}: {measured}")
    assert list(measured.values()) == pytest.approx([power, power], abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("name", CROSSED_LAYOUTS)
def test_crossed_intervals_cover_as_stated(name: str) -> None:
    coverage = crossed_coverage(name, 2_000, seed=7)
    print(f"{name}: {coverage}")
    assert coverage["crossed"] == pytest.approx(0.95, abs=0.015)


@pytest.mark.slow
def test_prediction_interval_holds_one_more_run_as_often_as_stated() -> None:
    rng = np.random.default_rng(8)
    values = rng.standard_normal((4_000, 31))
    covered = [
        stats.run_distribution(row[:-1]).prediction_interval.contains(row[-1]) for row in values
    ]
    print(f"prediction interval: {np.mean(covered):.4f}")
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


@pytest.mark.slow
def test_tango_interval_covers_as_stated() -> None:
    rng = np.random.default_rng(9)
    counts = rng.multinomial(N_TEST_IMAGES, [0.006, 0.004, 0.99], size=4_000)
    covered = [stats.tango_interval(a, b, N_TEST_IMAGES).contains(0.002) for a, b, _ in counts]
    print(f"Tango interval: {np.mean(covered):.4f}")
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


@pytest.mark.slow
def test_equivalence_is_declared_wrongly_as_rarely_as_stated() -> None:
    """At a true difference equal to the margin, the worst case, two one-sided tests err in 5 %."""
    rng = np.random.default_rng(10)
    samples = 0.5 + 0.5 * rng.standard_normal((4_000, N_SEEDS))
    wrong = [stats.equivalence(stats.mean_estimate(sample), 0.5).equivalent for sample in samples]
    print(f"equivalence declared at the margin: {np.mean(wrong):.4f}")
    assert np.mean(wrong) == pytest.approx(0.05, abs=0.01)
