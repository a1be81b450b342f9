"""The ablation's statistics: effects, differences and verdicts, against the plain statistics."""

from __future__ import annotations

import numpy as np
import pytest
from ablation_simulation import analysed, claim, drawn_factorial
from factorial_contrasts import factorial_contrasts

from mnist_study import stats
from mnist_study.experiments.ablation.config import FACTORS
from mnist_study.experiments.ablation.design import DOCUMENTED, NONE
from mnist_study.experiments.ablation.runs import cell_index, deviations


def test_effects_are_the_contrasts_of_the_factorial() -> None:
    data = drawn_factorial(lambda cell, point: 0.01 * ("l2" in cell) * (point == "last"))
    found = {(e.outcome, e.name, e.where): e for e in analysed(data).effects}
    for point in ("last", "restored"):
        for wanted in factorial_contrasts(data.values["test_accuracy", point], FACTORS):
            effect = found["test_accuracy", wanted.name, point].contrast
            assert effect.estimate.estimate == pytest.approx(wanted.estimate.estimate, abs=1e-12)
            assert effect.p_value == pytest.approx(wanted.p_value, rel=1e-8)
            per_image = stats.block_contrasts(data.correct[point], FACTORS)[wanted.factors]
            crossed = stats.crossed_mean(per_image.mean(axis=0)).interval()
            got = found["test_accuracy", wanted.name, point].crossed
            assert got is not None
            assert (got.low, got.high) == pytest.approx((crossed.low, crossed.high), abs=1e-12)
    both = np.stack([data.values["test_accuracy", p] for p in ("last", "restored")], axis=3)
    for wanted in factorial_contrasts(both, (*FACTORS, "early_stopping")):
        if "early_stopping" in wanted.factors:
            effect = found["test_accuracy", wanted.name, "both"].contrast
            assert effect.estimate.estimate == pytest.approx(wanted.estimate.estimate, abs=1e-12)
    l2 = found["test_accuracy", "l2", "last"].contrast
    assert l2.interval.contains(0.01)
    assert not l2.interval.contains(0.0)


def test_differences_are_paired_within_seed_and_split() -> None:
    data = drawn_factorial(lambda cell, point: 0.01 * len(cell))
    effect = next(
        e for e in analysed(data).differences
        if (e.outcome, e.where, e.name) == ("test_accuracy", "last", "l2 - none")
    )  # fmt: skip
    on, off = (
        data.values["test_accuracy", "last"][cell_index(cell)].mean(axis=0)
        for cell in (("l2",), NONE)
    )
    wanted = stats.paired_effect(on, off)
    assert effect.contrast.estimate.estimate == pytest.approx(wanted.estimate.estimate, abs=1e-12)
    assert effect.contrast.p_value == pytest.approx(wanted.p_value, rel=1e-8)
    assert effect.improves == wanted.probability_positive.estimate


def test_improvement_is_a_fall_where_less_is_better() -> None:
    data = drawn_factorial(lambda cell, point: 0.01 * ("l2" in cell))
    found = {(e.outcome, e.name, e.where): e.improves for e in analysed(data).effects}
    assert found["test_accuracy", "l2", "last"] == 1.0
    assert found["overfitting_gap", "l2", "last"] == 0.0


def test_declared_interval_over_images_is_that_of_the_mean_squares_of_both_ways() -> None:
    data = drawn_factorial(lambda cell, point: 0.0)
    arms = [{"on": list(on), "readout": "last"} for on in (DOCUMENTED, NONE)]
    both_ends = claim(treatment=arms[0], control=arms[1])
    (decision,) = analysed(data, both_ends).decisions
    on, off = (data.correct["last"][cell_index(cell)] for cell in (DOCUMENTED, NONE))
    wanted = stats.crossed_mean(on.mean(axis=0) - off.mean(axis=0)).interval()
    found = decision.effect.crossed
    assert found is not None
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_a_claim_of_lying_within_leaves_the_test_of_a_difference_exploratory() -> None:
    data = drawn_factorial(lambda cell, point: 0.0)
    analysis = analysed(data, claim(effect="l2", readout="last", direction="within"))
    shown = [*analysis.effects, *analysis.differences, *analysis.stopping]
    assert not any(effect.is_declared for effect in shown)
    assert [e.adjusted for e in shown] == pytest.approx(
        stats.benjamini_hochberg([e.contrast.p_value for e in shown])
    )


@pytest.mark.parametrize(
    ("true_effect", "noise", "margin", "verdict"),
    [
        (0.01, 0.001, 0.001, "supported"),
        (-0.01, 0.001, 0.001, "contradicted"),
        (0.0, 0.0002, 0.005, "equivalent"),
        (0.0, 0.01, 0.0001, "undecided"),
    ],
)
def test_verdict_follows_from_effect_noise_and_margin(
    true_effect: float, noise: float, margin: float, verdict: str
) -> None:
    data = drawn_factorial(lambda cell, point: true_effect * ("l2" in cell), noise=noise, seed=2)
    (decision,) = analysed(data, claim(effect="l2", readout="last", margin=margin)).decisions
    assert decision.verdict.value == verdict


@pytest.mark.parametrize(
    ("level", "verdict"), [(0.0, "supported"), (0.05, "contradicted"), (0.0298, "undecided")]
)
def test_a_claim_of_being_within_a_margin_is_decided_by_the_equivalence_test(
    level: float, verdict: str
) -> None:
    data = drawn_factorial(lambda cell, point: level, noise=0.002, seed=3)
    arm = {"on": list(DOCUMENTED), "readout": "restored"}
    within = claim(metric="overfitting_gap", direction="within", margin=0.05, treatment=arm)
    (decision,) = analysed(data, within).decisions
    assert decision.verdict.value == verdict


def test_declared_family_is_corrected_by_holm_and_the_rest_by_benjamini_and_hochberg() -> None:
    analysis = analysed(drawn_factorial(lambda cell, point: 0.0006 * ("l2" in cell), seed=4))
    raw = [
        d.effect.tost.p_value if d.hypothesis.direction == "within" else d.effect.contrast.p_value
        for d in analysis.decisions
    ]
    holm = stats.holm(raw)
    assert [d.effect.adjusted for d in analysis.decisions] == pytest.approx(holm)
    shown = [*analysis.effects, *analysis.differences, *analysis.stopping]
    rest = [e for e in shown if not e.is_declared]
    wanted = stats.benjamini_hochberg([e.contrast.p_value for e in rest])
    assert [e.adjusted for e in rest] == pytest.approx(wanted)
    # Ten claims are about effects of the tables, which are not exploratory: Holm there too.
    declared = {(e.outcome, e.contrast.p_value): e.adjusted for e in shown if e.is_declared}
    assert len(declared) == 10
    for decision in analysis.decisions[:10]:
        effect = decision.effect
        assert declared[effect.outcome, effect.contrast.p_value] == effect.adjusted


def test_equivalence_of_declared_claims_is_corrected_by_holm_too() -> None:
    """Alone the test finds equivalence, in a family of 40 claims it does not."""
    data = drawn_factorial(lambda cell, point: 0.0, noise=0.001, seed=6)
    alone = claim(effect="l2", readout="last", margin=0.0003)
    (decision,) = analysed(data, alone).decisions
    assert 0.05 / 40 < decision.effect.tost.p_value < 0.05
    assert decision.margin_p == decision.effect.tost.p_value
    assert decision.verdict.value == "equivalent"
    far = claim(effect="dropout_2", readout="restored", margin=1e-6)
    decisions = analysed(data, alone, *[far] * 39).decisions
    assert [d.margin_p for d in decisions] == pytest.approx(
        stats.holm([d.effect.tost.p_value for d in decisions])
    )
    assert decisions[0].verdict.value == "undecided"


def test_lying_outside_a_margin_is_corrected_by_holm_too() -> None:
    """Alone the interval lies outside, in a family of 40 claims too little so."""
    data = drawn_factorial(lambda cell, point: 0.03, noise=0.002, seed=3)
    arm = {"on": list(DOCUMENTED), "readout": "restored"}
    probe = claim(metric="overfitting_gap", direction="within", margin=0.05, treatment=arm)
    estimate = analysed(data, probe).decisions[0].effect.contrast.estimate
    margin = estimate.estimate - 2.5 * estimate.standard_error
    within = probe.model_copy(update={"margin": margin})
    (decision,) = analysed(data, within).decisions
    assert decision.effect.contrast.interval.low > margin
    assert decision.verdict.value == "contradicted"
    other = claim(effect="l2", readout="last")
    family = analysed(data, *[other] * 39, within).decisions
    p_values = [d.effect.contrast.p_value for d in family[:39]]
    wanted = stats.holm([*p_values, stats.outside_p_value(estimate, margin)])[-1]
    assert family[-1].margin_p == pytest.approx(wanted)
    assert family[-1].margin_p > 0.05
    assert family[-1].verdict.value == "undecided"


def test_two_seeds_say_nothing_about_how_much_seeds_differ() -> None:
    """Both lie equally far from their median, so that the difference seems free of error."""
    accuracy = np.random.default_rng(0).normal(0.97, 0.002, (2, 2, 2, 3, 2))
    data = drawn_factorial(lambda cell, point: 0.0, n_seeds=2)
    for point in ("last", "restored"):
        data.values["accuracy_deviation", point][:] = deviations(accuracy)
        accuracy = accuracy + np.random.default_rng(1).normal(0, 0.002, accuracy.shape)
    stable = claim(
        metric="accuracy_deviation", direction="decrease", margin=0.0002,
        treatment={"on": list(FACTORS), "readout": "restored"},
        control={"on": list(FACTORS), "readout": "last"},
    )  # fmt: skip
    analysis = analysed(data, stable)
    (decision,) = analysis.decisions
    assert decision.verdict == "undecided"
    assert decision.effect.contrast.interval.high == np.inf
    found = [e for e in analysis.effects if e.outcome == "accuracy_deviation"]
    assert {effect.contrast.p_value for effect in found} == {1.0}
    assert not any(effect.tost.p_value < 0.5 for effect in found)
