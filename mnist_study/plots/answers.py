"""Figures of a classifier's predictions: the confusion matrix, and images with captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mnist_study.plots import style

_COLUMNS = 8


@style.styled
def confusion_matrix(labels: np.ndarray, predicted: np.ndarray) -> Figure:
    """Draw the confusion matrix; only errors are coloured, since right predictions are far more.

    Args:
        labels: true digits, 0 to 9, shape (n,).
        predicted: digits, shape (n,).
    """
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels.astype(int), predicted.astype(int)), 1)
    wrong = counts * (1 - np.eye(10, dtype=int))
    figure = style.new_figure(width=4.8, height=4.9)
    axes = figure.add_axes((0.1, 0.095, 0.87, 0.85))
    highest = max(int(wrong.max()), 1)
    shown = np.ma.masked_equal(wrong, 0)
    axes.imshow(shown, cmap="Oranges", vmin=-0.25 * highest, vmax=1.25 * highest, aspect="auto")
    for truth, digit in np.ndindex(10, 10):
        n = counts[truth, digit]
        color = "white" if n > 0.7 * highest else style.INK
        if n:
            color = style.MUTED if truth == digit else color
            axes.text(digit, truth, str(n), ha="center", va="center", color=color)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(range(10))
        axis.set_ticks(np.arange(-0.5, 10), minor=True)
    axes.grid(which="minor", color=style.RULE, linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted digit")
    axes.set_ylabel("true digit")
    style.write_title(
        figure, 0.1, f"{int(wrong.sum())} of {len(labels):,} test images predicted wrong"
    )
    return figure


@style.styled
def confident_errors(
    images: np.ndarray,
    *,
    labels: np.ndarray,
    predicted: np.ndarray,
    confidences: np.ndarray,
    n_wrong: int,
) -> Figure:
    """Draw the most confidently wrong images.

    Args:
        images: uint8 (k, 28, 28), the most confident first.
        labels: true digits, shape (k,).
        predicted: digits, shape (k,).
        confidences: probabilities of the predictions, in [0, 1], shape (k,).
        n_wrong: total number of errors.
    """
    captions = [
        f"{label}, predicted {digit}\n{_percent(confidence)}"
        for label, digit, confidence in zip(labels, predicted, confidences, strict=True)
    ]
    title = f"The {len(images)} most confidently wrong of {n_wrong} errors"
    if not len(images):
        title = "No test image was predicted wrong"
    return _contact_sheet(images, captions, title)


@style.styled
def seen_picture(
    picture: np.ndarray,
    *,
    size: tuple[int, int],
    boxes: Sequence[tuple[int, int, int, int]],
    images: Sequence[np.ndarray],
    captions: Sequence[str],
    title: str,
) -> Figure:
    """Draw a picture with boxes around its digits, and beside it what the network saw.

    Args:
        picture: brightness, (height, width), 0 to 255, possibly reduced.
        size: width and height that the boxes count in.
        boxes: left, top, right, bottom of each digit.
        images: uint8 (28, 28), one for each box.
        captions: the answer to each, one or two lines.
        title: one line.
    """
    cell, text_height, top, side = 1.1, 0.4, 0.36, 3.4
    n_rows = max(1, min(len(images), 3))
    n_columns = -(-len(images) // n_rows)
    height = top + max(side, n_rows * (cell + text_height)) + 0.1
    width = side + 0.3 + n_columns * (cell + 0.1)
    figure = style.new_figure(width=width, height=height)
    bottom = height - top - side
    axes = figure.add_axes((0.08 / width, bottom / height, side / width, side / height))
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=(0, size[0], size[1], 0))
    axes.set_axis_off()
    for number, (left, upper, right, lower) in enumerate(boxes, start=1):
        axes.add_patch(
            Rectangle(
                (left, upper), right - left, lower - upper, fill=False, edgecolor="C1", linewidth=1
            )
        )
        axes.text(left, upper, str(number), color="C1", va="bottom", fontsize=7)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        column, row = divmod(index, n_rows)
        x = side + 0.25 + column * (cell + 0.1)
        y = height - top - row * (cell + text_height) - cell
        _draw_image(figure.add_axes((x / width, y / height, cell / width, cell / height)), image)
        figure.text(
            (x + cell / 2) / width, (y - 0.05) / height, f"{index + 1}. {caption}", ha="center",
            va="top", fontsize=6.5, linespacing=1.15,
        )  # fmt: skip
    style.write_title(figure, 0.08 / width, title)
    return figure


def _contact_sheet(images: np.ndarray, captions: Sequence[str], title: str) -> Figure:
    """Lay images out in rows, with captions below them."""
    n_rows = -(-len(images) // _COLUMNS)
    n_columns = min(_COLUMNS, max(len(images), 3))
    cell, text_height, top = 0.82, 0.34, 0.34
    width = n_columns * cell + 0.1
    height = top + n_rows * (cell + text_height)
    figure = style.new_figure(width=width, height=height)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(index, n_columns)
        left = 0.05 + column * cell + 0.04
        bottom = height - top - row * (cell + text_height) - cell + 0.06
        side = cell - 0.08
        axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
        _draw_image(axes, image)
        figure.text(
            (left + side / 2) / width, (bottom - 0.05) / height, caption, ha="center", va="top",
            fontsize=6.5, linespacing=1.15,
        )  # fmt: skip
    style.write_title(figure, 0.09 / width, title)
    return figure


def _draw_image(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(style.RULE)


def _percent(confidence: float) -> str:
    """Write a probability without rounding it up to certainty."""
    return f"{np.floor(10000 * float(confidence)) / 100:.2f} %"
