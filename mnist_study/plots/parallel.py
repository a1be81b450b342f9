"""The figure that shows every trial's parameters side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_study.core.config import Range
from mnist_study.core.trials import Selection, TrialResult, by_value, in_percent, select
from mnist_study.plots import style
from mnist_study.plots.marks import empty_figure, range_ticks, spelled, study_limits


@style.styled
def parallel_coordinates(rows: Sequence[TrialResult], space: Mapping[str, Range]) -> Figure:
    """Draw every trial as a line through its parameters to its validation accuracy.

    Pruned trials have no final value and end at the last parameter. Better trials are darker,
    wider and drawn later.

    Args:
        rows: finished trials in any order.
        space: ranges by name of parameter, in the order of the axes.
    """
    chosen = select(rows)
    if not chosen.complete or not space:
        return empty_figure("Parallel coordinates", "no trial is complete yet")
    figure = style.new_figure(height=3.3)
    axes = figure.add_axes((0.045, 0.06, 0.905, 0.755))
    axes.set_axis_off()
    low, high = study_limits(chosen, with_pruned=False)
    _draw_trials(axes, chosen, space, low, high)
    for x, (name, limit) in enumerate(space.items()):
        ticks = {_share(tick, limit): label for tick, label in range_ticks(limit).items()}
        _draw_axis(axes, x, spelled(name), ticks)
    values = style.nice_ticks(low, high)
    shares = [(value - low) / (high - low) for value in values]
    ticks = dict(zip(shares, style.tick_labels(values), strict=True))
    last = len(space)
    _draw_axis(axes, last, "val. acc. %", ticks, is_right=True)
    axes.imshow(
        np.linspace(0, 1, 256)[:, None], cmap=style.value_colors(), aspect="auto", origin="lower",
        extent=(last - 0.025, last + 0.025, 0, 1), zorder=5,
    )  # fmt: skip
    axes.set_xlim(-0.1, last + 0.1)
    axes.set_ylim(-0.02, 1.02)
    style.write_title(figure, 0.035, "Parallel coordinates", _key(chosen, low))
    return figure


def _draw_trials(
    axes: Axes, chosen: Selection, space: Mapping[str, Range], low: float, high: float
) -> None:
    """Draw the trials' lines; low and high are the ends of the axis of values, in percent."""

    def heights(row: TrialResult) -> list[float]:
        return [_share(getattr(row.params, name), limit) for name, limit in space.items()]

    for row in chosen.pruned:
        axes.plot(
            heights(row), color=style.PRUNED, linewidth=0.5, alpha=0.35, zorder=1, gid="pruned"
        )
    colors = style.value_colors()
    ranked = by_value(chosen.complete)
    for rank, row in reversed(list(enumerate(ranked))):
        strength = 1 - rank / max(len(ranked) - 1, 1)
        value = min(max((in_percent(row) - low) / (high - low), 0.0), 1.0)
        line = [*heights(row), value]
        if row is chosen.baseline:
            axes.plot(
                line, color=style.BASELINE, linewidth=1.6, linestyle=style.DASHED, zorder=4,
                gid="baseline",
            )  # fmt: skip
        else:
            axes.plot(
                line, color=colors(value), linewidth=0.7 + 1.5 * strength**3,
                alpha=0.55 + 0.45 * strength, zorder=2 + strength, gid="complete",
            )  # fmt: skip


def _share(value: float, limit: Range) -> float:
    """Return where a value lies in its range, from 0 at the low end to 1, on its own scale."""
    if limit.log:
        return math.log(value / limit.low) / math.log(limit.high / limit.low)
    return (value - limit.low) / (limit.high - limit.low)


def _draw_axis(
    axes: Axes, x: float, name: str, ticks: Mapping[float, str], *, is_right: bool = False
) -> None:
    """Draw a vertical axis from 0 to 1 with labelled ticks, and its name above it."""
    axes.plot([x, x], [0, 1], color=style.MUTED, linewidth=0.7, zorder=3.5)
    axes.hlines(list(ticks), x - 0.03, x + 0.03, color=style.MUTED, linewidth=0.7, zorder=3.6)
    for height, label in ticks.items():
        axes.text(
            x + (0.06 if is_right else -0.05), height, label, fontsize=style.SMALL,
            ha="left" if is_right else "right", va="center", zorder=6, bbox=style.ON_WHITE,
        )  # fmt: skip
    axes.text(x, 1.05, name, ha="center", va="baseline", linespacing=1.1)


def _key(chosen: Selection, low: float) -> str:
    """Return the legend in words, with the number of trials whose values lie below the axis."""
    n_below = sum(in_percent(row) < low for row in chosen.complete)
    parts = [f"{len(chosen.complete)} complete, darker is better"]
    if n_below:
        parts.append(f"{n_below} of them below {low:.1f} %")
    if chosen.pruned:
        parts.append(f"{len(chosen.pruned)} pruned, grey")
    if chosen.baseline is not None:
        parts.append("baseline dashed")
    return "; ".join(parts)
