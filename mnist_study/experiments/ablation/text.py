"""The sentences of an ablation's report: numbers, verdicts, and what the design can detect."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from mnist_study import stats
from mnist_study.experiments.ablation.analysis import (
    Decision,
    Estimate,
    Reading,
    prediction_interval,
)
from mnist_study.experiments.ablation.claims import PowerConfig, Setting
from mnist_study.experiments.ablation.config import AblationConfig
from mnist_study.experiments.ablation.outcomes import UNITS
from mnist_study.experiments.ablation.recipes import FACTORS, RECIPES
from mnist_study.stats import Interval, Verdict

PART_NAMES = {
    "documented": "documented recipe",
    "study": "study's recipe",
    "stopping": "documented recipe",
    "stability": "documented recipe",
    "activations": "documented recipe",
}
"""A part by the recipe that its runs are trained with, where that is said of a setting."""


def power_line(ablation: AblationConfig) -> str:
    """Say what the design can detect; it is computed from the file alone."""
    n = ablation.n_seeds * len(ablation.executions)
    effects = planned_effects_text(
        ablation.power,
        n_replicates=n,
        n_tests=sum(len(claim.settings()) for claim in ablation.claims),
        alpha=ablation.statistics.alpha,
    )
    return (
        f"{effects} ({len(ablation.executions)} executions x {ablation.n_seeds} seeds x 8 cells in "
        f"each of 2 recipes; standard deviation of a run {100 * ablation.power.run_sd:.2f} points, "
        f"{ablation.power.source})"
    )


def tuning_line(ablation: AblationConfig) -> str | None:
    """Say whether the re-tuned factorial has the seeds to decide; None without one.

    What it has to detect is the margin of test accuracy, at the strictest step of Holm's
    correction of the claims about accuracy.
    """
    if ablation.tuning is None:
        return None
    margin = ablation.statistics.margins["test_accuracy"]
    settings = [len(c.settings()) for c in ablation.claims if c.metric == "test_accuracy"]
    planned = ablation.power
    sd = stats.contrast_sd(planned.run_sd, len(FACTORS), correlation=planned.correlation)
    needed = stats.required_pairs(
        margin, sd, alpha=ablation.statistics.alpha / max(sum(settings), 1), power=planned.power
    )
    has = ablation.tuning.n_seeds * len(ablation.executions)
    return (
        f"re-tuned learning rates: a main effect of {100 * margin:g} points takes {needed} "
        f"replicates after correction of {sum(settings)} tests; the file has {has}"
    )


def in_unit(outcome: str, value: float, *, signed: bool = False) -> str:
    """Format a value of an outcome in its written scale and precision, without the unit.

    "none" for NaN.
    """
    if math.isnan(value):
        return "none"
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


def readout_name(readout: str) -> str:
    """Name a read-out in words."""
    known = {
        "last": "last epoch",
        "restored": "restored",
        "averaged": "averaged weights",
    }
    return known.get(readout, readout.replace("_", " "))


def setting_text(setting: Setting) -> str:
    """Name a setting: recipe, arm where it is not a cell, and read-out."""
    recipe = PART_NAMES.get(setting.part, setting.part)
    return ", ".join(name for name in (recipe, _within_recipe(setting)) if name)


def _within_recipe(setting: Setting) -> str:
    """Name what a setting has beside its recipe."""
    names = []
    if setting.part in ("stopping", "stability", "activations") and setting.arm is not None:
        unit = "rate " if setting.part == "stability" else ""
        names.append(f"{unit}{setting.arm}")
    is_cell = setting.part in RECIPES
    if setting.against is not None and setting.against[0] != setting.arm and not is_cell:
        names.append(f"against {setting.against[0]}")
    if setting.part != "activations":
        names.append(readout_name(setting.readout))
    return ", ".join(names)


def verdict_text(decision: Decision) -> str:
    """State a verdict, and of one that depends on the setting what it depends on."""
    if decision.verdict is None:
        return "no runs yet"
    if decision.verdict is not Verdict.DEPENDS:
        return decision.verdict.value
    return f"depends on the {' and the '.join(depends_on(decision.readings))}"


def depends_on(readings: Sequence[Reading]) -> list[str]:
    """Return in which respects settings differ whose verdicts differ.

    A respect is named if two settings that differ in it alone have different verdicts; where no
    two settings are that close, all respects in which they differ are named.
    """
    respects: dict[str, Callable[[Reading], object]] = {
        "recipe": lambda r: r.setting.part,
        "setting": lambda r: (r.setting.arm, r.setting.against and r.setting.against[0]),
        "read-out": lambda r: r.setting.readout,
    }
    names = {
        "stopping": "cap", "stability": "learning rate", "activations": "activation",
    }  # fmt: skip

    def found(*, alone: bool) -> list[str]:
        return [
            names.get(readings[0].setting.part, name) if name == "setting" else name
            for name, of in respects.items()
            if any(
                of(a) != of(b)
                and a.verdict is not b.verdict
                and (not alone or all(o(a) == o(b) for n, o in respects.items() if n != name))
                for a in readings
                for b in readings
            )
        ]

    return found(alone=True) or found(alone=False)


def by_recipe(decision: Decision) -> str:
    """State the verdicts recipe by recipe, with the settings where a recipe has several."""
    recipes: dict[str, dict[Verdict, list[str]]] = {}
    for reading in decision.readings:
        recipe = PART_NAMES.get(reading.setting.part, reading.setting.part)
        verdicts = recipes.setdefault(recipe, {})
        verdicts.setdefault(reading.verdict, []).append(_within_recipe(reading.setting))
    return "; ".join(
        f"{recipe}: "
        + ", ".join(
            verdict.value if len(verdicts) == 1 else f"{verdict.value} ({', '.join(settings)})"
            for verdict, settings in verdicts.items()
        )
        for recipe, verdicts in recipes.items()
    )


def effect_text(decision: Decision) -> str:
    """State what was found: the interval, or of several settings the range of their estimates."""
    readings, metric = decision.readings, decision.claim.metric
    if not readings:
        return ""
    is_level = decision.claim.is_level
    unit = UNITS[metric].value_unit if is_level else UNITS[metric].unit
    if decision.claim.direction == "contains":
        ends = prediction_interval(readings[0].estimate)
        low, high = (in_unit(metric, end) for end in (ends.low, ends.high))
        return f"one more run: {low} to {high} {unit}"
    if len(readings) == 1:
        text = interval_text(metric, readings[0].estimate.interval, signed=not is_level)
        return f"{text} {unit}".rstrip()
    estimates = [reading.estimate.interval.estimate for reading in readings]
    low, high = (
        in_unit(metric, end, signed=not is_level) for end in (min(estimates), max(estimates))
    )
    return f"{low} to {high} {unit} over {len(readings)} settings".replace("  ", " ")


def replicated_text(decision: Decision) -> str:
    """Say at how many settings both executions have the sign, or the side, of both together."""
    n = sum(_agrees(decision, reading.estimate) for reading in decision.readings)
    of = len(decision.readings)
    return "yes" if n == of else f"at {n} of {of}"


def _agrees(decision: Decision, estimate: Estimate) -> bool:
    claim = decision.claim
    if claim.target is None:
        return estimate.is_replicated
    target = claim.target
    executions = [of for of in estimate.executions if of is not None]
    if claim.direction == "contains":
        inside = prediction_interval(estimate).contains(target)
        return all(of.prediction_interval.contains(target) == inside for of in executions)
    if claim.direction == "within":
        inside = abs(estimate.interval.estimate - target) < claim.margin
        return all((abs(of.mean - target) < claim.margin) == inside for of in executions)
    return all((of.mean < target) == (estimate.interval.estimate < target) for of in executions)


def sentence(decision: Decision) -> str:
    """State the verdict on a claim with what was found and where."""
    text = f"{decision.claim.claim}: {verdict_text(decision)}"
    if decision.verdict is None:
        return f"{text}."
    found = effect_text(decision)
    agreed = f"both executions agree: {replicated_text(decision)}"
    where = "; ".join(setting_text(r.setting) for r in decision.readings)
    if decision.verdict is Verdict.DEPENDS:
        where = by_recipe(decision)
    elif len(decision.readings) > 3:
        where = f"at all {len(decision.readings)} settings"
    return f"{text} ({found}; {where}; {agreed})."


def summary_line(decisions: Iterable[Decision]) -> str:
    """Count the verdicts."""
    counts: dict[str, int] = {}
    for decision in decisions:
        verdict = "without runs" if decision.verdict is None else decision.verdict.value
        counts[verdict] = counts.get(verdict, 0) + 1
    n = sum(counts.values())
    order = [*(v.value for v in Verdict), "without runs"]
    words = {"depends": "that depend on where a run is read"}
    listed = ", ".join(f"{counts[v]} {words.get(v, v)}" for v in order if v in counts)
    return f"Of {n} declared claims: {listed}."


def crossed_text(estimate: Estimate) -> str:
    """Format the interval over runs and test images; empty where there is none."""
    if estimate.crossed is None:
        return ""
    low, high = (in_unit(estimate.outcome, e, signed=True) for e in
                 (estimate.crossed.low, estimate.crossed.high))  # fmt: skip
    return f"{low} to {high}"


def planned_effect(
    planned: PowerConfig, *, n_factors: int, n_replicates: int, alpha: float
) -> float:
    """Return the smallest effect on test accuracy, in [0, 1], that a design detects.

    Args:
        planned: spread and power.
        n_factors: 3 for a main effect of the factorial, 1 for the difference between two cells.
        n_replicates: of all executions.
        alpha: two-sided level of the test.
    """
    sd = stats.contrast_sd(planned.run_sd, n_factors, correlation=planned.correlation)
    return stats.smallest_detectable_effect(sd, n_replicates, alpha=alpha, power=planned.power)


def planned_effects_text(
    planned: PowerConfig, *, n_replicates: int, n_tests: int, alpha: float
) -> str:
    """Say what a design detects in a single test and at the strictest step of Holm's correction."""

    def in_points(n_factors: int) -> list[str]:
        return [
            f"{100 * planned_effect(planned, n_factors=n_factors, n_replicates=n_replicates, alpha=level):.3f}"  # noqa: E501
            for level in (alpha, alpha / max(n_tests, 1))
        ]

    (main, main_first), (two, two_first) = in_points(len(FACTORS)), in_points(1)
    return (
        "smallest main effect on test accuracy detectable with "
        f"{percent(planned.power)} power: {main} points in a single test, {main_first} at the "
        f"strictest step of Holm's correction of {n_tests} tests; smallest difference between "
        f"two cells: {two} and {two_first} points"
    )
