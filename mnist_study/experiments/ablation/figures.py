"""The figures of an ablation, from its record."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from mnist_study.core.datasets import described
from mnist_study.experiments.ablation.comparisons import step_keys
from mnist_study.experiments.ablation.design import CELLS, DOCUMENTED, NONE, Cell, cell_label
from mnist_study.experiments.ablation.outcomes import UNITS, Outcome
from mnist_study.experiments.ablation.recipes import AVERAGED, LAST, RESTORED
from mnist_study.experiments.ablation.record import AblationRecord, CurvePoint
from mnist_study.experiments.ablation.runs import Key
from mnist_study.experiments.ablation.tables import stability_keys
from mnist_study.experiments.ablation.text import PART_NAMES, in_unit, percent
from mnist_study.plots import ablation as draw
from mnist_study.plots import style
from mnist_study.plots.panels import grid_of_axes, legend_below_title, small_multiples
from mnist_study.stats import Interval, mean_estimate

SHOWN: tuple[Outcome, ...] = ("test_accuracy", "test_loss", "overfitting_gap")
_EFFECT_READOUTS = (LAST, RESTORED, AVERAGED)


@style.styled
def ablation_figures(record: AblationRecord) -> dict[str, style.Figure]:
    """Draw the figures that the record has runs for, by the names in `report.FIGURES`."""
    if record.analysis is None:
        return {}
    draws: dict[str, tuple[bool, Callable[[AblationRecord], style.Figure]]] = {
        "effects": (True, _effects),
        "steps": (bool(record.analysis.steps), _steps),
        "gap": (True, _gap),
        "stopping": ("stopping" in record.parts, _stopping),
        "stability": ("stability" in record.parts, _stability),
        "epoch_curves": (True, _epoch_curves),
        "learning_rates": (bool(record.rates), _learning_rates),
        "dose_response": (bool(record.dose_curves), _dose_response),
        "training_size": (bool(record.size_curves), _training_size),
    }
    return {name: function(record) for name, (has_runs, function) in draws.items() if has_runs}


def _finish(
    record: AblationRecord,
    figure: style.Figure,
    title: str,
    *,
    legend: bool = True,
    n_columns: int | None = None,
) -> style.Figure:
    """Write legend and title; the title names data that is not MNIST."""
    if legend:
        legend_below_title(figure, n_columns=n_columns)
    shown = title if record.on_mnist else f"{title}, {described(record.identity.data.dataset)}"
    style.write_title(figure, 0.012, shown)
    return figure


def _axis_title(outcome: Outcome) -> str:
    return f"{UNITS[outcome].name} ({UNITS[outcome].value_unit})"


def _short(cell: Cell) -> str:
    """Name a cell for an axis."""
    known = {NONE: "none", DOCUMENTED: "all (documented)", CELLS[6]: "both dropouts"}
    names = {"l2": "L2"}
    return known.get(cell, " + ".join(names.get(name, name) for name in cell))


def _scaled(outcome: Outcome, interval: Interval) -> Interval:
    scale = UNITS[outcome].scale
    return Interval(
        scale * interval.estimate, scale * interval.low, scale * interval.high, interval.confidence
    )


def _effects(record: AblationRecord) -> style.Figure:
    """Draw what each factor, and all of them, change in test accuracy."""
    analysis = record.analysis
    assert analysis is not None
    known = {
        (e.comparison.part, e.comparison.readout, e.name): e
        for e in (*analysis.effects, *analysis.differences)
        if e.outcome == "test_accuracy"
    }
    rows = {
        "L2": "l2", "dropout_1": "dropout_1", "dropout_2": "dropout_2", "all three": "all - none",
    }  # fmt: skip
    # A part of which too little is finished has no estimates.
    parts = [part for part in record.factorials if (part, LAST, "all - none") in known]
    height = 1.25 + (0.32 + 0.42 * len(rows)) * len(parts)
    figure, grid = grid_of_axes(
        len(parts), 1, height=height, width=style.COLUMN_WIDTH, bottom=0.45, top=0.8, left=0.16,
        spaces=(0.22, 0.0),
    )  # fmt: skip
    panels = grid[:, 0]
    ends: list[float] = []
    for axes, part in zip(panels, parts, strict=True):
        drawn = {
            label: {
                readout: (
                    _scaled("test_accuracy", known[part, readout, name].interval),
                    [
                        100 * of.mean
                        for of in known[part, readout, name].executions
                        if of is not None
                    ],
                )
                for readout in _EFFECT_READOUTS
            }
            for label, name in rows.items()
        }
        ends += [e for of in drawn.values() for i, _ in of.values() for e in (i.low, i.high)]
        draw.draw_effects(axes, drawn, 100 * record.statistics.margins["test_accuracy"])
        axes.set_title(PART_NAMES[part])
    room = 0.04 * (max(ends) - min(ends))
    panels[-1].set_xlim(min(ends) - room, max(ends) + room)
    style.set_x_ticks(panels[-1], 5)
    panels[-1].set_xlabel("change of test accuracy (points)")
    confidence = percent(record.statistics.confidence)
    title = f"What regularization changes ({confidence} intervals)"
    return _finish(record, figure, title, n_columns=3)


def _steps(record: AblationRecord) -> style.Figure:
    analysis = record.analysis
    assert analysis is not None
    keys = step_keys()
    changes = {e.name: e.interval.estimate for e in analysis.steps}
    names = {
        "all rows": "all rows, none held out",
        "search": "configuration found",
        "read-out": "no early stopping",
    }
    figure, ((axes,),) = grid_of_axes(
        1, 1, height=0.9 + 0.32 * len(keys), bottom=0.5, top=0.35, left=0.24
    )
    draw.draw_steps(
        axes,
        {names.get(name, name): _of_key(record, "test_accuracy", key) for name, key in keys},
        [
            "" if name not in changes else in_unit("test_accuracy", changes[name], signed=True)
            for name, _ in keys
        ],
    )
    axes.set_xlabel("test accuracy (%)")
    return _finish(record, figure, "Where the accuracy comes from", legend=False)


def _gap(record: AblationRecord) -> style.Figure:
    names = PART_NAMES | {"retuned": "rates re-tuned"}
    rows = {
        f"{names[part]}, {_short(cell)}": (
            _of_key(record, "train_accuracy", (part, cell_label(cell), LAST)),
            _of_key(record, "test_accuracy", (part, cell_label(cell), LAST)),
        )
        for part in record.factorials
        for cell in (NONE, DOCUMENTED)
    }
    figure, ((axes,),) = grid_of_axes(
        1, 1, height=1.15 + 0.36 * len(rows), bottom=0.5, top=0.6, left=0.34
    )
    draw.draw_gaps(axes, rows)
    axes.set_xlabel("accuracy at the last epoch (%), with the gap in points")
    return _finish(record, figure, "The overfitting gap and its two parts")


def _stopping(record: AblationRecord) -> style.Figure:
    keys = [key for key in record.values.outcomes if key[0] == "stopping" and key[1] != "all"]
    caps = sorted({arm for _, arm, _ in keys}, key=lambda arm: int(arm.split()[0]))
    by_cap = {
        cap: {
            "to the end" if readout == LAST else readout.replace("_", " "): (
                record.values.mean((part, arm, readout), "epochs_trained"),
                _of_key(record, "test_accuracy", (part, arm, readout)),
            )
            for part, arm, readout in keys
            if arm == cap
        }
        for cap in caps
    }
    figure, ((axes,),) = grid_of_axes(1, 1, height=3.1, bottom=0.5, top=0.6, left=0.1)
    draw.draw_stopping(axes, by_cap, (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE))
    axes.set_xlabel("epochs trained")
    axes.set_ylabel("test accuracy (%)")
    return _finish(record, figure, "Early stopping under caps")


def _stability(record: AblationRecord) -> style.Figure:
    places = stability_keys(record)
    rates = [rate for rate, _ in places]
    values = record.values

    def spread(readout: str) -> list[float]:
        return [100 * values.spread((*at, readout), "test_accuracy") for _, at in places]

    figure, ((left, right),) = grid_of_axes(
        1, 2, height=2.6, bottom=0.5, top=0.75, left=0.09, spaces=(0.0, 0.22)
    )
    jitter = [100 * values.mean((*at, LAST), "jitter") for _, at in places]
    draw.draw_by_rate(left, rates, {"last epoch": (LAST, jitter)})
    draw.draw_by_rate(
        right,
        rates,
        {draw.READOUT_NAMES[readout]: (readout, spread(readout)) for readout in (LAST, RESTORED)},
    )
    left.set_title("jitter between epochs, validation (points)")
    right.set_title("standard deviation over seeds, test (points)")
    for axes in (left, right):
        axes.set_xlabel("learning rate")
    return _finish(record, figure, "Stability by learning rate")


def _epoch_curves(record: AblationRecord) -> style.Figure:
    figure, panels = small_multiples(len(CELLS), 1.62, x_label="epoch", y_label="accuracy (%)")
    lowest = []
    for axes, cell in zip(panels, CELLS, strict=True):
        complete = (r for r in record.runs[record.main_part] if r.result.readouts)
        runs = [run for run in complete if run.arm.cell == cell]
        restored = [o.epoch for r in runs for o in r.result.readouts if o.point == RESTORED]
        train, validation = (
            100 * np.array([[getattr(e, name) for e in r.result.epochs] for r in runs])
            for name in ("train_accuracy", "val_accuracy")
        )
        draw.draw_accuracies(axes, train, validation, float(np.median(restored)))
        lowest.append(float(np.quantile(np.minimum(train, validation)[:, 2:], 0.05)))
        axes.set_title(_short(cell))
    # What differs between the cells is less than what the first epochs gain.
    panels[0].set_ylim(min(lowest) - 0.2, 100.1)
    return _finish(record, figure, f"Accuracy over epochs, {PART_NAMES[record.main_part]}")


def _learning_rates(record: AblationRecord) -> style.Figure:
    cells = [cell for cell in CELLS if cell in record.rates]
    figure, panels = small_multiples(
        len(cells),
        1.5,
        x_label=f"learning rate / {record.documented_rate:g}",
        y_label="accuracy (%)",
    )
    for axes, cell in zip(panels, cells, strict=True):
        values = {rate: 100 * accuracies for rate, accuracies in record.rates[cell].items()}
        draw.draw_rates(axes, values, record.chosen.get(cell), record.documented_rate)
        axes.set_title(_short(cell))
    return _finish(record, figure, "Validation accuracy by learning rate")


def _dose_response(record: AblationRecord) -> style.Figure:
    names = {"l2": "L2 strength", "dropout": "dropout, multiple of the documented rates"}
    curves = record.dose_curves
    figure, grid = grid_of_axes(
        len(SHOWN), len(curves), height=0.8 + 1.5 * len(SHOWN), bottom=0.45, top=0.6,
        spaces=(0.14, 0.06), sharey="row",
    )  # fmt: skip
    for outcome, row in zip(SHOWN, grid, strict=True):
        for (axis, points), axes in zip(curves.items(), row, strict=True):
            draw.draw_doses(
                axes,
                [point.x for point in points],
                next(point.x for point in points if point.is_documented),
                {readout: _means(record, points, outcome, readout) for readout in (LAST, AVERAGED)},
            )
            if outcome == SHOWN[-1]:
                axes.set_xlabel(names[axis])
        row[0].set_ylabel(_axis_title(outcome).replace(" (", "\n("))
        row[0].yaxis.set_label_coords(-0.135, 0.5)
    return _finish(record, figure, "Strength of L2 and of dropout, study's recipe")


def _training_size(record: AblationRecord) -> style.Figure:
    """Draw outcomes by size of the training set, and below them what all regularization changes."""
    arms = record.size_curves
    xs = [point.x for point in arms[NONE]]
    figure, grid = grid_of_axes(
        2, len(SHOWN), height=4.5, bottom=0.45, top=0.78, spaces=(0.22, 0.3),
        height_ratios=(1.25, 1),
    )  # fmt: skip
    for outcome, (above, below) in zip(SHOWN, grid.T, strict=True):
        curves = [
            (_short(cell), LAST, color, _means(record, points, outcome, LAST))
            for (cell, points), color in zip(arms.items(), draw.ARM_COLORS, strict=True)
        ]
        draw.draw_sizes(above, xs, curves)
        below.axhline(0, color=style.MUTED, linewidth=0.8)
        changes = [
            _of_difference(record, outcome, treated.key(LAST), control.key(LAST))
            for treated, control in zip(arms[DOCUMENTED], arms[NONE], strict=True)
        ]
        draw.draw_sizes(below, xs, [("", LAST, draw.ARM_COLORS[1], changes)])
        below.set_xlabel("training rows")
        below.set_title(f"difference ({UNITS[outcome].unit})")
        above.set_title(_axis_title(outcome))
    grid[1, 0].set_ylabel(f"{_short(DOCUMENTED)}\nminus {_short(NONE)}")
    return _finish(record, figure, "Size of the training set, study's recipe")


def _of_difference(
    record: AblationRecord,
    outcome: Outcome,
    treatment: Key,
    control: Key,
) -> Interval:
    weights = {treatment: 1.0, control: -1.0}
    return _mean(record, outcome, np.concatenate(record.values.weighted(weights, outcome)))


def _of_key(record: AblationRecord, outcome: Outcome, key: Key) -> Interval:
    return _mean(record, outcome, np.concatenate(record.values.weighted({key: 1.0}, outcome)))


def _means(
    record: AblationRecord, points: Sequence[CurvePoint], outcome: Outcome, readout: str
) -> list[Interval]:
    return [_of_key(record, outcome, point.key(readout)) for point in points]


def _mean(record: AblationRecord, outcome: Outcome, values: np.ndarray) -> Interval:
    """Return the mean and its interval in written units; without ends of a single value."""
    if len(values) < 2:
        mean = float(values.mean()) if len(values) else math.nan
        return _scaled(outcome, Interval(mean, math.nan, math.nan))
    return _scaled(outcome, mean_estimate(values).interval(record.statistics.confidence))
