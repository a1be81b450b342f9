"""The statistics of an ablation: estimates at every setting, and verdicts on what was declared.

Replicates are independent, each with a seed and a split of its own, so every estimate has an
ordinary t over replicates: of each execution by itself, and of both together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mnist_study import stats
from mnist_study.experiments.ablation.claims import Claim, Sentence, Setting, StatisticsConfig
from mnist_study.experiments.ablation.comparisons import (
    Comparison,
    comparison_at,
    differences_to_none,
    effects,
    steps,
)
from mnist_study.experiments.ablation.outcomes import UNITS, Outcome
from mnist_study.experiments.ablation.recipes import RECIPES
from mnist_study.experiments.ablation.runs import Values


@dataclass(frozen=True, slots=True)
class Estimate:
    """One estimated effect, difference or level.

    Attributes:
        outcome: of `UNITS`.
        comparison: what is compared.
        pooled: over the replicates of all executions.
        executions: each by itself; None where it has fewer than two replicates.
        n_incomplete: replicates left out because a run or its outcome is missing.
        crossed: for differences of test accuracy the interval over runs and test images.
        adjusted: p-value after Benjamini and Hochberg, of what no claim concerns.
    """

    outcome: Outcome
    comparison: Comparison
    pooled: stats.PairedEffect
    executions: tuple[stats.RunDistribution | None, ...]
    n_incomplete: int
    crossed: stats.Interval | None = None
    adjusted: float = math.nan

    @property
    def name(self) -> str:
        """Name of the effect or difference."""
        return self.comparison.name

    @property
    def interval(self) -> stats.Interval:
        """Over the replicates of all executions."""
        return self.pooled.interval

    @property
    def is_replicated(self) -> bool:
        """Whether every execution has the sign of all together."""
        sign = np.sign(self.interval.estimate)
        return all(of is not None and np.sign(of.mean) == sign for of in self.executions)

    @property
    def improves(self) -> float:
        """Probability that a fresh replicate's difference is an improvement, ties half."""
        positive = self.pooled.probability_positive.estimate
        return positive if UNITS[self.outcome].more_is_better else 1.0 - positive


@dataclass(frozen=True, slots=True)
class Reading:
    """A claim at one of its settings.

    Attributes:
        setting: part, arm and read-out.
        estimate: there; of a level without its target.
        adjusted: p-value of the test that can support or contradict, after Holm.
        margin_p: p-value of the other test, which is against the margin, after Holm.
        verdict: of this setting.
    """

    setting: Setting
    estimate: Estimate
    adjusted: float
    margin_p: float
    verdict: stats.Verdict

    @property
    def is_replicated(self) -> bool:
        """Whether both executions say the same."""
        return self.verdict is not stats.Verdict.UNDECIDED


@dataclass(frozen=True, slots=True)
class Decision:
    """A claim with its readings and verdict.

    Attributes:
        claim: as declared.
        readings: one per setting that has runs.
        verdict: over all readings; None where no setting has runs yet.
    """

    claim: Claim
    readings: tuple[Reading, ...]
    verdict: stats.Verdict | None


@dataclass(frozen=True, slots=True)
class Analysis:
    """All statistics of an ablation.

    Attributes:
        decisions: of each sentence, one per claim, in the order of the file.
        effects: main effects and interactions of each recipe and read-out.
        differences: each cell minus the one without regularization, likewise.
        steps: what each step towards the champion changes; empty without that part.
    """

    decisions: tuple[tuple[Decision, ...], ...]
    effects: tuple[Estimate, ...]
    differences: tuple[Estimate, ...]
    steps: tuple[Estimate, ...]

    @property
    def all_decisions(self) -> tuple[Decision, ...]:
        """The decisions on all claims, in the order of the file."""
        return tuple(decision for of in self.decisions for decision in of)


EFFECT_OUTCOMES: tuple[Outcome, ...] = (
    "test_accuracy", "test_loss", "train_accuracy", "overfitting_gap", "calibration_error",
)  # fmt: skip


def analyse(
    values: Values,
    sentences: Sequence[Sentence],
    settings: StatisticsConfig,
    readouts: dict[str, tuple[str, ...]],
) -> Analysis:
    """Estimate all effects and differences, and decide on the claims.

    Args:
        values: of the runs.
        sentences: as declared.
        settings: level and margins.
        readouts: of each recipe's factorial.
    """
    claims = [claim for sentence in sentences for claim in sentence.claims]
    decisions = iter(decide_claims(values, claims, settings))
    explored = [
        [
            estimate
            for part in RECIPES
            for readout in readouts.get(part, ())
            for outcome in EFFECT_OUTCOMES
            for comparison in compare(part, readout)
            if (estimate := estimate_of(values, outcome, comparison, settings.confidence))
        ]
        for compare in (effects, differences_to_none)
    ]
    of_steps = [
        estimate
        for comparison in steps()
        if (estimate := estimate_of(values, "test_accuracy", comparison, settings.confidence))
    ]
    flat = [estimate for group in (*explored, of_steps) for estimate in group]
    adjusted = iter(stats.benjamini_hochberg([estimate.pooled.p_value for estimate in flat]))
    groups = [
        tuple(replace(estimate, adjusted=float(next(adjusted))) for estimate in group)
        for group in (*explored, of_steps)
    ]
    return Analysis(
        tuple(tuple(next(decisions) for _ in sentence.claims) for sentence in sentences), *groups
    )


def estimate_of(
    values: Values,
    outcome: Outcome,
    comparison: Comparison,
    confidence: float,
    *,
    over_images: bool = False,
) -> Estimate | None:
    """Estimate a comparison; None with fewer than two replicates.

    Args:
        values: of the runs.
        outcome: of `UNITS`.
        comparison: what is compared.
        confidence: of all intervals.
        over_images: also over test images, which takes longer.
    """
    per_execution = values.weighted(comparison.weights, outcome)
    pooled = np.concatenate(per_execution) if per_execution else np.empty(0)
    if len(pooled) < 2:
        return None
    effect = stats.mean_effect(pooled, confidence=confidence)
    if outcome == "accuracy_deviation" and max(map(len, per_execution)) < _MIN_SEEDS_OF_DEVIATION:
        effect = _with_unknown_error(effect)
    crossed = None
    if over_images and len(comparison.weights) > 1 and outcome == "test_accuracy":
        crossed = stats.crossed_mean(values.per_image(comparison.weights)).interval(confidence)
    return Estimate(
        outcome=outcome,
        comparison=comparison,
        pooled=effect,
        executions=tuple(
            stats.run_distribution(of, confidence=confidence) if len(of) > 1 else None
            for of in per_execution
        ),
        n_incomplete=values.n_incomplete(comparison.weights, outcome),
        crossed=crossed,
    )


_MIN_SEEDS_OF_DEVIATION = 3
"""Two seeds lie equally far from their median: the difference of two cells has no spread."""


def _with_unknown_error(effect: stats.PairedEffect) -> stats.PairedEffect:
    """Return the effect with an infinite standard error."""
    estimate = replace(effect.estimate, standard_error=math.inf)
    return replace(
        effect,
        estimate=estimate,
        interval=estimate.interval(effect.interval.confidence),
        p_value=estimate.p_value,
    )


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
    second family, the tests against the margins.
    """
    tested = [
        [
            _test(claim, setting, estimate, settings.alpha)
            for setting in claim.settings()
            if (estimate := _estimate_at(values, claim, setting, settings.confidence))
        ]
        for claim in claims
    ]
    flat = [test for of_claim in tested for test in of_claim]
    adjusted = iter(_holm([test.p_value for test in flat]))
    margin_ps = iter(_holm([test.margin_p for test in flat]))
    decisions = []
    for claim, of_claim in zip(claims, tested, strict=True):
        readings = tuple(
            _read(claim, test, next(adjusted), next(margin_ps), settings) for test in of_claim
        )
        verdict = stats.combine(r.verdict for r in readings) if readings else None
        decisions.append(Decision(claim, readings, verdict))
    return decisions


def _holm(p_values: Sequence[float | None]) -> list[float]:
    """Correct the p-values of a family; what is not tested gets 1."""
    adjusted = iter(stats.holm([p for p in p_values if p is not None]))
    return [1.0 if p is None else float(next(adjusted)) for p in p_values]


def _estimate_at(
    values: Values, claim: Claim, setting: Setting, confidence: float
) -> Estimate | None:
    comparison = comparison_at(claim.effect, setting)
    return estimate_of(values, claim.metric, comparison, confidence, over_images=True)


def _test(claim: Claim, setting: Setting, estimate: Estimate, alpha: float) -> _Tested:
    """Test a claim at a setting; a prediction is no test."""
    of_mean = estimate.pooled.estimate
    if claim.target is not None:
        of_mean = replace(of_mean, estimate=of_mean.estimate - claim.target)
    if claim.direction == "contains":
        return _Tested(setting, estimate, None, None)
    if claim.direction == "below":
        return _Tested(setting, estimate, of_mean.p_value, None)
    inside = stats.equivalence(of_mean, claim.margin, alpha=alpha).p_value
    if claim.direction == "within":
        return _Tested(setting, estimate, inside, stats.outside_p_value(of_mean, claim.margin))
    return _Tested(setting, estimate, of_mean.p_value, inside)


def _read(
    claim: Claim, test: _Tested, adjusted: float, margin_p: float, settings: StatisticsConfig
) -> Reading:
    """Decide at one setting; what the executions do not agree on is undecided."""
    estimate = test.estimate
    if claim.direction == "contains":
        verdict = _contains(claim, estimate)
    elif claim.direction == "within":
        supported = adjusted < settings.alpha
        contradicted = margin_p < settings.alpha
        verdict = _verdict(supported=supported, contradicted=contradicted)
    else:
        target = claim.target or 0.0
        above = estimate.interval.estimate - target
        verdict = stats.decide(
            above,
            adjusted,
            "increase" if claim.direction == "increase" else "decrease",
            margin_p,
            alpha=settings.alpha,
        )
    if not _agree(claim, estimate, verdict):
        verdict = stats.Verdict.UNDECIDED
    return Reading(test.setting, estimate, adjusted, margin_p, verdict)


def _contains(claim: Claim, estimate: Estimate) -> stats.Verdict:
    """Tell whether one more run may give the target, by the prediction interval."""
    assert claim.target is not None
    inside = prediction_interval(estimate).contains(claim.target)
    return _verdict(supported=inside, contradicted=not inside)


def prediction_interval(estimate: Estimate) -> stats.Interval:
    """Return the interval of one more run, from the spread of those that there are."""
    of_mean, n = estimate.pooled.estimate, estimate.pooled.n_pairs
    one_more = replace(of_mean, standard_error=estimate.pooled.sd * math.sqrt(1 + 1 / n))
    return one_more.interval(estimate.interval.confidence)


def _verdict(*, supported: bool, contradicted: bool) -> stats.Verdict:
    if supported:
        return stats.Verdict.SUPPORTED
    return stats.Verdict.CONTRADICTED if contradicted else stats.Verdict.UNDECIDED


def _agree(claim: Claim, estimate: Estimate, verdict: stats.Verdict) -> bool:
    """Whether each execution by itself points to the verdict."""
    target = claim.target or 0.0
    executions = [of for of in estimate.executions if of is not None]
    if len(executions) < len(estimate.executions):
        return False
    if claim.direction == "contains":
        inside = verdict is stats.Verdict.SUPPORTED
        return all(of.prediction_interval.contains(target) == inside for of in executions)
    values = [of.mean - target for of in executions]
    if verdict is stats.Verdict.EQUIVALENT or claim.direction == "within":
        inside = verdict is not stats.Verdict.CONTRADICTED
        return all((abs(value) < claim.margin) == inside for value in values)
    sign = np.sign(estimate.interval.estimate - target)
    return all(np.sign(value) == sign for value in values)
