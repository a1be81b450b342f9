"""Replicates of the confirmed configurations beside what the search had promised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_study.plots import style

_ROW, _HEAD, _FOOT = 0.34, 0.68, 0.42


class _Interval(Protocol):
    @property
    def estimate(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


class _Effect(Protocol):
    @property
    def interval(self) -> _Interval: ...


class _Candidate(Protocol):
    @property
    def trial(self) -> int: ...
    @property
    def search_value(self) -> float | None: ...


class _Confirmed(Protocol):
    @property
    def candidate(self) -> _Candidate: ...
    @property
    def values(self) -> tuple[float, ...]: ...
    @property
    def mean(self) -> _Interval: ...
    @property
    def to_best(self) -> _Effect | None: ...
    @property
    def corrected_mean(self) -> _Interval | None: ...
    @property
    def corrected_to_best(self) -> _Interval | None: ...
    @property
    def lower_bound(self) -> float | None: ...


@style.styled
def confirmed_values(
    configurations: Sequence[_Confirmed],
    margin: float | None = None,
    winner: int | None = None,
) -> Figure:
    """Draw each configuration's replicates and mean, and its paired difference to the best.

    Thick lines are 95 % intervals over seeds and splits, thin ones are corrected for the overlap
    of the training sets.

    Args:
        configurations: two configurations or more; accuracies in [0, 1], drawn in percent.
        margin: how much worse than the best the winner may be, drawn with the one-sided bounds.
        winner: number of the trial that won, which is marked.
    """
    ordered = sorted(configurations, key=lambda c: c.mean.estimate)
    panel = _ROW * (len(ordered) + 0.4)
    height = _HEAD + 2 * (panel + _FOOT) + 0.22
    figure = style.new_column(height)
    left, width = 0.19, 0.78
    upper = figure.add_axes((left, 1 - (_HEAD + panel) / height, width, panel / height))
    lower = figure.add_axes((left, _FOOT / height, width, panel / height))
    for row, c in enumerate(ordered):
        _draw_values(upper, row, c)
        if c.to_best is not None:
            _draw_interval(lower, row, c.to_best.interval, c.corrected_to_best)
            if c.lower_bound is not None:
                lower.plot([100 * c.lower_bound], [row], "|", color=style.INK, ms=9, mew=1.6)
        else:
            lower.plot([0], [row], "o", color=style.VALIDATION, ms=5)
        if c.candidate.trial == winner:
            upper.plot(100 * c.mean.estimate, row, gid="confirmed", zorder=6, **style.STAR)
    for axes in (upper, lower):
        axes.set_yticks(range(len(ordered)), [_name(c) for c in ordered])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(-0.7, len(ordered) - 0.3)
        axes.grid(axis="x")
    upper.set_xlabel("validation accuracy in %")
    lower.set_xlabel("minus the best, paired by seed and split, in points")
    lower.axvline(0, color=style.MUTED, linewidth=0.7)
    if margin is not None:
        lower.axvline(-100 * margin, color=style.INK, linewidth=1.0, linestyle=style.DASHED)
    _write_legend(figure, height, margin, has_winner=winner is not None)
    style.write_title(figure, 0.02, "Confirmation with fresh seeds and splits")
    return figure


def _draw_values(axes: Axes, row: int, c: _Confirmed) -> None:
    values = 100 * np.array(c.values)
    axes.plot(values, np.full(len(values), row - 0.27), "|", color=style.MUTED, ms=5, mew=0.7)
    _draw_interval(axes, row, c.mean, c.corrected_mean)
    if c.candidate.search_value is not None:
        axes.plot(
            [100 * c.candidate.search_value], [row + 0.2], "D", markerfacecolor="none",
            markeredgecolor=style.MUTED, ms=4,
        )  # fmt: skip


def _draw_interval(axes: Axes, row: int, interval: _Interval, corrected: _Interval | None) -> None:
    if corrected is not None:
        ends = [100 * corrected.low, 100 * corrected.high]
        axes.plot(ends, [row, row], color=style.VALIDATION, linewidth=0.7)
    ends = [100 * interval.low, 100 * interval.high]
    axes.plot(ends, [row, row], color=style.VALIDATION, linewidth=2.2)
    axes.plot([100 * interval.estimate], [row], "o", color=style.VALIDATION, ms=5)


def _name(c: _Confirmed) -> str:
    return "documented" if c.candidate.trial == 0 else f"trial {c.candidate.trial}"


def _write_legend(figure: Figure, height: float, margin: float | None, has_winner: bool) -> None:
    color = style.VALIDATION
    marks = [
        Line2D([], [], color=color, marker="o", ms=5, linewidth=2.2, label="mean, 95 % interval"),
        Line2D([], [], color=color, linewidth=0.7, label="corrected interval"),
        Line2D([], [], color=style.MUTED, marker="|", ms=5, linestyle="", label="one run"),
        Line2D(
            [], [], markeredgecolor=style.MUTED, markerfacecolor="none", marker="D", ms=4,
            linestyle="", label="value in the search",
        ),
    ]  # fmt: skip
    if margin is not None:
        marks.append(
            Line2D(
                [], [], color=style.INK, marker="|", ms=9, mew=1.6, linewidth=1.0,
                linestyle=style.DASHED, label="bound, margin",
            )
        )  # fmt: skip
    if has_winner:
        marks.append(Line2D([], [], label="winner", **style.STAR))
    figure.legend(
        handles=marks,
        loc="upper left",
        bbox_to_anchor=(0.0, 1 - 0.2 / height),
        ncols=3,
        columnspacing=1.0,
        handlelength=1.6,
        handletextpad=0.5,
        fontsize=style.SMALL,
    )
