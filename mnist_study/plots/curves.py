"""The figure drawn for every trial: loss and accuracy over its epochs.

It is drawn once per trial beside running training, so it has to be cheap. Most of what a matplotlib
figure costs is Axes, Axis and Text, not the drawing; two fixed panels need none of it, so the
artists here are placed straight on the figure. Medians of 20 interleaved repeats on one core, PNG
included: 12 ms; an ordinary pair of Axes took 180 ms with constrained and 171 with tight layout, 98
with fixed layout and ticks, 61 in one reused figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from matplotlib.artist import Artist
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox, BboxTransformFrom, BboxTransformTo, TransformedBbox

from mnist_study.core.trials import EpochMetrics, TrialResult
from mnist_study.plots import style
from mnist_study.plots.outlines import TextSheet

_WIDTH, _HEIGHT = 6.4, 2.5
_LOSS_PANEL = (0.07, 0.165, 0.40, 0.81)
_ACCURACY_PANEL = (0.56, 0.165, 0.87, 0.81)
# In points below the top: the first epochs must not flatten the others.
_WIDEST_ACCURACY_RANGE = 12.0
_LOG_LOSS_FROM_RATIO = 200.0
_LABEL_DISTANCE = 0.075


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
    sheet = TextSheet(figure, style.FONT_FAMILY[0])
    _text(sheet, _LOSS_PANEL[0], 0.97, title, va="top")
    if not epochs:
        _text(sheet, 0.5, 0.5, "no epoch was finished", ha="center", color=style.MUTED)
        sheet.place()
        return figure
    numbers = [epoch.epoch for epoch in epochs]
    loss = _Panel(figure, sheet, _LOSS_PANEL, numbers, "loss, with the L2 penalty")
    _draw_loss(loss, epochs)
    accuracy = _Panel(figure, sheet, _ACCURACY_PANEL, numbers, "accuracy in %")
    _draw_accuracy(accuracy, epochs)
    if best_epoch is not None:
        loss.mark(best_epoch, f"epoch {best_epoch} kept")
        accuracy.mark(best_epoch)
    sheet.place()
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


class _Panel:
    """A rectangle of the figure with its own data coordinates, drawn without an Axes."""

    def __init__(
        self,
        figure: Figure,
        sheet: TextSheet,
        corners: tuple[float, float, float, float],
        numbers: Sequence[int],
        title: str,
    ) -> None:
        self.figure = figure
        self.sheet = sheet
        self.corners = corners
        self.numbers = numbers
        high = max(numbers[-1], 2)
        margin = 0.03 * (high - 1)
        self.x_limits = (1 - margin, high + margin)
        self.y_limits = (0.0, 1.0)
        self.title = title
        left, bottom, right, _ = corners
        for epoch in style.epoch_ticks(numbers[-1]):
            x = self._x(epoch)
            _text(sheet, x, bottom - 0.035, str(epoch), va="top", ha="center", fontsize=style.SMALL)
        _text(sheet, (left + right) / 2, 0.015, "epoch", ha="center")

    def _x(self, epoch: float) -> float:
        left, _, right, _ = self.corners
        low, high = self.x_limits
        return left + (right - left) * (epoch - low) / (high - low)

    def _y(self, value: float) -> float:
        _, bottom, _, top = self.corners
        low, high = self.y_limits
        return bottom + (top - bottom) * (value - low) / (high - low)

    def scale(self, low: float, high: float, ticks: dict[float, str]) -> None:
        """Fix the vertical limits and draw frame, ticks and their lines."""
        self.y_limits = (low, high)
        left, bottom, right, top = self.corners
        heights = [self._y(tick) for tick in ticks]
        grid = [((left, y), (right, y)) for y in heights]
        frame = [((left, top), (left, bottom)), ((left, bottom), (right, bottom))]
        frame += [((left - 0.007, y), (left, y)) for y in heights]
        for epoch in style.epoch_ticks(self.numbers[-1]):
            frame.append(((self._x(epoch), bottom - 0.02), (self._x(epoch), bottom)))
        for y, label in zip(heights, ticks.values(), strict=True):
            _text(self.sheet, left - 0.011, y, label, ha="right", va="center", fontsize=style.SMALL)
        for lines, color, order in ((grid, style.RULE, 0.5), (frame, style.MUTED, 2.5)):
            _add(
                self.figure,
                LineCollection(
                    lines,
                    colors=color,
                    linewidths=0.7,
                    zorder=order,
                    transform=self.figure.transFigure,
                ),
            )

    def curve(self, label: str, values: Sequence[float], color: str) -> None:
        """Draw one value per epoch, cut off at the panel's edges."""
        left, bottom, right, top = self.corners
        (x_low, x_high), (y_low, y_high) = self.x_limits, self.y_limits
        box = Bbox(((left, bottom), (right, top)))
        line = Line2D(
            self.numbers,
            values,
            color=color,
            linewidth=1.5,
            gid=label,
            zorder=2,
            marker="o" if len(values) <= 3 else "None",
            markersize=3.5,
            solid_capstyle="round",
            transform=BboxTransformFrom(Bbox(((x_low, y_low), (x_high, y_high))))
            + BboxTransformTo(box)
            + self.figure.transFigure,
        )
        _add(self.figure, line)
        line.set_clip_box(TransformedBbox(box, self.figure.transFigure))

    def write_title(self, left_out: int = 0, why: str = "") -> None:
        """Write the title, with the number of points that the panel does not show."""
        note = f" ({left_out} {'point' if left_out == 1 else 'points'} {why})" if left_out else ""
        _text(self.sheet, self.corners[0], self.corners[3] + 0.03, self.title + note)

    def name_curves(self, names: dict[str, tuple[float, str]]) -> None:
        """Write the curves' names at their right ends, apart from each other."""
        placed = sorted(
            (min(max(self._y(value), self.corners[1]), self.corners[3]), name, color)
            for name, (value, color) in names.items()
            if math.isfinite(value)
        )
        heights = style.spread_apart([y for y, _, _ in placed], _LABEL_DISTANCE)
        x = self._x(self.numbers[-1]) + 0.012
        for y, (_, name, color) in zip(heights, placed, strict=True):
            _text(self.sheet, x, y, name, va="center", color=color, fontsize=style.SMALL)

    def mark(self, epoch: int, label: str = "") -> None:
        """Draw a vertical dashed line at an epoch."""
        x, (_, bottom, _, top) = self._x(epoch), self.corners
        _add(
            self.figure,
            Line2D(
                (x, x),
                (bottom, top),
                color=style.MUTED,
                linewidth=0.9,
                linestyle=(0, (4, 2)),
                zorder=1,
                gid="best-epoch",
                transform=self.figure.transFigure,
            ),
        )
        if label:
            on_left = epoch > sum(self.x_limits) / 2
            _text(
                self.sheet,
                x + (-0.008 if on_left else 0.008),
                top,
                label,
                va="top",
                ha="right" if on_left else "left",
                color=style.MUTED,
                fontsize=style.SMALL,
            )


def _draw_loss(panel: _Panel, epochs: Sequence[EpochMetrics]) -> None:
    train = [_finite(epoch.train_loss) for epoch in epochs]
    val = [_finite(epoch.val_loss) for epoch in epochs]
    seen = [value for value in train + val if math.isfinite(value)]
    show: Callable[[float], float] = float
    if not seen:
        panel.scale(0, 1, {})
    elif min(seen) > 0 and max(seen) / min(seen) > _LOG_LOSS_FROM_RATIO:
        show = math.log10
        low, high = math.floor(math.log10(min(seen))), math.ceil(math.log10(max(seen)))
        step = max(1, math.ceil((high - low) / 5))
        panel.scale(low, high, {float(p): f"1e{p}" for p in range(low, high + 1, step)})
    else:
        panel.scale(*style.scale_from_zero(max(seen)))
    panel.curve("training", [show(value) for value in train], style.TRAINING)
    panel.curve("validation", [show(value) for value in val], style.VALIDATION)
    panel.write_title(2 * len(epochs) - len(seen), "not finite")


def _draw_accuracy(panel: _Panel, epochs: Sequence[EpochMetrics]) -> None:
    train = [_finite(100 * epoch.train_accuracy) for epoch in epochs]
    val = [_finite(100 * epoch.val_accuracy) for epoch in epochs]
    seen = sorted(value for value in train + val if math.isfinite(value))
    if not seen:
        panel.scale(0, 100, {})
        panel.write_title(2 * len(epochs), "not finite")
        return
    top = seen[-1]
    # A run that learns ends far above where it starts; one that does not is shown in full.
    floor = top - max(_WIDEST_ACCURACY_RANGE, 1.5 * (top - seen[len(seen) // 4]))
    low = max(seen[0], floor)
    margin = 0.05 * max(top - low, 1.0)
    low, high = max(low - margin, 0.0), top + margin
    ticks = style.nice_ticks(low, high)
    panel.scale(low, high, dict(zip(ticks, style.tick_labels(ticks), strict=True)))
    panel.curve("training", train, style.TRAINING)
    panel.curve("validation", val, style.VALIDATION)
    panel.name_curves(
        {"training": (train[-1], style.TRAINING), "validation": (val[-1], style.VALIDATION)}
    )
    panel.write_title(sum(value < low for value in seen), f"below {low:.0f}")


def _text(
    sheet: TextSheet,
    x: float,
    y: float,
    content: str,
    *,
    fontsize: float = style.FONT_SIZE,
    color: str = style.INK,
    ha: str = "left",
    va: str = "baseline",
) -> None:
    sheet.write(x, y, content, size=fontsize, color=color, ha=ha, va=va)


def _add(figure: Figure, artist: Artist) -> None:
    figure.add_artist(artist)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan
