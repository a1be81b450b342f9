"""The tables of what an ablation measured, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mnist_study.experiments.ablation.analysis import Analysis
from mnist_study.experiments.ablation.comparisons import difference, level, step_keys
from mnist_study.experiments.ablation.design import CELLS, DOCUMENTED, NONE, Cell, cell_label
from mnist_study.experiments.ablation.estimates import Estimate
from mnist_study.experiments.ablation.outcomes import UNITS, Outcome
from mnist_study.experiments.ablation.recipes import AVERAGED, LAST, RESTORED
from mnist_study.experiments.ablation.record import AblationRecord, CurvePoint
from mnist_study.experiments.ablation.text import (
    PART_NAMES,
    in_unit,
    interval_text,
    p_text,
    readout_name,
)
from mnist_study.experiments.tables import markdown_table

CELL_OUTCOMES: tuple[Outcome, ...] = (
    "test_accuracy", "train_accuracy", "overfitting_gap", "plotted_gap", "test_loss",
    "calibration_error", "kernel_norm_1", "epochs_trained",
)  # fmt: skip
CURVE_OUTCOMES: tuple[Outcome, ...] = (
    "test_accuracy", "test_loss", "overfitting_gap", "calibration_error",
)  # fmt: skip
CURVE_READOUTS = (LAST, AVERAGED)


def cell_name(cell: Cell) -> str:
    """Name a cell as the report does."""
    names = {NONE: "no regularization", DOCUMENTED: "all three (documented)"}
    return names.get(cell, cell_label(cell))


def count(estimate: Estimate) -> str:
    """Return the number of replicates, and in brackets how many were left out."""
    left_out = f" ({estimate.n_incomplete})" if estimate.n_incomplete else ""
    return f"{estimate.pooled.n_pairs}{left_out}"


def executions(estimate: Estimate, *, signed: bool) -> list[str]:
    """Return the intervals of the first two executions."""
    texts = [
        "" if of is None else interval_text(estimate.outcome, of.mean_interval, signed=signed)
        for of in estimate.executions
    ]
    return [*texts, "", ""][:2]


def cell_table(record: AblationRecord, part: str) -> list[str]:
    """Return the table of a factorial's cells: means and standard deviations over runs."""
    rows = []
    for cell in CELLS:
        for readout in record.readouts(part):
            key = (part, cell_label(cell), readout)
            row = [cell_name(cell) if readout == LAST else "", readout_name(readout)]
            for outcome in CELL_OUTCOMES:
                mean = in_unit(outcome, record.values.mean(key, outcome))
                row.append(f"{mean} ± {in_unit(outcome, record.values.spread(key, outcome))}")
            rows.append(row)
    head = [
        "factors on",
        "read-out",
        *(_titled(outcome) for outcome in CELL_OUTCOMES),
    ]
    return markdown_table(head, rows)


def _titled(outcome: Outcome) -> str:
    unit = UNITS[outcome]
    return f"{unit.name} ({unit.value_unit})" if unit.value_unit else unit.name


def effect_table(estimates: Iterable[Estimate]) -> list[str]:
    """Return effects or differences with their intervals, executions and tests."""
    head = [
        "outcome", "recipe", "read-out", "effect", "n (left out)", "estimate (interval)", "unit",
        "execution 1", "execution 2", "p", "adjusted p", "d_z", "probability of improvement",
    ]  # fmt: skip
    rows = [
        [
            UNITS[e.outcome].name,
            PART_NAMES.get(e.comparison.part, e.comparison.part),
            readout_name(e.comparison.readout),
            e.name,
            count(e),
            interval_text(e.outcome, e.interval),
            UNITS[e.outcome].unit,
            *executions(e, signed=True),
            p_text(e.pooled.p_value),
            p_text(e.adjusted),
            f"{e.pooled.cohens_dz.estimate:+.2f}",
            f"{e.improves:.2f}",
        ]
        for e in estimates
    ]
    return markdown_table(head, rows)


_GAP_OUTCOMES: tuple[Outcome, ...] = (
    "train_accuracy", "test_accuracy", "overfitting_gap", "plotted_gap",
)  # fmt: skip


def gap_table(record: AblationRecord) -> list[str]:
    """Return the gap with its two parts, with no regularization and with all, and the change."""
    rows = []
    for part in record.factorials:
        for readout in record.readouts(part):
            none, every = ((part, cell_label(cell), readout) for cell in (NONE, DOCUMENTED))
            change = difference("", every, none)
            for name, comparison in (
                (cell_name(NONE), level(none)),
                (cell_name(DOCUMENTED), level(every)),
                ("change", change),
            ):
                row = [PART_NAMES[part], readout_name(readout), name]
                for outcome in _GAP_OUTCOMES:
                    estimate = record.estimate(outcome, comparison)
                    row.append(_of(estimate, signed=comparison is change))
                rows.append(row)
    head = ["recipe", "read-out", "factors on", "training accuracy (%)", "test accuracy (%)",
            "gap (points)", "gap as plotted (points)"]  # fmt: skip
    return markdown_table(head, rows)


def _of(estimate: Estimate | None, *, signed: bool) -> str:
    if estimate is None:
        return ""
    return interval_text(estimate.outcome, estimate.interval, signed=signed)


def step_table(record: AblationRecord, analysis: Analysis) -> list[str]:
    """Return where the accuracy comes from, step by step."""
    changes = {e.name: e for e in analysis.steps}
    target = _documented_number(record)
    rows = []
    if target is not None:
        number = in_unit("test_accuracy", target)
        rows.append(["the document's number", "", number, "", "", ""])
    for name, key in step_keys():
        change = changes.get(name)
        reached = record.estimate("test_accuracy", level(key))
        rows.append(
            [
                _STEP_TEXTS[name].format(**_step_settings(record)),
                str(reached.pooled.n_pairs) if reached is not None else "",
                _of(reached, signed=False),
                _of(change, signed=True),
                *(["", ""] if change is None else executions(change, signed=True)),
            ]
        )
    whole = changes.get("all steps")
    if whole is not None:
        ends = executions(whole, signed=True)
        rows.append(["all steps together", "", "", _of(whole, signed=True), *ends])
    head = ["step", "runs", "test accuracy (%)", "change (points)", "execution 1", "execution 2"]
    return markdown_table(head, rows)


def _documented_number(record: AblationRecord) -> float | None:
    """Return the test accuracy that a claim says one more run may give; on MNIST alone."""
    targets = (
        claim.target
        for sentence in record.sentences
        for claim in sentence.claims
        if (claim.direction, claim.metric) == ("contains", "test_accuracy")
    )
    return next(targets, None) if record.on_mnist else None


_STEP_TEXTS = {
    "documented recipe": "documented recipe: batch {old_batch}, {old_schedule} rate, restored",
    "batch size": "batch {batch}",
    "read-out": "last epoch in place of early stopping",
    "schedule": "{schedule} schedule",
    "epochs": "{epochs} epochs in place of {old_epochs}",
    "search": "configuration found by the search: {found}",
    "all rows": "all {all_rows:,} rows, none held out",
}


def _step_settings(record: AblationRecord) -> dict[str, object]:
    arms = {arm.label: arm for arm in record.arms("steps")}
    old, found = record.documented_arm().training, arms["search"].params
    data = record.identity
    return {
        "old_batch": old.batch_size,
        "old_schedule": old.schedule,
        "old_epochs": old.epochs,
        "batch": arms["batch size"].training.batch_size,
        "schedule": arms["schedule"].training.schedule,
        "epochs": arms["epochs"].training.epochs,
        "found": "-".join(map(str, found.units)),
        "all_rows": data.data.n_train + data.validation_size,
    }


def stopping_table(record: AblationRecord) -> list[str]:
    """Return test accuracy and length of training under each cap and patience."""
    readouts = sorted(
        {(part, arm, readout) for part, arm, readout in record.values.outcomes if part == "stopping"
         and arm != "all"},
        key=lambda key: (int(key[1].split()[0]), key[2] != LAST, _patience(key[2])),
    )  # fmt: skip
    rows = []
    for key in readouts:
        spread = record.values.spread(key, "test_accuracy")
        rows.append(
            [
                key[1],
                "none" if key[2] == LAST else str(_patience(key[2])),
                in_unit("test_accuracy", record.values.mean(key, "test_accuracy")),
                in_unit("test_accuracy", spread),
                in_unit("test_loss", record.values.mean(key, "test_loss")),
                in_unit("epochs_trained", record.values.mean(key, "epochs_trained")),
            ]
        )
    head = ["cap", "patience", "test accuracy (%)", "standard deviation (points)",
            "test cross-entropy (nats)", "epochs trained"]  # fmt: skip
    return markdown_table(head, rows)


def _patience(readout: str) -> int:
    return int(readout.rpartition("_")[2]) if "_" in readout else 0


def stability_keys(record: AblationRecord) -> list[tuple[float, tuple[str, str]]]:
    """Return the learning rates, the documented one first, with part and arm of their runs."""
    others = [
        (arm.params.learning_rate, ("stability", arm.label)) for arm in record.arms("stability")
    ]
    return sorted([(record.documented_rate, ("documented", cell_label(DOCUMENTED))), *others])


def stability_table(record: AblationRecord) -> list[str]:
    """Return jitter, diverged runs and spread over seeds by learning rate."""
    rows = []
    for rate, (part, arm) in stability_keys(record):
        last, restored = ((part, arm, readout) for readout in (LAST, RESTORED))
        values = record.values
        diverged = values.of(last, "diverged")
        cells = [
            f"{rate:g}",
            str(int(np.isfinite(diverged).sum())),
            in_unit("diverged", values.mean(last, "diverged")),
            _of(record.estimate("jitter", level(last)), signed=False),
        ]
        for key in (last, restored):
            mean = in_unit("test_accuracy", values.mean(key, "test_accuracy"))
            spread = in_unit("test_accuracy", values.spread(key, "test_accuracy"))
            cells.append(f"{mean} ± {spread}")
        rows.append(cells)
    head = ["learning rate", "runs", "diverged (%)", "jitter between epochs (points)",
            "test accuracy, last epoch (%)", "test accuracy, restored (%)"]  # fmt: skip
    return markdown_table(head, rows)


def activation_table(record: AblationRecord) -> list[str]:
    """Return epochs to the target and accuracy by activation."""
    rows = []
    for arm in record.arms("activations"):
        key = ("activations", arm.label, LAST)
        missed = record.values.of(key, "target_missed")
        n_missed = int(np.nansum(missed))
        epochs = _of(record.estimate("epochs_to_target", level(key)), signed=False)
        if n_missed:  # such a run tells a bound alone, and so does the mean
            mean = in_unit("epochs_to_target", record.values.mean(key, "epochs_to_target"))
            epochs = f"at least {mean}"
        rows.append(
            [
                arm.label,
                str(int(np.isfinite(missed).sum())),
                epochs,
                str(n_missed),
                _of(record.estimate("test_accuracy", level(key)), signed=False),
            ]
        )
    head = ["activation", "runs", "epochs to the target (interval)", "runs that never reach it",
            "test accuracy, last epoch (%)"]  # fmt: skip
    return markdown_table(head, rows)


def rate_table(record: AblationRecord) -> list[str]:
    """Return the validation accuracy of each cell at each learning rate."""
    rates = record.offered_rates
    rows = []
    for cell in CELLS:
        of_rate = record.rates.get(cell, {})
        row = [cell_name(cell)]
        row += [f"{100 * of_rate[r].mean():.2f}" if r in of_rate else "" for r in rates]
        row.append(f"{record.chosen[cell]:g}" if cell in record.chosen else "")
        rows.append(row)
    return markdown_table(["factors on", *(f"{rate:g}" for rate in rates), "chosen"], rows)


def curve_table(record: AblationRecord, name: str, points: Sequence[CurvePoint]) -> list[str]:
    """Return means and their intervals over replicates along a curve."""
    rows = [
        [
            f"{point.x:g}" + (" (documented)" if point.is_documented else ""),
            readout_name(readout),
            *(
                _of(record.estimate(outcome, level(point.key(readout))), signed=False)
                for outcome in CURVE_OUTCOMES
            ),
        ]
        for readout in CURVE_READOUTS
        for point in points
    ]
    head = [name, "read-out", *(_titled(outcome) for outcome in CURVE_OUTCOMES)]
    return markdown_table(head, rows)
