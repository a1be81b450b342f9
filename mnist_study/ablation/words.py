"""The numbers of an ablation in words: intervals, verdicts, one sentence each."""

from __future__ import annotations

import math

from mnist_study import stats
from mnist_study.ablation.effects import Decision, Effect
from mnist_study.ablation.outcomes import UNITS
from mnist_study.stats import Interval, Verdict

_HIGHER_LOWER = {True: "higher", False: "lower"}


def in_unit(outcome: str, value: float, *, signed: bool = False) -> str:
    """Write a number of an outcome with the digits that it deserves, without its unit."""
    unit = UNITS[outcome]
    scaled = unit.scale * value
    if round(scaled, unit.digits) == 0:
        scaled = 0.0  # no minus before nothing
    return f"{scaled:{'+' if signed and scaled else ''}.{unit.digits}f}"


def interval_text(outcome: str, interval: Interval, *, signed: bool = True) -> str:
    """Write an interval as `estimate (low to high)`."""
    estimate, low, high = (
        in_unit(outcome, end, signed=signed)
        for end in (interval.estimate, interval.low, interval.high)
    )
    return f"{estimate} ({low} to {high})"


def percent(share: float) -> str:
    """Write a share as a whole number of percent."""
    return f"{share:.0%}".replace("%", " %").removeprefix("-" if round(share, 2) == 0 else "")


def p_text(p_value: float) -> str:
    """Write a p-value; below a thousandth only that."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def p_is(p_value: float) -> str:
    """Write a p-value after its name."""
    text = p_text(p_value)
    return text if text.startswith("<") else f"= {text}"


def sentence(decision: Decision) -> str:
    """Say what became of a hypothesis, with figures."""
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
            f"{in_unit(effect.outcome, interval.estimate)} {unit.unit} {ends}; equivalence test "
            f"against {margin}, adjusted p {p_is(effect.adjusted)})."
        )
    estimate = interval.estimate
    if in_unit(effect.outcome, abs(estimate)) == in_unit(effect.outcome, 0.0):
        change = f"{unit.name} the same"
    else:
        size = in_unit(effect.outcome, abs(estimate))
        change = f"{unit.name} {size} {unit.unit} {_HIGHER_LOWER[estimate > 0]}"
    tested = f"adjusted p {p_is(effect.adjusted)}"
    if decision.verdict in (Verdict.EQUIVALENT, Verdict.UNDECIDED):
        tested += f"; equivalence within {margin}, p {p_is(effect.tost.p_value)}"
    elif abs(estimate) < hypothesis.margin:
        tested += f"; smaller than the margin of {margin}"
    if effect.crossed is not None:
        tested = f"over seeds and test images {crossed_text(effect)}; {tested}"
    return f"{hypothesis.claim}: {verdict}. {change[0].upper()}{change[1:]} {ends}; {tested})."


def crossed_text(effect: Effect) -> str:
    """Write the interval over seeds and test images, where there is one."""
    if effect.crossed is None:
        return ""
    low, high = (in_unit(effect.outcome, e, signed=True) for e in
                 (effect.crossed.low, effect.crossed.high))  # fmt: skip
    return f"{low} to {high}"


def detectable_now(effect: Effect, n_seeds: int, *, alpha: float, power: float) -> float:
    """Return the smallest effect that seeds spread as these are would show, in [0, 1]."""
    sd = effect.contrast.estimate.standard_error * math.sqrt(n_seeds)
    if sd == 0.0:
        return 0.0
    return stats.smallest_detectable_effect(sd, n_seeds, alpha=alpha, power=power)
