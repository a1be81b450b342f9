"""The axes beside an ablation's factorial: learning rate, dose, and size of the training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mnist_study.plots import style
from mnist_study.plots.ablation import READOUT_NAMES, READOUTS, Array, Estimate
from mnist_study.plots.panels import legend_below_title, name_multiples, small_multiples

ARMS = (style.MUTED, style.VALIDATION)
LINES: dict[str, str | tuple[int, tuple[int, int]]] = {"last": "-", "restored": (0, (4, 2))}


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
