"""Replicates of the confirmed configurations beside what the search had promised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_study.plots import style


class _Interval(Protocol):
    estimate: float
    low: float
    high: float


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
    def mean(self) -> object: ...


@style.styled
def confirmed_values(found: Sequence[_Confirmed]) -> Figure:
    """Draw each configuration's replicates, their mean with its interval, and the search's value.

    Args:
        found: at least one configuration; accuracies in [0, 1], drawn in percent.
    """
    ordered = sorted(found, key=lambda c: float(np.mean(c.values)))
    figure = style.new_figure(height=1.1 + 0.36 * len(ordered))
    bottom, top = 0.5 / figure.get_figheight(), 0.42 / figure.get_figheight()
    axes = figure.add_axes((0.135, bottom, 0.835, 1 - bottom - top))
    for height, c in enumerate(ordered):
        values = 100 * np.array(c.values)
        axes.plot(values, np.full(len(values), height - 0.16), "|", color=style.MUTED, ms=6)
        mean, low, high = (100 * getattr(c.mean, part) for part in ("estimate", "low", "high"))
        axes.plot([low, high], [height, height], color=style.COMPLETE, linewidth=1.6)
        axes.plot([mean], [height], "o", color=style.COMPLETE, ms=5)
        if c.candidate.search_value is not None:
            axes.plot([100 * c.candidate.search_value], [height], "D", color=style.BEST, ms=4)
    axes.set_yticks(range(len(ordered)))
    axes.set_yticklabels(
        ["documented" if c.candidate.trial == 0 else f"trial {c.candidate.trial}" for c in ordered]
    )
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.set_xlabel("validation accuracy in %")
    axes.grid(axis="x")
    marks = [
        Line2D([], [], color=style.COMPLETE, marker="o", ms=5, label="mean, 95 % interval"),
        Line2D([], [], color=style.MUTED, marker="|", ms=6, linestyle="", label="one fresh seed"),
        Line2D([], [], color=style.BEST, marker="D", ms=4, linestyle="", label="search's value"),
    ]
    figure.legend(handles=marks, loc="upper right", ncols=3, frameon=False, fontsize=style.SMALL)
    style.write_title(figure, 0.135, "Confirmation with fresh seeds")
    return figure
