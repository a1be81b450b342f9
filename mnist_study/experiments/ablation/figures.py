"""The figures of an ablation, from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mnist_study.experiments.ablation.config import UNITS, Outcome, ReadoutPoint
from mnist_study.experiments.ablation.design import CELLS, DOCUMENTED, NONE, Cell, cell_label
from mnist_study.experiments.ablation.record import AblationRecord, CurvePoint
from mnist_study.experiments.ablation.runs import POINTS, cell_index
from mnist_study.experiments.ablation.text import percent
from mnist_study.plots import ablation as draw
from mnist_study.plots import style
from mnist_study.plots.panels import (
    grid_of_axes,
    legend_below_title,
    name_multiples,
    row_of_axes,
    small_multiples,
)
from mnist_study.stats import Interval, mean_estimate

if TYPE_CHECKING:
    from mnist_study.plots.style import Figure

SHOWN: tuple[Outcome, ...] = ("test_accuracy", "test_loss", "overfitting_gap")

_BETTER = {True: "higher", False: "lower"}


def ablation_figures(record: AblationRecord) -> dict[str, Figure]:
    """Draw what there is to draw, by the names of `report.FIGURES`."""
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


def _finish(
    record: AblationRecord, figure: Figure, title: str, marks: Sequence[draw.Mark]
) -> Figure:
    """Write title and legend; the stand-in is named in every title."""
    legend_below_title(figure, marks)
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


@style.styled
def _paired_differences(record: AblationRecord) -> Figure:
    analysis = record.analysis
    assert analysis is not None
    intervals = {(e.outcome, e.name, e.where): e.contrast.interval for e in analysis.differences}
    figure = style.new_figure(height=1.25 + 0.34 * (len(CELLS) - 1))
    all_axes = row_of_axes(figure, len(SHOWN), left=0.235, bottom=0.5, top=0.72)
    for axes, outcome in zip(all_axes, SHOWN, strict=True):
        unit = UNITS[outcome]
        rows = {
            _short(record, cell): {
                point: _scaled(outcome, intervals[outcome, f"{cell_label(cell)} - none", point])
                for point in POINTS
            }
            for cell in CELLS[1:]
        }
        margin = unit.scale * record.statistics.margins[outcome]
        draw.draw_forest(axes, rows, margin, is_first=axes is all_axes[0])
        axes.set_title(unit.name)
        axes.set_xlabel(f"{unit.unit}, {_BETTER[unit.more_is_better]} is better")
    confidence = percent(record.statistics.confidence)
    title = f"What regularization changes, against none ({confidence} intervals)"
    return _finish(record, figure, title, [*draw.readout_marks(), draw.band_mark()])


@style.styled
def _interactions(record: AblationRecord) -> Figure:
    data = record.data
    assert data is not None

    def interval(outcome: str, point: ReadoutPoint, cell: Cell) -> Interval:
        values = data.values[outcome, point][cell_index(cell)].mean(axis=0)
        return _scaled(outcome, mean_estimate(values).interval(record.statistics.confidence))

    others: list[Cell] = [(), ("dropout_1",), ("dropout_2",), ("dropout_1", "dropout_2")]
    figure, grid = grid_of_axes(
        len(POINTS), len(SHOWN), height=1.15 + 1.75 * len(POINTS), bottom=0.32, top=0.75,
        spaces=(0.1, 0.25), sharey="col",
    )  # fmt: skip
    for point, row in zip(POINTS, grid, strict=True):
        for outcome, axes in zip(SHOWN, row, strict=True):
            pairs = [
                (interval(outcome, point, other), interval(outcome, point, ("l2", *other)))
                for other in others
            ]
            draw.draw_interaction(axes, pairs)
            axes.set_xticks([0, 1], ["without L2", "with L2"])
            if point == POINTS[0]:
                axes.set_title(_axis_title(outcome))
        row[0].set_ylabel(draw.READOUT_NAMES[point].replace(" by", "\nby"))
        row[0].yaxis.set_label_coords(-0.23, 0.5)
    labels = [_short(record, other) if other else "no dropout" for other in others]
    title = "Interactions of L2, dropout and early stopping"
    return _finish(record, figure, title, draw.combination_marks(labels))


@style.styled
def _seeds(record: AblationRecord) -> Figure:
    data = record.data
    assert data is not None
    figure = style.new_figure(height=1.1 + 0.42 * len(CELLS))
    all_axes = row_of_axes(figure, len(SHOWN), left=0.205, bottom=0.3, top=0.72)
    for axes, outcome in zip(all_axes, SHOWN, strict=True):
        rows = {
            _short(record, cell): {
                point: UNITS[outcome].scale
                * data.values[outcome, point][cell_index(cell)].mean(axis=0)
                for point in POINTS
            }
            for cell in CELLS
        }
        draw.draw_strips(axes, rows, is_first=axes is all_axes[0])
        axes.set_title(_axis_title(outcome))
    title = f"All {data.n_seeds} seeds, each a mean over splits"
    return _finish(record, figure, title, [*draw.readout_marks("one seed, "), draw.mean_mark()])


@style.styled
def _epoch_curves(record: AblationRecord) -> Figure:
    figure, all_axes = small_multiples(len(CELLS), 1.62)
    for axes, cell in zip(all_axes, CELLS, strict=True):
        runs = [r for r in record.runs["factorial"] if r.cell == cell and r.is_complete]
        draw.draw_losses(
            axes,
            np.array([[e.train_loss for e in r.result.epochs] for r in runs]),
            np.array([[e.val_loss for e in r.result.epochs] for r in runs]),
            float(np.median([r.readout("restored").epoch for r in runs])),
        )
        axes.set_title(_short(record, cell))
    name_multiples(all_axes, "epoch", "loss (nats)")
    draw.set_loss_ticks(all_axes)
    return _finish(record, figure, "Loss over epochs, with the L2 penalty", draw.loss_marks())


@style.styled
def _learning_rates(record: AblationRecord) -> Figure:
    cells = [cell for cell in CELLS if cell in record.rates]
    figure, all_axes = small_multiples(len(cells), 1.5)
    for axes, cell in zip(all_axes, cells, strict=True):
        values = {rate: 100 * accuracies for rate, accuracies in record.rates[cell].items()}
        draw.draw_rates(axes, values, record.chosen.get(cell), record.documented_rate)
        axes.set_title(_short(record, cell))
    name_multiples(all_axes, "learning rate / 0.001", "accuracy (%)")
    return _finish(record, figure, "Validation accuracy by learning rate", draw.rate_marks())


@style.styled
def _dose_response(record: AblationRecord) -> Figure:
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
                {readout: _per_seed(points, outcome, readout) for readout in POINTS},
                {readout: _means(record, points, outcome, readout) for readout in POINTS},
            )
            if outcome == SHOWN[-1]:
                axes.set_xlabel(names[axis])
        row[0].set_ylabel(_axis_title(outcome).replace(" (", "\n("))
        row[0].yaxis.set_label_coords(-0.135, 0.5)
    marks = [*draw.readout_marks(), draw.documented_mark()]
    return _finish(record, figure, "Strength of L2 and of dropout", marks)


@style.styled
def _training_size(record: AblationRecord) -> Figure:
    """Draw outcomes by size of the training set, and below them what all regularization changes."""
    arms = {cell: points for cell, points in record.size_curves.items() if points}
    xs = [point.x for point in next(iter(arms.values()))]
    figure, grid = grid_of_axes(
        2, len(SHOWN), height=4.5, bottom=0.45, top=0.78, spaces=(0.22, 0.3),
        height_ratios=(1.25, 1),
    )  # fmt: skip
    marks: list[draw.Mark] = []
    for outcome, (above, below) in zip(SHOWN, grid.T, strict=True):
        curves = [
            (
                f"{_short(record, cell)}, {'last epoch' if readout == 'last' else readout}",
                readout,
                color,
                _means(record, points, outcome, readout),
            )
            for (cell, points), color in zip(arms.items(), draw.ARMS, strict=False)
            for readout in POINTS
        ]
        marks = draw.draw_sizes(above, xs, curves)
        below.axhline(0, color=style.MUTED, linewidth=0.8)
        changes = [
            ("", readout, draw.ARMS[1], _changes(record, arms, outcome, readout))
            for readout in POINTS
        ]
        draw.draw_sizes(below, xs, changes)
        below.set_xlabel("training rows")
        below.set_title(f"difference ({UNITS[outcome].unit})")
        above.set_title(_axis_title(outcome))
    first, second = (*(_short(record, cell) for cell in arms), "", "")[:2]
    grid[1, 0].set_ylabel(f"{second}\nminus {first}")
    return _finish(record, figure, "Size of the training set", marks)


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


def _means(
    record: AblationRecord, points: Sequence[CurvePoint], outcome: str, readout: ReadoutPoint
) -> list[Interval]:
    return [_interval(record, outcome, point.per_seed(outcome, readout)) for point in points]


def _interval(record: AblationRecord, outcome: str, per_seed: NDArray[np.float64]) -> Interval:
    interval = mean_estimate(per_seed).interval(record.statistics.confidence)
    return _scaled(outcome, interval)


def _per_seed(
    points: Sequence[CurvePoint], outcome: str, readout: ReadoutPoint
) -> NDArray[np.float64]:
    per_seed = [point.per_seed(outcome, readout) for point in points]
    return UNITS[outcome].scale * np.array(per_seed)
