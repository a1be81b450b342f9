"""The ablation's statistics: effects, differences and verdicts, against the plain statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ablation_simulation import READOUTS, analysed, claim, drawn_values, of_factor

from mnist_study import stats
from mnist_study.experiments.ablation.design import CELLS, DOCUMENTED, NONE, cell_label
from mnist_study.experiments.ablation.outcomes import Outcome, deviations
from mnist_study.experiments.ablation.recipes import FACTORS
from mnist_study.experiments.ablation.runs import Values
from mnist_study.experiments.ablation.text import depends_on, replicated_text, verdict_text
from mnist_study.stats import Verdict

Place = tuple[str, str, str]
LAST_ALL: Place = ("documented", "all", "last")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_effects_are_the_contrasts_of_the_factorial_pooled_and_of_each_execution() -> None:
    values = drawn_values(rng(), of_factor("l2", 0.01))
    found = {
        (e.comparison.part, e.comparison.readout, e.name): e
        for e in analysed(values).effects
        if e.outcome == "test_accuracy"
    }
    for part, readouts in READOUTS.items():
        for readout in readouts:
            cells = np.empty((2, 2, 2, 2, 20))
            for cell in CELLS:
                at = tuple(int(name in cell) for name in FACTORS)
                cells[at] = values.of((part, cell_label(cell), readout), "test_accuracy")
            for names, wanted in stats.block_contrasts(cells, FACTORS).items():
                effect = found[part, readout, ":".join(names)]
                pooled = stats.mean_estimate(wanted.ravel())
                assert effect.interval.estimate == pytest.approx(pooled.estimate, abs=1e-12)
                assert effect.interval.low == pytest.approx(pooled.interval().low, abs=1e-12)
                assert effect.pooled.n_pairs == 40
                for one, of_execution in zip(effect.executions, wanted, strict=True):
                    assert one is not None
                    alone = stats.run_distribution(of_execution)
                    assert one.mean == pytest.approx(alone.mean, abs=1e-12)
                    assert one.mean_interval.high == pytest.approx(alone.mean_interval.high)
    assert found["study", "last", "l2"].interval.contains(0.01)


def test_differences_are_paired_within_the_replicate() -> None:
    values = drawn_values(rng(), lambda part, cell, readout: 0.01 * len(cell))
    effect = next(
        e for e in analysed(values).differences
        if (e.outcome, e.comparison.part, e.comparison.readout, e.name)
        == ("test_accuracy", "documented", "last", "l2 - none")
    )  # fmt: skip
    on, off = (
        values.of(("documented", name, "last"), "test_accuracy").ravel() for name in ("l2", "none")
    )
    wanted = stats.paired_effect(on, off)
    assert effect.interval.low == pytest.approx(wanted.interval.low, abs=1e-12)
    assert effect.pooled.p_value == pytest.approx(wanted.p_value, rel=1e-8)
    assert effect.improves == wanted.probability_positive.estimate


def test_improvement_is_a_fall_where_less_is_better() -> None:
    outcomes: tuple[Outcome, ...] = ("test_accuracy", "overfitting_gap")
    values = drawn_values(rng(), of_factor("l2", 0.02), outcomes=outcomes)
    found = {(e.outcome, e.name): e.improves for e in analysed(values).effects}
    assert found["test_accuracy", "l2"] == 1.0
    assert found["overfitting_gap", "l2"] == 0.0


def test_the_interval_over_images_is_that_of_the_mean_squares_of_both_ways() -> None:
    values = drawn_values(rng())
    both_ends = claim(arms=["all"], against_arms=["none"], parts=["study"], readouts=["last"])
    (reading,) = analysed(values, both_ends).all_decisions[0].readings
    on, off = (
        values.correct["study", cell_label(cell), "last"].reshape(40, -1).astype(float)
        for cell in (DOCUMENTED, NONE)
    )
    wanted = stats.crossed_mean(on - off).interval()
    found = reading.estimate.crossed
    assert found is not None
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


@pytest.mark.parametrize(
    ("true_effect", "noise", "margin", "verdict"),
    [
        (0.01, 0.001, 0.001, "supported"),
        (-0.01, 0.001, 0.001, "contradicted"),
        (0.0, 0.0002, 0.005, "equivalent"),
        # What lies within the margin is none that counts, however sure it is that it is not zero.
        (0.001, 0.0002, 0.005, "equivalent"),
        (0.0, 0.02, 0.0001, "undecided"),
    ],
)
def test_verdict_follows_from_effect_noise_and_margin(
    true_effect: float, noise: float, margin: float, verdict: str
) -> None:
    values = drawn_values(rng(2), of_factor("l2", true_effect), noise=noise)
    (decision,) = analysed(values, claim(effect="l2", margin=margin)).all_decisions
    assert decision.verdict == verdict
    assert len(decision.readings) == 6


@pytest.mark.parametrize("only", [("documented", "last"), ("study", "averaged")])
def test_a_claim_that_one_setting_denies_depends_on_it(only: tuple[str, str]) -> None:
    def shift(part: str, cell: tuple[str, ...], readout: str) -> float:
        return (-0.01 if (part, readout) == only else 0.01) * ("l2" in cell)

    (decision,) = analysed(drawn_values(rng(3), shift), claim(effect="l2")).all_decisions
    assert decision.verdict is Verdict.DEPENDS
    verdicts = {(r.setting.part, r.setting.readout): r.verdict for r in decision.readings}
    assert verdicts.pop(only) is Verdict.CONTRADICTED
    assert set(verdicts.values()) == {Verdict.SUPPORTED}
    (odd,) = (i for i, r in enumerate(decision.readings) if r.verdict is Verdict.CONTRADICTED)
    assert all(odd in pair for pair in decision.differing)
    assert len(decision.differing) == 5


def test_effects_that_are_the_same_everywhere_do_not_depend_on_where_they_are_read() -> None:
    """That one setting is significant and another is not shows no difference between them."""
    verdicts = []
    for seed in range(30):
        values = drawn_values(rng(seed), of_factor("l2", 0.0011))
        (decision,) = analysed(values, claim(effect="l2", margin=1e-5)).all_decisions
        verdicts.append(decision.verdict)
        if len({reading.verdict for reading in decision.readings}) == 1:
            assert decision.verdict is decision.readings[0].verdict
    assert verdicts.count(Verdict.DEPENDS) <= 3  # each of them errs in 5 % of cases
    assert Verdict.UNDECIDED in verdicts  # some settings are, so that the rule is needed


def test_a_main_effect_of_two_signs_depends_on_the_other_factors() -> None:
    """L2 helps without dropout and hurts with it: its mean of zero is true of no network."""

    def shift(part: str, cell: tuple[str, ...], readout: str) -> float:
        return (0.01 if cell == ("l2",) else -0.0033) * ("l2" in cell)

    values = drawn_values(rng(5), shift, noise=0.0005)
    (decision,) = analysed(values, claim(effect="l2", margin=0.005)).all_decisions
    assert all(abs(r.estimate.interval.estimate) < 0.001 for r in decision.readings)
    assert {r.verdict for r in decision.readings} == {Verdict.DEPENDS}
    assert decision.verdict is Verdict.DEPENDS
    assert depends_on(decision) == ["other factors"]


def test_what_one_execution_denies_is_undecided_however_sure_the_other_is() -> None:
    values = drawn_values(rng(4), of_factor("l2", 0.03))
    for key, outcomes in values.outcomes.items():
        if "l2" in key[1] or key[1] == "all":
            outcomes["test_accuracy"][1] -= 0.032  # second execution: slightly below
    (decision,) = analysed(values, claim(effect="l2", margin=1e-6)).all_decisions
    for reading in decision.readings:
        assert reading.estimate.interval.low > 0
        assert reading.agree is False
        assert reading.verdict is Verdict.UNDECIDED
    assert replicated_text(decision) == "at 0 of 6"


def test_equivalence_is_agreed_on_within_the_margin_and_not_by_sign() -> None:
    values = drawn_values(rng(4), noise=0.0002)
    for key, outcomes in values.outcomes.items():
        outcomes["test_accuracy"][0] += 0.0004 * ("l2" in key[1] or key[1] == "all")
        outcomes["test_accuracy"][1] -= 0.0004 * ("l2" in key[1] or key[1] == "all")
    (decision,) = analysed(values, claim(effect="l2", margin=0.005)).all_decisions
    assert decision.verdict is Verdict.EQUIVALENT
    assert replicated_text(decision) == "yes"


def test_a_single_execution_agrees_with_nobody() -> None:
    values = drawn_values(rng(4), of_factor("l2", 0.03))
    for outcomes in values.outcomes.values():
        outcomes["test_accuracy"][1, 1:] = math.nan
    (decision,) = analysed(values, claim(effect="l2")).all_decisions
    assert {reading.agree for reading in decision.readings} == {None}
    assert decision.verdict is Verdict.UNDECIDED
    assert replicated_text(decision) == "one execution only"


@pytest.mark.parametrize(("n", "verdict"), [(4, "undecided"), (5, "supported")])
def test_fewer_than_ten_replicates_give_no_verdict(n: int, verdict: str) -> None:
    values = drawn_values(rng(1), of_factor("l2", 0.05), n_replicates=n)
    (decision,) = analysed(values, claim(effect="l2")).all_decisions
    assert decision.verdict == verdict
    wanted = "undecided, 8 replicates" if n == 4 else verdict
    assert verdict_text(decision) == wanted


def test_a_difference_within_the_margin_is_never_supported() -> None:
    """Far from zero by its own test, and yet the whole interval is too small to count."""
    values = drawn_values(rng(2), of_factor("l2", 0.0012), noise=0.0022)
    one = claim(effect="l2", parts=["study"], readouts=["last"])
    others = [claim(effect="l2", margin=1e-9) for _ in range(30)]
    (alone,) = analysed(values, one).all_decisions
    margin = alone.readings[0].estimate.interval.high + 1e-6
    decisions = analysed(values, one.model_copy(update={"margin": margin}), *others).all_decisions
    (reading,) = decisions[0].readings
    assert reading.adjusted is not None
    assert reading.adjusted < 0.05
    assert reading.margin_p is not None
    assert reading.margin_p > 0.05  # of 181 tests against margins
    assert reading.estimate.interval.high < margin
    assert reading.verdict is Verdict.UNDECIDED


def test_a_claim_has_no_verdict_until_all_its_settings_have_runs() -> None:
    values = drawn_values(rng(9), of_factor("l2", 0.05))
    only = Values({k: v for k, v in values.outcomes.items() if k[0] == "documented"},
                  values.correct)  # fmt: skip
    (decision,) = analysed(only, claim(effect="l2", parts=["study"])).all_decisions
    assert (decision.verdict, verdict_text(decision)) == (None, "nothing to compare yet")
    (decision,) = analysed(only, claim(effect="l2")).all_decisions
    assert (len(decision.readings), decision.n_settings) == (3, 6)
    assert (decision.verdict, verdict_text(decision)) == (None, "3 of 6 settings have runs")
    # The settings without runs count in the correction from the beginning.
    raw = [reading.estimate.pooled.p_value for reading in decision.readings]
    wanted = stats.holm([*raw, 1.0, 1.0, 1.0])[:3]
    assert [reading.adjusted for reading in decision.readings] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("level", "verdict"),
    [(0.85, "supported"), (0.95, "contradicted"), (0.9, "undecided")],
)
def test_a_claim_of_lying_below_is_decided_by_the_side_of_its_target(
    level: float, verdict: str
) -> None:
    values = drawn_values(rng(3), lambda part, cell, readout: level - 0.9)
    below = claim(direction="below", target=0.9, arms=["all"], metric="test_accuracy")
    assert analysed(values, below).all_decisions[0].verdict == verdict


@pytest.mark.parametrize(
    ("level", "verdict"), [(0.0, "supported"), (0.05, "contradicted"), (0.0099, "undecided")]
)
def test_a_claim_of_being_within_a_margin_is_decided_by_the_equivalence_test(
    level: float, verdict: str
) -> None:
    values = drawn_values(rng(3), lambda part, cell, readout: level)
    within = claim(direction="within", target=0.9, margin=0.01, arms=["all"])
    assert analysed(values, within).all_decisions[0].verdict == verdict


def test_a_prediction_holds_where_one_more_run_may_give_the_number() -> None:
    values = drawn_values(rng(5))
    settings = {"arms": ["all"], "parts": ["documented"], "readouts": ["last"]}
    sample = values.of(LAST_ALL, "test_accuracy").ravel()
    wanted = stats.run_distribution(sample).prediction_interval
    inside = wanted.low + 0.2 * (wanted.high - wanted.low)
    for target, verdict in ((inside, "supported"), (wanted.high + 0.005, "contradicted")):
        contains = claim(direction="contains", target=target, margin=0.05, **settings)
        (decision,) = analysed(values, contains).all_decisions
        assert decision.verdict == verdict
        assert (decision.readings[0].adjusted, decision.readings[0].margin_p) == (None, None)
        found = decision.readings[0].estimate.prediction_interval
        assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_all_tests_of_all_claims_are_one_family_corrected_by_holm() -> None:
    values = drawn_values(rng(4), of_factor("l2", 0.0006))
    claims = [claim(effect=name) for name in FACTORS]
    claims.append(claim(direction="within", target=0.9, margin=0.01, arms=["all"]))
    decisions = analysed(values, *claims).all_decisions
    readings = [r for d in decisions for r in d.readings]
    assert len(readings) == 24
    raw, margins = [], []
    for decision in decisions:
        target = decision.claim.target or 0.0
        margin = decision.claim.margin
        assert margin is not None
        for reading in decision.readings:
            of = reading.estimate.pooled.estimate
            of = stats.TEstimate(of.estimate - target, of.standard_error, of.degrees_of_freedom)
            inside = stats.equivalence(of, margin).p_value
            raw.append(inside if decision.claim.is_level else of.p_value)
            margins.append(stats.outside_p_value(of, margin) if decision.claim.is_level else inside)
    assert [r.adjusted for r in readings] == pytest.approx(stats.holm(raw))
    assert [r.margin_p for r in readings] == pytest.approx(stats.holm(margins))


def test_what_no_claim_concerns_is_corrected_by_benjamini_and_hochberg() -> None:
    analysis = analysed(drawn_values(rng(6)))
    explored = [*analysis.effects, *analysis.differences, *analysis.steps]
    wanted = stats.benjamini_hochberg([e.pooled.p_value for e in explored])
    assert [e.adjusted for e in explored] == pytest.approx(wanted)


def test_a_replicate_that_lacks_a_run_is_left_out_of_what_needs_it() -> None:
    values = drawn_values(rng(7))
    values.outcomes["documented", "l2", "last"]["test_accuracy"][0, 3] = math.nan
    found = {
        (e.comparison.part, e.comparison.readout, e.name): e for e in analysed(values).differences
    }
    hit = found["documented", "last", "l2 - none"]
    assert (hit.pooled.n_pairs, hit.n_incomplete) == (39, 1)
    spared = found["documented", "last", "dropout_1 - none"]
    assert (spared.pooled.n_pairs, spared.n_incomplete) == (40, 0)


def test_two_seeds_say_nothing_about_how_much_seeds_differ() -> None:
    """Both lie equally far from their median, so that the difference seems free of error."""
    values = drawn_values(rng(), n_replicates=2)
    stable = claim(
        metric="accuracy_deviation", direction="decrease", margin=0.0002, arms=["all"],
        readouts=["restored"], against_readout="last", parts=["documented"],
    )  # fmt: skip
    (decision,) = analysed(values, stable).all_decisions
    assert decision.verdict == "undecided"
    assert decision.readings[0].estimate.interval.high == np.inf


def test_deviations_are_from_the_median_of_their_own_execution() -> None:
    values = drawn_values(rng(8))
    found = values.weighted({LAST_ALL: 1.0}, "accuracy_deviation")
    for one, sample in zip(found, values.of(LAST_ALL, "test_accuracy"), strict=True):
        assert np.array_equal(one, deviations(sample))


def test_a_prediction_that_would_hold_anything_supports_nothing() -> None:
    values = drawn_values(rng(5), noise=0.02)
    settings = {"arms": ["all"], "parts": ["documented"], "readouts": ["last"]}
    for margin, verdict in ((0.02, "undecided"), (0.1, "supported")):
        contains = claim(direction="contains", target=0.9, margin=margin, **settings)
        assert analysed(values, contains).all_decisions[0].verdict == verdict


def test_a_gap_is_told_with_both_its_parts() -> None:
    outcomes: tuple[Outcome, ...] = ("overfitting_gap", "train_accuracy", "test_accuracy")
    values = drawn_values(rng(6), outcomes=outcomes)
    gap = claim(metric="overfitting_gap", direction="decrease", arms=["all"], against_arms=["none"])
    for reading in analysed(values, gap).all_decisions[0].readings:
        assert reading.parts is not None
        for part, outcome in zip(reading.parts, outcomes[1:], strict=True):
            assert part.outcome == outcome
            every, none = (
                values.of((reading.setting.part, arm, reading.setting.readout), outcome)
                for arm in ("all", "none")
            )
            assert part.interval.estimate == pytest.approx(float((every - none).mean()))


def of_activations(relu: list[float], tanh: list[float], planned: int = 20) -> Values:
    """Return epochs to the target of two arms in two executions alike."""
    outcomes = {}
    for arm, epochs in (("relu", relu), ("tanh", tanh)):
        values = np.array([epochs, epochs])
        of_key: dict[Outcome, np.ndarray] = {
            "epochs_to_target": values, "target_missed": (values > planned).astype(float),
        }  # fmt: skip
        outcomes["activations", arm, "last"] = of_key
    return Values(outcomes)


def test_runs_that_all_miss_the_target_tell_nothing_and_a_bound_is_never_equivalent() -> None:
    faster = claim(
        metric="epochs_to_target", direction="decrease", margin=50.0, parts=["activations"],
        arms=["relu"], against_arms=["tanh"], readouts=["last"],
    )  # fmt: skip
    (decision,) = analysed(of_activations([21.0] * 8, [21.0] * 8), faster).all_decisions
    assert decision.readings == ()
    relu, tanh = [5.0, 6, 7, 21, 6, 5, 7, 6], [21.0] * 8
    (decision,) = analysed(of_activations(relu, tanh), faster).all_decisions
    (reading,) = decision.readings
    assert reading.estimate.pooled.n_pairs == 14  # without the pair of which both miss
    assert reading.estimate.n_incomplete == 2
    assert reading.margin_p is None
    assert reading.verdict is Verdict.UNDECIDED  # all of it lies within the margin
