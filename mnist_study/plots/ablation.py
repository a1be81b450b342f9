"""Figures of an ablation: its factorial, and the axes of rate, dose and training-set size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from mnist_study.plots import style
from mnist_study.plots.panels import (
    legend_below_title,
    name_multiples,
    name_rows,
    row_of_axes,
    small_multiples,
)

Array = NDArray[np.float64]

# One colour a read-out, and one a combination of two factors.
LAST, RESTORED = style.VALIDATION, style.BEST
READOUTS = {"last": LAST, "restored": RESTORED}
READOUT_NAMES = {"last": "last epoch", "restored": "restored by early stopping"}
COMBINATIONS = ((style.MUTED, "o"), ("#0072B2", "s"), ("#D55E00", "^"), (style.BASELINE, "D"))
BAND = "#E4E4E4"
ARMS = (style.MUTED, style.VALIDATION)
LINES: dict[str, str | tuple[int, tuple[int, int]]] = {"last": "-", "restored": (0, (4, 2))}


class Estimate(Protocol):
    """An estimate with the ends of its interval."""

    @property
    def estimate(self) -> float: ...  # noqa: D102
    @property
    def low(self) -> float: ...  # noqa: D102
    @property
    def high(self) -> float: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class ForestPanel:
    """One outcome of a forest plot.

    Attributes:
        title: of the panel.
        unit: below it, and which direction is better.
        margin: half-width of the band within which a difference counts as none.
        rows: by label and read-out, from top to bottom.
    """

    title: str
    unit: str
    margin: float
    rows: Mapping[str, Mapping[str, Estimate]]


@style.styled
def paired_differences(panels: Sequence[ForestPanel], title: str) -> Figure:
    """Draw differences with their intervals, a panel an outcome, all in the unit of the panel."""
    labels = list(panels[0].rows)
    figure = style.new_figure(height=1.25 + 0.34 * len(labels))
    axes = row_of_axes(figure, len(panels), left=0.235, bottom=0.5, top=0.72)
    for place, (panel, axis) in enumerate(zip(panels, axes, strict=True)):
        axis.axvspan(-panel.margin, panel.margin, color=BAND, linewidth=0, zorder=0)
        axis.axvline(0, color=style.MUTED, linewidth=0.8, zorder=1)
        for height, by_readout in enumerate(panel.rows.values()):
            for offset, (point, estimate) in zip((-0.16, 0.16), by_readout.items(), strict=False):
                y, color = height + offset, READOUTS[point]
                axis.plot([estimate.low, estimate.high], [y, y], color=color, linewidth=1.3)
                axis.plot([estimate.estimate], [y], "o", color=color, markersize=3.6)
        name_rows(axis, labels, is_first=place == 0)
        style.set_x_ticks(axis, 4)
        axis.set_title(panel.title)
        axis.set_xlabel(panel.unit)
    band = Patch(facecolor=BAND, label="counts as none")
    legend_below_title(figure, [*_readout_marks(), band])
    style.write_title(figure, 0.012, title)
    return figure


@dataclass(frozen=True, slots=True)
class InteractionPanel:
    """One outcome of an interaction plot.

    Attributes:
        title: of the panel, with its unit.
        lines: by read-out and setting of the other factors: the estimate with the first factor off
            and on.
    """

    title: str
    lines: Mapping[str, Mapping[str, tuple[Estimate, Estimate]]]


@style.styled
def interactions(panels: Sequence[InteractionPanel], levels: tuple[str, str], title: str) -> Figure:
    """Draw outcomes (columns) with one factor off and on, read-outs being the rows."""
    points = list(panels[0].lines)
    figure = style.new_figure(height=1.15 + 1.75 * len(points))
    height = figure.get_figheight()
    grid = figure.subplots(len(points), len(panels), sharex=True, sharey="col", squeeze=False)
    figure.subplots_adjust(
        left=0.1, right=0.985, bottom=0.32 / height, top=1 - 0.75 / height, hspace=0.1, wspace=0.25
    )
    for row, (point, axes) in enumerate(zip(points, grid, strict=True)):
        for panel, axis in zip(panels, axes, strict=True):
            for place, (pair, (color, marker)) in enumerate(
                zip(panel.lines[point].values(), COMBINATIONS, strict=True)
            ):
                xs = np.array([0.0, 1.0]) + 0.06 * (place - 1.5)
                means = [e.estimate for e in pair]
                axis.plot(xs, means, color=color, marker=marker, markersize=4, zorder=3)
                for x, e in zip(xs, pair, strict=True):
                    axis.plot([x, x], [e.low, e.high], color=color, linewidth=0.9)
            axis.set_xlim(-0.3, 1.3)
            axis.set_xticks([0, 1], list(levels))
            axis.grid(axis="y")
            if row == 0:
                axis.set_title(panel.title)
        axes[0].set_ylabel(READOUT_NAMES[point].replace(" by", "\nby"))
        axes[0].yaxis.set_label_coords(-0.23, 0.5)
    marks = [
        Line2D([], [], color=color, marker=marker, markersize=4, label=label)
        for label, (color, marker) in zip(panels[0].lines[points[0]], COMBINATIONS, strict=True)
    ]
    legend_below_title(figure, marks)
    style.write_title(figure, 0.012, title)
    return figure


@dataclass(frozen=True, slots=True)
class StripPanel:
    """One outcome of a strip plot.

    Attributes:
        title: of the panel, with its unit.
        rows: values of the seeds by label and read-out, from top to bottom.
    """

    title: str
    rows: Mapping[str, Mapping[str, Array]]


@style.styled
def seeds(panels: Sequence[StripPanel], title: str) -> Figure:
    """Draw every seed's value as a point and the mean of each cell over them."""
    labels = list(panels[0].rows)
    figure = style.new_figure(height=1.1 + 0.42 * len(labels))
    axes = row_of_axes(figure, len(panels), left=0.205, bottom=0.3, top=0.72)
    for place, (panel, axis) in enumerate(zip(panels, axes, strict=True)):
        for height, by_readout in enumerate(panel.rows.values()):
            for offset, (point, values) in zip((-0.18, 0.18), by_readout.items(), strict=True):
                y, color = height + offset, READOUTS[point]
                # Neighbours in value stand at different heights, so that none hides another.
                rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
                axis.plot(
                    values, y + 0.05 * (rank % 3 - 1), "o", color=color, markersize=2.6, alpha=0.6,
                    markeredgewidth=0,
                )  # fmt: skip
                mean = float(values.mean())
                axis.plot([mean, mean], [y - 0.16, y + 0.16], color=style.INK, linewidth=1.6)
        name_rows(axis, labels, is_first=place == 0)
        style.set_x_ticks(axis, 4)
        axis.set_title(panel.title)
    mean_mark = Line2D(
        [], [], color=style.INK, marker="|", markersize=8, markeredgewidth=1.6, linestyle="",
        label="mean",
    )  # fmt: skip
    legend_below_title(figure, [*_readout_marks("one seed, "), mean_mark])
    style.write_title(figure, 0.012, title)
    return figure


@dataclass(frozen=True, slots=True)
class EpochPanel:
    """The losses of one cell.

    Attributes:
        title: of the panel.
        train: shape (n_runs, n_epochs).
        validation: the same.
        restored: the median epoch that early stopping restores.
    """

    title: str
    train: Array
    validation: Array
    restored: float


@style.styled
def epoch_curves(panels: Sequence[EpochPanel], title: str) -> Figure:
    """Draw mean losses over epochs with the range of the middle 90 % of runs, on one log scale."""
    figure, axes = small_multiples(len(panels), 1.62)
    for panel, axis in zip(panels, axes, strict=True):
        epochs = np.arange(1, panel.train.shape[1] + 1)
        for curves, color in ((panel.train, style.TRAINING), (panel.validation, style.VALIDATION)):
            low, high = np.quantile(curves, (0.05, 0.95), axis=0)
            axis.fill_between(epochs, low, high, color=color, alpha=0.18, linewidth=0)
            axis.plot(epochs, curves.mean(axis=0), color=color)
        axis.axvline(panel.restored, color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 2)))
        axis.set_yscale("log")
        axis.grid(axis="y")
        axis.set_title(panel.title)
        style.set_epoch_ticks(axis, len(epochs))
    name_multiples(axes, "epoch", "loss (nats)")
    low, high = axes[0].get_ylim()
    ticks = [f * 10.0**p for p in range(-5, 3) for f in (1, 2, 5) if low <= f * 10.0**p <= high]
    ticks = ticks if len(ticks) <= 7 else [t for t in ticks if f"{t:e}"[0] == "1"]
    for axis in axes:
        axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.minorticks_off()
    marks = [
        Line2D([], [], color=style.TRAINING, label="training"),
        Line2D([], [], color=style.VALIDATION, label="validation"),
        Line2D(
            [], [], color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 2)),
            label="restored (median)",
        ),
    ]  # fmt: skip
    legend_below_title(figure, marks)
    style.write_title(figure, 0.012, title)
    return figure


def _readout_marks(prefix: str = "") -> list[Line2D]:
    return [
        Line2D(
            [], [], color=color, marker="o", markersize=3.6,
            linestyle="" if prefix else "-", label=prefix + READOUT_NAMES[point],
        )
        for point, color in READOUTS.items()
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class RatePanel:
    """One cell's tuning.

    Attributes:
        title: of the panel.
        values: validation accuracy of each run in percent, by learning rate.
        chosen: the rate that was taken; None while that is open.
    """

    title: str
    values: Mapping[float, Array]
    chosen: float | None


@style.styled
def learning_rates(panels: Sequence[RatePanel], documented: float, title: str) -> Figure:
    """Draw every run's validation accuracy and the means, a panel a cell."""
    figure, axes = small_multiples(len(panels), 1.5)
    for panel, axis in zip(panels, axes, strict=True):
        rates = sorted(panel.values)
        means = [float(panel.values[rate].mean()) for rate in rates]
        axis.axvline(documented, color=style.MUTED, linewidth=0.9, linestyle=":")
        for rate in rates:
            values = panel.values[rate]
            axis.plot(np.full(len(values), rate), values, "o", color=style.COMPLETE, alpha=0.45,
                      markersize=3, markeredgewidth=0)  # fmt: skip
        axis.plot(rates, means, color=style.COMPLETE)
        if panel.chosen is not None and panel.chosen in rates:
            axis.plot(
                [panel.chosen], [means[rates.index(panel.chosen)]], "o", markersize=8,
                markerfacecolor="none", markeredgecolor=style.BEST, markeredgewidth=1.4, zorder=4,
            )  # fmt: skip
        axis.set_xscale("log")
        axis.set_xticks(rates, [f"{1000 * rate:g}" for rate in rates], fontsize=style.SMALL - 1)
        axis.minorticks_off()
        axis.set_xlim(rates[0] / 1.35, rates[-1] * 1.35)
        axis.grid(axis="y")
        axis.set_title(panel.title)
    name_multiples(axes, "learning rate / 0.001", "accuracy in %")
    legend_below_title(
        figure,
        [
            Line2D([], [], color=style.COMPLETE, marker="o", markersize=3, label="mean and runs"),
            Line2D([], [], linestyle="", marker="o", markersize=8, markerfacecolor="none",
                   markeredgecolor=style.BEST, markeredgewidth=1.4, label="chosen"),
            Line2D([], [], color=style.MUTED, linewidth=0.9, linestyle=":", label="documented"),
        ],
    )  # fmt: skip
    style.write_title(figure, 0.012, title)
    return figure


@dataclass(frozen=True, slots=True)
class DosePanel:
    """One outcome along one axis.

    Attributes:
        outcome: with its unit.
        axis: what is varied.
        xs: the strengths, ascending.
        documented: the documented one of them.
        seeds: values of the seeds by read-out, shape (n_strengths, n_seeds).
        means: with their intervals, by read-out.
    """

    outcome: str
    axis: str
    xs: Sequence[float]
    documented: float
    seeds: Mapping[str, Array]
    means: Mapping[str, Sequence[Estimate]]


@style.styled
def dose_response(panels: Sequence[Sequence[DosePanel]], title: str) -> Figure:
    """Draw outcomes (rows) along axes (columns); strengths stand at equal distances."""
    n_rows, n_columns = len(panels), len(panels[0])
    figure = style.new_figure(height=0.8 + 1.5 * n_rows)
    height = figure.get_figheight()
    grid = figure.subplots(n_rows, n_columns, sharex="col", sharey="row", squeeze=False)
    figure.subplots_adjust(
        left=0.105, right=0.985, bottom=0.45 / height, top=1 - 0.5 / height, hspace=0.14,
        wspace=0.06,
    )  # fmt: skip
    for row, (of_row, axes) in enumerate(zip(panels, grid, strict=True)):
        for column, (panel, axis) in enumerate(zip(of_row, axes, strict=True)):
            places = np.arange(len(panel.xs), dtype=np.float64)
            axis.axvspan(
                panel.xs.index(panel.documented) - 0.3, panel.xs.index(panel.documented) + 0.3,
                color=style.RULE, alpha=0.6, linewidth=0, zorder=0,
            )  # fmt: skip
            for shift, (point, color) in zip((-0.09, 0.09), READOUTS.items(), strict=True):
                xs = places + shift
                seeds, means = panel.seeds[point], panel.means[point]
                axis.plot(np.repeat(xs, seeds.shape[1]), seeds.ravel(), "o", color=color,
                          markersize=2.4, alpha=0.4, markeredgewidth=0)  # fmt: skip
                axis.plot(xs, [m.estimate for m in means], color=color, marker="o", markersize=3.6)
                for x, mean in zip(xs, means, strict=True):
                    axis.plot([x, x], [mean.low, mean.high], color=color, linewidth=1.0)
            axis.set_xticks(places, [f"{x:g}" for x in panel.xs])
            axis.set_xlim(-0.45, len(places) - 0.55)
            axis.grid(axis="y")
            if column == 0:
                axis.set_ylabel(panel.outcome)
                axis.yaxis.set_label_coords(-0.135, 0.5)
            if row == n_rows - 1:
                axis.set_xlabel(panel.axis)
    marks = [
        Line2D([], [], color=color, marker="o", markersize=3.6, label=READOUT_NAMES[point])
        for point, color in READOUTS.items()
    ]
    band = Patch(facecolor=style.RULE, alpha=0.6, linewidth=0, label="documented")
    legend_below_title(figure, [*marks, band])
    style.write_title(figure, 0.012, title)
    return figure


@dataclass(frozen=True, slots=True)
class SizePanel:
    """One outcome by size of the training set.

    Attributes:
        outcome: with its unit.
        difference: unit of a difference of it.
        xs: training rows, ascending.
        means: with their intervals, by arm and read-out.
        changes: second arm minus first, paired, by read-out.
    """

    outcome: str
    difference: str
    xs: Sequence[float]
    means: Mapping[str, Mapping[str, Sequence[Estimate]]]
    changes: Mapping[str, Sequence[Estimate]]


@style.styled
def training_size(panels: Sequence[SizePanel], title: str) -> Figure:
    """Draw outcomes by size of the training set, and below them what the second arm changes."""
    figure = style.new_figure(height=4.5)
    height = figure.get_figheight()
    grid = figure.subplots(2, len(panels), squeeze=False, sharex="col", height_ratios=(1.25, 1))
    figure.subplots_adjust(
        left=0.1, right=0.985, bottom=0.45 / height, top=1 - 0.78 / height, wspace=0.3, hspace=0.22
    )
    marks: dict[str, Line2D] = {}
    for panel, (above, below) in zip(panels, grid.T, strict=True):
        # Side by side, because arms and read-outs are often alike.
        curves = [
            (arm, point, means, color)
            for (arm, by_readout), color in zip(panel.means.items(), ARMS, strict=False)
            for point, means in by_readout.items()
        ]
        for place, (arm, point, means, color) in enumerate(curves):
            xs = np.array(panel.xs) * 1.06 ** (place - (len(curves) - 1) / 2)
            label = f"{arm}, {'last epoch' if point == 'last' else point}"
            marks[label] = _with_bars(above, xs, means, color, LINES[point], label)
        below.axhline(0, color=style.MUTED, linewidth=0.8)
        for place, (point, changes) in enumerate(panel.changes.items()):
            xs = np.array(panel.xs[: len(changes)]) * 1.06 ** (place - 0.5)
            _with_bars(below, xs, changes, ARMS[1], LINES[point], "")
        for axis in (above, below):
            axis.set_xscale("log")
            axis.set_xticks(
                panel.xs, [f"{x / 1000:g}k" if x >= 1000 else f"{x:g}" for x in panel.xs]
            )
            axis.minorticks_off()
            axis.grid(axis="y")
        below.set_xlabel("training rows")
        above.set_title(panel.outcome)
    first, second = (*panels[0].means, "", "")[:2]
    for panel, axis in zip(panels, grid[1], strict=True):
        axis.set_title(f"difference ({panel.difference})")
    grid[1, 0].set_ylabel(f"{second}\nminus {first}")
    legend_below_title(figure, list(marks.values()))
    style.write_title(figure, 0.012, title)
    return figure


def _with_bars(
    axis: Axes,
    xs: Array,
    means: Sequence[Estimate],
    color: str,
    line: str | tuple[int, tuple[int, int]],
    label: str,
) -> Line2D:
    """Draw a curve with its intervals and return its mark for a legend."""
    ys = [m.estimate for m in means]
    axis.plot(xs, ys, color=color, linestyle=line, marker="o", markersize=3.4)
    for x, mean in zip(xs, means, strict=True):
        axis.plot([x, x], [mean.low, mean.high], color=color, linewidth=1.0)
    return Line2D([], [], color=color, linestyle=line, label=label)
