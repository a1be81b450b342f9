"""What several figures of a study draw alike: points, reference lines, legends, ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
from mnist_study.plots.selection import focus_limits


def study_limits(chosen: Selection) -> tuple[float, float]:
    """Return the limits in percent that all figures of a study's values share."""
    keep = [in_percent(chosen.baseline)] if chosen.baseline else []
    return focus_limits(
        [in_percent(row) for row in chosen.complete],
        [in_percent(row) for row in chosen.pruned],
        keep=keep,
    )


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
    inside = values >= low
    places = np.array(xs, dtype=np.float64)
    pruned = kind == "pruned"
    plain = style.PRUNED if pruned else style.COMPLETE
    for mask, suffix in ((inside, ""), (~inside, "-below")):
        if not mask.any():
            continue
        off = bool(suffix)
        axes.scatter(
            places[mask],
            np.where(off, low, values[mask]),
            s=size * (0.9 if off else 1.0),
            c=plain if colors is None else colors[mask],
            marker="v" if off else ("x" if pruned else "o"),
            linewidths=0.9 if pruned and not off else 0,
            clip_on=not off,
            zorder=2 if pruned else 3,
            gid=kind + suffix,
        )


def draw_baseline(axes: Axes, height: float) -> None:
    """Draw the baseline's value as a reference line."""
    axes.axhline(
        height,
        color=style.BASELINE,
        linewidth=1.0,
        linestyle=(0, (5, 2.5)),
        zorder=2.5,
        gid="baseline",
    )


def label_right(axes: Axes, names: Mapping[str, tuple[float, str]], *, distance: float) -> None:
    """Write names beside the right end of an axis at their heights, apart from each other."""
    low, high = axes.get_ylim()
    ordered = sorted(
        ((min(max(value, low), high) - low) / (high - low), name, color)
        for name, (value, color) in names.items()
    )
    heights = style.spread_apart([height for height, _, _ in ordered], distance)
    for height, (_, name, color) in zip(heights, ordered, strict=True):
        axes.text(
            1.012,
            height,
            name,
            transform=axes.transAxes,
            color=color,
            va="center",
            fontsize=style.SMALL,
            linespacing=1.15,
        )


def state_legend(
    figure: Figure,
    chosen: Selection,
    low: float,
    *,
    failed: bool = False,
    marks: bool = False,
    by_order: bool = False,
    extra: Sequence[Line2D] = (),
) -> None:
    """Explain the marks above the panels, with the numbers of trials and of those out of sight."""

    def mark(label: str, marker: str, color: str, **more: Any) -> Line2D:  # noqa: ANN401
        return Line2D(
            [],
            [],
            linestyle="none",
            marker=marker,
            color=color,
            label=label,
            markersize=4.5,
            **more,
        )

    dark = to_hex(style.order_colors()(0.75)) if by_order else style.COMPLETE
    entries = [mark(f"complete ({len(chosen.complete)})", "o", dark, markeredgewidth=0)]
    if chosen.pruned:
        entries.append(mark(f"pruned ({len(chosen.pruned)})", "x", style.PRUNED))
    if chosen.failed and failed:
        entries.append(mark(f"failed ({len(chosen.failed)})", "P", style.FAILED, markeredgewidth=0))
    below = sum(in_percent(row) < low for row in (*chosen.complete, *chosen.pruned))
    if below:
        entries.append(mark(f"below {low:.1f} % ({below})", "v", style.PRUNED, markeredgewidth=0))
    if marks and chosen.baseline is not None:
        entries.append(mark("baseline", "D", style.BASELINE))
    if marks and chosen.best is not None:
        entries.append(
            mark(
                f"best, trial {chosen.best.number}",
                "o",
                style.BEST,
                markerfacecolor="none",
                markeredgewidth=1.3,
            )
        )
    entries += extra
    figure.legend(
        handles=entries,
        loc="upper right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=len(entries),
        handletextpad=0.35,
        columnspacing=1.0,
        borderaxespad=0.3,
    )


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
        powers = [p for p in range(-12, 13) if low * 0.999 <= 10.0**p <= high * 1.001]
        step = -(-len(powers) // 4)
        return {10.0**p: _power(p) for p in powers[::step]}
    if limit.type == "int" and high / low >= 4:
        doublings = [2**p for p in range(40) if low <= 2**p <= high]
        return {float(number): str(number) for number in doublings}
    rounds = [
        factor * 10.0**p
        for p in range(-12, 13)
        for factor in (1, 2, 5)
        if low * 0.999 <= factor * 10.0**p <= high * 1.001
    ]
    step = -(-len(rounds) // 4)
    return {number: f"{number:g}" for number in rounds[::step]}


def _power(exponent: int) -> str:
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}"


def empty_figure(title: str, why: str) -> Figure:
    """Return a figure that says why there is nothing to draw."""
    figure = style.new_figure(height=1.6)
    style.write_title(figure, 0.085, title)
    figure.text(0.5, 0.45, why, ha="center", color=style.MUTED, gid="why-empty")
    return figure
