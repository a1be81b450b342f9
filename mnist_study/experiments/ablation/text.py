"""The sentences of an ablation's report: numbers, verdicts, and what the design can detect."""

from __future__ import annotations

import math

from mnist_study import stats
from mnist_study.experiments.ablation.analysis import Decision, Effect
from mnist_study.experiments.ablation.config import FACTORS, UNITS, AblationConfig, PowerConfig
from mnist_study.stats import Interval, Verdict


def power_line(ablation: AblationConfig) -> str:
    """Say what the design can detect; it is computed from the file alone."""
    planned, n_splits = ablation.power, len(ablation.split_seeds)
    effects = planned_effects_text(
        planned,
        n_seeds=ablation.n_seeds,
        n_splits=n_splits,
        n_claims=sum(h.family == "primary" for h in ablation.hypotheses),
        alpha=ablation.statistics.alpha,
    )
    return (
        f"{effects} ({ablation.n_seeds} seeds x {n_splits} splits x 8 cells; standard deviation of "
        f"a run {100 * planned.run_sd:.2f} points, {planned.source})"
    )


def in_unit(outcome: str, value: float, *, signed: bool = False) -> str:
    """Format a value of an outcome in its written scale and precision, without the unit."""
    unit = UNITS[outcome]
    scaled = unit.scale * value
    if round(scaled, unit.digits) == 0:
        scaled = 0.0  # no minus sign before zero
    return f"{scaled:{'+' if signed and scaled else ''}.{unit.digits}f}"


def interval_text(outcome: str, interval: Interval, *, signed: bool = True) -> str:
    """Format an interval as `estimate (low to high)`."""
    estimate, low, high = (
        in_unit(outcome, end, signed=signed)
        for end in (interval.estimate, interval.low, interval.high)
    )
    return f"{estimate} ({low} to {high})"


def percent(share: float) -> str:
    """Format a share as a whole number of percent."""
    return f"{share:.0%}".replace("%", " %").removeprefix("-" if round(share, 2) == 0 else "")


def p_text(p_value: float) -> str:
    """Format a p-value; any below 0.001 as "< 0.001"."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def p_is(p_value: float) -> str:
    """Format a p-value with its relation, "= 0.012" or "< 0.001"."""
    text = p_text(p_value)
    return text if text.startswith("<") else f"= {text}"


def sentence(decision: Decision) -> str:
    """State the verdict on a hypothesis with its estimate, interval and p-values."""
    hypothesis, effect = decision.hypothesis, decision.effect
    unit = UNITS[effect.outcome]
    interval = effect.contrast.interval
    confidence = percent(interval.confidence)
    low, high = (in_unit(effect.outcome, end, signed=True) for end in (interval.low, interval.high))
    margin = in_unit(effect.outcome, hypothesis.margin)
    ends = f"({confidence} interval {low} to {high}"
    verdict = decision.verdict.value
    if hypothesis.direction == "within":
        return (
            f"{hypothesis.claim}: {verdict}. The {unit.name} is "
            f"{in_unit(effect.outcome, interval.estimate)} {unit.unit} {ends}; within {margin}, "
            f"adjusted p {p_is(effect.adjusted)}; outside, adjusted p {p_is(decision.margin_p)})."
        )
    estimate = interval.estimate
    if in_unit(effect.outcome, abs(estimate)) == in_unit(effect.outcome, 0.0):
        change = f"no mean difference in {unit.name}"
    else:
        size = in_unit(effect.outcome, abs(estimate))
        change = f"{unit.name} is {size} {unit.unit} {'higher' if estimate > 0 else 'lower'}"
    tested = f"adjusted p {p_is(effect.adjusted)}"
    if decision.verdict in (Verdict.EQUIVALENT, Verdict.UNDECIDED):
        tested += f"; equivalence within {margin}, adjusted p {p_is(decision.margin_p)}"
    tested += "".join(f"; {remark}" for remark in remarks(decision))
    if effect.crossed is not None:
        tested = f"over seeds and test images {crossed_text(effect)}; {tested}"
    return f"{hypothesis.claim}: {verdict}. {change[0].upper()}{change[1:]} {ends}; {tested})."


def remarks(decision: Decision) -> list[str]:
    """Say what qualifies a difference: the correction, the margin, or the test images."""
    effect, interval = decision.effect, decision.effect.contrast.interval
    if decision.hypothesis.direction == "within":
        return []
    if decision.verdict not in (Verdict.SUPPORTED, Verdict.CONTRADICTED):
        return [] if interval.contains(0.0) else ["not significant after correction"]
    margin = decision.hypothesis.margin
    nearest, farthest = sorted((abs(interval.low), abs(interval.high)))
    qualifications = []
    if nearest < margin:
        maybe = "" if farthest < margin else "perhaps "
        qualifications.append(
            f"{maybe}smaller than the margin of {in_unit(effect.outcome, margin)}"
        )
    if effect.crossed is not None and effect.crossed.contains(0.0):
        qualifications.append("significant for these test images only")
    return qualifications


def brief(decision: Decision) -> str:
    """State a claim with its estimate; without a significant difference, with its interval."""
    effect, interval = decision.effect, decision.effect.contrast.interval
    unit = UNITS[effect.outcome].unit
    is_level = decision.hypothesis.direction == "within"
    figure = in_unit(effect.outcome, interval.estimate, signed=not is_level)
    if decision.verdict in (Verdict.EQUIVALENT, Verdict.UNDECIDED):
        low, high = (in_unit(effect.outcome, e, signed=True) for e in (interval.low, interval.high))
        figure = f"{low} to {high}"
    return f"{decision.hypothesis.claim} ({', '.join([f'{figure} {unit}', *remarks(decision)])})"


def crossed_text(effect: Effect) -> str:
    """Format the interval over seeds and test images; empty where there is none."""
    if effect.crossed is None:
        return ""
    low, high = (in_unit(effect.outcome, e, signed=True) for e in
                 (effect.crossed.low, effect.crossed.high))  # fmt: skip
    return f"{low} to {high}"


def detectable_now(effect: Effect, n_seeds: int, *, alpha: float, power: float) -> float:
    """Return the smallest effect detectable at the observed spread of seeds, in [0, 1]."""
    sd = effect.contrast.estimate.standard_error * math.sqrt(n_seeds)
    if sd == 0.0:
        return 0.0
    return stats.smallest_detectable_effect(sd, n_seeds, alpha=alpha, power=power)


def planned_effect(
    planned: PowerConfig, *, n_factors: int, n_seeds: int, n_splits: int, alpha: float
) -> float:
    """Return the smallest effect on test accuracy, in [0, 1], that a design detects.

    Args:
        planned: spread and power.
        n_factors: 3 for a main effect of the factorial, 1 for the difference between two cells.
        n_seeds: each crossed with every split.
        n_splits: of the training rows.
        alpha: two-sided level of the test.
    """
    sd = stats.contrast_sd(planned.run_sd, n_factors, n_splits, correlation=planned.correlation)
    return stats.smallest_detectable_effect(sd, n_seeds, alpha=alpha, power=planned.power)


def planned_effects_text(
    planned: PowerConfig, *, n_seeds: int, n_splits: int, n_claims: int, alpha: float
) -> str:
    """Say what a design detects in a single test and at the strictest step of Holm's correction."""

    def in_points(n_factors: int) -> list[str]:
        return [
            f"{100 * effect:.3f}"
            for effect in (
                planned_effect(
                    planned, n_factors=n_factors, n_seeds=n_seeds, n_splits=n_splits, alpha=level
                )
                for level in (alpha, alpha / max(n_claims, 1))
            )
        ]

    (main, main_first), (two, two_first) = in_points(len(FACTORS)), in_points(1)
    return (
        "smallest main effect on test accuracy detectable with "
        f"{percent(planned.power)} power: {main} points in a single test, {main_first} at the "
        f"strictest step of Holm's correction of {n_claims} claims; smallest difference between "
        f"two cells: {two} and {two_first} points"
    )
