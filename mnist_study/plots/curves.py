"""The figure drawn for every trial: loss and accuracy over its epochs.

The axes have fixed places and ticks: laying a figure out by its contents would double its cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_study.core.trials import EpochMetrics, TrialResult
from mnist_study.plots import style
from mnist_study.plots.marks import label_right

_WIDTH, _HEIGHT = 6.4, 2.5
# Left, bottom, width and height, as shares of the figure.
_LOSS_PANEL = (0.07, 0.165, 0.33, 0.645)
_ACCURACY_PANEL = (0.56, 0.165, 0.31, 0.645)
# In points below the top: the first epochs must not flatten the others.
_WIDEST_ACCURACY_RANGE = 12.0
_LOG_LOSS_FROM_RATIO = 200.0


@style.styled
def training_curves(
    epochs: Sequence[EpochMetrics], *, best_epoch: int | None, title: str
) -> Figure:
    """Draw loss and accuracy of training and validation over the epochs of one training run.

    Training values are running means measured with dropout; validation values are measured at the
    end of the epoch. Values that are not finite are left out, and the figure says how many.

    Args:
        epochs: in order; may be empty, and then the figure says so.
        best_epoch: the epoch whose weights were kept, marked by a vertical line; None for none.
        title: one line, such as trial number, state and value.

    Returns:
        A figure of two panels.
    """
    figure = style.new_figure(_WIDTH, _HEIGHT)
    style.write_title(figure, _LOSS_PANEL[0], title)
    if not epochs:
        figure.text(0.5, 0.5, "no epoch was finished", ha="center", color=style.MUTED)
        return figure
    loss, accuracy = figure.add_axes(_LOSS_PANEL), figure.add_axes(_ACCURACY_PANEL)
    _draw_loss(loss, epochs)
    _draw_accuracy(accuracy, epochs)
    for axes in (loss, accuracy):
        axes.grid(axis="y")
        style.set_epoch_ticks(axes, epochs[-1].epoch)
        axes.set_xlabel("epoch", labelpad=2)
        if best_epoch is not None:
            axes.axvline(best_epoch, gid="best-epoch", **style.REFERENCE_LINE)
    if best_epoch is not None:
        _name_line(loss, best_epoch, f"epoch {best_epoch} kept")
    return figure


def trial_png(result: TrialResult) -> bytes:
    """Draw the curves of a finished trial as PNG, titled by its number, state and value."""
    value = "" if result.value is None else f", validation accuracy {100 * result.value:.2f} %"
    figure = training_curves(
        result.epochs,
        best_epoch=result.best_epoch,
        title=f"trial {result.number}, {result.state.value.lower()}{value}",
    )
    return style.to_png(figure)


def _draw_loss(axes: Axes, epochs: Sequence[EpochMetrics]) -> None:
    train = [epoch.train_loss for epoch in epochs]
    validation = [epoch.val_loss for epoch in epochs]
    finite = [value for value in train + validation if math.isfinite(value)]
    _draw_pair(axes, epochs, train, validation)
    if not finite:
        axes.set_yticks([])
    elif min(finite) > 0 and max(finite) / min(finite) > _LOG_LOSS_FROM_RATIO:
        low, high = math.floor(math.log10(min(finite))), math.ceil(math.log10(max(finite)))
        powers = range(low, high + 1, max(1, math.ceil((high - low) / 5)))
        axes.set_yscale("log")
        axes.set_ylim(10.0**low, 10.0**high)
        axes.set_yticks([10.0**power for power in powers], [f"1e{power}" for power in powers])
        axes.minorticks_off()
    else:
        top = 1.04 * max(finite) if max(finite) > 0 else 1.0
        axes.set_ylim(0.0, top)
        style.set_y_ticks(axes, style.nice_ticks(0.0, top))
    n_left_out = 2 * len(epochs) - len(finite)
    axes.set_title("loss, with the L2 penalty" + _note(n_left_out, "not finite"))


def _draw_accuracy(axes: Axes, epochs: Sequence[EpochMetrics]) -> None:
    train = [100 * epoch.train_accuracy for epoch in epochs]
    validation = [100 * epoch.val_accuracy for epoch in epochs]
    finite = sorted(value for value in train + validation if math.isfinite(value))
    _draw_pair(axes, epochs, train, validation)
    if not finite:
        axes.set_yticks([])
        axes.set_title("accuracy in %" + _note(2 * len(epochs), "not finite"))
        return
    top = finite[-1]
    # A run that learns ends far above where it starts; one that does not is shown in full.
    floor = top - max(_WIDEST_ACCURACY_RANGE, 1.5 * (top - finite[len(finite) // 4]))
    low = max(finite[0], floor)
    margin = 0.05 * max(top - low, 1.0)
    low, high = max(low - margin, 0.0), top + margin
    axes.set_ylim(low, high)
    style.set_y_ticks(axes, style.nice_ticks(low, high))
    names = {
        "training": (train[-1], style.TRAINING),
        "validation": (validation[-1], style.VALIDATION),
    }
    shown = {name: end for name, end in names.items() if math.isfinite(end[0])}
    label_right(axes, shown, distance=0.115)
    n_below = sum(value < low for value in finite)
    axes.set_title("accuracy in %" + _note(n_below, f"below {low:.0f}"))


def _draw_pair(
    axes: Axes, epochs: Sequence[EpochMetrics], train: list[float], validation: list[float]
) -> None:
    """Draw both curves; a curve of a few epochs gets points, which a line alone would hide."""
    numbers = [epoch.epoch for epoch in epochs]
    marker = "o" if len(epochs) <= 3 else "None"
    for name, values, color in (
        ("training", train, style.TRAINING),
        ("validation", validation, style.VALIDATION),
    ):
        shown = [value if math.isfinite(value) else math.nan for value in values]
        axes.plot(numbers, shown, color=color, marker=marker, markersize=3.5, gid=name)


def _name_line(axes: Axes, epoch: int, label: str) -> None:
    """Write beside the vertical line at an epoch, on the side with more room."""
    on_left = epoch > sum(axes.get_xlim()) / 2
    axes.annotate(
        label,
        (epoch, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if on_left else 4, 0),
        textcoords="offset points",
        ha="right" if on_left else "left",
        va="top",
        color=style.MUTED,
        fontsize=style.SMALL,
        bbox=style.ON_WHITE,
    )


def _note(n_points: int, why: str) -> str:
    """Return how many points a panel does not show, after its title."""
    return f" ({n_points} {'point' if n_points == 1 else 'points'} {why})" if n_points else ""
