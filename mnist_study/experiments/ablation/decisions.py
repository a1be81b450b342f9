"""Verdicts on the declared claims: at each setting, and over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from mnist_study import stats
from mnist_study.experiments.ablation.claims import Claim, Setting, StatisticsConfig
from mnist_study.experiments.ablation.comparisons import (
    Comparison,
    comparison_at,
    simple_effects,
)
from mnist_study.experiments.ablation.estimates import Estimate, estimate_of
from mnist_study.experiments.ablation.runs import Values
from mnist_study.stats import Verdict

MIN_REPLICATES = 10
"""With fewer, of all executions together, no verdict is given."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A claim at one of its settings.

    Attributes:
        setting: part, arm and read-out.
        estimate: there; of a level without its target.
        adjusted: p-value of the test that can support or contradict, after Holm; None where a
            prediction is not tested.
        margin_p: p-value of the test against the margin, after Holm; None where there is none.
        verdict: of this setting; it depends where the effect has another sign at other settings of
            the crossed factors.
        agree: whether each execution by itself is on the side of both together; None where one of
            them has too few runs to tell.
        parts: of a difference of overfitting gaps that of training and that of test accuracy.
    """

    setting: Setting
    estimate: Estimate
    adjusted: float | None
    margin_p: float | None
    verdict: Verdict
    agree: bool | None
    parts: tuple[Estimate, Estimate] | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """A claim with its readings and verdict.

    Attributes:
        claim: as declared.
        readings: one per setting that has runs.
        n_settings: how many the claim has.
        verdict: over all readings; None until every setting has runs.
        differing: pairs of readings, by index, whose effects differ significantly.
    """

    claim: Claim
    readings: tuple[Reading, ...]
    n_settings: int
    verdict: Verdict | None
    differing: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class _Tested:
    """A claim at a setting before correction for multiple tests.

    Attributes:
        p_value: of the test that can support or contradict the claim; None where there is none.
        margin_p: of the test against the margin; None where there is none.
    """

    setting: Setting
    estimate: Estimate
    p_value: float | None
    margin_p: float | None


def decide_claims(
    values: Values, claims: Sequence[Claim], settings: StatisticsConfig
) -> list[Decision]:
    """Decide on claims, whose tests at all settings are one family.

    All tests that can support or contradict are corrected by Holm's procedure, and so are, as a
    second family, the tests against the margins; settings without runs yet count as tests that
    found nothing.
    """
    tested = [
        [
            None if estimate is None else _test(claim, setting, estimate, settings)
            for setting in claim.settings()
            for estimate in [
                estimate_of(
                    values,
                    claim.metric,
                    comparison_at(claim.effect, setting),
                    settings.confidence,
                    over_images=True,
                )
            ]
        ]
        for claim in claims
    ]
    flat = [test for of_claim in tested for test in of_claim]
    adjusted = _holm([1.0 if test is None else test.p_value for test in flat])
    margin_ps = _holm([1.0 if test is None else test.margin_p for test in flat])
    corrected = iter(zip(adjusted, margin_ps, strict=True))
    decisions = []
    for claim, of_claim in zip(claims, tested, strict=True):
        readings = []
        for test in of_claim:
            p_value, margin_p = next(corrected)
            if test is not None:
                readings.append(_read(values, claim, test, p_value, margin_p, settings))
        decisions.append(_decide(values, claim, readings, settings))
    return decisions


def _holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct the p-values of a family; what is not tested keeps None."""
    adjusted = iter(stats.holm([p for p in p_values if p is not None]))
    return [None if p is None else float(next(adjusted)) for p in p_values]


def _test(
    claim: Claim, setting: Setting, estimate: Estimate, settings: StatisticsConfig
) -> _Tested:
    of_mean = estimate.pooled.estimate
    if claim.target is not None:
        of_mean = replace(of_mean, estimate=of_mean.estimate - claim.target)
    if claim.direction == "contains":
        return _Tested(setting, estimate, None, None)
    if claim.direction == "below":
        return _Tested(setting, estimate, of_mean.p_value, None)
    margin = settings.margin_of(claim)
    inside = stats.equivalence(of_mean, margin, alpha=settings.alpha).p_value
    if claim.direction == "within":
        return _Tested(setting, estimate, inside, stats.outside_p_value(of_mean, margin))
    # A run that does not reach the target tells a bound alone, from which nothing is equivalent.
    is_bound = claim.metric == "epochs_to_target"
    return _Tested(setting, estimate, of_mean.p_value, None if is_bound else inside)


def _read(
    values: Values,
    claim: Claim,
    test: _Tested,
    adjusted: float | None,
    margin_p: float | None,
    settings: StatisticsConfig,
) -> Reading:
    """Decide at one setting; what too few runs say, or one execution denies, is undecided."""
    estimate = test.estimate
    verdict = _verdict(claim, estimate, adjusted, margin_p, settings)
    agree = _agree(claim, estimate, verdict, settings.margin_of(claim))
    if estimate.pooled.n_pairs < MIN_REPLICATES or not agree:
        verdict = Verdict.UNDECIDED
    if _has_other_sign(values, claim, test.setting, settings):
        verdict = Verdict.DEPENDS
    parts = None
    if claim.metric == "overfitting_gap" and not claim.is_level:
        train, test_part = (
            estimate_of(values, outcome, estimate.comparison, settings.confidence)
            for outcome in ("train_accuracy", "test_accuracy")
        )
        parts = None if train is None or test_part is None else (train, test_part)
    return Reading(test.setting, estimate, adjusted, margin_p, verdict, agree, parts)


def _verdict(
    claim: Claim,
    estimate: Estimate,
    adjusted: float | None,
    margin_p: float | None,
    settings: StatisticsConfig,
) -> Verdict:
    """Decide by the tests of one setting alone."""
    alpha, target = settings.alpha, claim.target or 0.0
    if adjusted is None:
        interval = estimate.prediction_interval
        if (interval.high - interval.low) / 2 > claim.margin_or(0.0):
            return Verdict.UNDECIDED  # so wide that it would hold anything
        return Verdict.SUPPORTED if interval.contains(target) else Verdict.CONTRADICTED
    if claim.direction == "within":
        if adjusted < alpha:
            return Verdict.SUPPORTED
        is_outside = margin_p is not None and margin_p < alpha
        return Verdict.CONTRADICTED if is_outside else Verdict.UNDECIDED
    direction: stats.Direction = "increase" if claim.direction == "increase" else "decrease"
    inside = 1.0 if margin_p is None else margin_p
    above = estimate.interval.estimate - target
    verdict = stats.decide(above, adjusted, direction, inside, alpha=alpha)
    if verdict in (Verdict.SUPPORTED, Verdict.CONTRADICTED) and not claim.is_level:
        margin = settings.margin_of(claim)
        if max(abs(estimate.interval.low), abs(estimate.interval.high)) < margin:
            return Verdict.UNDECIDED  # not zero, and yet too small to count
    return verdict


def _agree(claim: Claim, estimate: Estimate, verdict: Verdict, margin: float) -> bool | None:
    """Tell whether each execution by itself is on the side of both together."""
    executions = [of for of in estimate.executions if of is not None]
    if len(executions) < 2 or len(executions) < len(estimate.executions):
        return None
    target = claim.target or 0.0
    if claim.direction == "contains":
        inside = estimate.prediction_interval.contains(target)
        return all(of.prediction_interval.contains(target) == inside for of in executions)
    found = estimate.interval.estimate - target
    values = [of.mean - target for of in executions]
    if verdict is Verdict.EQUIVALENT or claim.direction == "within":
        return all((abs(value) < margin) == (abs(found) < margin) for value in values)
    return all(np.sign(value) == np.sign(found) for value in values)


def _has_other_sign(
    values: Values, claim: Claim, setting: Setting, settings: StatisticsConfig
) -> bool:
    """Tell whether a main effect is above zero at one setting of the others and below at another.

    Its mean then says nothing of any network.
    """
    if claim.effect is None or ":" in claim.effect:
        return False
    found = [
        estimate_of(values, claim.metric, comparison, settings.confidence)
        for comparison in simple_effects(claim.effect, setting.part, setting.readout)
    ]
    tests = [one for one in found if one is not None]
    adjusted = stats.holm([one.pooled.p_value for one in tests])
    signs = {
        float(np.sign(one.interval.estimate))
        for one, p_value in zip(tests, adjusted, strict=True)
        if p_value < settings.alpha and one.pooled.n_pairs >= MIN_REPLICATES
    }
    return {-1.0, 1.0} <= signs


def _decide(
    values: Values, claim: Claim, readings: list[Reading], settings: StatisticsConfig
) -> Decision:
    """Return the verdict over all settings.

    Where they differ, the claim depends on the setting only if effects differ significantly between
    two of them with different verdicts, paired by replicate; that one is significant and the other
    is not shows no difference.
    """
    n_settings = len(claim.settings())
    if len(readings) < n_settings:
        return Decision(claim, tuple(readings), n_settings, None)
    verdicts = [reading.verdict for reading in readings]
    if len(set(verdicts)) == 1:
        return Decision(claim, tuple(readings), n_settings, verdicts[0])
    pairs = [
        (i, j) for i, j in combinations(range(len(readings)), 2) if verdicts[i] is not verdicts[j]
    ]
    p_values = stats.holm(
        [_p_of_difference(values, claim, readings[i], readings[j], settings) for i, j in pairs]
    )
    differing = tuple(
        pair for pair, p_value in zip(pairs, p_values, strict=True) if p_value < settings.alpha
    )
    depends = differing or Verdict.DEPENDS in verdicts
    verdict = Verdict.DEPENDS if depends else Verdict.UNDECIDED
    return Decision(claim, tuple(readings), n_settings, verdict, differing)


def _p_of_difference(
    values: Values, claim: Claim, first: Reading, second: Reading, settings: StatisticsConfig
) -> float:
    """Test that the effect is the same at two settings; 1 where too few replicates have both."""
    weights = dict(first.estimate.comparison.weights)
    for key, weight in second.estimate.comparison.weights.items():
        weights[key] = weights.get(key, 0.0) - weight
    comparison = Comparison("difference", "", "", {k: w for k, w in weights.items() if w != 0.0})
    estimate = estimate_of(values, claim.metric, comparison, settings.confidence)
    if estimate is None or estimate.pooled.n_pairs < MIN_REPLICATES:
        return 1.0
    return estimate.pooled.p_value
