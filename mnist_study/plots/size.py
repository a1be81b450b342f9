"""The figure of accuracy against the size of the network."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_study.core.trials import TrialResult, in_percent, select
from mnist_study.plots import style
from mnist_study.plots.marks import (
    draw_confirmed_point,
    draw_documented_point,
    draw_points,
    empty_figure,
    state_legend,
    study_limits,
    trial_url,
)

_MOST_TICKS = 6


def pareto_front(sizes: Sequence[float], values: Sequence[float]) -> list[int]:
    """Find the points that no other point dominates, by smaller size and larger value.

    Args:
        sizes: shape (n,).
        values: shape (n,).

    Returns:
        Indices by rising size (and so by rising value); of equal points only the first.

    Raises:
        ValueError: lengths differ.
    """
    if len(sizes) != len(values):
        raise ValueError(f"need as many sizes as values, got {len(sizes)} and {len(values)}")
    front: list[int] = []
    highest = -math.inf
    for index in sorted(range(len(sizes)), key=lambda i: (sizes[i], -values[i], i)):
        if values[index] > highest:
            front.append(index)
            highest = values[index]
    return front


@style.styled
def accuracy_against_size(rows: Sequence[TrialResult], confirmed: int | None = None) -> Figure:
    """Draw validation accuracy against the number of parameters, with the Pareto front.

    Args:
        rows: finished trials in any order; those without a number of parameters are left out.
        confirmed: number of the trial that won the confirmation, if there was one.
    """
    chosen = select([row for row in rows if row.n_parameters])
    if not chosen.complete:
        return empty_figure("Accuracy against size", "no trial is complete yet")
    figure = style.new_column(height=3.4)
    axes = figure.add_axes((0.135, 0.13, 0.815, 0.66))
    low, high = study_limits(chosen)
    style.set_y_limits(axes, low, high + 0.08 * (high - low))
    _set_size_axis(axes, _sizes((*chosen.complete, *chosen.pruned)))
    axes.grid(axis="y")
    sizes = _sizes(chosen.complete)
    draw_points(axes, chosen.pruned, _sizes(chosen.pruned), "pruned")
    draw_points(axes, chosen.complete, sizes, "complete")
    on_front = pareto_front(sizes, [in_percent(row) for row in chosen.complete])
    _draw_front(axes, [chosen.complete[index] for index in on_front])
    if chosen.baseline is not None:
        x, value = _sizes([chosen.baseline])[0], in_percent(chosen.baseline)
        draw_documented_point(axes, x, chosen.baseline)
        axes.annotate(
            "documented", (x, value), xytext=(6, -4), textcoords="offset points", va="top",
            fontsize=style.SMALL, zorder=7, bbox=style.ON_WHITE,
        )  # fmt: skip
    winner = next((row for row in chosen.complete if row.number == confirmed), None)
    if winner is not None:
        draw_confirmed_point(axes, _sizes([winner])[0], winner)
    axes.set_xlabel("trainable parameters")
    axes.set_ylabel("validation accuracy in %")
    style.write_title(figure, 0.02, "Validation accuracy against size")
    front = Line2D([], [], color=style.BEST, linewidth=1.4, label="Pareto front")
    state_legend(figure, chosen, low, confirmed=winner, extra=[front])
    return figure


def _sizes(rows: Sequence[TrialResult]) -> list[int]:
    return [row.n_parameters or 1 for row in rows]


def _set_size_axis(axes: Axes, sizes: Sequence[int]) -> None:
    low, high = min(sizes) / 1.08, max(sizes) * 1.08
    if high / low < 2:
        low, high = low / 1.4, high * 1.4
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = style.log_ticks(low, high, factors=(1, 2, 3, 5))
    if len(ticks) > _MOST_TICKS:
        ticks = style.log_ticks(low, high)
    if len(ticks) < 3:
        ticks = style.nice_ticks(low, high)
    axes.set_xticks(ticks, [f"{tick:,.0f}".replace(",", "\u2009") for tick in ticks])
    axes.minorticks_off()


def _draw_front(axes: Axes, front: Sequence[TrialResult]) -> None:
    """Draw the Pareto front as steps from its first to its last trial, with their numbers."""
    xs, ys = _sizes(front), [in_percent(row) for row in front]
    axes.step(xs, ys, where="post", color=style.BEST, linewidth=1.4, zorder=2.8, gid="pareto-front")
    ring = style.RING | {"markersize": 5.5, "markerfacecolor": style.COMPLETE}
    for x, y, row in zip(xs, ys, front, strict=True):
        axes.plot(x, y, zorder=5, gid="front-points", url=trial_url(row), **ring)
    lifts = _lifts(axes, [(x, y, str(row.number)) for x, y, row in zip(xs, ys, front, strict=True)])
    for x, y, row, lift in zip(xs, ys, front, lifts, strict=True):
        arrow = {"arrowstyle": "-", "color": style.BEST, "linewidth": 0.5, "shrinkA": 0}
        axes.annotate(
            str(row.number), (x, y), textcoords="offset points", xytext=(-0.3 * style.SMALL, lift),
            ha="right", va="bottom", fontsize=style.SMALL, color=style.BEST, zorder=7,
            annotation_clip=False,
            arrowprops=arrow | {"shrinkB": 3} if lift > style.SMALL else None,
        )  # fmt: skip


def _lifts(axes: Axes, labels: Sequence[tuple[float, float, str]]) -> list[float]:
    """Return how many points above its point each label stands so that none lies over another.

    Labels stand up and left of the front's points, where by its nature no other point lies.

    Args:
        axes: with fixed limits.
        labels: x, y and text, by rising x.
    """
    line = style.SMALL
    taken: list[tuple[float, float, float]] = []
    lifts: list[float] = []
    for x, y, text in reversed(labels):
        right, bottom = axes.transData.transform((x, y)) * 72 / axes.figure.dpi
        left, lift = right - 0.66 * line * len(text), 0.35 * line
        while any(
            left < other_right and right > other_left and abs(bottom + lift - other) < line
            for other_left, other_right, other in taken
        ):
            lift += 0.2 * line
        taken.append((left, right, bottom + lift))
        lifts.append(lift)
    return lifts[::-1]
