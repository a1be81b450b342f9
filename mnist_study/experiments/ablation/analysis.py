"""The statistics of an ablation: effects, paired differences, and verdicts on what was declared.

The error term is over seeds, splits being fixed: contrasts are taken within each split and seed and
averaged over the splits, so that the seeds' averages are independent (see `stats.factorial`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mnist_study import stats
from mnist_study.experiments.ablation.config import (
    EARLY_STOPPING,
    FACTORS,
    UNITS,
    CellReadout,
    Hypothesis,
    ReadoutPoint,
    StatisticsConfig,
)
from mnist_study.experiments.ablation.design import CELLS, DOCUMENTED, NONE, Cell, cell_label
from mnist_study.experiments.ablation.runs import POINTS, Factorial, cell_index

Array = NDArray[np.float64]
Where = Literal["last", "restored", "both"]


@dataclass(frozen=True, slots=True)
class Effect:
    """One estimated effect or difference, with everything that is said of it.

    Attributes:
        outcome: of `UNITS`.
        where: the read-out; "both" for what involves early stopping.
        contrast: the estimate, its interval, p-value and effect sizes.
        tost: the equivalence test against the margin.
        adjusted: p-value after Holm (declared) or Benjamini-Hochberg (all others).
        is_declared: whether it is what a claim of the primary family is about.
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
    """A declared hypothesis and what became of it.

    Attributes:
        hypothesis: as declared.
        effect: what was found; `adjusted` is of the test that can support the claim.
        margin_p: adjusted p-value of the other test, which is against the margin: of equivalence;
            for a claim of lying within its margin, of lying outside.
        verdict: what follows.
    """

    hypothesis: Hypothesis
    effect: Effect
    margin_p: float
    verdict: stats.Verdict


@dataclass(frozen=True, slots=True)
class Analysis:
    """All statistics of one factorial.

    Attributes:
        decisions: on the hypotheses, in the order of the file.
        effects: main effects and interactions, early stopping among the factors where "both".
        differences: of each cell to the one without regularization.
        stopping: restored minus last, in each cell.
    """

    decisions: tuple[Decision, ...]
    effects: tuple[Effect, ...]
    differences: tuple[Effect, ...]
    stopping: tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What is compared: a weight for each cell at each read-out, all else having none."""

    name: str
    where: Where
    weights: Mapping[tuple[ReadoutPoint, Cell], float]

    def of(self, data: Factorial, outcome: str) -> Array:
        """Return it in each block, shape (n_splits, n_seeds)."""
        total = np.zeros(data.values[outcome, "last"].shape[-2:])
        for (point, cell), weight in self.weights.items():
            total += weight * data.values[outcome, point][cell_index(cell)]
        return total

    def of_images(self, data: Factorial) -> Array:
        """Return it for each test image, averaged over splits, shape (n_seeds, n_images)."""
        n_splits, *shape = data.correct["last"].shape[-3:]
        total = np.zeros(shape)
        for (point, cell), weight in self.weights.items():
            n_correct = data.correct[point][cell_index(cell)].sum(axis=0, dtype=np.float64)
            total += weight * n_correct
        return np.asarray(total / n_splits)


@dataclass(frozen=True, slots=True)
class _Estimate:
    """An effect before the correction for how many there are."""

    outcome: str
    comparison: _Comparison
    contrast: stats.Contrast
    crossed: stats.Interval | None

    @property
    def key(self) -> tuple[object, ...]:
        """What is compared, whatever it is called."""
        weights = self.comparison.weights.items()
        return (self.outcome, frozenset((at, float(w)) for at, w in weights if w != 0.0))

    def tested(self, tost: stats.Equivalence, adjusted: float, *, is_declared: bool) -> Effect:
        """Return the effect with its tests."""
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
    """Estimate and test everything.

    The tests that can support a claim are the declared primary family and corrected by Holm; so
    are, as a second family, the tests of equivalence. Effects that no claim is about are corrected
    together by Benjamini and Hochberg.

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
            if not (outcome == "epochs_trained" and _says_nothing_of_length(comparison))
        ]
        for comparisons in (_effects(), _differences(), _stopping())
    ]
    declared = [_estimate(data, h.metric, _declared(h), settings.confidence) for h in hypotheses]
    # What a claim is about is not exploratory, and has one adjusted p-value wherever it is shown.
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
    data: Factorial, outcome: str, comparison: _Comparison, confidence: float
) -> _Estimate:
    contrast = stats.contrast_of_blocks(
        comparison.of(data, outcome), comparison.name.split(":"), confidence=confidence
    )
    if outcome == "accuracy_deviation" and data.n_seeds < _SEEDS_THAT_DEVIATE:
        contrast = _unknown(contrast)
    crossed = None
    if outcome == "test_accuracy":
        crossed = stats.crossed_mean(comparison.of_images(data)).interval(confidence)
    return _Estimate(outcome, comparison, contrast, crossed)


def _decide(
    hypotheses: Sequence[Hypothesis],
    declared: Sequence[_Estimate],
    rest: Sequence[_Estimate],
    alpha: float,
) -> tuple[list[Decision], list[float]]:
    """Decide on the hypotheses, and correct the p-values of the effects that none is about."""
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


_SEEDS_THAT_DEVIATE = 3
"""Two lie equally far from their median, so that the difference of two cells has no spread."""


def _unknown(contrast: stats.Contrast) -> stats.Contrast:
    """Return a contrast whose error cannot be told."""
    estimate = replace(contrast.estimate, standard_error=math.inf)
    return replace(
        contrast,
        estimate=estimate,
        interval=estimate.interval(contrast.interval.confidence),
        p_value=estimate.p_value,
    )


def _says_nothing_of_length(comparison: _Comparison) -> bool:
    """Whether of the length of training there is nothing to compare, or nothing new.

    All runs train to the last epoch; what a factor changes in the effect of early stopping is what
    it changes in the restored length.
    """
    is_effect_of_stopping = EARLY_STOPPING in comparison.name.split(":")
    return comparison.where == "last" or (is_effect_of_stopping and ":" in comparison.name)


def _corrected(
    p_values: Sequence[float], hypotheses: Sequence[Hypothesis], rest: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Correct a p-value for each hypothesis, and those of the rest.

    Returns:
        Those of the hypotheses, by Holm in the primary family, otherwise with the rest; those of
        the rest, by Benjamini and Hochberg.
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

    The tests of equivalence are a family of their own: of one claim, no difference and one beyond
    the margin cannot both be true, so that over several claims the two families together are wrong
    with a probability of twice alpha at most. That a value lies outside its margin is held against
    the same family as that it lies within, in whose place it stands.
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


def _effects() -> list[_Comparison]:
    """Return main effects and interactions at each read-out, and those of early stopping."""
    comparisons = [
        _Comparison(
            ":".join(names),
            point,
            dict(zip([(point, cell) for cell in _ALL_CELLS], weights, strict=True)),
        )
        for point in POINTS
        for names, weights in _contrast_weights(FACTORS).items()
    ]
    # The last factor runs fastest: off is the last epoch, on the restored one.
    factorial = [(point, cell) for cell in _ALL_CELLS for point in POINTS]
    comparisons += [
        _Comparison(":".join(names), "both", dict(zip(factorial, weights, strict=True)))
        for names, weights in _contrast_weights((*FACTORS, EARLY_STOPPING)).items()
        if EARLY_STOPPING in names
    ]
    return comparisons


def _differences() -> list[_Comparison]:
    """Return each cell minus the one without regularization, at each read-out."""
    return [
        _Comparison(f"{cell_label(cell)} - none", point, {(point, cell): 1.0, (point, NONE): -1.0})
        for point in POINTS
        for cell in CELLS[1:]
    ]


def _stopping() -> list[_Comparison]:
    """Return restored minus last in each cell."""
    return [
        _Comparison(cell_label(cell), "both", {("restored", cell): 1.0, ("last", cell): -1.0})
        for cell in CELLS
    ]


def _declared(hypothesis: Hypothesis) -> _Comparison:
    """Return what a hypothesis is about."""
    if hypothesis.effect is not None:
        where = hypothesis.readout or "both"
        return next(c for c in _effects() if (c.name, c.where) == (hypothesis.effect, where))
    treatment, control = hypothesis.treatment, hypothesis.control
    assert treatment is not None
    weights = {(treatment.readout, treatment.cell): 1.0}
    if control is None:
        return _Comparison(_arm_name(treatment), treatment.readout, weights)
    weights[control.readout, control.cell] = -1.0
    return _Comparison(
        f"{_arm_name(treatment)} - {_arm_name(control)}",
        treatment.readout if treatment.readout == control.readout else "both",
        weights,
    )


_ALL_CELLS: tuple[Cell, ...] = tuple(
    tuple(name for name, level in zip(FACTORS, levels, strict=True) if level)
    for levels in product((0, 1), repeat=len(FACTORS))
)
"""In the order of the leading axes of the arrays."""


def _contrast_weights(factors: Sequence[str]) -> dict[tuple[str, ...], Array]:
    """Return the weight of each cell in each contrast: what the contrast makes of unit vectors."""
    n_cells = 2 ** len(factors)
    units = np.eye(n_cells).reshape((2,) * len(factors) + (n_cells,))
    return stats.block_contrasts(units, factors)


def _arm_name(arm: CellReadout) -> str:
    name = {NONE: "none", DOCUMENTED: "documented"}.get(arm.cell, cell_label(arm.cell))
    return f"{name} ({arm.readout})"


def _verdict(
    hypothesis: Hypothesis, effect: Effect, margin_p: float, alpha: float
) -> stats.Verdict:
    """Decide; a claim that something lies within its margin is decided by the equivalence test."""
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
