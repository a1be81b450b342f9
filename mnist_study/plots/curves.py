"""Learning curves: those of one run, drawn for every trial, and those of a study's best trials.

Axes have fixed places and ticks; laying a figure out by its contents would double its cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_study.core.trials import EpochMetrics, Selection, TrialResult, by_value, select
from mnist_study.plots import style
from mnist_study.plots.marks import empty_figure, label_right, trial_url

_WIDTH, _HEIGHT = 6.4, 2.5
# Left, bottom, width and height, as shares of the figure.
_LOSS_PANEL = (0.07, 0.165, 0.33, 0.645)
_ACCURACY_PANEL = (0.56, 0.165, 0.31, 0.645)
# In percentage points below the top, so that the first epochs do not flatten the others.
_WIDEST_ACCURACY_RANGE = 12.0
# A loss whose largest value is more than this multiple of its smallest gets a log scale.
_LOG_LOSS_FROM_RATIO = 200.0
# Share of the loss axis above the highest value, where the kept epoch is named.
_HEADROOM = 0.12


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
            axes.axvline(
                best_epoch, linestyle=style.DASHED, gid="best-epoch", **style.REFERENCE_LINE
            )
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
        low, high = math.floor(math.log10(min(finite))), math.log10(max(finite))
        top = low + (high - low) / (1 - _HEADROOM)
        powers = range(low, math.floor(top) + 1, max(1, math.ceil((top - low) / 5)))
        axes.set_yscale("log")
        axes.set_ylim(10.0**low, 10.0**top)
        axes.set_yticks([10.0**power for power in powers], [f"1e{power}" for power in powers])
        axes.minorticks_off()
    else:
        style.set_y_limits(axes, 0.0, max(finite) / (1 - _HEADROOM) or 1.0)
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
    style.set_y_limits(axes, low, high)
    ends = {
        "training": (train[-1], style.TRAINING),
        "validation": (validation[-1], style.VALIDATION),
    }
    shown = {name: end for name, end in ends.items() if math.isfinite(end[0])}
    label_right(axes, shown, distance=0.115)
    n_below = sum(value < low for value in finite)
    axes.set_title("accuracy in %" + _note(n_below, f"below {low:.0f}"))


def _draw_pair(
    axes: Axes, epochs: Sequence[EpochMetrics], train: list[float], validation: list[float]
) -> None:
    """Draw both curves, those of a few epochs with points, because one point makes no line."""
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
        label, (epoch, 1.0), xycoords=("data", "axes fraction"),
        xytext=(-4 if on_left else 4, 0), textcoords="offset points",
        ha="right" if on_left else "left", va="top", color=style.MUTED, fontsize=style.SMALL,
        bbox=style.ON_WHITE,
    )  # fmt: skip


def _note(n_points: int, why: str) -> str:
    """Return what follows a panel's title: how many points it does not show, and why."""
    return f" ({n_points} {'point' if n_points == 1 else 'points'} {why})" if n_points else ""


@style.styled
def best_curves(rows: Sequence[TrialResult], top: int = 10, confirmed: int | None = None) -> Figure:
    """Draw validation accuracy by epoch of the best trials and of the documented network.

    Losses are not compared: they hold an L2 penalty, which is another one for each trial.

    Args:
        rows: finished trials in any order.
        top: how many of the best COMPLETE ones.
        confirmed: number of the trial that won the confirmation, if there was one.
    """
    chosen = select([row for row in rows if row.epochs])
    if chosen.best is None:
        return empty_figure("Learning curves of the best trials", "no trial is complete yet")
    best = by_value(chosen.complete)[:top]
    baseline = chosen.baseline
    shown = best if baseline is None or baseline in best else [*best, baseline]
    winner = next((row for row in chosen.complete if row.number == confirmed), None)
    if winner is not None and winner not in shown:
        shown = [*shown, winner]
    figure = style.new_column(height=3.2)
    axes = figure.add_axes((0.135, 0.135, 0.675, 0.70))
    curves = [[100 * epoch.val_accuracy for epoch in row.epochs] for row in shown]
    (low, high), n_outside = _late_limits(curves)
    style.set_y_limits(axes, low, high)
    style.set_epoch_ticks(axes, max(len(row.epochs) for row in shown))
    for row, curve in reversed(list(zip(shown, curves, strict=True))):
        _draw_trial(axes, row, curve, chosen)
    axes.grid(axis="y")
    axes.set_ylabel("validation accuracy in %")
    axes.set_xlabel("epoch")
    ends = {f"best, trial {chosen.best.number}": (curves[0][-1], style.BEST)}
    if baseline is not None and baseline is not chosen.best:
        ends["documented"] = (curves[shown.index(baseline)][-1], style.DOCUMENTED)
    if winner is not None and winner is not chosen.best and winner is not baseline:
        ends[f"confirmed, {winner.number}"] = (curves[shown.index(winner)][-1], style.COMPLETE)
    label_right(axes, ends, distance=0.07)
    style.write_title(figure, 0.02, f"Validation accuracy by epoch, the best {len(best)} trials")
    outside = f"; {n_outside} points below {low:.1f} %" if n_outside else ""
    figure.text(
        0.02, 1 - 0.28 / figure.get_figheight(), f"dots: epoch kept{outside}",
        va="center_baseline", fontsize=style.SMALL, color=style.MUTED,
    )  # fmt: skip
    return figure


def _draw_trial(axes: Axes, row: TrialResult, curve: Sequence[float], chosen: Selection) -> None:
    """Draw one of the best trials, with a dot at the epoch kept."""
    if row is chosen.best:
        color, width, alpha, order, name = style.BEST, 1.8, 1.0, 4.0, "best"
    elif row is chosen.baseline:
        color, width, alpha, order, name = style.DOCUMENTED, 1.5, 1.0, 3.0, "documented"
    else:
        color, width, alpha, order, name = style.COMPLETE, 0.9, 0.55, 2.0, "other"
    numbers = [epoch.epoch for epoch in row.epochs]
    axes.plot(
        numbers, curve, color=color, linewidth=width, alpha=alpha, zorder=order, gid=name,
        url=trial_url(row),
    )  # fmt: skip
    if row.best_epoch is not None:
        axes.plot(
            row.best_epoch, curve[row.best_epoch - 1], "o", color=color, alpha=alpha,
            markersize=4.5 if row is chosen.best else 3.2, markeredgewidth=0, zorder=order + 0.5,
            gid="kept",
        )  # fmt: skip


def _late_limits(curves: Sequence[Sequence[float]]) -> tuple[tuple[float, float], int]:
    """Return limits that show all but the first third of the epochs, and how many lie outside."""
    longest = max(len(curve) for curve in curves)
    n_skipped = min(math.ceil(longest / 3), longest - 1)
    finite = [value for curve in curves for value in curve if math.isfinite(value)]
    late = [v for curve in curves for v in curve[n_skipped:] if math.isfinite(v)] or finite
    if not late:
        return (0.0, 1.0), 0
    low, high = min(late), max(finite)
    margin = 0.05 * max(high - low, 0.4)
    low, high = max(low - margin, 0.0), high + margin
    return (low, high), sum(not low <= value <= high for value in finite)
