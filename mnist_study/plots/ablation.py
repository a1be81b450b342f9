"""Panels of an ablation's figures: effects, steps, gaps, early stopping, curves, rates, doses.

Each function fills axes that its caller has laid out and labels what it draws; `panels` lays axes
out and gathers the labels into one legend.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from mnist_study.plots import style
from mnist_study.plots.panels import name_rows

Array = NDArray[np.float64]

READOUT_NAMES = {
    "last": "last epoch",
    "restored": "restored by early stopping",
    "averaged": "averaged weights",
}
_READOUT_COLORS = {"last": style.BLUE, "restored": style.VERMILION, "averaged": style.GREEN}
_READOUT_LINES: dict[str, Any] = {"last": "-", "restored": style.DASHED, "averaged": ":"}
ARM_COLORS = (style.MUTED, style.BLUE)
"""Of the networks without and with all regularization."""
_MARKERS = ("o", "s", "^", "D", "v")


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


def draw_effects(
    axes: Axes,
    rows: Mapping[str, Mapping[str, tuple[Estimate, Sequence[float]]]],
    margin: float,
) -> None:
    """Draw differences with their intervals, and each execution's own estimate as a tick.

    Args:
        axes: to draw on.
        rows: by label and read-out, from top to bottom: the difference, and the executions' ones.
        margin: half-width of the band within which a difference counts as none.
    """
    for row, by_readout in enumerate(rows.values()):
        offsets = np.linspace(-0.26, 0.26, len(by_readout))
        for offset, (point, (pooled, executions)) in zip(offsets, by_readout.items(), strict=True):
            y, color = row + offset, _READOUT_COLORS[point]
            axes.hlines(y, pooled.low, pooled.high, color=color, linewidth=1.5)
            axes.plot(
                pooled.estimate, y, "o", color=color, markersize=4, label=READOUT_NAMES[point]
            )
            axes.plot(
                executions, np.full(len(executions), y), "|", color=style.INK, markersize=6,
                markeredgewidth=0.9, label="each execution",
            )  # fmt: skip
    axes.axvline(0, color=style.MUTED, linewidth=0.8, zorder=1)
    axes.axvspan(
        -margin, margin, color=style.BAND, linewidth=0, zorder=0, label="within the margin"
    )
    name_rows(axes, list(rows))
    style.set_x_ticks(axes, 5)


def draw_steps(axes: Axes, steps: Mapping[str, Estimate], changes: Sequence[str]) -> None:
    """Draw the accuracy after each step, from top to bottom, with what the step changes.

    Args:
        axes: to draw on.
        steps: accuracy in percent with its interval, by name.
        changes: a text beside each step.
    """
    values = list(steps.values())
    axes.plot([v.estimate for v in values], range(len(values)), color=style.RULE, zorder=1)
    for row, (value, change) in enumerate(zip(values, changes, strict=True)):
        axes.hlines(row, value.low, value.high, color=style.BLUE, linewidth=1.6)
        axes.plot(value.estimate, row, "o", color=style.BLUE, markersize=5)
        axes.annotate(
            change, (value.high, row), xytext=(6, 0), textcoords="offset points", va="center",
            fontsize=style.SMALL, color=style.INK,
        )  # fmt: skip
    name_rows(axes, list(steps))
    low, high = min(v.low for v in values), max(v.high for v in values)
    axes.set_xlim(low - 0.04 * (high - low), high + 0.42 * (high - low))
    style.set_x_ticks(axes, 6)


def draw_gaps(axes: Axes, rows: Mapping[str, tuple[Estimate, Estimate]]) -> None:
    """Draw training and test accuracy in percent with the gap between them.

    Args:
        axes: to draw on.
        rows: training and test accuracy by label, from top to bottom.
    """
    for row, (train, test) in enumerate(rows.values()):
        axes.hlines(row, test.estimate, train.estimate, color=style.GREY, linewidth=1.2, zorder=1)
        for value, color, label in (
            (train, style.TRAINING, "training accuracy"),
            (test, style.BLUE, "test accuracy"),
        ):
            axes.plot(value.estimate, row, "o", color=color, markersize=5, label=label)
        axes.annotate(
            f"{train.estimate - test.estimate:.2f}", ((train.estimate + test.estimate) / 2, row),
            xytext=(0, 4), textcoords="offset points", ha="center", fontsize=style.SMALL,
        )  # fmt: skip
    name_rows(axes, list(rows))
    style.set_x_ticks(axes, 5)


def draw_stopping(
    axes: Axes, caps: Mapping[str, Mapping[str, tuple[float, Estimate]]], colors: Sequence[str]
) -> None:
    """Draw test accuracy in percent against epochs trained, a colour per cap, a mark per patience.

    Args:
        axes: to draw on.
        caps: by cap and patience: epochs trained, and accuracy with its interval.
        colors: one per cap.
    """
    for (cap, by_patience), color in zip(caps.items(), colors, strict=False):
        for (patience, (epochs, accuracy)), marker in zip(
            by_patience.items(), _MARKERS, strict=False
        ):
            axes.vlines(epochs, accuracy.low, accuracy.high, color=color, linewidth=1.2)
            axes.plot(epochs, accuracy.estimate, marker, color=color, markersize=5.5)
            axes.plot([], [], marker, color=style.MUTED, label=patience)
        axes.plot([], [], color=color, label=f"cap {cap.split()[0]}")
    axes.grid(axis="y")


def draw_by_rate(
    axes: Axes, rates: Sequence[float], lines: Mapping[str, tuple[str, Sequence[float]]]
) -> None:
    """Draw quantities by learning rate.

    Args:
        axes: to draw on.
        rates: ascending.
        lines: read-out and values by label.
    """
    for label, (readout, values) in lines.items():
        axes.plot(
            rates, values, "o", color=_READOUT_COLORS[readout],
            linestyle=_READOUT_LINES[readout], markersize=4.5, label=label,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, 1.08 * max(axes.get_ylim()[1], *(max(v) for _, v in lines.values())))
    axes.grid(axis="y")


def draw_accuracies(axes: Axes, train: Array, validation: Array, restored: float) -> None:
    """Draw mean accuracies over epochs with the range of the middle 90 % of runs.

    Args:
        axes: to draw on.
        train: percent, shape (n_runs, n_epochs).
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
    axes.grid(axis="y")
    style.set_epoch_ticks(axes, len(epochs))


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
    names = [_ratio(rate / documented) for rate in means]
    axes.set_xticks(list(means), names, fontsize=style.SMALL - 1)
    axes.minorticks_off()
    axes.set_xlim(min(means) / 1.35, max(means) * 1.35)
    axes.grid(axis="y")


def _ratio(ratio: float) -> str:
    """Format a ratio briefly: a half as 1/2."""
    parts = 1 / ratio
    is_unit_fraction = ratio < 1 and math.isclose(parts, round(parts))
    return f"1/{round(parts)}" if is_unit_fraction else f"{ratio:g}"


def draw_doses(
    axes: Axes,
    xs: Sequence[float],
    documented: float,
    means: Mapping[str, Sequence[Estimate]],
) -> None:
    """Draw an outcome by strength; strengths stand at equal distances.

    Args:
        axes: to draw on.
        xs: the strengths, ascending.
        documented: the documented one of them, shaded.
        means: with their intervals, by read-out.
    """
    for shift, (point, of_point) in zip((-0.09, 0.09), means.items(), strict=True):
        at = np.arange(len(xs), dtype=np.float64) + shift
        draw_estimates(axes, at, of_point, _READOUT_COLORS[point], label=READOUT_NAMES[point])
    centre = list(xs).index(documented)
    axes.axvspan(
        centre - 0.3, centre + 0.3, color=style.BAND, linewidth=0, zorder=0, label="documented"
    )
    axes.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
    axes.set_xlim(-0.45, len(xs) - 0.55)
    axes.grid(axis="y")


def draw_sizes(
    axes: Axes, xs: Sequence[float], curves: Sequence[tuple[str, str, str, Sequence[Estimate]]]
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
