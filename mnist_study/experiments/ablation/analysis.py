"""The statistics of an ablation: verdicts on what was declared, and everything beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mnist_study import stats
from mnist_study.experiments.ablation.claims import Sentence, StatisticsConfig
from mnist_study.experiments.ablation.comparisons import differences_to_none, effects, steps
from mnist_study.experiments.ablation.decisions import Decision, decide_claims
from mnist_study.experiments.ablation.estimates import Estimate, estimate_of
from mnist_study.experiments.ablation.outcomes import Outcome
from mnist_study.experiments.ablation.runs import Values


@dataclass(frozen=True, slots=True)
class Analysis:
    """All statistics of an ablation.

    Attributes:
        decisions: of each sentence, one per claim, in the order of the file.
        effects: main effects and interactions of each factorial and read-out.
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
    readouts: Mapping[str, tuple[str, ...]],
) -> Analysis:
    """Estimate all effects and differences, and decide on the claims.

    Args:
        values: of the runs.
        sentences: as declared.
        settings: level and margins.
        readouts: of each factorial, by part.
    """
    claims = [claim for sentence in sentences for claim in sentence.claims]
    decisions = iter(decide_claims(values, claims, settings))
    explored = [
        [
            estimate
            for part, of_part in readouts.items()
            for readout in of_part
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
