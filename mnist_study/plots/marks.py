"""What several figures of a study draw alike: points, reference lines, legends, axes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from mnist_study.core.config import Range
from mnist_study.core.trials import Selection, TrialResult, in_percent
from mnist_study.plots import style

_FENCE = 2.5
_NARROWEST_POINTS = 0.4
_LEGEND_COLUMNS = 3


def empty_figure(title: str, why: str) -> Figure:
    """Return a figure that says why there is nothing to draw."""
    figure = style.new_column(height=1.3)
    style.write_title(figure, 0.03, title)
    # A line holds some 62 characters.
    text = textwrap.fill(why, 62)
    figure.text(0.5, 0.45, text, ha="center", va="center", color=style.MUTED, gid="why-empty")
    return figure


def study_limits(chosen: Selection, *, with_pruned: bool = True) -> tuple[float, float]:
    """Return the limits in percent that all figures of a study's values share."""
    return focus_limits(
        [in_percent(row) for row in chosen.complete],
        [in_percent(row) for row in chosen.pruned] if with_pruned else [],
        keep=[in_percent(chosen.baseline)] if chosen.baseline else [],
    )


def focus_limits(
    values: Sequence[float], others: Sequence[float] = (), *, keep: Sequence[float] = ()
) -> tuple[float, float]:
    """Choose axis limits that outliers far below do not stretch.

    The lower end is the lowest value that is not an outlier (more than 2.5 interquartile ranges
    below the first quartile). Others widen the range by at most half of it.

    Args:
        values: in percent, what the figure is about; may be empty.
        others: in percent, shown as far as they lie near.
        keep: in percent, always shown.

    Returns:
        Lower and upper end, a margin included; the upper end may exceed 100.
    """
    main = sorted(values) or sorted(others) or [50.0]
    first, third = main[len(main) // 4], main[(3 * len(main)) // 4]
    fence = first - max(_FENCE * (third - first), _NARROWEST_POINTS)
    low = min([*(value for value in main if value >= fence), *keep])
    high = max([main[-1], *keep])
    near = [value for value in others if value >= low - 0.5 * max(high - low, _NARROWEST_POINTS)]
    low, high = min([low, *near]), max([high, *near])
    if high - low < _NARROWEST_POINTS:
        middle = (high + low) / 2
        low, high = middle - _NARROWEST_POINTS / 2, middle + _NARROWEST_POINTS / 2
    margin = 0.07 * (high - low)
    return max(low - margin, 0.0), high + margin


def draw_points(
    axes: Axes,
    rows: Sequence[TrialResult],
    xs: Sequence[float],
    kind: str,
    *,
    size: float = 20,
    colors: NDArray[np.float64] | None = None,
) -> None:
    """Draw trials at their values; those below the axis as triangles on its lower edge."""
    low = axes.get_ylim()[0]
    values = np.array([in_percent(row) for row in rows], dtype=np.float64)
    is_pruned = kind == "pruned"
    plain = style.PRUNED if is_pruned else style.COMPLETE
    for is_below in (False, True):
        mask = (values < low) == is_below
        if not mask.any():
            continue
        axes.scatter(
            np.array(xs, dtype=np.float64)[mask],
            np.maximum(values[mask], low),
            s=size * (0.9 if is_below else 1.0),
            c=plain if colors is None else colors[mask],
            marker="v" if is_below else ("x" if is_pruned else "o"),
            linewidths=0.9 if is_pruned and not is_below else 0,
            clip_on=not is_below,
            zorder=2 if is_pruned else 3,
            gid=kind + ("-below" if is_below else ""),
            urls=[trial_url(row) for row, is_in in zip(rows, mask, strict=True) if is_in],
        )


def trial_url(row: TrialResult) -> str:
    """Return the place of a trial in a page, to which its mark in a figure leads."""
    return f"#trial-{row.number}"


def draw_documented_point(axes: Axes, x: float, row: TrialResult) -> None:
    """Draw the documented network as a diamond."""
    axes.plot(
        x, in_percent(row), "D", color=style.DOCUMENTED, markersize=4.5, zorder=7, clip_on=False,
        gid="documented", url=trial_url(row),
    )  # fmt: skip


def draw_confirmed_point(axes: Axes, x: float, row: TrialResult) -> None:
    """Draw a star over the trial whose configuration won the confirmation."""
    axes.plot(
        x, in_percent(row), gid="confirmed", url=trial_url(row), zorder=8, clip_on=False,
        **style.STAR,
    )  # fmt: skip


def label_right(axes: Axes, names: Mapping[str, tuple[float, str]], *, distance: float) -> None:
    """Write names to the right of an axis at their heights, moved apart where they are close.

    Args:
        axes: whose limits are fixed.
        names: height in data coordinates, and colour, by name.
        distance: smallest distance of two names, as a share of the axis.
    """
    low, high = axes.get_ylim()
    ordered = sorted(
        ((min(max(value, low), high) - low) / (high - low), name, color)
        for name, (value, color) in names.items()
    )
    heights = style.spread_apart([height for height, _, _ in ordered], distance)
    for height, (_, name, color) in zip(heights, ordered, strict=True):
        axes.text(
            1.012, height, name, transform=axes.transAxes, color=color, va="center",
            fontsize=style.SMALL, linespacing=1.15,
        )  # fmt: skip


def state_legend(
    figure: Figure,
    chosen: Selection,
    low: float,
    *,
    shows_failed: bool = False,
    shows_best: bool = False,
    confirmed: TrialResult | None = None,
    by_order: bool = False,
    extra: Sequence[Line2D] = (),
) -> None:
    """Explain the marks in two lines below the title, with the numbers of trials.

    Each trial is counted once: as complete, pruned or failed.

    Args:
        figure: to draw on.
        chosen: the trials that it shows.
        low: lower end of the axis of values, in percent; a trial below it is a triangle there.
        shows_failed: failed trials are marked.
        shows_best: documented network and best trial have marks of their own.
        confirmed: the trial marked as winner of the confirmation, if any.
        by_order: complete trials are coloured by their order.
        extra: further entries.
    """
    dark = to_hex(style.order_colors()(0.75)) if by_order else style.COMPLETE
    n_below = sum(in_percent(row) < low for row in (*chosen.complete, *chosen.pruned))
    entries = [_entry(f"{len(chosen.complete)} complete", "o", dark)]
    if chosen.pruned:
        entries.append(_entry(f"{len(chosen.pruned)} pruned", "x", style.PRUNED))
    if chosen.failed and shows_failed:
        entries.append(_entry(f"{len(chosen.failed)} failed", "P", style.FAILED))
    if n_below:
        entries.append(_entry(f"{n_below} of them below {low:.1f} %", "v", style.PRUNED))
    if chosen.baseline is not None and shows_best:
        entries.append(_entry("documented", "D", style.DOCUMENTED))
    if chosen.best is not None and shows_best:
        ring = style.RING | {"markersize": 5.5}
        entries.append(Line2D([], [], label=f"best, trial {chosen.best.number}", **ring))
    entries += extra
    if confirmed is not None:
        label = f"confirmed, trial {confirmed.number}"
        entries.append(Line2D([], [], label=label, **style.STAR))
    figure.legend(
        handles=_by_rows(entries, _LEGEND_COLUMNS), loc="upper left",
        bbox_to_anchor=(0.015, 1 - 0.2 / figure.get_figheight()), ncols=_LEGEND_COLUMNS,
        handletextpad=0.2, columnspacing=1.1, borderaxespad=0.3, handlelength=1.6,
    )  # fmt: skip


def _by_rows(entries: Sequence[Line2D], n_columns: int) -> list[Line2D]:
    """Return entries in the order that makes a legend, filled column by column, read in rows."""
    rows = [entries[start : start + n_columns] for start in range(0, len(entries), n_columns)]
    return [row[column] for column in range(n_columns) for row in rows if column < len(row)]


def _entry(label: str, marker: str, color: str) -> Line2D:
    return Line2D(
        [], [], linestyle="", marker=marker, color=color, markersize=4.5,
        markeredgewidth=1.0 if marker == "x" else 0.0, label=label,
    )  # fmt: skip


def set_range(axes: Axes, limit: Range) -> None:
    """Give an x axis the limits, scale and ticks of a parameter's range."""
    if limit.log:
        axes.set_xscale("log")
        ratio = (limit.high / limit.low) ** 0.05
        axes.set_xlim(limit.low / ratio, limit.high * ratio)
    else:
        margin = 0.05 * (limit.high - limit.low)
        axes.set_xlim(limit.low - margin, limit.high + margin)
    ticks = range_ticks(limit)
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if limit.log and limit.high / limit.low < 100:
        axes.minorticks_off()


def range_ticks(limit: Range) -> dict[float, str]:
    """Return ticks of a parameter's range with their labels: powers, doublings or round steps."""
    low, high = limit.low, limit.high
    if not limit.log:
        ticks = style.nice_ticks(low, high, at_most=4)
        return dict(zip(ticks, style.tick_labels(ticks), strict=True))
    if high / low >= 1000:
        powers = _at_most_four(style.log_ticks(low, high, factors=(1,)))
        return {power: f"10{_raised(round(math.log10(power)))}" for power in powers}
    if limit.type == "int" and high / low >= 4:
        doublings = [2**p for p in range(40) if low <= 2**p <= high]
        return {float(number): str(number) for number in doublings}
    rounds = style.log_ticks(low, high)
    if len(rounds) < 2:
        rounds = style.nice_ticks(low, high, at_most=4)
    return {number: f"{number:g}" for number in _at_most_four(rounds)}


def _at_most_four(ticks: Sequence[float]) -> Sequence[float]:
    return ticks[:: -(-len(ticks) // 4)]


def _raised(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
