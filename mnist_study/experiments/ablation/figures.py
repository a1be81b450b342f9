"""The figures of an ablation, from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mnist_study.experiments.ablation.config import UNITS, Outcome, ReadoutPoint
from mnist_study.experiments.ablation.design import CELLS, DOCUMENTED, NONE, Cell, cell_label
from mnist_study.experiments.ablation.record import AblationRecord, CurvePoint
from mnist_study.experiments.ablation.runs import POINTS, cell_index
from mnist_study.experiments.ablation.text import percent
from mnist_study.plots import ablation as draw
from mnist_study.plots import style
from mnist_study.plots.panels import grid_of_axes, legend_below_title, small_multiples
from mnist_study.stats import Interval, mean_estimate

SHOWN: tuple[Outcome, ...] = ("test_accuracy", "test_loss", "overfitting_gap")

_BETTER = {True: "higher", False: "lower"}


@style.styled
def ablation_figures(record: AblationRecord) -> dict[str, style.Figure]:
    """Draw the figures that the record has runs for, by the names in `report.FIGURES`."""
    if record.data is None:
        return {}
    figures = {
        "paired_differences": _paired_differences(record),
        "interactions": _interactions(record),
        "seeds": _seeds(record),
        "epoch_curves": _epoch_curves(record),
    }
    if record.rates:
        figures["learning_rates"] = _learning_rates(record)
    if any(record.dose_curves.values()):
        figures["dose_response"] = _dose_response(record)
    if any(record.size_curves.values()):
        figures["training_size"] = _training_size(record)
    return figures


def _finish(record: AblationRecord, figure: style.Figure, title: str) -> style.Figure:
    """Write legend and title; the title names the stand-in, so that it is never taken for MNIST."""
    legend_below_title(figure)
    shown = title if record.on_mnist else f"{title} (digits stand-in, not MNIST)"
    style.write_title(figure, 0.012, shown)
    return figure


def _axis_title(outcome: str) -> str:
    unit = "%" if outcome == "test_accuracy" else UNITS[outcome].unit
    return f"{UNITS[outcome].name} ({unit})"


def _short(record: AblationRecord, cell: Cell) -> str:
    """Name a cell for an axis, the dropouts with their rates."""
    factors = record.identity.settings.factors
    names = {"l2": "L2"} | {
        name: f"{name} ({getattr(factors, name).on:g})" for name in ("dropout_1", "dropout_2")
    }
    known = {
        NONE: "none",
        DOCUMENTED: "all (documented)",
        ("dropout_1", "dropout_2"): "both dropouts",
    }
    return known.get(cell, " + ".join(names[name] for name in cell))


def _scaled(outcome: str, interval: Interval) -> Interval:
    scale = UNITS[outcome].scale
    return Interval(
        scale * interval.estimate, scale * interval.low, scale * interval.high, interval.confidence
    )


def _paired_differences(record: AblationRecord) -> style.Figure:
    analysis = record.analysis
    assert analysis is not None
    intervals = {(e.outcome, e.name, e.where): e.contrast.interval for e in analysis.differences}
    height = 1.25 + 0.34 * (len(CELLS) - 1)
    figure, (row,) = grid_of_axes(
        1, len(SHOWN), height=height, bottom=0.5, top=0.72, left=0.235, sharey=True
    )
    for axes, outcome in zip(row, SHOWN, strict=True):
        unit = UNITS[outcome]
        rows = {
            _short(record, cell): {
                point: _scaled(outcome, intervals[outcome, f"{cell_label(cell)} - none", point])
                for point in POINTS
            }
            for cell in CELLS[1:]
        }
        margin = unit.scale * record.statistics.margins[outcome]
        draw.draw_forest(axes, rows, margin)
        axes.set_title(unit.name)
        axes.set_xlabel(f"{unit.unit}, {_BETTER[unit.more_is_better]} is better")
    confidence = percent(record.statistics.confidence)
    title = f"What regularization changes, against none ({confidence} intervals)"
    return _finish(record, figure, title)


def _interactions(record: AblationRecord) -> style.Figure:
    def interval(outcome: Outcome, point: ReadoutPoint, cell: Cell) -> Interval:
        return _interval(record, outcome, _cell_values(record, outcome, point, cell))

    dropouts: list[Cell] = [("dropout_1",), ("dropout_2",), ("dropout_1", "dropout_2")]
    others: dict[str, Cell] = {"no dropout": ()} | {_short(record, c): c for c in dropouts}
    figure, grid = grid_of_axes(
        len(POINTS), len(SHOWN), height=1.15 + 1.75 * len(POINTS), bottom=0.32, top=0.75,
        spaces=(0.1, 0.25), sharey="col",
    )  # fmt: skip
    for point, row in zip(POINTS, grid, strict=True):
        for outcome, axes in zip(SHOWN, row, strict=True):
            pairs = {
                name: (interval(outcome, point, other), interval(outcome, point, ("l2", *other)))
                for name, other in others.items()
            }
            draw.draw_interaction(axes, pairs)
            axes.set_xticks([0, 1], ["without L2", "with L2"])
            if point == POINTS[0]:
                axes.set_title(_axis_title(outcome))
        row[0].set_ylabel(draw.READOUT_NAMES[point].replace(" by", "\nby"))
        row[0].yaxis.set_label_coords(-0.23, 0.5)
    return _finish(record, figure, "Interactions of L2, dropout and early stopping")


def _seeds(record: AblationRecord) -> style.Figure:
    figure, (row,) = grid_of_axes(
        1, len(SHOWN), height=1.1 + 0.42 * len(CELLS), bottom=0.3, top=0.72, left=0.205, sharey=True
    )
    for axes, outcome in zip(row, SHOWN, strict=True):
        rows = {
            _short(record, cell): {
                point: UNITS[outcome].scale * _cell_values(record, outcome, point, cell)
                for point in POINTS
            }
            for cell in CELLS
        }
        draw.draw_strips(axes, rows)
        axes.set_title(_axis_title(outcome))
    n_seeds = len(_cell_values(record, SHOWN[0], POINTS[0], NONE))
    return _finish(record, figure, f"All {n_seeds} seeds, each a mean over splits")


def _epoch_curves(record: AblationRecord) -> style.Figure:
    figure, panels = small_multiples(len(CELLS), 1.62, x_label="epoch", y_label="loss (nats)")
    for axes, cell in zip(panels, CELLS, strict=True):
        runs = [r for r in record.runs["factorial"] if r.cell == cell and r.is_complete]
        draw.draw_losses(
            axes,
            np.array([[e.train_loss for e in r.result.epochs] for r in runs]),
            np.array([[e.val_loss for e in r.result.epochs] for r in runs]),
            float(np.median([r.readout("restored").epoch for r in runs])),
        )
        axes.set_title(_short(record, cell))
    draw.set_loss_ticks(panels[0])
    return _finish(record, figure, "Loss over epochs, with the L2 penalty")


def _learning_rates(record: AblationRecord) -> style.Figure:
    cells = [cell for cell in CELLS if cell in record.rates]
    figure, panels = small_multiples(
        len(cells), 1.5, x_label="learning rate / 0.001", y_label="accuracy (%)"
    )
    for axes, cell in zip(panels, cells, strict=True):
        values = {rate: 100 * accuracies for rate, accuracies in record.rates[cell].items()}
        draw.draw_rates(axes, values, record.chosen.get(cell), record.documented_rate)
        axes.set_title(_short(record, cell))
    return _finish(record, figure, "Validation accuracy by learning rate")


def _dose_response(record: AblationRecord) -> style.Figure:
    names = {"l2": "L2 strength", "dropout": "dropout, multiple of the documented rates"}
    curves = {axis: points for axis, points in record.dose_curves.items() if points}
    figure, grid = grid_of_axes(
        len(SHOWN), len(curves), height=0.8 + 1.5 * len(SHOWN), bottom=0.45, top=0.5,
        spaces=(0.14, 0.06), sharey="row",
    )  # fmt: skip
    for outcome, row in zip(SHOWN, grid, strict=True):
        for (axis, points), axes in zip(curves.items(), row, strict=True):
            draw.draw_doses(
                axes,
                [point.x for point in points],
                next(point.x for point in points if point.is_documented),
                {
                    readout: UNITS[outcome].scale
                    * np.array([point.per_seed(outcome, readout) for point in points])
                    for readout in POINTS
                },
                {readout: _means(record, points, outcome, readout) for readout in POINTS},
            )
            if outcome == SHOWN[-1]:
                axes.set_xlabel(names[axis])
        row[0].set_ylabel(_axis_title(outcome).replace(" (", "\n("))
        row[0].yaxis.set_label_coords(-0.135, 0.5)
    return _finish(record, figure, "Strength of L2 and of dropout")


def _training_size(record: AblationRecord) -> style.Figure:
    """Draw outcomes by size of the training set, and below them what all regularization changes."""
    arms = {cell: points for cell, points in record.size_curves.items() if points}
    xs = [point.x for point in next(iter(arms.values()))]
    figure, grid = grid_of_axes(
        2, len(SHOWN), height=4.5, bottom=0.45, top=0.78, spaces=(0.22, 0.3),
        height_ratios=(1.25, 1),
    )  # fmt: skip
    for outcome, (above, below) in zip(SHOWN, grid.T, strict=True):
        curves = [
            (
                f"{_short(record, cell)}, {'last epoch' if readout == 'last' else readout}",
                readout,
                color,
                _means(record, points, outcome, readout),
            )
            for (cell, points), color in zip(arms.items(), draw.ARM_COLORS, strict=False)
            for readout in POINTS
        ]
        draw.draw_sizes(above, xs, curves)
        below.axhline(0, color=style.MUTED, linewidth=0.8)
        changes = [
            ("", readout, draw.ARM_COLORS[1], _changes(record, arms, outcome, readout))
            for readout in POINTS
        ]
        draw.draw_sizes(below, xs, changes)
        below.set_xlabel("training rows")
        below.set_title(f"difference ({UNITS[outcome].unit})")
        above.set_title(_axis_title(outcome))
    first, second = (*(_short(record, cell) for cell in arms), "", "")[:2]
    grid[1, 0].set_ylabel(f"{second}\nminus {first}")
    return _finish(record, figure, "Size of the training set")


def _changes(
    record: AblationRecord,
    arms: Mapping[Cell, Sequence[CurvePoint]],
    outcome: str,
    readout: ReadoutPoint,
) -> list[Interval]:
    """Return what all regularization changes at each size, paired by seed and split."""
    pairs = zip(arms.get(DOCUMENTED, ()), arms.get(NONE, ()), strict=False)
    differences = [
        treated.per_seed(outcome, readout) - control.per_seed(outcome, readout)
        for treated, control in pairs
        if treated.seeds == control.seeds
    ]
    return [_interval(record, outcome, values) for values in differences]


def _cell_values(
    record: AblationRecord, outcome: Outcome, readout: ReadoutPoint, cell: Cell
) -> NDArray[np.float64]:
    """Return an outcome of the factorial averaged over splits, shape (n_seeds,)."""
    assert record.data is not None
    runs = record.data.values[outcome, readout][cell_index(cell)]
    per_seed: NDArray[np.float64] = runs.mean(axis=0)
    return per_seed


def _means(
    record: AblationRecord, points: Sequence[CurvePoint], outcome: str, readout: ReadoutPoint
) -> list[Interval]:
    return [_interval(record, outcome, point.per_seed(outcome, readout)) for point in points]


def _interval(record: AblationRecord, outcome: str, per_seed: NDArray[np.float64]) -> Interval:
    return _scaled(outcome, mean_estimate(per_seed).interval(record.statistics.confidence))
