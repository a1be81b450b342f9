"""Tuning curves: what the best of n trials is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from mnist_study.plots import style
from mnist_study.plots.marks import empty_figure

_TITLE = "The best of n trials"
_COLORS = (style.AT_RANDOM, style.COMPLETE)

Curve = NDArray[np.float64]
"""Median, lower and upper end at n = 1, 2, …, shape (3, n_max); an infinite end is none."""


@style.styled
def tuning_curves(
    curves: Mapping[str, Curve], best_so_far: Sequence[float], *, why_none: str = ""
) -> Figure:
    """Draw the median of the best of n trials with its band, and the best so far of the run.

    Args:
        curves: validation accuracy in percent, by the name of what was re-sampled; two at most.
        best_so_far: in percent, after each trial that the sampler proposed, in order.
        why_none: is written where there are no curves.
    """
    if not curves:
        return empty_figure(_TITLE, why_none)
    figure = style.new_column(height=3.3)
    inches = figure.get_figheight()
    axes = figure.add_axes((0.135, 0.44 / inches, 0.845, 1 - 1.25 / inches))
    low, high = _limits(curves, best_so_far)
    axes.set_ylim(low, high)
    last = max(len(best_so_far), *(curve.shape[1] for curve in curves.values()))
    axes.set_xscale("log")
    axes.set_xlim(0.95, 1.05 * max(last, 2))
    ticks = [n for power in (1, 10, 100, 1000) for n in (power, 2 * power, 5 * power) if n <= last]
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    axes.grid(axis="y")
    entries: list[Line2D | Patch] = []
    for (name, curve), color in zip(curves.items(), _COLORS, strict=False):
        entries.append(_draw_curve(axes, name, curve, color))
    if best_so_far:
        numbers = range(1, len(best_so_far) + 1)
        axes.step(numbers, best_so_far, where="post", color=style.INK, linewidth=1.1, gid="run")
        entries.append(Line2D([], [], color=style.INK, linewidth=1.1, label="best so far, as run"))
    style.set_y_ticks(axes, style.nice_ticks(low, high))
    axes.set_xlabel("number of trials, n")
    axes.set_ylabel("validation accuracy in %")
    style.write_title(
        figure,
        0.02,
        f"{_TITLE}: median with a 95 % band, open at the frame",
    )
    figure.legend(
        handles=entries, loc="upper left", bbox_to_anchor=(0.015, 1 - 0.2 / inches), ncols=2,
        handletextpad=0.5, columnspacing=1.4, borderaxespad=0.3,
    )  # fmt: skip
    return figure


def _draw_curve(axes: Axes, name: str, curve: Curve, color: str) -> Patch:
    """Draw one curve; where it has no upper end, its band goes on to the frame."""
    median, low, high = curve
    numbers = np.arange(1, curve.shape[1] + 1)
    bottom, top = axes.get_ylim()
    # Clipped by hand, because infinite ends cannot be drawn.
    floor, ceiling = np.clip(low, bottom, top), np.clip(high, bottom, top)
    axes.fill_between(numbers, floor, ceiling, color=color, alpha=0.16, linewidth=0, gid="band")
    for end in (floor, ceiling):
        axes.plot(numbers, end, color=color, linewidth=0.5, alpha=0.7)
    axes.plot(numbers, median, color=color, linewidth=1.7, gid="median")
    return Patch(facecolor=color, alpha=0.5, label=name)


def _limits(curves: Mapping[str, Curve], best_so_far: Sequence[float]) -> tuple[float, float]:
    """Return limits that show every median and the band from the best of two on."""
    shown = [value for value in best_so_far[1:] or best_so_far if value > 0]
    for curve in curves.values():
        shown += [float(value) for value in curve[:, 1:].flat if math.isfinite(value) and value > 0]
        shown += [float(value) for value in curve[0] if value > 0]
    low, high = min(shown, default=0.0), max(shown, default=100.0)
    margin = max(0.06 * (high - low), 0.02)
    return max(0.0, low - margin), min(100.0, high + margin)
