"""Learning curves of one configuration over many seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.figure import Figure

from mnist_study.core.trials import EpochMetrics
from mnist_study.plots import style
from mnist_study.plots.marks import label_right


@style.styled
def replicate_curves(
    runs: Sequence[Sequence[EpochMetrics]], quantity: Literal["accuracy", "loss"]
) -> Figure:
    """Draw the training and validation curve of every run, faint, and their means, bold.

    Runs that stop early end at different epochs; the mean goes as far as at least half of the runs.

    Args:
        runs: the epochs of each run, at least one run with at least one epoch.
        quantity: accuracy is drawn in percent.
    """
    figure = style.new_figure(height=3.0)
    axes = figure.add_axes((0.085, 0.145, 0.76, 0.745))
    scale = 100 if quantity == "accuracy" else 1
    longest = max(len(run) for run in runs)
    ends: dict[str, tuple[float, str]] = {}
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
    style.set_epoch_ticks(axes, longest)
    axes.set_xlabel("epoch")
    unit = " in %" if quantity == "accuracy" else " (with L2 penalty)"
    axes.set_ylabel(quantity + unit)
    axes.grid(axis="y")
    label_right(axes, ends, distance=0.06)
    style.write_title(
        figure, 0.085, f"{quantity.capitalize()} over epochs, {len(runs)} seeds and their mean"
    )
    return figure
