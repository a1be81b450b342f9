"""The figure that shows every trial's parameters side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mnist_study.core.config import Range
from mnist_study.core.trials import TrialResult, by_value, in_percent, select
from mnist_study.plots import style
from mnist_study.plots.marks import empty_figure, range_ticks
from mnist_study.plots.selection import focus_limits, spelled


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
    keep = [in_percent(chosen.baseline)] if chosen.baseline else []
    limits = focus_limits([in_percent(row) for row in chosen.complete], keep=keep)
    n_axes = len(space) + 1
    axes.set_xlim(-0.1, n_axes - 1 + 0.1)
    axes.set_ylim(-0.02, 1.02)
    axes.set_axis_off()
    norm = Normalize(*limits)
    paint = style.value_colors()
    for row in chosen.pruned:
        axes.plot(
            range(n_axes - 1),
            _heights(row, space),
            color=style.PRUNED,
            linewidth=0.5,
            alpha=0.35,
            zorder=1,
            gid="pruned",
        )
    ranked = by_value(chosen.complete)
    for rank, row in reversed(list(enumerate(ranked))):
        strength = 1 - rank / max(len(ranked) - 1, 1)
        value = min(max((in_percent(row) - limits[0]) / (limits[1] - limits[0]), 0.0), 1.0)
        is_baseline = row is chosen.baseline
        axes.plot(
            range(n_axes),
            [*_heights(row, space), value],
            color=style.BASELINE if is_baseline else paint(norm(in_percent(row))),
            linewidth=1.6 if is_baseline else 0.7 + 1.5 * strength**3,
            linestyle=(0, (4, 1.8)) if is_baseline else "solid",
            alpha=1.0 if is_baseline else 0.55 + 0.45 * strength,
            zorder=4 if is_baseline else 2 + strength,
            gid="baseline" if is_baseline else "complete",
        )
    for place, (name, limit) in enumerate(space.items()):
        ticks = {_scaled(tick, limit): label for tick, label in range_ticks(limit).items()}
        _vertical_axis(axes, place, spelled(name), ticks)
    scaled = {
        (tick - limits[0]) / (limits[1] - limits[0]): tick for tick in style.nice_ticks(*limits)
    }
    labels = style.tick_labels(list(scaled.values()))
    _vertical_axis(
        axes, n_axes - 1, "val. acc. %", dict(zip(scaled, labels, strict=True)), right=True
    )
    axes.imshow(
        np.linspace(0, 1, 256)[:, None],
        cmap=paint,
        aspect="auto",
        origin="lower",
        extent=(n_axes - 1 - 0.025, n_axes - 1 + 0.025, 0, 1),
        zorder=5,
    )
    axes.set_xlim(-0.1, n_axes - 1 + 0.1)
    axes.set_ylim(-0.02, 1.02)
    style.write_title(figure, 0.035, "Parallel coordinates")
    _line_key(
        figure,
        chosen.baseline is not None,
        len(chosen.complete),
        len(chosen.pruned),
        sum(in_percent(row) < limits[0] for row in chosen.complete),
        limits[0],
    )
    return figure


def _scaled(value: float, limit: Range) -> float:
    """Return where a value lies in its range, from 0 at the low end to 1, on its own scale."""
    if limit.log:
        return math.log(value / limit.low) / math.log(limit.high / limit.low)
    return (value - limit.low) / (limit.high - limit.low)


def _heights(row: TrialResult, space: Mapping[str, Range]) -> list[float]:
    return [_scaled(getattr(row.params, name), limit) for name, limit in space.items()]


def _vertical_axis(
    axes: Axes, x: float, name: str, ticks: Mapping[float, str], *, right: bool = False
) -> None:
    axes.plot([x, x], [0, 1], color=style.MUTED, linewidth=0.7, zorder=3.5)
    for height, label in ticks.items():
        axes.plot(
            [x - 0.03, x + 0.03], [height, height], color=style.MUTED, linewidth=0.7, zorder=3.6
        )
        axes.text(
            x + (0.06 if right else -0.05),
            height,
            label,
            fontsize=style.SMALL,
            ha="left" if right else "right",
            va="center",
            zorder=6,
            bbox=style.ON_WHITE,
        )
    axes.text(x, 1.05, name, ha="center", va="baseline", linespacing=1.1)


def _line_key(
    figure: Figure, baseline: bool, n_complete: int, n_pruned: int, below: int, low: float
) -> None:
    parts = [f"{n_complete} complete, darker is better"]
    if below:
        parts.append(f"{below} of them below {low:.1f} %")
    if n_pruned:
        parts.append(f"{n_pruned} pruned, grey")
    if baseline:
        parts.append("baseline dashed")
    figure.text(
        0.985,
        1 - 0.105 / figure.get_size_inches()[1],
        "; ".join(parts),
        va="center_baseline",
        ha="right",
        fontsize=style.SMALL,
        color=style.MUTED,
        gid="key",
    )
