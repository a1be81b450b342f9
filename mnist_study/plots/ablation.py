"""Panels of an ablation's figures: differences, interactions, seeds, curves, rates, doses, sizes.

Each function fills axes that its caller has laid out; `panels` lays them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from mnist_study.plots import style
from mnist_study.plots.panels import name_rows

Array = NDArray[np.float64]
Mark = Line2D | Patch
Point = Literal["last", "restored"]
"""A read-out: of the last epoch, or of the one that early stopping restores."""

# One colour a read-out, and one a combination of two factors.
READOUTS: dict[Point, str] = {"last": style.VALIDATION, "restored": style.BEST}
READOUT_NAMES: dict[Point, str] = {"last": "last epoch", "restored": "restored by early stopping"}
COMBINATIONS = ((style.MUTED, "o"), ("#0072B2", "s"), ("#D55E00", "^"), (style.BASELINE, "D"))
ARMS = (style.MUTED, style.VALIDATION)
LINES: dict[Point, str | tuple[int, tuple[int, int]]] = {"last": "-", "restored": (0, (4, 2))}
BAND = "#E4E4E4"


class Estimate(Protocol):
    """An estimate with the ends of its interval."""

    @property
    def estimate(self) -> float: ...  # noqa: D102
    @property
    def low(self) -> float: ...  # noqa: D102
    @property
    def high(self) -> float: ...  # noqa: D102


def readout_marks(prefix: str = "") -> list[Mark]:
    """Return the legend of the read-outs; with a prefix they are points without a line."""
    return [
        Line2D(
            [], [], color=color, marker="o", markersize=3.6,
            linestyle="" if prefix else "-", label=prefix + READOUT_NAMES[point],
        )
        for point, color in READOUTS.items()
    ]  # fmt: skip


def band_mark() -> Mark:
    """Return the legend of the margin that `draw_forest` shades."""
    return Patch(facecolor=BAND, label="counts as none")


def draw_forest(
    axes: Axes, rows: Mapping[str, Mapping[Point, Estimate]], margin: float, *, is_first: bool
) -> None:
    """Draw differences with their intervals.

    Args:
        axes: to draw on.
        rows: differences by label and read-out, from top to bottom.
        margin: half-width of the band within which a difference counts as none.
        is_first: the leftmost of several panels, which names the rows.
    """
    axes.axvspan(-margin, margin, color=BAND, linewidth=0, zorder=0)
    axes.axvline(0, color=style.MUTED, linewidth=0.8, zorder=1)
    for height, by_readout in enumerate(rows.values()):
        for offset, (point, difference) in zip((-0.16, 0.16), by_readout.items(), strict=False):
            y, color = height + offset, READOUTS[point]
            axes.plot([difference.low, difference.high], [y, y], color=color, linewidth=1.3)
            axes.plot([difference.estimate], [y], "o", color=color, markersize=3.6)
    name_rows(axes, list(rows), is_first=is_first)
    style.set_x_ticks(axes, 4)


def draw_interaction(axes: Axes, pairs: Sequence[tuple[Estimate, Estimate]]) -> None:
    """Draw an outcome with one factor off and on, a line for each setting of the others.

    Args:
        axes: to draw on.
        pairs: the estimates off and on, in the order of `COMBINATIONS`.
    """
    for index, (pair, (color, marker)) in enumerate(zip(pairs, COMBINATIONS, strict=True)):
        xs = np.array([0.0, 1.0]) + 0.06 * (index - 1.5)
        means = [estimate.estimate for estimate in pair]
        axes.plot(xs, means, color=color, marker=marker, markersize=4, zorder=3)
        draw_bars(axes, xs, pair, color, linewidth=0.9)
    axes.set_xlim(-0.3, 1.3)
    axes.grid(axis="y")


def combination_marks(labels: Sequence[str]) -> list[Mark]:
    """Return the legend of the lines of `draw_interaction`."""
    return [
        Line2D([], [], color=color, marker=marker, markersize=4, label=label)
        for label, (color, marker) in zip(labels, COMBINATIONS, strict=True)
    ]


def draw_strips(axes: Axes, rows: Mapping[str, Mapping[Point, Array]], *, is_first: bool) -> None:
    """Draw every seed's value as a point and the mean of each row over them.

    Args:
        axes: to draw on.
        rows: values of the seeds by label and read-out, from top to bottom.
        is_first: the leftmost of several panels, which names the rows.
    """
    for height, by_readout in enumerate(rows.values()):
        for offset, (point, values) in zip((-0.18, 0.18), by_readout.items(), strict=True):
            y, color = height + offset, READOUTS[point]
            # Neighbours in value stand at different heights, so that none hides another.
            rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
            axes.plot(
                values, y + 0.05 * (rank % 3 - 1), "o", color=color, markersize=2.6, alpha=0.6,
                markeredgewidth=0,
            )  # fmt: skip
            mean = float(values.mean())
            axes.plot([mean, mean], [y - 0.16, y + 0.16], color=style.INK, linewidth=1.6)
    name_rows(axes, list(rows), is_first=is_first)
    style.set_x_ticks(axes, 4)


def mean_mark() -> Mark:
    """Return the legend of the means of `draw_strips`."""
    return Line2D(
        [], [], color=style.INK, marker="|", markersize=8, markeredgewidth=1.6, linestyle="",
        label="mean",
    )  # fmt: skip


def draw_losses(axes: Axes, train: Array, validation: Array, restored: float) -> None:
    """Draw mean losses over epochs with the range of the middle 90 % of runs, on a log scale.

    Args:
        axes: to draw on.
        train: shape (n_runs, n_epochs).
        validation: the same.
        restored: the median epoch that early stopping restores.
    """
    epochs = np.arange(1, train.shape[1] + 1)
    for curves, color in ((train, style.TRAINING), (validation, style.VALIDATION)):
        low, high = np.quantile(curves, (0.05, 0.95), axis=0)
        axes.fill_between(epochs, low, high, color=color, alpha=0.18, linewidth=0)
        axes.plot(epochs, curves.mean(axis=0), color=color)
    axes.axvline(restored, **style.REFERENCE_LINE)
    axes.set_yscale("log")
    axes.grid(axis="y")
    style.set_epoch_ticks(axes, len(epochs))


def set_loss_ticks(all_axes: Sequence[Axes]) -> None:
    """Put few round numbers on the shared log scale of several panels of `draw_losses`."""
    low, high = all_axes[0].get_ylim()
    ticks = [f * 10.0**p for p in range(-5, 3) for f in (1, 2, 5) if low <= f * 10.0**p <= high]
    ticks = ticks if len(ticks) <= 7 else [t for t in ticks if f"{t:e}"[0] == "1"]
    for axes in all_axes:
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()


def loss_marks() -> list[Mark]:
    """Return the legend of `draw_losses`."""
    return [
        Line2D([], [], color=style.TRAINING, label="training"),
        Line2D([], [], color=style.VALIDATION, label="validation"),
        Line2D([], [], label="restored (median)", **style.REFERENCE_LINE),
    ]


def draw_rates(
    axes: Axes, values: Mapping[float, Array], chosen: float | None, documented: float
) -> None:
    """Draw every run's validation accuracy by learning rate, and the means.

    Args:
        axes: to draw on.
        values: validation accuracy of each run in percent, by learning rate.
        chosen: the rate that was taken; None while that is open.
        documented: the documented rate.
    """
    rates = sorted(values)
    means = [float(values[rate].mean()) for rate in rates]
    axes.axvline(documented, color=style.MUTED, linewidth=0.9, linestyle=":")
    for rate in rates:
        xs = np.full(len(values[rate]), rate)
        axes.plot(xs, values[rate], "o", color=style.COMPLETE, alpha=0.45, markersize=3,
                  markeredgewidth=0)  # fmt: skip
    axes.plot(rates, means, color=style.COMPLETE)
    if chosen is not None and chosen in rates:
        axes.plot([chosen], [means[rates.index(chosen)]], zorder=4, **_RING)
    axes.set_xscale("log")
    axes.set_xticks(rates, [f"{1000 * rate:g}" for rate in rates], fontsize=style.SMALL - 1)
    axes.minorticks_off()
    axes.set_xlim(rates[0] / 1.35, rates[-1] * 1.35)
    axes.grid(axis="y")


def rate_marks() -> list[Mark]:
    """Return the legend of `draw_rates`."""
    return [
        Line2D([], [], color=style.COMPLETE, marker="o", markersize=3, label="mean and runs"),
        Line2D([], [], label="chosen", **_RING),
        Line2D([], [], color=style.MUTED, linewidth=0.9, linestyle=":", label="documented"),
    ]


_RING: dict[str, Any] = {
    "linestyle": "", "marker": "o", "markersize": 8, "markerfacecolor": "none",
    "markeredgecolor": style.BEST, "markeredgewidth": 1.4,
}  # fmt: skip


def draw_doses(
    axes: Axes,
    xs: Sequence[float],
    documented: float,
    seeds: Mapping[Point, Array],
    means: Mapping[Point, Sequence[Estimate]],
) -> None:
    """Draw an outcome by strength; strengths stand at equal distances.

    Args:
        axes: to draw on.
        xs: the strengths, ascending.
        documented: the documented one of them, shaded.
        seeds: values of the seeds by read-out, shape (n_strengths, n_seeds).
        means: with their intervals, by read-out.
    """
    centre = list(xs).index(documented)
    axes.axvspan(centre - 0.3, centre + 0.3, color=style.RULE, alpha=0.6, linewidth=0, zorder=0)
    for shift, (point, color) in zip((-0.09, 0.09), READOUTS.items(), strict=True):
        at = np.arange(len(xs), dtype=np.float64) + shift
        axes.plot(np.repeat(at, seeds[point].shape[1]), seeds[point].ravel(), "o", color=color,
                  markersize=2.4, alpha=0.4, markeredgewidth=0)  # fmt: skip
        axes.plot(at, [m.estimate for m in means[point]], color=color, marker="o", markersize=3.6)
        draw_bars(axes, at, means[point], color)
    axes.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
    axes.set_xlim(-0.45, len(xs) - 0.55)
    axes.grid(axis="y")


def documented_mark() -> Mark:
    """Return the legend of the shade of `draw_doses`."""
    return Patch(facecolor=style.RULE, alpha=0.6, linewidth=0, label="documented")


def draw_sizes(
    axes: Axes, xs: Sequence[float], curves: Sequence[tuple[str, Point, str, Sequence[Estimate]]]
) -> list[Mark]:
    """Draw curves by size of the training set, shifted apart where they are alike.

    Args:
        axes: to draw on.
        xs: training rows, ascending.
        curves: label, read-out, colour, and estimates, as many as there are of `xs` from the left.

    Returns:
        Their legend.
    """
    marks: list[Mark] = []
    for index, (label, point, color, means) in enumerate(curves):
        at = np.asarray(xs[: len(means)], np.float64) * 1.06 ** (index - (len(curves) - 1) / 2)
        values = [mean.estimate for mean in means]
        axes.plot(at, values, color=color, linestyle=LINES[point], marker="o", markersize=3.4)
        draw_bars(axes, at, means, color)
        marks.append(Line2D([], [], color=color, linestyle=LINES[point], label=label))
    axes.set_xscale("log")
    axes.set_xticks(xs, [f"{x / 1000:g}k" if x >= 1000 else f"{x:g}" for x in xs])
    axes.minorticks_off()
    axes.grid(axis="y")
    return marks


def draw_bars(
    axes: Axes, xs: Array, estimates: Sequence[Estimate], color: str, linewidth: float = 1.0
) -> None:
    """Draw the interval of each estimate as a vertical bar."""
    for x, estimate in zip(xs, estimates, strict=True):
        axes.plot([x, x], [estimate.low, estimate.high], color=color, linewidth=linewidth)
