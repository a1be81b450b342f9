"""The sentences of an ablation's report: numbers, verdicts, and what the design can detect."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from mnist_study import stats
from mnist_study.experiments.ablation.claims import Claim, PowerConfig, Setting
from mnist_study.experiments.ablation.config import AblationConfig
from mnist_study.experiments.ablation.decisions import MIN_REPLICATES, Decision, Reading
from mnist_study.experiments.ablation.estimates import Estimate
from mnist_study.experiments.ablation.outcomes import UNITS
from mnist_study.experiments.ablation.recipes import FACTORIALS, FACTORS, RECIPES
from mnist_study.stats import Interval, Verdict

PART_NAMES = {
    "documented": "documented recipe",
    "study": "study's recipe",
    "stopping": "documented recipe",
    "stability": "documented recipe",
    "activations": "documented recipe",
    "steps": "steps to the champion",
    "doses": "study's recipe",
    "sizes": "study's recipe",
    "retuned": "study's recipe, rates re-tuned",
}
"""A part by the recipe that its runs are trained with, where that is said of a setting."""


def power_line(ablation: AblationConfig) -> str:
    """Say what the design can detect; it is computed from the file alone."""
    n = ablation.n_seeds * len(ablation.executions)
    effects = planned_effects_text(
        ablation.power,
        n_replicates=n,
        n_tests=n_tests(ablation.claims),
        alpha=ablation.statistics.alpha,
    )
    return (
        f"{effects} ({len(ablation.executions)} executions x {ablation.n_seeds} seeds x 8 cells in "
        f"each of 2 recipes; standard deviation of a run {100 * ablation.power.run_sd:.2f} points, "
        f"{ablation.power.source})"
    )


def n_tests(claims: Iterable[Claim]) -> int:
    """Return how many tests the claims have at all their settings; a prediction is none."""
    return sum(len(claim.settings()) for claim in claims if claim.direction != "contains")


def tuning_line(ablation: AblationConfig) -> str | None:
    """Say whether the re-tuned factorial has the seeds to decide; None without one.

    What it has to detect is the margin of test accuracy, at the strictest step of Holm's
    correction of the claims about accuracy.
    """
    if ablation.tuning is None:
        return None
    tuning, planned = ablation.tuning, ablation.power
    margin = ablation.statistics.margins["test_accuracy"]
    about_accuracy = [claim for claim in ablation.claims if claim.metric == "test_accuracy"]
    level = ablation.statistics.alpha / max(n_tests(about_accuracy), 1)
    needed = [
        stats.required_pairs(
            margin,
            stats.contrast_sd(planned.run_sd, n_factors, correlation=planned.correlation),
            alpha=level,
            power=planned.power,
        )
        for n_factors in (len(FACTORS), 1)
    ]
    n_executions = len(ablation.executions)
    told_apart = stats.smallest_detectable_effect(
        stats.contrast_sd(planned.run_sd, 1, correlation=planned.correlation),
        tuning.n_runs * n_executions,
        power=planned.power,
    )
    return (
        f"re-tuned learning rates: after correction of {n_tests(about_accuracy)} tests a main "
        f"effect of {100 * margin:g} points takes {needed[0]} replicates and a difference between "
        f"two cells {needed[1]}; the file has {tuning.n_seeds * n_executions}. "
        f"{tuning.n_runs * n_executions} runs a rate tell two rates apart that differ by "
        f"{100 * told_apart:.2f} points"
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


def p_text(p_value: float | None) -> str:
    """Format a p-value; any below 0.001 as "< 0.001", and None as untested."""
    if p_value is None:
        return "not tested"
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
    is_cell = setting.part in FACTORIALS
    if setting.against is not None and setting.against[0] != setting.arm and not is_cell:
        names.append(f"against {setting.against[0]}")
    if setting.part != "activations":
        names.append(readout_name(setting.readout))
    return ", ".join(names)


def verdict_text(decision: Decision) -> str:
    """State a verdict; of one that differs between settings, in what or where."""
    readings = decision.readings
    if decision.verdict is None:
        return (
            f"{len(readings)} of {decision.n_settings} settings have runs"
            if readings
            else "nothing to compare yet"
        )
    if decision.verdict is Verdict.DEPENDS:
        *respects, last = depends_on(decision)
        return f"depends on the {', the '.join(respects)}{' and the ' if respects else ''}{last}"
    if decision.verdict is Verdict.UNDECIDED:
        few = min(reading.estimate.pooled.n_pairs for reading in readings)
        if few < MIN_REPLICATES:
            return f"undecided, {few} replicates"
        for verdict in (Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.EQUIVALENT):
            n = sum(reading.verdict is verdict for reading in readings)
            if n:
                return f"undecided, {verdict.value} at {n} of {len(readings)} settings"
    return decision.verdict.value


def depends_on(decision: Decision) -> list[str]:
    """Return in which respects settings differ whose effects differ.

    A respect is named if two such settings differ in it alone; where no two are that close, all
    respects in which they differ are named.
    """
    readings = decision.readings
    respects: dict[str, Callable[[Reading], object]] = {
        "recipe": lambda r: r.setting.part,
        "setting": lambda r: (r.setting.arm, r.setting.against and r.setting.against[0]),
        "read-out": lambda r: r.setting.readout,
    }
    names = {
        "stopping": "cap", "stability": "learning rate", "activations": "activation",
    }  # fmt: skip
    pairs = [(readings[i], readings[j]) for i, j in decision.differing]

    def found(*, alone: bool) -> list[str]:
        return [
            names.get(readings[0].setting.part, name) if name == "setting" else name
            for name, of in respects.items()
            if any(
                of(a) != of(b)
                and (not alone or all(o(a) == o(b) for n, o in respects.items() if n != name))
                for a, b in pairs
            )
        ]

    others = ["other factors"] if any(r.verdict is Verdict.DEPENDS for r in readings) else []
    named = (found(alone=True) or found(alone=False)) + others
    if "read-out" in named and readings[0].setting.part in ("stopping",):
        named[named.index("read-out")] = "patience"
    return named


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
    """State what was found, recipe by recipe: an interval, or the range of several estimates."""
    recipes: dict[str, list[Reading]] = {}
    for reading in decision.readings:
        recipe = PART_NAMES.get(reading.setting.part, reading.setting.part)
        recipes.setdefault(recipe, []).append(reading)
    found = {recipe: _found(decision, of_recipe) for recipe, of_recipe in recipes.items()}
    if len(found) == 1:
        return next(iter(found.values()))
    return "; ".join(f"{recipe}: {text}" for recipe, text in found.items())


def _found(decision: Decision, readings: Sequence[Reading]) -> str:
    metric, is_level = decision.claim.metric, decision.claim.is_level
    unit = UNITS[metric].value_unit if is_level else UNITS[metric].unit
    if decision.claim.direction == "contains":
        return _predicted(metric, [reading.estimate.prediction_interval for reading in readings])
    intervals = [reading.estimate.interval for reading in readings]
    if len(intervals) == 1:
        text = interval_text(metric, intervals[0], signed=not is_level)
    else:
        text = _range(metric, [i.estimate for i in intervals], signed=not is_level)
    text = f"{text} {unit}".rstrip()
    parts = [reading.parts for reading in readings if reading.parts is not None]
    if parts:
        train, test = (
            _range(of[0].outcome, [one.interval.estimate for one in of], signed=True)
            for of in zip(*parts, strict=True)
        )
        text += f" (training {train}, test {test})"
    return text


def _predicted(metric: str, intervals: Sequence[Interval]) -> str:
    """State what one more run may give wherever it is read: the part that all intervals share."""
    low, high = max(i.low for i in intervals), min(i.high for i in intervals)
    if low > high:
        return "the prediction intervals share no value"
    text = f"{_range(metric, [low, high], signed=False)} {UNITS[metric].value_unit}".rstrip()
    return f"one run: {text}{', in each prediction interval' if len(intervals) > 1 else ''}"


def _range(outcome: str, values: Sequence[float], *, signed: bool) -> str:
    """Format the least and the greatest of several values, or a single one."""
    ends = dict.fromkeys(in_unit(outcome, v, signed=signed) for v in (min(values), max(values)))
    return " to ".join(ends)


def read_at(decision: Decision) -> str:
    """Name recipes and read-outs of a claim, and how many replicates its estimates have."""
    settings = [reading.setting for reading in decision.readings] or decision.claim.settings()
    parts = dict.fromkeys(PART_NAMES.get(s.part, s.part) for s in settings)
    recipes = "both recipes" if set(parts) == {PART_NAMES[r] for r in RECIPES} else ", ".join(parts)
    readouts = ", ".join(dict.fromkeys(readout_name(s.readout) for s in settings))
    counts = {reading.estimate.pooled.n_pairs for reading in decision.readings}
    n = "" if not counts else f"; n = {'-'.join(map(str, sorted({min(counts), max(counts)})))}"
    return f"{recipes}: {readouts}{n}"


def replicated_text(decision: Decision) -> str:
    """Say at how many settings both executions are on the side of both together."""
    agreed = [reading.agree for reading in decision.readings]
    if None in agreed:
        return "one execution only" if len(agreed) == agreed.count(None) else "not at every setting"
    n = sum(agree is True for agree in agreed)
    return "yes" if n == len(agreed) else f"at {n} of {len(agreed)}"


def sentence(decision: Decision) -> str:
    """State the verdict on a claim with what was found and where."""
    text = f"{decision.claim.claim}: {verdict_text(decision)}"
    if not decision.readings:
        return f"{text}."
    found = effect_text(decision)
    agreed = f"both executions agree: {replicated_text(decision)}"
    where = read_at(decision)
    if len({reading.verdict for reading in decision.readings}) > 1:
        where = f"{where}; {by_recipe(decision)}"
    return f"{text} ({found}; {where}; {agreed})."


def summary_line(decisions: Iterable[Decision]) -> str:
    """Count the verdicts."""
    counts: dict[str, int] = {}
    for decision in decisions:
        verdict = "without all runs" if decision.verdict is None else decision.verdict.value
        counts[verdict] = counts.get(verdict, 0) + 1
    n = sum(counts.values())
    order = [*(v.value for v in Verdict), "without all runs"]
    words = {"depends": "depending on the setting"}
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
