"""Errors and power of the ablation's whole path, from the runs' outcomes to the verdicts.

pytest tests/experiments/test_ablation_simulation.py -m slow -s     # prints the measured rates
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ablation_simulation import null_factorial, sd_of_main_effect
from scipy.stats import binomtest

from mnist_study.experiments.ablation.analysis import analyse
from mnist_study.experiments.ablation.config import Hypothesis, load_ablation
from mnist_study.stats import Verdict, smallest_detectable_effect

ABLATION = load_ablation(Path(__file__).parents[2] / "experiments" / "ablation.toml")


SETTINGS = ABLATION.statistics.model_copy(update={"margins": {"test_accuracy": 0.001}})


def false_positives(n_studies: int, seed: int) -> tuple[dict[str, float], float, float]:
    """Return per claim, and per study, how often something is found that is not there.

    Returns:
        The rate of p < alpha for each declared claim; the rate of studies with a wrong verdict
        after Holm; the rate of p < alpha among the exploratory main effects of test accuracy.
    """
    rng = np.random.default_rng(seed)
    # The claim that a value lies within its margin is true here.
    claims = [h for h in ABLATION.hypotheses if h.direction != "within"]
    rejected = dict.fromkeys((h.claim for h in claims), 0)
    n_wrong = n_exploratory = n_tests = 0
    for _ in range(n_studies):
        data = null_factorial(rng, ABLATION.n_seeds, len(ABLATION.split_seeds))
        analysis = analyse(data, claims, SETTINGS)
        for decision in analysis.decisions:
            rejected[decision.hypothesis.claim] += decision.effect.contrast.p_value < 0.05
        n_wrong += any(
            decision.verdict in (Verdict.SUPPORTED, Verdict.CONTRADICTED)
            for decision in analysis.decisions
        )
        tested = [e for e in analysis.effects if len(e.contrast.factors) == 1]
        n_tests += len(tested)
        n_exploratory += sum(effect.contrast.p_value < 0.05 for effect in tested)
    rates = {claim: n / n_studies for claim, n in rejected.items()}
    return rates, n_wrong / n_studies, n_exploratory / n_tests


def power_of_verdicts(n_studies: int, seed: int) -> tuple[float, float]:
    """Inject an effect that Holm's strictest step should find in 80 % of studies.

    Returns:
        How often its p-value is below alpha over the number of claims; how often the claim is
        supported.
    """
    rng = np.random.default_rng(seed)
    n_seeds, n_splits = ABLATION.n_seeds, len(ABLATION.split_seeds)
    claims = [h for h in ABLATION.hypotheses if h.direction != "within"]
    level = 0.05 / len(claims)
    effect = smallest_detectable_effect(sd_of_main_effect(n_splits), n_seeds, alpha=level)
    n_first = n_supported = 0
    for _ in range(n_studies):
        data = null_factorial(rng, n_seeds, n_splits, {"l2": effect})
        decisions = analyse(data, claims, SETTINGS).decisions
        (of_l2,) = (d for d in decisions if d.hypothesis.effect == "l2")
        n_first += of_l2.effect.contrast.p_value < level
        n_supported += of_l2.verdict is Verdict.SUPPORTED
    return n_first / n_studies, n_supported / n_studies


def wrong_equivalences(n_studies: int, seed: int) -> tuple[float, float]:
    """Claim three effects that are as large as their margin, where the test errs most.

    Returns:
        How often a claim's test alone finds equivalence; how often a study finds any after Holm.
    """
    rng = np.random.default_rng(seed)
    n_seeds, n_splits = ABLATION.n_seeds, len(ABLATION.split_seeds)
    margin = 3.5 * sd_of_main_effect(n_splits) / n_seeds**0.5
    claims = [
        Hypothesis(
            claim=name, metric="test_accuracy", direction="increase", margin=margin, effect=name,
            readout="last",
        )
        for name in ("l2", "dropout_1", "dropout_2")
    ]  # fmt: skip
    n_alone = n_studies_wrong = 0
    for _ in range(n_studies):
        data = null_factorial(rng, n_seeds, n_splits, {h.claim: margin for h in claims})
        decisions = analyse(data, claims, SETTINGS).decisions
        tested = [d.effect.tost.p_value < 0.05 for d in decisions]
        n_alone += sum(tested)
        n_studies_wrong += any(d.margin_p < 0.05 for d in decisions)
    return n_alone / (3 * n_studies), n_studies_wrong / n_studies


def test_hardly_anything_is_found_where_nothing_is() -> None:
    rates, wrong, _ = false_positives(40, seed=1)
    assert np.mean(list(rates.values())) == pytest.approx(0.05, abs=0.04)
    assert wrong <= 0.15


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_false_positives_of_2000_studies_without_effects() -> None:
    rates, wrong, exploratory = false_positives(2_000, seed=2)
    for claim, rate in rates.items():
        print(f"{rate:.4f}  {claim}")
    print(f"wrong verdicts after Holm: {wrong:.4f} of studies; exploratory {exploratory:.4f}")
    assert np.mean(list(rates.values())) == pytest.approx(0.05, abs=0.01)
    assert exploratory == pytest.approx(0.05, abs=0.01)
    assert max(rates.values()) <= 0.065  # three standard errors of a single rate
    # Ten claims that hardly depend on each other leave Holm at 4.9 %, so that a rate over 2,000
    # studies (standard error 0.5 points) lies above 5 % nearly every other time.
    n_wrong = round(wrong * 2_000)
    assert binomtest(n_wrong, 2_000, 0.05, alternative="greater").pvalue > 0.01


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_injected_effects_reach_their_verdict_as_often_as_stated() -> None:
    first, supported = power_of_verdicts(1_500, seed=3)
    print(f"found at Holm's strictest step: {first:.4f}; supported: {supported:.4f}")
    assert first == pytest.approx(0.80, abs=0.03)
    assert supported >= first
    assert supported == pytest.approx(0.80, abs=0.035)  # later steps are a little laxer


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_equivalence_is_found_wrongly_in_few_families() -> None:
    alone, family = wrong_equivalences(1_500, seed=4)
    print(f"equivalence found at the margin: {alone:.4f} of tests alone, {family:.4f} of families")
    assert alone == pytest.approx(0.05, abs=0.015)
    assert binomtest(round(family * 1_500), 1_500, 0.05, alternative="greater").pvalue > 0.01
