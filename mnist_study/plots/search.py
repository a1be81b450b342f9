"""Figures of a study's search: its history and the slices through its space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mnist_study.core.config import Range
from mnist_study.core.trials import TrialResult, in_percent, select
from mnist_study.plots import style
from mnist_study.plots.marks import (
    draw_baseline,
    draw_points,
    empty_figure,
    label_right,
    set_range,
    state_legend,
    study_limits,
)
from mnist_study.plots.selection import best_so_far, spelled

_SLICE_COLUMNS = 4


@style.styled
def optimization_history(rows: Sequence[TrialResult]) -> Figure:
    """Draw validation accuracy by trial number, with the best so far and the baseline.

    Args:
        rows: finished trials in any order.
    """
    chosen = select(rows)
    if not (chosen.complete or chosen.pruned):
        return empty_figure("Optimization history", "no trial has a value yet")
    figure = style.new_figure(height=3.0)
    axes = figure.add_axes((0.085, 0.145, 0.745, 0.70))
    limits = study_limits(chosen)
    axes.set_ylim(*limits)
    style.set_y_ticks(axes, style.nice_ticks(*limits))
    last = max(row.number for row in rows)
    axes.set_xlim(-0.02 * max(last, 1), 1.02 * max(last, 1))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    axes.grid(axis="y")
    draw_points(axes, chosen.pruned, [row.number for row in chosen.pruned], "pruned")
    draw_points(axes, chosen.complete, [row.number for row in chosen.complete], "complete")
    if chosen.failed:
        axes.plot(
            [row.number for row in chosen.failed],
            [0.0] * len(chosen.failed),
            "P",
            transform=axes.get_xaxis_transform(),
            color=style.FAILED,
            markersize=6,
            markeredgewidth=0,
            clip_on=False,
            zorder=5,
            gid="failed",
        )
    names: dict[str, tuple[float, str]] = {}
    if chosen.best is not None:
        numbers = [row.number for row in chosen.complete]
        best = best_so_far([in_percent(row) for row in chosen.complete])
        axes.step(
            [*numbers, last],
            [*best, best[-1]],
            where="post",
            color=style.BEST,
            linewidth=1.5,
            zorder=4,
            gid="best-so-far",
        )
        names[f"best {best[-1]:.2f} %\ntrial {chosen.best.number}"] = (best[-1], style.BEST)
    if chosen.baseline is not None:
        height = in_percent(chosen.baseline)
        draw_baseline(axes, height)
        if chosen.best is not chosen.baseline:
            names[f"baseline\n{height:.2f} %"] = (height, style.BASELINE)
    label_right(axes, names, distance=0.13)
    axes.set_xlabel("trial")
    axes.set_ylabel("validation accuracy in %")
    style.write_title(figure, 0.085, "Optimization history")
    state_legend(figure, chosen, limits[0], failed=True)
    return figure


@style.styled
def slices(rows: Sequence[TrialResult], space: Mapping[str, Range]) -> Figure:
    """Draw validation accuracy against each parameter, coloured by the order of the trials.

    Args:
        rows: finished trials in any order.
        space: ranges by name of parameter; log ranges get log axes.
    """
    chosen = select(rows)
    if not (chosen.complete or chosen.pruned) or not space:
        return empty_figure("Slices", "no trial has a value yet")
    n_rows = -(-len(space) // _SLICE_COLUMNS)
    figure = style.new_figure(height=0.75 + 1.75 * n_rows)
    inches = figure.get_size_inches()[1]
    grid = figure.add_gridspec(
        n_rows,
        _SLICE_COLUMNS,
        left=0.085,
        right=0.985,
        bottom=0.42 / inches,
        top=1 - 0.55 / inches,
        hspace=0.42,
        wspace=0.24,
    )
    limits = study_limits(chosen)
    norm = Normalize(0, max(1, *(row.number for row in rows)))
    for place, (name, limit) in enumerate(space.items()):
        axes = figure.add_subplot(grid[divmod(place, _SLICE_COLUMNS)])
        axes.set_ylim(*limits)
        style.set_y_ticks(axes, style.nice_ticks(*limits, at_most=5))
        if place % _SLICE_COLUMNS:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel("validation accuracy in %")
        axes.grid(axis="y")
        set_range(axes, limit)
        axes.set_xlabel(spelled(name), labelpad=2)
        draw_points(axes, chosen.pruned, _values(chosen.pruned, name), "pruned", size=11)
        draw_points(
            axes,
            chosen.complete,
            _values(chosen.complete, name),
            "complete",
            size=15,
            colors=_order_paint([row.number for row in chosen.complete], norm),
        )
        if chosen.best is not None:
            axes.plot(
                getattr(chosen.best.params, name),
                in_percent(chosen.best),
                "o",
                markerfacecolor="none",
                markeredgecolor=style.BEST,
                markersize=8,
                markeredgewidth=1.3,
                zorder=6,
                gid="best",
            )
        if chosen.baseline is not None:
            axes.plot(
                getattr(chosen.baseline.params, name),
                in_percent(chosen.baseline),
                "D",
                color=style.BASELINE,
                markersize=4.5,
                zorder=7,
                clip_on=False,
                gid="baseline",
            )
    style.write_title(figure, 0.085, "Slices")
    state_legend(figure, chosen, limits[0], marks=True, by_order=True)
    if len(space) % _SLICE_COLUMNS:
        corner = figure.add_subplot(grid[n_rows - 1, _SLICE_COLUMNS - 1]).get_position()
        figure.delaxes(figure.axes[-1])
        bar = figure.add_axes((corner.x0, corner.y0, corner.width, 0.035))
        figure.colorbar(
            ScalarMappable(norm, style.order_colors()),
            cax=bar,
            orientation="horizontal",
            ticks=MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]),
        )
        bar.set_xlabel("trial (colour)", labelpad=2)
        bar.spines[:].set_visible(False)
    return figure


def _order_paint(numbers: Sequence[int], norm: Normalize) -> NDArray[np.float64]:
    return np.asarray(style.order_colors()(norm(np.array(numbers, dtype=np.float64))))


def _values(rows: Sequence[TrialResult], name: str) -> list[float]:
    return [float(getattr(row.params, name)) for row in rows]
