"""The tables of an ablation's report, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mnist_study.experiments.ablation.analysis import Analysis, Decision, Effect
from mnist_study.experiments.ablation.config import UNITS
from mnist_study.experiments.ablation.design import CELLS, DOCUMENTED, NONE, Cell, cell_label
from mnist_study.experiments.ablation.record import AblationRecord, CurvePoint
from mnist_study.experiments.ablation.runs import POINTS, RUN_OUTCOMES, Factorial, cell_index
from mnist_study.experiments.ablation.text import (
    crossed_text,
    in_unit,
    interval_text,
    p_text,
    percent,
    remarks,
)
from mnist_study.experiments.tables import markdown_table
from mnist_study.stats import mean_estimate

_CURVE_OUTCOMES = ("test_accuracy", "test_loss", "overfitting_gap", "calibration_error")


def cell_name(cell: Cell) -> str:
    """Name a cell as the report does."""
    names = {NONE: "no regularization", DOCUMENTED: "all three (documented)"}
    return names.get(cell, cell_label(cell))


def verdict_table(
    decisions: Sequence[Decision], retuned: Sequence[Decision] | None, confidence: float
) -> list[str]:
    """Return the table of declared hypotheses and their verdicts."""
    head = [
        "claim", "verdict", f"effect ({percent(confidence)} interval over seeds)", "unit",
        "over seeds and test images", "adjusted p", "margin", "adjusted p of equivalence",
    ]  # fmt: skip
    if retuned is not None:
        head.append("at re-tuned learning rates")
    rows = []
    for i, decision in enumerate(decisions):
        effect = decision.effect
        is_level = decision.hypothesis.direction == "within"
        row = [
            decision.hypothesis.claim,
            ", ".join([f"**{decision.verdict.value}**", *remarks(decision)]),
            interval_text(effect.outcome, effect.contrast.interval),
            UNITS[effect.outcome].unit,
            crossed_text(effect),
            p_text(decision.margin_p if is_level else effect.adjusted),
            in_unit(effect.outcome, effect.tost.margin),
            p_text(effect.adjusted if is_level else decision.margin_p),
        ]
        if retuned is not None:
            other = retuned[i]
            text = interval_text(effect.outcome, other.effect.contrast.interval)
            row.append(f"{text}, {other.verdict.value}")
        rows.append(row)
    return markdown_table(head, rows)


def cell_table(data: Factorial) -> list[str]:
    """Return the table of cells: means and standard deviations over runs."""
    rows = []
    for cell in CELLS:
        for point in POINTS:
            row = [cell_name(cell) if point == POINTS[0] else "", point]
            for outcome in RUN_OUTCOMES:
                values = data.values[outcome, point][cell_index(cell)]
                scale = UNITS[outcome].scale
                digits = 1 if outcome == "epochs_trained" else UNITS[outcome].digits
                spread = float(np.std(values - values.mean(axis=1, keepdims=True), ddof=0))
                # Each split's mean takes one degree of freedom.
                spread *= (values.shape[1] / (values.shape[1] - 1)) ** 0.5
                row.append(f"{scale * values.mean():.{digits}f} ± {scale * spread:.{digits}f}")
            rows.append(row)
    head = [
        "factors on",
        "read-out",
        *(f"{UNITS[o].name} ({_value_unit(o)})" for o in RUN_OUTCOMES),
    ]
    return markdown_table(head, rows)


def effect_table(effects: Iterable[Effect], name: str) -> list[str]:
    """Return effects or differences with their intervals, tests and effect sizes."""
    head = [
        "outcome", "read-out", name, "estimate (interval)", "unit", "over seeds and images", "p",
        "adjusted p", "equivalence p (margin)", "d_z", "probability of improvement",
        "p of equal effect on all splits",
    ]  # fmt: skip
    rows = []
    for effect in effects:
        contrast, outcome = effect.contrast, effect.outcome
        # Equivalence is of interest where there is no significant difference.
        is_significant = effect.adjusted < 1 - contrast.interval.confidence
        margin = in_unit(outcome, effect.tost.margin)
        rows.append(
            [
                UNITS[outcome].name, effect.where, effect.name,
                interval_text(outcome, contrast.interval), UNITS[outcome].unit,
                crossed_text(effect), p_text(contrast.p_value),
                p_text(effect.adjusted) + (" (Holm)" if effect.is_declared else ""),
                "" if is_significant else f"{p_text(effect.tost.p_value)} ({margin})",
                f"{contrast.cohens_dz.estimate:+.2f}", f"{effect.improves:.2f}",
                p_text(contrast.split_p_value),
            ]
        )  # fmt: skip
    return markdown_table(head, rows)


def main_effects(analysis: Analysis) -> list[Effect]:
    """Return the main effects, that of early stopping among them."""
    return [effect for effect in analysis.effects if len(effect.contrast.factors) == 1]


def rate_table(record: AblationRecord) -> list[str]:
    """Return the validation accuracy of each cell at each learning rate."""
    rates = sorted({rate for of_rate in record.rates.values() for rate in of_rate})
    rows = []
    for cell in CELLS:
        of_rate = record.rates.get(cell, {})
        row = [cell_name(cell)]
        row += [f"{100 * of_rate[r].mean():.2f}" if r in of_rate else "" for r in rates]
        row.append(f"{record.chosen[cell]:g}" if cell in record.chosen else "")
        rows.append(row)
    return markdown_table(["factors on", *(f"{rate:g}" for rate in rates), "chosen"], rows)


def curve_table(name: str, points: Sequence[CurvePoint], confidence: float) -> list[str]:
    """Return means and their intervals over seeds along a curve."""
    rows = []
    for curve_point in points:
        label = f"{curve_point.x:g}" + (" (documented)" if curve_point.is_documented else "")
        for point in POINTS:
            row = [label, point]
            for outcome in _CURVE_OUTCOMES:
                interval = mean_estimate(curve_point.per_seed(outcome, point)).interval(confidence)
                row.append(interval_text(outcome, interval, signed=False))
            rows.append(row)
    head = [name, "read-out", *(f"{UNITS[o].name} ({_value_unit(o)})" for o in _CURVE_OUTCOMES)]
    return markdown_table(head, rows)


def _value_unit(outcome: str) -> str:
    """Return the unit of an outcome's value; only differences of percentages are in points."""
    return "%" if outcome == "test_accuracy" else UNITS[outcome].unit
