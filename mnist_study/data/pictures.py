"""The digits of a picture as the network knows digits: as MNIST lays them out.

MNIST's recipe (LeCun and others, Gradient-based learning applied to document recognition, 1998;
http://yann.lecun.com/exdb/mnist): the digit is scaled to fit 20x20 pixels with its aspect ratio
kept, antialiased, and moved so that its centre of mass lies in the middle of 28x28.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_study.data.picture_files import Grey, ImageError, read_grey

__all__ = ["ImageError", "Picture", "SeenDigit", "lay_out", "read_picture", "share_laid_out"]

FIELD, BOX = 28, 20
# Measured on the 60,000 training images: the centre of mass lies at row and column 14, counted from
# 0, and at most 0.52 off, because MNIST moved its digits by whole pixels.
MIDDLE, TOLERANCE = 14.0, 0.55
# Below this share of the ink's brightest, a pixel is paper, or what JPEG leaves around a stroke.
_PAPER = 0.12
_LEAST_CONTRAST = 24
# Up to this side, a picture is a digit already cut out; there are too few pixels to look for one.
_CUT_OUT = 64
_TOO_THIN = "the strokes are too thin to be seen at 20 pixels"
FloatImage = NDArray[np.float64]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class SeenDigit:
    """What may be a digit, as the network gets it.

    Attributes:
        image: uint8 (28, 28), 0 paper to 255 ink.
        box: left, top, right, bottom, in pixels of the picture.
    """

    image: NDArray[np.uint8]
    box: Box


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture and what was found in it.

    Attributes:
        grey: as it was read.
        digits: left to right.
        reason: why there are none, else "".
    """

    grey: Grey
    digits: tuple[SeenDigit, ...]
    reason: str


def read_picture(source: Path | bytes, name: str) -> Picture:
    """Read the digits of a picture.

    Args:
        source: a file or its content, as for `read_grey`.
        name: for the message.

    Returns:
        The digits; an image laid out as MNIST's are is returned unchanged (inverted, if it is dark
        on light).

    Raises:
        ImageError: it cannot be read as a picture.
    """
    grey = read_grey(source, name)
    if max(grey.brightness.shape) <= _CUT_OUT:
        return _cut_out(grey)
    from mnist_study.data.segmentation import find_digits

    found = find_digits(grey.brightness)
    laid_out = [(lay_out(digit.ink * 255), digit.box) for digit in found.digits]
    digits = tuple(
        SeenDigit(image, _in_pixels(box, grey)) for image, box in laid_out if image is not None
    )
    reason = found.reason or _TOO_THIN
    return Picture(grey, digits, "" if digits else reason)


def _in_pixels(box: tuple[float, float, float, float], grey: Grey) -> Box:
    left, top, right, bottom = box
    return (
        int(left * grey.width), int(top * grey.height),
        math.ceil(right * grey.width), math.ceil(bottom * grey.height),
    )  # fmt: skip


def _cut_out(grey: Grey) -> Picture:
    """Take a small picture for one digit, dark or light on an even paper."""
    shown = grey.brightness
    # The paper is what lies along the edge.
    edge = np.concatenate([shown[0], shown[-1], shown[1:-1, 0], shown[1:-1, -1]])
    paper = float(np.median(edge))
    darker, lighter = paper - float(shown.min()), float(shown.max()) - paper
    if max(darker, lighter) < _LEAST_CONTRAST:
        return Picture(grey, (), nothing_seen(max(darker, lighter) / 255))
    ink = np.clip(paper - shown if darker > lighter else shown - paper, 0.0, None)
    image = lay_out(ink)
    if image is None:
        return Picture(grey, (), _TOO_THIN)
    rows, columns = _box(ink > _PAPER * float(ink.max()))
    return Picture(
        grey, (SeenDigit(image, (columns.start, rows.start, columns.stop, rows.stop)),), ""
    )


def nothing_seen(contrast: float) -> str:
    """Say that a picture is empty."""
    return f"nothing stands out from the background (largest contrast {contrast:.0%})"


def lay_out(ink: FloatImage) -> NDArray[np.uint8] | None:
    """Scale and centre a digit as MNIST does, unless it is already.

    Args:
        ink: (height, width), 0 paper to 255 ink, some above 0.

    Returns:
        uint8 (28, 28); None if nothing is left of the digit at 20 pixels.
    """
    if _is_laid_out(ink):
        return np.asarray(ink, np.uint8)
    highest = float(ink.max())
    rows, columns = _box(ink > _PAPER * highest)
    digit = np.where(ink > 0.5 * _PAPER * highest, ink, 0.0)[rows, columns]
    scale = BOX / max(digit.shape)
    height, width = (max(1, round(side * scale)) for side in digit.shape)
    # Pillow's filters widen with the reduction, so every pixel counts: that is the antialiasing.
    image = Image.fromarray((digit * (255 / highest)).astype(np.float32))
    small = np.clip(np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)), 0, 255)
    if small.max() <= 0:
        return None
    small = small * (255 / small.max())  # a thin line of a large image fades when it is reduced
    field = np.zeros((FIELD, FIELD))
    top, left = (
        # Whole pixels, as MNIST; a digit is never pushed out of its field.
        int(np.clip(round(MIDDLE - centre), 0, FIELD - side))
        for centre, side in zip(_centre_of_mass(small), small.shape, strict=True)
    )
    field[top : top + height, left : left + width] = small
    return np.round(field).astype(np.uint8)


def share_laid_out(images: NDArray[np.uint8]) -> float:
    """Return the share of images that are laid out as MNIST's are.

    Args:
        images: uint8 (n, 28, 28), with ink in each.
    """
    return float(np.mean([_is_laid_out(image.astype(np.float64)) for image in images]))


def _is_laid_out(ink: FloatImage) -> bool:
    """Whether an image is already as MNIST's are."""
    if ink.shape != (FIELD, FIELD) or not ink.any():
        return False
    rows, columns = _box(ink > 0)
    longest = max(rows.stop - rows.start, columns.stop - columns.start)
    off = max(abs(centre - MIDDLE) for centre in _centre_of_mass(ink))
    return longest <= BOX and off <= TOLERANCE


def _box(is_ink: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns that hold all ink."""
    rows, columns = (np.flatnonzero(is_ink.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _centre_of_mass(ink: NDArray[np.floating]) -> tuple[float, float]:
    """Return row and column, counted from 0."""
    total = float(ink.sum())
    row = float((ink.sum(axis=1) * np.arange(ink.shape[0])).sum()) / total
    return row, float((ink.sum(axis=0) * np.arange(ink.shape[1])).sum()) / total
