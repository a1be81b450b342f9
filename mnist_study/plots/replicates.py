"""Learning curves of one configuration over many seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mnist_study.core.trials import EpochMetrics, TrialResult, in_percent
from mnist_study.plots import style
from mnist_study.plots.marks import label_right


class _Interval(Protocol):
    @property
    def estimate(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


@style.styled
def replicate_accuracies(
    runs: Sequence[TrialResult],
    intervals: Mapping[str, tuple[_Interval, _Interval]],
    *,
    documented: float | None,
) -> Figure:
    """Draw the accuracies of all runs, with their mean and where a new run falls.

    Args:
        runs: each with a test accuracy and a value.
        intervals: of the mean, and of the prediction for a new seed, by what is measured: first
            test accuracy, then validation accuracy.
        documented: test accuracy in [0, 1] that the first is compared with; None compares nothing.
    """
    figure = style.new_column(height=3.3)
    axes = figure.add_axes((0.035, 0.135, 0.93, 0.70))
    values = ([100 * run.test_metrics["test/accuracy"] for run in runs], [*map(in_percent, runs)])
    colors = (style.TEST, style.VALIDATION)
    everything = [value for row in values for value in row]
    everything += [
        100 * end for pair in intervals.values() for i in pair for end in (i.low, i.high)
    ]
    everything += [] if documented is None else [100 * documented]
    margin = 0.04 * (max(everything) - min(everything) or 1.0)
    axes.set_xlim(min(everything) - margin, max(everything) + margin)
    axes.set_ylim(-0.75, 1.95)
    for row, (name, row_values, color) in enumerate(zip(intervals, values, colors, strict=True)):
        y = 1.25 * (1 - row) - 0.25
        _draw_runs(axes, y, row_values, [run.number for run in runs], color)
        of_mean, prediction = intervals[name]
        for interval, width in ((prediction, 0.9), (of_mean, 3.0)):
            ends = [100 * interval.low, 100 * interval.high]
            axes.plot(ends, [y, y], color=color, linewidth=width, gid="interval")
        axes.plot(100 * of_mean.estimate, y, "o", color=color, markersize=5.5, zorder=4)
        axes.text(
            0.0, y + 0.60, name, transform=axes.get_yaxis_transform(), va="center",
            color=color, zorder=6, bbox=style.ON_WHITE | {"alpha": 1.0},
        )  # fmt: skip
    if documented is not None:
        axes.plot(
            [100 * documented] * 2, [0.62, 1.62], color=style.DOCUMENTED, linewidth=1.2,
            linestyle=style.DASHED, zorder=3, gid="documented",
        )  # fmt: skip
        axes.text(
            100 * documented, 1.68, f"documented, {documented:.4f}", ha="center", va="bottom",
            fontsize=style.SMALL, color=style.DOCUMENTED,
        )  # fmt: skip
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    style.set_x_ticks(axes, 6)
    axes.set_xlabel("accuracy in %")
    style.write_title(figure, 0.035, f"Accuracy over {len(runs)} seeds")
    return figure


def _draw_runs(
    axes: Axes, y: float, values: Sequence[float], numbers: Sequence[int], color: str
) -> None:
    """Draw a dot for each run below a height, stacked where they would lie over each other."""
    low, high = axes.get_xlim()
    width = 0.017 * (high - low)
    taken: list[tuple[float, int]] = []
    for value, number in sorted(zip(values, numbers, strict=True)):
        level = next(
            k for k in range(len(values))
            if all(abs(value - x) >= width or k != other for x, other in taken)
        )  # fmt: skip
        taken.append((value, level))
        axes.plot(
            value, y - 0.16 - 0.075 * level, "o", color=color, markersize=4, markeredgewidth=0,
            alpha=0.75, gid="run", url=f"#trial-{number}", zorder=3,
        )  # fmt: skip


@style.styled
def replicate_curves(
    runs: Sequence[Sequence[EpochMetrics]], quantity: Literal["accuracy", "loss"]
) -> Figure:
    """Draw the training and validation curve of every run, faint, and their means, bold.

    Runs that stop early end at different epochs; the mean goes as far as at least half of the runs.
    The first epochs, which are far off, may lie outside the axis; the figure says how many.

    Args:
        runs: the epochs of each run, at least one run with at least one epoch.
        quantity: accuracy is drawn in percent.
    """
    figure = style.new_column(height=3.1)
    axes = figure.add_axes((0.145, 0.14, 0.67, 0.715))
    scale = 100 if quantity == "accuracy" else 1
    longest = max(len(run) for run in runs)
    ends: dict[str, tuple[float, str]] = {}
    everything: list[NDArray[np.float64]] = []
    for part, name, color in (
        ("train", "training", style.TRAINING),
        ("val", "validation", style.VALIDATION),
    ):
        curves = np.full((len(runs), longest), np.nan)
        for row, run in enumerate(runs):
            values = [scale * epoch.as_metrics()[f"{part}/{quantity}"] for epoch in run]
            curves[row, : len(values)] = values
            axes.plot(range(1, len(values) + 1), values, color=color, linewidth=0.6, alpha=0.25)
        n_left = np.sum(~np.isnan(curves), axis=0)
        shown = int(np.max(np.nonzero(n_left * 2 >= len(runs))[0])) + 1
        mean = np.nanmean(curves[:, :shown], axis=0)
        axes.plot(range(1, shown + 1), mean, color=color, linewidth=2.0)
        ends[name] = (float(mean[-1]), color)
        everything.append(curves)
    n_outside = _set_late_limits(axes, np.concatenate(everything))
    style.set_epoch_ticks(axes, longest)
    axes.set_xlabel("epoch")
    unit = " in %" if quantity == "accuracy" else " with L2 penalty"
    axes.set_ylabel(quantity + unit)
    axes.grid(axis="y")
    label_right(axes, ends, distance=0.07)
    style.write_title(
        figure, 0.02, f"{quantity.capitalize()} by epoch: {len(runs)} seeds, and their mean"
    )
    if n_outside:
        figure.text(
            0.02, 1 - 0.28 / figure.get_figheight(),
            f"{n_outside} points of the first epochs lie outside", va="center_baseline",
            fontsize=style.SMALL, color=style.MUTED,
        )  # fmt: skip
    return figure


def _set_late_limits(axes: Axes, curves: NDArray[np.float64]) -> int:
    """Fix the limits of the y axis by all but the first fifth of the epochs.

    Args:
        axes: to be limited.
        curves: shape (n_curves, n_epochs), NaN where a run has ended.

    Returns:
        How many points lie outside.
    """
    finite = curves[np.isfinite(curves)]
    n_skipped = min(-(-curves.shape[1] // 5), curves.shape[1] - 1)
    late = curves[:, n_skipped:]
    late = late[np.isfinite(late)]
    shown = late if len(late) else finite
    if not len(shown):
        return 0
    low, high = float(shown.min()), float(shown.max())
    margin = 0.06 * (high - low or 1.0)
    low, high = low - margin, high + margin
    style.set_y_limits(axes, low, high)
    return int(np.sum((finite < low) | (finite > high)))
