"""The figure that shows every trial's parameters side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_study.core.config import Range
from mnist_study.core.trials import Selection, TrialResult, by_value, in_percent, select
from mnist_study.plots import style
from mnist_study.plots.marks import empty_figure, range_ticks, study_limits, trial_url

_LONGEST_NAME = 9


@style.styled
def parallel_coordinates(
    rows: Sequence[TrialResult], space: Mapping[str, Range], confirmed: int | None = None
) -> Figure:
    """Draw every trial as a line through its parameters to its validation accuracy.

    Pruned trials have no final value and end at the last parameter. Better trials are darker,
    wider and drawn later. The ends of each range stand above and below its axis, off the lines.

    Args:
        rows: finished trials in any order.
        space: ranges by name of parameter, in the order of the axes.
        confirmed: number of the trial that won the confirmation, if there was one.
    """
    chosen = select(rows)
    if not chosen.complete or not space:
        return empty_figure("Parallel coordinates", "no trial is complete yet")
    figure = style.new_column(height=3.5)
    axes = figure.add_axes((0.055, 0.08, 0.845, 0.60))
    axes.set_axis_off()
    low, high = study_limits(chosen, with_pruned=False)
    winner = next((row for row in chosen.complete if row.number == confirmed), None)
    _draw_trials(axes, chosen, space, low, high, winner)
    for x, (name, limit) in enumerate(space.items()):
        _draw_axis(axes, x, name, [_share(tick, limit) for tick in range_ticks(limit)])
        for y, end, va in ((-0.035, limit.low, "top"), (1.035, limit.high, "bottom")):
            axes.text(
                x, y, f"{end:g}".replace("e-0", "e\u2212"), fontsize=style.SMALL, ha="center", va=va
            )
    values = style.nice_ticks(low, high)
    shares = [(value - low) / (high - low) for value in values]
    last = len(space)
    _draw_axis(axes, last, "accuracy", shares)
    for height, label in zip(shares, style.tick_labels(values), strict=True):
        axes.text(last + 0.17, height, label, fontsize=style.SMALL, ha="left", va="center")
    _draw_values(axes, last)
    axes.set_xlim(-0.1, last + 0.1)
    axes.set_ylim(-0.02, 1.02)
    style.write_title(figure, 0.02, "Parameters of all trials, and their validation accuracy in %")
    _write_key(figure, chosen, low, winner)
    return figure


def _draw_values(axes: Axes, x: float) -> None:
    """Draw the colours of the values along the last axis, as shapes and not as an image."""
    n, colors = 32, style.value_colors()
    for k in range(n):
        axes.bar(
            x, 1.5 / n, width=0.12, bottom=k / n, color=colors((k + 0.5) / n), linewidth=0,
            zorder=5 + 0.01 * k,
        )  # fmt: skip


def _draw_trials(
    axes: Axes,
    chosen: Selection,
    space: Mapping[str, Range],
    low: float,
    high: float,
    winner: TrialResult | None,
) -> None:
    """Draw the trials' lines; low and high are the ends of the axis of values, in percent."""

    def heights(row: TrialResult) -> list[float]:
        return [_share(getattr(row.params, name), limit) for name, limit in space.items()]

    for row in chosen.pruned:
        axes.plot(
            heights(row), color=style.PRUNED, linewidth=0.5, alpha=0.35, zorder=1, gid="pruned",
            url=trial_url(row),
        )  # fmt: skip
    colors = style.value_colors()
    ranked = by_value(chosen.complete)
    for rank, row in reversed(list(enumerate(ranked))):
        strength = 1 - rank / max(len(ranked) - 1, 1)
        value = min(max((in_percent(row) - low) / (high - low), 0.0), 1.0)
        line = [*heights(row), value]
        if row is chosen.baseline:
            axes.plot(
                line, color=style.DOCUMENTED, linewidth=1.6, linestyle=style.DASHED, zorder=4,
                gid="documented", url=trial_url(row),
            )  # fmt: skip
        elif row is winner:
            axes.plot(
                line, color=style.BEST, linewidth=2.2, zorder=3.8, gid="confirmed",
                url=trial_url(row),
            )  # fmt: skip
        else:
            axes.plot(
                line, color=colors(value), linewidth=0.7 + 1.5 * strength**3,
                alpha=0.55 + 0.45 * strength, zorder=2 + strength, gid="complete",
                url=trial_url(row),
            )  # fmt: skip


def _share(value: float, limit: Range) -> float:
    """Return where a value lies in its range, from 0 at the low end to 1, on its own scale."""
    if limit.log:
        return math.log(value / limit.low) / math.log(limit.high / limit.low)
    return (value - limit.low) / (limit.high - limit.low)


def _draw_axis(axes: Axes, x: float, name: str, ticks: Sequence[float]) -> None:
    """Draw a vertical axis from 0 to 1 with ticks, and its name above it."""
    axes.plot([x, x], [0, 1], color=style.MUTED, linewidth=0.7, zorder=3.5)
    axes.hlines(ticks, x - 0.04, x + 0.04, color=style.MUTED, linewidth=0.7, zorder=3.6)
    # A long name takes two lines and keeps its underscore.
    text = name.replace("_", "_\n", 1) if len(name) > _LONGEST_NAME else name
    axes.text(x, 1.13, text, ha="center", va="bottom", fontsize=style.SMALL, linespacing=1.0)


def _write_key(figure: Figure, chosen: Selection, low: float, winner: TrialResult | None) -> None:
    """Write the legend, with the number of trials whose values lie below the axis."""
    n_below = sum(in_percent(row) < low for row in chosen.complete)
    label = f"{len(chosen.complete)} complete, darker is better"
    label += f" ({n_below} below {low:.1f} %)" if n_below else ""
    marks = [Line2D([], [], color=style.value_colors()(0.8), linewidth=1.6, label=label)]
    if chosen.pruned:
        label = f"{len(chosen.pruned)} pruned"
        marks.append(Line2D([], [], color=style.PRUNED, linewidth=0.8, label=label))
    if chosen.baseline is not None:
        marks.append(
            Line2D([], [], color=style.DOCUMENTED, linestyle=style.DASHED, label="documented")
        )
    if winner is not None:
        marks.append(
            Line2D([], [], color=style.BEST, linewidth=2.2, label=f"confirmed, {winner.number}")
        )
    figure.legend(
        handles=marks, loc="upper left", bbox_to_anchor=(0.015, 1 - 0.2 / figure.get_figheight()),
        ncols=4 if not n_below else 3, handlelength=1.5, handletextpad=0.4, columnspacing=0.9,
        borderaxespad=0.3,
    )  # fmt: skip
