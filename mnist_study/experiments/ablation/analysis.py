"""The statistics of an ablation: effects, paired differences, and verdicts on what was declared.

The error term is over seeds, splits being fixed: contrasts are taken within each split and seed and
averaged over the splits, so that the seeds' averages are independent (see `stats.factorial`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mnist_study import stats
from mnist_study.experiments.ablation.comparisons import (
    Comparison,
    Where,
    comparison_of,
    differences_to_none,
    factorial_effects,
    stopping_effects,
)
from mnist_study.experiments.ablation.config import (
    EARLY_STOPPING,
    UNITS,
    Hypothesis,
    StatisticsConfig,
)
from mnist_study.experiments.ablation.runs import Factorial


@dataclass(frozen=True, slots=True)
class Effect:
    """One estimated effect or difference with its tests.

    Attributes:
        outcome: of `UNITS`.
        where: the read-out; "both" where the two are compared, which is early stopping's effect.
        contrast: the estimate, its interval, p-value and effect sizes.
        tost: the equivalence test against the margin.
        adjusted: p-value after Holm (declared) or Benjamini-Hochberg (all others).
        is_declared: whether a claim of the primary family concerns it.
        crossed: for test accuracy the interval over seeds and test images.
    """

    outcome: str
    where: Where
    contrast: stats.Contrast
    tost: stats.Equivalence
    adjusted: float
    is_declared: bool = False
    crossed: stats.Interval | None = None

    @property
    def name(self) -> str:
        """Name of the effect or difference."""
        return self.contrast.name

    @property
    def improves(self) -> float:
        """Probability that a fresh seed's difference is an improvement, ties counting half."""
        positive = self.contrast.probability_positive.estimate
        return positive if UNITS[self.outcome].more_is_better else 1.0 - positive


@dataclass(frozen=True, slots=True)
class Decision:
    """A declared hypothesis with its effect and verdict.

    Attributes:
        hypothesis: as declared.
        effect: the estimate; `adjusted` belongs to the test that can support the claim.
        margin_p: adjusted p-value of the other test, which is against the margin: of equivalence,
            or of lying outside for a claim of direction "within".
        verdict: the decision.
    """

    hypothesis: Hypothesis
    effect: Effect
    margin_p: float
    verdict: stats.Verdict


@dataclass(frozen=True, slots=True)
class Analysis:
    """All statistics of one factorial.

    Attributes:
        decisions: one per hypothesis, in the order of the file.
        effects: main effects and interactions, early stopping among the factors where "both".
        differences: each cell minus the one without regularization.
        stopping: restored minus last in each cell.
    """

    decisions: tuple[Decision, ...]
    effects: tuple[Effect, ...]
    differences: tuple[Effect, ...]
    stopping: tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class _Estimate:
    """An effect before correction for multiple tests."""

    outcome: str
    comparison: Comparison
    contrast: stats.Contrast
    crossed: stats.Interval | None

    @property
    def key(self) -> tuple[object, ...]:
        """The quantity compared, independent of its name."""
        weights = self.comparison.weights.items()
        return (self.outcome, frozenset((at, float(w)) for at, w in weights if w != 0.0))

    def tested(self, tost: stats.Equivalence, adjusted: float, *, is_declared: bool) -> Effect:
        """Return the effect with its test of equivalence and adjusted p-value."""
        return Effect(
            self.outcome,
            self.comparison.where,
            self.contrast,
            tost,
            adjusted,
            is_declared,
            self.crossed,
        )


def analyse(
    data: Factorial, hypotheses: Sequence[Hypothesis], settings: StatisticsConfig
) -> Analysis:
    """Estimate all effects and differences, and decide on the hypotheses.

    The tests that can support a claim form the declared primary family and are corrected by Holm's
    procedure; so are, as a second family, the tests of equivalence. Effects that no claim concerns
    are corrected together by Benjamini and Hochberg's procedure.

    Args:
        data: the factorial.
        hypotheses: as declared.
        settings: level and margins.
    """
    groups = [
        [
            _estimate(data, outcome, comparison, settings.confidence)
            for outcome in UNITS
            if outcome in settings.margins
            for comparison in comparisons
            if not (outcome == "epochs_trained" and _has_no_length_effect(comparison))
        ]
        for comparisons in (factorial_effects(), differences_to_none(), stopping_effects())
    ]
    declared = [
        _estimate(data, h.metric, comparison_of(h), settings.confidence) for h in hypotheses
    ]
    # The effect of a claim is not exploratory: it has one adjusted p-value wherever it is shown.
    claim_about = {
        estimate.key: i
        for i, (h, estimate) in enumerate(zip(hypotheses, declared, strict=True))
        if h.direction != "within"
    }
    rest = [e for group in groups for e in group if e.key not in claim_about]
    decisions, exploratory = _decide(hypotheses, declared, rest, settings.alpha)
    adjusted_rest = {e.key: p for e, p in zip(rest, exploratory, strict=True)}
    margins = {str(outcome): margin for outcome, margin in settings.margins.items()}

    def tested(estimate: _Estimate) -> Effect:
        margin = margins[estimate.outcome]
        tost = stats.equivalence(estimate.contrast.estimate, margin, alpha=settings.alpha)
        if estimate.key not in claim_about:
            return estimate.tested(tost, adjusted_rest[estimate.key], is_declared=False)
        claimed = decisions[claim_about[estimate.key]].effect
        return estimate.tested(tost, claimed.adjusted, is_declared=claimed.is_declared)

    effects, differences, stopping = (tuple(map(tested, group)) for group in groups)
    return Analysis(tuple(decisions), effects, differences, stopping)


def _estimate(
    data: Factorial, outcome: str, comparison: Comparison, confidence: float
) -> _Estimate:
    contrast = stats.contrast_of_blocks(
        comparison.per_block(data, outcome), comparison.name.split(":"), confidence=confidence
    )
    if outcome == "accuracy_deviation" and data.n_seeds < _MIN_SEEDS_OF_DEVIATION:
        contrast = _with_unknown_error(contrast)
    crossed = None
    if outcome == "test_accuracy":
        crossed = stats.crossed_mean(comparison.per_image(data)).interval(confidence)
    return _Estimate(outcome, comparison, contrast, crossed)


def _decide(
    hypotheses: Sequence[Hypothesis],
    declared: Sequence[_Estimate],
    rest: Sequence[_Estimate],
    alpha: float,
) -> tuple[list[Decision], list[float]]:
    """Decide on the hypotheses, and correct the p-values of the remaining effects."""
    tosts = [
        stats.equivalence(estimate.contrast.estimate, h.margin, alpha=alpha)
        for h, estimate in zip(hypotheses, declared, strict=True)
    ]
    p_values = [
        tost.p_value if h.direction == "within" else estimate.contrast.p_value
        for h, estimate, tost in zip(hypotheses, declared, tosts, strict=True)
    ]
    adjusted, exploratory = _corrected(p_values, hypotheses, [e.contrast.p_value for e in rest])
    margin_ps = _margin_p_values(hypotheses, declared, tosts, p_values)
    decisions = []
    for i, (hypothesis, estimate) in enumerate(zip(hypotheses, declared, strict=True)):
        is_primary = hypothesis.family == "primary"
        effect = estimate.tested(tosts[i], adjusted[i], is_declared=is_primary)
        verdict = _verdict(hypothesis, effect, margin_ps[i], alpha)
        decisions.append(Decision(hypothesis, effect, margin_ps[i], verdict))
    return decisions, exploratory


_MIN_SEEDS_OF_DEVIATION = 3
"""Two seeds lie equally far from their median: the difference of two cells has no spread."""


def _with_unknown_error(contrast: stats.Contrast) -> stats.Contrast:
    """Return the contrast with an infinite standard error."""
    estimate = replace(contrast.estimate, standard_error=math.inf)
    return replace(
        contrast,
        estimate=estimate,
        interval=estimate.interval(contrast.interval.confidence),
        p_value=estimate.p_value,
    )


def _has_no_length_effect(comparison: Comparison) -> bool:
    """Whether the comparison is void or redundant for the length of training.

    All runs train to the last epoch, so lengths differ only where early stopping is in play; its
    interaction with a factor is the factor's effect on the restored length.
    """
    is_effect_of_stopping = EARLY_STOPPING in comparison.name.split(":")
    return comparison.where == "last" or (is_effect_of_stopping and ":" in comparison.name)


def _corrected(
    p_values: Sequence[float], hypotheses: Sequence[Hypothesis], rest: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Correct the p-values of the hypotheses and those of all other effects.

    Returns:
        The adjusted p-values of the hypotheses, by Holm in the primary family and otherwise
        together with the rest; those of the rest, by Benjamini and Hochberg.
    """
    primary = [i for i, h in enumerate(hypotheses) if h.family == "primary"]
    others = [i for i, h in enumerate(hypotheses) if h.family != "primary"]
    by_index = dict(zip(primary, stats.holm([p_values[i] for i in primary]), strict=True))
    exploratory = stats.benjamini_hochberg([*rest, *(p_values[i] for i in others)])
    by_index |= dict(zip(others, exploratory[len(rest) :], strict=True))
    return (
        [float(by_index[i]) for i in range(len(p_values))],
        [float(p_value) for p_value in exploratory[: len(rest)]],
    )


def _margin_p_values(
    hypotheses: Sequence[Hypothesis],
    declared: Sequence[_Estimate],
    tosts: Sequence[stats.Equivalence],
    p_values: Sequence[float],
) -> list[float]:
    """Return `Decision.margin_p` of each hypothesis.

    The tests of equivalence are a family of their own. For one claim, a zero difference and one
    beyond the margin cannot both be true; over several claims the two families together err with
    a probability of at most twice alpha. The test that a value lies outside its margin takes, in
    the correction, the place of the test that it lies within.
    """
    directed = [i for i, h in enumerate(hypotheses) if h.direction != "within"]
    equivalences, _ = _corrected(
        [tosts[i].p_value for i in directed], [hypotheses[i] for i in directed], []
    )
    outside, _ = _corrected(
        [
            stats.outside_p_value(estimate.contrast.estimate, h.margin)
            if h.direction == "within"
            else p_value
            for h, estimate, p_value in zip(hypotheses, declared, p_values, strict=True)
        ],
        hypotheses,
        [],
    )
    return [dict(zip(directed, equivalences, strict=True)).get(i, p) for i, p in enumerate(outside)]


def _verdict(
    hypothesis: Hypothesis, effect: Effect, margin_p: float, alpha: float
) -> stats.Verdict:
    """Decide on one hypothesis; the equivalence test decides one of direction "within"."""
    if hypothesis.direction != "within":
        return stats.decide(
            effect.contrast.estimate.estimate,
            effect.adjusted,
            hypothesis.direction,
            margin_p,
            alpha=alpha,
        )
    if effect.adjusted < alpha:
        return stats.Verdict.SUPPORTED
    return stats.Verdict.CONTRADICTED if margin_p < alpha else stats.Verdict.UNDECIDED
