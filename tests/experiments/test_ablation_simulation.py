"""Errors and power of the ablation's whole path, from the runs' outcomes to the verdicts.

pytest tests/experiments/test_ablation_simulation.py -m slow -s     # prints the measured rates
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from ablation_simulation import (
    DEFAULT_FILE,
    READOUTS,
    claim,
    drawn_values,
    of_factor,
    sd_of_main_effect,
)
from scipy.stats import binomtest

from mnist_study.experiments.ablation.analysis import analyse
from mnist_study.experiments.ablation.claims import Claim
from mnist_study.experiments.ablation.comparisons import comparison_at, effects
from mnist_study.experiments.ablation.config import load_ablation
from mnist_study.experiments.ablation.decisions import Reading, decide_claims
from mnist_study.experiments.ablation.estimates import estimate_of
from mnist_study.experiments.ablation.outcomes import Outcome
from mnist_study.experiments.ablation.runs import Key, Values
from mnist_study.stats import Verdict, smallest_detectable_effect

ABLATION = load_ablation(DEFAULT_FILE)
SETTINGS = ABLATION.statistics
FOUND = (Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.DEPENDS)
N = ABLATION.n_seeds


def declared_about_accuracy() -> list[Claim]:
    """Return the file's claims about differences of test accuracy in the factorials."""
    return [
        c for c in ABLATION.claims
        if c.metric == "test_accuracy" and not c.is_level and set(c.parts) <= set(READOUTS)
    ]  # fmt: skip


def false_positives(n_studies: int, seed: int) -> tuple[float, float, float]:
    """Return how often something is found that is not there, and how often intervals cover.

    Returns:
        The rate of p < alpha over all tests of main effects; the share of their intervals that
        contain zero; the rate of studies in which any claim has a verdict that says there is an
        effect, or depends on the setting because one says so.
    """
    rng = np.random.default_rng(seed)
    claims = declared_about_accuracy()
    n_rejected = n_covered = n_tests = n_wrong = 0
    for _ in range(n_studies):
        values = drawn_values(rng, n_replicates=N)
        for part, readouts in READOUTS.items():
            for readout, comparison in itertools.product(readouts, effects(part, "")[:3]):
                at = {(p, arm, readout): w for (p, arm, _), w in comparison.weights.items()}
                found = estimate_of(
                    values, "test_accuracy", replace(comparison, weights=at), SETTINGS.confidence
                )
                assert found is not None
                n_tests += 1
                n_rejected += found.pooled.p_value < SETTINGS.alpha
                n_covered += found.interval.contains(0.0)
        # A margin of almost nothing, so that no verdict is equivalence.
        strict = [c.model_copy(update={"margin": 1e-9}) for c in claims]
        n_wrong += any(d.verdict in FOUND for d in decide_claims(values, strict, SETTINGS))
    return n_rejected / n_tests, n_covered / n_tests, n_wrong / n_studies


def power_of_readings(n_studies: int, seed: int) -> tuple[float, float]:
    """Inject an effect of L2 that a single test at Holm's strictest step finds in 80 % of studies.

    Returns:
        How often the p-value of one setting is below alpha over the number of tests; how often a
        claim about that setting alone is supported in a family of one.
    """
    rng = np.random.default_rng(seed)
    n_tests = sum(len(c.settings()) for c in declared_about_accuracy())
    level = SETTINGS.alpha / n_tests
    effect = smallest_detectable_effect(sd_of_main_effect(), 2 * N, alpha=level)
    one = claim(effect="l2", parts=["study"], readouts=["last"], margin=1e-9)
    n_first = n_supported = 0
    for _ in range(n_studies):
        values = drawn_values(rng, of_factor("l2", effect), n_replicates=N)
        (decision,) = decide_claims(values, [one], SETTINGS)
        n_first += decision.readings[0].estimate.pooled.p_value < level
        n_supported += decision.verdict is Verdict.SUPPORTED
    return n_first / n_studies, n_supported / n_studies


def _rejects(reading: Reading) -> bool:
    return reading.margin_p is not None and reading.margin_p < SETTINGS.alpha


def wrong_equivalences(n_studies: int, seed: int) -> tuple[float, float]:
    """Claim three effects that are as large as their margin, where the test errs most.

    Returns:
        How often a setting's test alone finds equivalence; how often a study finds any after Holm.
    """
    rng = np.random.default_rng(seed)
    margin = 3.5 * sd_of_main_effect() / (2 * N) ** 0.5
    names = ("l2", "dropout_1", "dropout_2")
    claims = [
        claim(effect=name, margin=margin, parts=["study"], readouts=["last"]) for name in names
    ]
    n_alone = n_studies_wrong = 0
    for _ in range(n_studies):
        values = drawn_values(rng, lambda part, cell, readout: margin * len(cell), n_replicates=N)
        alone = [decide_claims(values, [one], SETTINGS)[0].readings[0] for one in claims]
        n_alone += sum(_rejects(reading) for reading in alone)
        readings = [d.readings[0] for d in decide_claims(values, claims, SETTINGS)]
        n_studies_wrong += any(_rejects(reading) for reading in readings)
    return n_alone / (3 * n_studies), n_studies_wrong / n_studies


def test_hardly_anything_is_found_where_nothing_is() -> None:
    rejected, covered, wrong = false_positives(25, seed=1)
    assert rejected == pytest.approx(0.05, abs=0.04)
    assert covered == pytest.approx(0.95, abs=0.04)
    assert wrong <= 0.2


def world(declared: Claim, *, sign: int) -> Values:
    """Draw runs in which a claim's comparison lies far above (+1) or below (-1) at all settings.

    For a level "within" both lie outside its margin, and 0 lies on its target.
    """
    rng = np.random.default_rng(7)
    size = 10 * (declared.margin or SETTINGS.margin_of(declared) or 0.1)
    noise = size / 100
    arrays: dict[Key, dict[Outcome, np.ndarray]] = {}
    for setting in declared.settings():
        for key, weight in comparison_at(declared.effect, setting).weights.items():
            centre = declared.target if declared.target is not None else 0.5
            shift = sign * size * (1 if weight > 0 else -1)
            drawn = centre + shift + noise * rng.standard_normal((2, 20))
            metrics: tuple[Outcome, ...] = (declared.metric, "test_accuracy", "train_accuracy")
            of_key = arrays.setdefault(key, {})
            of_key |= {metric: of_key.get(metric, drawn) for metric in metrics}
            of_key["target_missed"] = np.zeros((2, 20))
    spread = {"accuracy_deviation": "test_accuracy"}.get(declared.metric)
    if spread is not None:  # the deviation is computed from accuracies, of which one side varies
        for key, outcomes in arrays.items():
            is_treatment = key[2] != declared.against_readout
            width = size if is_treatment == (sign > 0) else size / 100
            outcomes["test_accuracy"] = 0.9 + width * rng.standard_normal((2, 20))
    correct = {key: rng.random((2, 20, 5)) < 0.9 for key in arrays}
    return Values(arrays, correct)


@pytest.mark.parametrize("declared", ABLATION.claims, ids=lambda c: c.claim)
def test_every_declared_claim_can_be_supported_and_contradicted(declared: Claim) -> None:
    """A claim that cannot fail says nothing, and one that cannot hold neither."""
    alone = {sign: decide_claims(world(declared, sign=sign), [declared], SETTINGS)[0].verdict
             for sign in (-1, 0, 1)}  # fmt: skip
    holds = {"increase": 1, "decrease": -1, "below": -1, "within": 0, "contains": 0}
    sign = holds[declared.direction]
    assert alone[sign] is Verdict.SUPPORTED
    assert alone[-1 if sign == 1 else 1] is Verdict.CONTRADICTED


def test_a_share_of_epochs_can_lie_on_both_sides_of_its_target() -> None:
    """Early stopping trains one epoch more than its patience at least, and the cap at most."""
    for declared in ABLATION.claims:
        if declared.metric == "share_of_epochs":
            for setting in declared.settings():
                assert setting.arm is not None
                cap = int(setting.arm.split()[0])
                patience = int(setting.readout.rpartition("_")[2])
                assert declared.target is not None
                assert (patience + 1) / cap < declared.target < 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_false_positives_and_coverage_of_1000_studies_without_effects() -> None:
    rejected, covered, wrong = false_positives(1_000, seed=2)
    print(f"p < alpha: {rejected:.4f}; covered: {covered:.4f}; wrong verdicts: {wrong:.4f}")
    assert rejected == pytest.approx(0.05, abs=0.01)
    assert covered == pytest.approx(0.95, abs=0.015)
    assert binomtest(round(wrong * 1_000), 1_000, 0.05, alternative="greater").pvalue > 0.01


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_injected_effects_are_found_as_often_as_stated() -> None:
    first, supported = power_of_readings(1_500, seed=3)
    print(f"found at Holm's strictest step: {first:.4f}; supported alone: {supported:.4f}")
    assert first == pytest.approx(0.80, abs=0.03)
    assert supported >= first


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_equivalence_is_found_wrongly_in_few_families() -> None:
    alone, family = wrong_equivalences(1_500, seed=4)
    print(f"equivalence found at the margin: {alone:.4f} of tests alone, {family:.4f} of families")
    assert alone == pytest.approx(0.05, abs=0.015)
    assert binomtest(round(family * 1_500), 1_500, 0.05, alternative="greater").pvalue > 0.01


def test_the_whole_path_analyses_the_default_file() -> None:
    values = drawn_values(np.random.default_rng(5), n_replicates=3)
    analysis = analyse(values, ABLATION.sentences, SETTINGS, READOUTS)
    verdicts = {d.claim.claim: d.verdict for d in analysis.all_decisions}
    assert verdicts["L2 raises test accuracy without dropout"] is not None
    assert (
        verdicts["Early stopping reaches a higher test accuracy than training to the cap"] is None
    )
