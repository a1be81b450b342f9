"""Figures of a study's search: its history and the slices through its space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mnist_study.core.config import Range
from mnist_study.core.trials import Selection, TrialResult, in_percent, select
from mnist_study.plots import style
from mnist_study.plots.marks import (
    draw_confirmed_point,
    draw_documented_point,
    draw_points,
    empty_figure,
    label_right,
    set_range,
    state_legend,
    study_limits,
    trial_url,
)

_SLICE_COLUMNS = 2


@style.styled
def optimization_history(rows: Sequence[TrialResult], confirmed: int | None = None) -> Figure:
    """Draw validation accuracy by trial number, with the best so far and the documented network.

    Args:
        rows: finished trials in any order.
        confirmed: number of the trial that won the confirmation, if there was one.
    """
    chosen = select(rows)
    if not (chosen.complete or chosen.pruned):
        return empty_figure("Optimization history", "no trial has a value yet")
    figure = style.new_column(height=3.1)
    axes = figure.add_axes((0.135, 0.14, 0.695, 0.66))
    limits = study_limits(chosen)
    style.set_y_limits(axes, *limits)
    last = max(row.number for row in rows)
    axes.set_xlim(-0.02 * max(last, 1), 1.02 * max(last, 1))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    axes.grid(axis="y")
    draw_points(axes, chosen.pruned, [row.number for row in chosen.pruned], "pruned")
    draw_points(axes, chosen.complete, [row.number for row in chosen.complete], "complete")
    axes.plot(
        [row.number for row in chosen.failed], [0.0] * len(chosen.failed), "P",
        transform=axes.get_xaxis_transform(), color=style.FAILED, markersize=6, markeredgewidth=0,
        clip_on=False, zorder=5, gid="failed",
    )  # fmt: skip
    winner = _with_number(chosen, confirmed)
    if winner is not None:
        draw_confirmed_point(axes, winner.number, winner)
    _draw_references(axes, chosen, last)
    axes.set_xlabel("trial")
    axes.set_ylabel("validation accuracy in %")
    style.write_title(figure, 0.02, "Validation accuracy by trial")
    state_legend(figure, chosen, limits[0], shows_failed=True, confirmed=winner)
    return figure


def _with_number(chosen: Selection, number: int | None) -> TrialResult | None:
    """Return the complete trial of a number; None for no number."""
    return next((row for row in chosen.complete if row.number == number), None)


def _draw_references(axes: Axes, chosen: Selection, last: int) -> None:
    """Draw the best so far up to the last trial, and the documented network, with their names."""
    names: dict[str, tuple[float, str]] = {}
    if chosen.best is not None:
        best = np.maximum.accumulate([in_percent(row) for row in chosen.complete])
        axes.step(
            [*(row.number for row in chosen.complete), last], [*best, best[-1]], where="post",
            color=style.BEST, linewidth=1.5, zorder=4, gid="best-so-far",
        )  # fmt: skip
        names[f"best {best[-1]:.2f} %\ntrial {chosen.best.number}"] = (best[-1], style.BEST)
    if chosen.baseline is not None:
        value = in_percent(chosen.baseline)
        axes.axhline(
            value, color=style.DOCUMENTED, linewidth=1.0, linestyle=style.DASHED, zorder=2.5,
            gid="documented",
        )  # fmt: skip
        if chosen.best is not chosen.baseline:
            names[f"documented\n{value:.2f} %"] = (value, style.DOCUMENTED)
    label_right(axes, names, distance=0.15)


@style.styled
def slices(
    rows: Sequence[TrialResult], space: Mapping[str, Range], confirmed: int | None = None
) -> Figure:
    """Draw validation accuracy against each parameter, coloured by the order of the trials.

    Args:
        rows: finished trials in any order.
        space: ranges by name of parameter; log ranges get log axes.
        confirmed: number of the trial that won the confirmation, if there was one.
    """
    chosen = select(rows)
    if not (chosen.complete or chosen.pruned) or not space:
        return empty_figure("Slices", "no trial has a value yet")
    n_rows = -(-len(space) // _SLICE_COLUMNS)
    figure = style.new_column(height=0.95 + 1.6 * n_rows)
    inches = figure.get_figheight()
    grid = figure.add_gridspec(
        n_rows, _SLICE_COLUMNS, left=0.135, right=0.975, bottom=0.42 / inches,
        top=1 - 0.72 / inches, hspace=0.42, wspace=0.10,
    )  # fmt: skip
    limits = study_limits(chosen)
    winner = _with_number(chosen, confirmed)
    norm = Normalize(0, max(1, *(row.number for row in rows)))
    for index, (name, limit) in enumerate(space.items()):
        axes = figure.add_subplot(grid[divmod(index, _SLICE_COLUMNS)])
        style.set_y_limits(axes, *limits, at_most=5)
        set_range(axes, limit)
        _draw_slice(axes, chosen, name, norm, winner)
        if index % _SLICE_COLUMNS:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel("val. accuracy in %")
    style.write_title(figure, 0.02, "Validation accuracy against each parameter")
    state_legend(figure, chosen, limits[0], shows_best=True, confirmed=winner, by_order=True)
    if len(space) % _SLICE_COLUMNS:
        corner = grid[n_rows - 1, _SLICE_COLUMNS - 1].get_position(figure)
        bar = figure.add_axes((corner.x0, corner.y0, corner.width, 0.1 / inches))
        style.draw_color_scale(bar, style.order_colors(), norm.vmin or 0, norm.vmax or 1)
        bar.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
        bar.set_xlabel("trial (colour)", labelpad=2)
    return figure


def _draw_slice(
    axes: Axes, chosen: Selection, name: str, norm: Normalize, winner: TrialResult | None
) -> None:
    """Draw all trials at their values of one parameter."""
    axes.grid(axis="y")
    axes.set_xlabel(name, labelpad=2)
    draw_points(axes, chosen.pruned, _values(chosen.pruned, name), "pruned", size=11)
    numbers = np.array([row.number for row in chosen.complete], dtype=np.float64)
    colors = np.asarray(style.order_colors()(norm(numbers)))
    xs = _values(chosen.complete, name)
    draw_points(axes, chosen.complete, xs, "complete", size=15, colors=colors)
    if chosen.best is not None:
        x, value = getattr(chosen.best.params, name), in_percent(chosen.best)
        axes.plot(x, value, zorder=6, gid="best", url=trial_url(chosen.best), **style.RING)
    if chosen.baseline is not None:
        x = getattr(chosen.baseline.params, name)
        draw_documented_point(axes, x, chosen.baseline)
    if winner is not None:
        draw_confirmed_point(axes, getattr(winner.params, name), winner)


def _values(rows: Sequence[TrialResult], name: str) -> list[float]:
    return [float(getattr(row.params, name)) for row in rows]
