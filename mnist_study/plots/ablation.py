"""Panels of an ablation's figures: differences, interactions, seeds, curves, rates, doses, sizes.

Each function fills axes that its caller has laid out and labels what it draws; `panels` lays axes
out and gathers the labels into one legend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from mnist_study.plots import style
from mnist_study.plots.panels import name_rows

Array = NDArray[np.float64]
Point = Literal["last", "restored"]
"""A read-out: of the last epoch, or of the one that early stopping restores."""

READOUT_NAMES: dict[Point, str] = {"last": "last epoch", "restored": "restored by early stopping"}
_READOUT_COLORS: dict[Point, str] = {"last": style.BLUE, "restored": style.VERMILION}
_READOUT_LINES: dict[Point, Any] = {"last": "-", "restored": style.DASHED}
_COMBINATIONS = (
    (style.MUTED, "o"), (style.BLUE, "s"), (style.VERMILION, "^"), (style.BLACK, "D"),
)  # fmt: skip
ARM_COLORS = (style.MUTED, style.BLUE)
"""Of the networks without and with all regularization."""


class Estimate(Protocol):
    """An estimate with the ends of its interval."""

    @property
    def estimate(self) -> float: ...  # noqa: D102
    @property
    def low(self) -> float: ...  # noqa: D102
    @property
    def high(self) -> float: ...  # noqa: D102


def draw_estimates(
    axes: Axes,
    xs: Array,
    estimates: Sequence[Estimate],
    color: str,
    **line: Any,  # noqa: ANN401
) -> None:
    """Draw estimates as a line with points and their intervals as vertical bars."""
    look: dict[str, Any] = {"marker": "o", "markersize": 3.6, "zorder": 3} | line
    axes.plot(xs, [e.estimate for e in estimates], color=color, **look)
    lows, highs = [e.low for e in estimates], [e.high for e in estimates]
    axes.vlines(xs, lows, highs, color=color, linewidth=1.0)


def draw_forest(axes: Axes, rows: Mapping[str, Mapping[Point, Estimate]], margin: float) -> None:
    """Draw differences with their intervals.

    Args:
        axes: to draw on.
        rows: differences by label and read-out, from top to bottom.
        margin: half-width of the band within which a difference counts as none.
    """
    for row, by_readout in enumerate(rows.values()):
        for offset, (point, difference) in zip((-0.16, 0.16), by_readout.items(), strict=False):
            y, color = row + offset, _READOUT_COLORS[point]
            axes.hlines(y, difference.low, difference.high, color=color, linewidth=1.3)
            axes.plot(
                difference.estimate, y, "o", color=color, markersize=3.6, label=READOUT_NAMES[point]
            )
    axes.axvline(0, color=style.MUTED, linewidth=0.8, zorder=1)
    axes.axvspan(-margin, margin, color=style.BAND, linewidth=0, zorder=0, label="counts as none")
    name_rows(axes, list(rows))
    style.set_x_ticks(axes, 4)


def draw_interaction(axes: Axes, pairs: Mapping[str, tuple[Estimate, Estimate]]) -> None:
    """Draw an outcome with one factor off (at 0) and on (at 1), a line per setting of the others.

    Args:
        axes: to draw on.
        pairs: the estimates off and on, by the names of four settings.
    """
    for index, ((name, pair), (color, marker)) in enumerate(
        zip(pairs.items(), _COMBINATIONS, strict=True)
    ):
        xs = np.array([0.0, 1.0]) + 0.06 * (index - 1.5)
        draw_estimates(axes, xs, pair, color, marker=marker, markersize=4, label=name)
    axes.set_xlim(-0.3, 1.3)
    axes.grid(axis="y")


def draw_strips(axes: Axes, rows: Mapping[str, Mapping[Point, Array]]) -> None:
    """Draw each seed's value as a point and the mean of each row as a stroke.

    Args:
        axes: to draw on.
        rows: values of the seeds by label and read-out, from top to bottom.
    """
    means: list[tuple[float, float]] = []
    for row, by_readout in enumerate(rows.values()):
        for offset, (point, values) in zip((-0.18, 0.18), by_readout.items(), strict=True):
            # Neighbours in value stand at different heights, so that none hides another.
            rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
            axes.plot(
                values, row + offset + 0.05 * (rank % 3 - 1), "o", color=_READOUT_COLORS[point],
                markersize=2.6, alpha=0.6, markeredgewidth=0,
                label=f"one seed, {READOUT_NAMES[point]}",
            )  # fmt: skip
            means.append((float(values.mean()), row + offset))
    axes.plot(*np.transpose(means), "|", color=style.INK, ms=9, mew=1.6, label="mean")
    name_rows(axes, list(rows))
    style.set_x_ticks(axes, 4)


def draw_losses(axes: Axes, train: Array, validation: Array, restored: float) -> None:
    """Draw mean losses over epochs with the range of the middle 90 % of runs, on a log scale.

    Args:
        axes: to draw on.
        train: shape (n_runs, n_epochs).
        validation: the same.
        restored: the median epoch that early stopping restores.
    """
    epochs = np.arange(1, train.shape[1] + 1)
    for name, curves, color in (
        ("training", train, style.TRAINING),
        ("validation", validation, style.VALIDATION),
    ):
        low, high = np.quantile(curves, (0.05, 0.95), axis=0)
        axes.fill_between(epochs, low, high, color=color, alpha=0.18, linewidth=0)
        axes.plot(epochs, curves.mean(axis=0), color=color, label=name)
    axes.axvline(
        restored, linestyle=style.DASHED, label="restored (median)", **style.REFERENCE_LINE
    )
    axes.set_yscale("log")
    axes.grid(axis="y")
    style.set_epoch_ticks(axes, len(epochs))


def set_loss_ticks(axes: Axes) -> None:
    """Put few round numbers on the log scale that the panels of `draw_losses` share."""
    low, high = axes.get_ylim()
    ticks = style.log_ticks(low, high)
    if len(ticks) > 7:
        ticks = style.log_ticks(low, high, factors=(1,))
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())


def draw_rates(
    axes: Axes, values: Mapping[float, Array], chosen: float | None, documented: float
) -> None:
    """Draw every run's validation accuracy by learning rate, and the means.

    Args:
        axes: to draw on.
        values: validation accuracy of each run in percent, by learning rate.
        chosen: the chosen rate; None while the tuning is not finished.
        documented: the documented rate.
    """
    means = {rate: float(values[rate].mean()) for rate in sorted(values)}
    for rate in means:
        axes.plot(
            np.full(len(values[rate]), rate), values[rate], "o", color=style.COMPLETE, alpha=0.45,
            markersize=3, markeredgewidth=0, label="one run",
        )  # fmt: skip
    axes.plot(list(means), list(means.values()), color=style.COMPLETE, label="mean")
    if chosen in means:
        axes.plot(chosen, means[chosen], zorder=4, label="chosen", **style.RING)
    axes.axvline(documented, linestyle=":", label="documented", **style.REFERENCE_LINE)
    axes.set_xscale("log")
    axes.set_xticks(list(means), [f"{1000 * rate:g}" for rate in means], fontsize=style.SMALL - 1)
    axes.minorticks_off()
    axes.set_xlim(min(means) / 1.35, max(means) * 1.35)
    axes.grid(axis="y")


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
    for shift, (point, color) in zip((-0.09, 0.09), _READOUT_COLORS.items(), strict=True):
        at = np.arange(len(xs), dtype=np.float64) + shift
        axes.plot(at, seeds[point], "o", color=color, markersize=2.4, alpha=0.4, markeredgewidth=0)
        draw_estimates(axes, at, means[point], color, label=READOUT_NAMES[point])
    centre = list(xs).index(documented)
    axes.axvspan(
        centre - 0.3, centre + 0.3, color=style.BAND, linewidth=0, zorder=0, label="documented"
    )
    axes.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
    axes.set_xlim(-0.45, len(xs) - 0.55)
    axes.grid(axis="y")


def draw_sizes(
    axes: Axes, xs: Sequence[float], curves: Sequence[tuple[str, Point, str, Sequence[Estimate]]]
) -> None:
    """Draw curves by size of the training set, side by side because they are often alike.

    Args:
        axes: to draw on.
        xs: training rows, ascending.
        curves: label, read-out, colour, and estimates at the first of `xs`.
    """
    for index, (label, point, color, means) in enumerate(curves):
        at = np.asarray(xs[: len(means)], np.float64) * 1.06 ** (index - (len(curves) - 1) / 2)
        draw_estimates(axes, at, means, color, linestyle=_READOUT_LINES[point], label=label)
    axes.set_xscale("log")
    axes.set_xticks(xs, [f"{x / 1000:g}k" if x >= 1000 else f"{x:g}" for x in xs])
    axes.minorticks_off()
    axes.grid(axis="y")
