"""Figures that compare a study's trials: accuracy against size, and learning curves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_study.core.trials import TrialResult, by_value, in_percent, select
from mnist_study.plots import style
from mnist_study.plots.marks import (
    draw_points,
    empty_figure,
    label_right,
    state_legend,
    study_limits,
)
from mnist_study.plots.selection import pareto_front


@style.styled
def accuracy_against_size(rows: Sequence[TrialResult]) -> Figure:
    """Draw validation accuracy against the number of parameters, with the Pareto front.

    Args:
        rows: finished trials in any order; those without a number of parameters are left out.
    """
    chosen = select([row for row in rows if row.n_parameters])
    if not chosen.complete:
        return empty_figure("Accuracy against size", "no trial is complete yet")
    figure = style.new_figure(height=3.3)
    axes = figure.add_axes((0.085, 0.135, 0.865, 0.745))
    limits = study_limits(chosen)
    limits = (limits[0], limits[1] + 0.08 * (limits[1] - limits[0]))
    axes.set_ylim(*limits)
    style.set_y_ticks(axes, style.nice_ticks(*limits))
    _set_size_axis(axes, _sizes((*chosen.complete, *chosen.pruned)))
    axes.grid(axis="y")
    draw_points(axes, chosen.pruned, _sizes(chosen.pruned), "pruned")
    sizes = _sizes(chosen.complete)
    draw_points(axes, chosen.complete, sizes, "complete")
    front = [
        chosen.complete[i]
        for i in pareto_front(sizes, [in_percent(row) for row in chosen.complete])
    ]
    xs = _sizes(front)
    ys = [in_percent(row) for row in front]
    axes.step(
        [*xs, axes.get_xlim()[1]],
        [*ys, ys[-1]],
        where="post",
        color=style.BEST,
        linewidth=1.4,
        zorder=2.8,
        gid="pareto-front",
    )
    axes.plot(
        xs,
        ys,
        "o",
        markerfacecolor=style.COMPLETE,
        markeredgecolor=style.BEST,
        markeredgewidth=1.3,
        markersize=5.5,
        linestyle="none",
        zorder=5,
        gid="front-points",
    )
    if chosen.baseline is not None:
        place = (_sizes([chosen.baseline])[0], in_percent(chosen.baseline))
        axes.plot(*place, "D", color=style.BASELINE, markersize=5, zorder=6, gid="baseline")
        axes.annotate(
            "baseline",
            place,
            xytext=(6, -4),
            textcoords="offset points",
            va="top",
            fontsize=style.SMALL,
            zorder=7,
        )
    _label_front(axes, front)
    axes.set_xlabel("trainable parameters")
    axes.set_ylabel("validation accuracy in %")
    style.write_title(figure, 0.085, "Accuracy against size")
    state_legend(
        figure,
        chosen,
        limits[0],
        extra=[Line2D([], [], color=style.BEST, linewidth=1.4, label="Pareto front (trial)")],
    )
    return figure


def _sizes(rows: Sequence[TrialResult]) -> list[int]:
    return [row.n_parameters or 1 for row in rows]


def _set_size_axis(axes: Axes, sizes: Sequence[int]) -> None:
    low, high = min(sizes) / 1.08, max(sizes) * 1.08
    if high / low < 2:
        low, high = low / 1.4, high * 1.4
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    rounds = [
        factor * 10**power
        for power in range(9)
        for factor in (1, 2, 3, 5, 7)
        if low <= factor * 10**power <= high
    ]
    if len(rounds) < 3:
        rounds = [round(tick) for tick in style.nice_ticks(low, high)]
    axes.set_xticks(rounds, [f"{number:,}".replace(",", "\u2009") for number in rounds])
    axes.minorticks_off()


def _label_front(axes: Axes, front: Sequence[TrialResult]) -> None:
    """Write trial numbers up and left of the front's points, where by its nature no point lies."""
    figure = axes.figure
    taken: list[tuple[float, float, float, float]] = []
    line = style.SMALL * figure.dpi / 72
    for row in reversed(front):
        place = (_sizes([row])[0], in_percent(row))
        x, y = axes.transData.transform(place)
        text = str(row.number)
        width, lift = 0.66 * line * len(text), 0.35 * line
        while any(
            x - 0.3 * line > left
            and x - 0.3 * line - width < right
            and y + lift < top
            and y + lift + line > bottom
            for left, bottom, right, top in taken
        ):
            lift += 0.2 * line
        right_end = x - 0.3 * line
        taken.append((right_end - width, y + lift, right_end, y + lift + line))
        points = 72 / figure.dpi
        axes.annotate(
            text,
            place,
            textcoords="offset points",
            xytext=(-0.3 * line * points, lift * points),
            ha="right",
            va="bottom",
            fontsize=style.SMALL,
            color=style.BEST,
            zorder=7,
            annotation_clip=False,
            arrowprops=(
                {
                    "arrowstyle": "-",
                    "color": style.BEST,
                    "linewidth": 0.5,
                    "shrinkA": 0,
                    "shrinkB": 3,
                }
                if lift > line
                else None
            ),
        )


@style.styled
def best_curves(rows: Sequence[TrialResult], top: int = 10) -> Figure:
    """Draw validation accuracy and loss by epoch of the best trials, with the baseline's.

    Args:
        rows: finished trials in any order.
        top: how many of the best COMPLETE ones.
    """
    chosen = select([row for row in rows if row.epochs])
    if chosen.best is None:
        return empty_figure("Learning curves of the best trials", "no trial is complete yet")
    best = by_value(chosen.complete)[:top]
    baseline = chosen.baseline
    shown = best if baseline is None or baseline in best else [*best, baseline]
    figure = style.new_figure(height=3.0)
    n_epochs = max(len(row.epochs) for row in shown)
    panels = (
        ("validation accuracy in %", [[100 * e.val_accuracy for e in r.epochs] for r in shown]),
        ("validation loss, with L2 penalty", [[e.val_loss for e in r.epochs] for r in shown]),
    )
    for place, (title, curves) in enumerate(panels):
        axes = figure.add_axes((0.07 + 0.475 * place, 0.145, 0.345, 0.655))
        for row, curve in reversed(list(zip(shown, curves, strict=True))):
            _draw_curve(axes, row, curve, chosen.best, baseline)
        limits, outside = _curve_limits(curves, accuracy=place == 0)
        axes.set_ylim(*limits)
        style.set_y_ticks(axes, style.nice_ticks(*limits))
        style.set_epoch_ticks(axes, n_epochs)
        axes.grid(axis="y")
        side = f"below {limits[0]:.1f}" if place == 0 else f"above {limits[1]:.2g}"
        axes.set_title(title + (f" ({outside} {side})" if outside else ""))
        axes.set_xlabel("epoch")
        ends = {"best": (curves[0][-1], style.BEST)}
        if baseline is not None and baseline is not chosen.best:
            ends["baseline"] = (curves[shown.index(baseline)][-1], style.BASELINE)
        label_right(axes, ends, distance=0.075)
    others = sum(row is not chosen.best and row is not baseline for row in best)
    text = f"Learning curves of the best trials: trial {chosen.best.number}"
    if others:
        text += f" and the next {others}"
    if baseline is not None and baseline is not chosen.best:
        text += ", over the baseline's"
    style.write_title(figure, 0.07, text)
    figure.text(
        0.985,
        1 - 0.105 / figure.get_size_inches()[1],
        "dots: epoch kept",
        va="center_baseline",
        ha="right",
        fontsize=style.SMALL,
        color=style.MUTED,
    )
    return figure


def _draw_curve(
    axes: Axes,
    row: TrialResult,
    curve: Sequence[float],
    best: TrialResult,
    baseline: TrialResult | None,
) -> None:
    if row is best:
        color, width, alpha, order, name = style.BEST, 1.8, 1.0, 4.0, "best"
    elif row is baseline:
        color, width, alpha, order, name = style.BASELINE, 1.5, 1.0, 3.0, "baseline"
    else:
        color, width, alpha, order, name = style.COMPLETE, 0.9, 0.55, 2.0, "other"
    numbers = [epoch.epoch for epoch in row.epochs]
    axes.plot(numbers, curve, color=color, linewidth=width, alpha=alpha, zorder=order, gid=name)
    if row.best_epoch is not None:
        axes.plot(
            row.best_epoch,
            curve[row.best_epoch - 1],
            "o",
            color=color,
            alpha=alpha,
            markersize=4.5 if row is best else 3.2,
            markeredgewidth=0,
            zorder=order + 0.5,
            gid="kept",
        )


def _curve_limits(
    curves: Sequence[Sequence[float]], *, accuracy: bool
) -> tuple[tuple[float, float], int]:
    """Return limits that show all but the first third of the epochs, and how many lie outside."""
    longest = max(len(curve) for curve in curves)
    skipped = min(math.ceil(longest / 3), longest - 1)
    everything = [value for curve in curves for value in curve if math.isfinite(value)]
    late = [v for curve in curves for v in curve[skipped:] if math.isfinite(v)] or everything
    if not late:
        return (0.0, 1.0), 0
    if accuracy:
        low, high = min(late), max(everything)
        margin = 0.05 * max(high - low, 0.4)
        low, high = max(low - margin, 0.0), high + margin
        return (low, high), sum(value < low for value in everything)
    low, high = min(everything), max(late)
    margin = 0.05 * max(high - low, 0.01)
    low, high = max(low - margin, 0.0), high + margin
    return (low, high), sum(value > high for value in everything)
