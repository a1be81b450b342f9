"""A picture of a digit, of any size and polarity, as the network knows digits: as MNIST lays out.

MNIST's recipe (LeCun and others, Gradient-based learning applied to document recognition, 1998;
http://yann.lecun.com/exdb/mnist): the digit is scaled to fit 20x20 pixels with its aspect ratio
kept, antialiased, and moved so that its centre of mass lies in the middle of 28x28.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mnist_study.core.errors import UserFacingError

FIELD, BOX = 28, 20
# Measured on the 60,000 training images: the centre of mass lies at row and column 14, counted from
# 0, and at most 0.52 off, because MNIST moved its digits by whole pixels.
MIDDLE, TOLERANCE = 14.0, 0.55
# Below these shares of the ink's brightest, a pixel is paper, or what JPEG leaves around a stroke.
_PAPER = 0.12
_LEAST_CONTRAST = 24
FloatImage = NDArray[np.float64]


class ImageError(UserFacingError):
    """A file that shows no digit."""


def read_digit(path: Path) -> NDArray[np.uint8]:
    """Read the digit of an image file.

    Args:
        path: PNG or JPEG, grey, colour or palette, with or without alpha, of any size.

    Returns:
        uint8 (28, 28), 0 paper to 255 ink; an image laid out as MNIST's are is returned unchanged
        (inverted, if it is dark on light).

    Raises:
        ImageError: the file cannot be read, or there is nothing on the paper.
    """
    return lay_out(_ink(_load(path), path), path)


def lay_out(ink: FloatImage, path: Path) -> NDArray[np.uint8]:
    """Scale and centre a digit as MNIST does, unless it is already.

    Args:
        ink: (height, width), 0 paper to 255 ink.
        path: for the message.

    Raises:
        ImageError: there is nothing on the paper.
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
        raise ImageError(f"{path}: nothing is left of the digit at 20 pixels; draw it thicker")
    small = small * (255 / small.max())  # a thin line of a large image fades when it is reduced
    field = np.zeros((FIELD, FIELD))
    top, left = (
        # Whole pixels, as MNIST; a digit is never pushed out of its field.
        int(np.clip(round(MIDDLE - centre), 0, FIELD - side))
        for centre, side in zip(_centre_of_mass(small), small.shape, strict=True)
    )
    field[top : top + height, left : left + width] = small
    return np.round(field).astype(np.uint8)


def _load(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            return ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file, expected a PNG or JPEG image") from None
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(
            f"{path}: cannot be read as an image ({why}); expected a whole PNG or JPEG file"
        ) from error


def _ink(image: Image.Image, path: Path) -> FloatImage:
    """Return how much ink lies where, 0 to 255, whether the digit is dark or light."""
    grey = _grey(image)
    # The paper is what lies along the edge.
    edge = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    paper = float(np.median(edge))
    darker, lighter = paper - float(grey.min()), float(grey.max()) - paper
    if max(darker, lighter) < _LEAST_CONTRAST:
        raise ImageError(
            f"{path}: no digit to be seen (brightness from {grey.min():.0f} to {grey.max():.0f} of "
            "255), expected one that is clearly darker or lighter than its paper"
        )
    ink: FloatImage = np.clip(paper - grey if darker > lighter else grey - paper, 0.0, None)
    return ink


def _grey(image: Image.Image) -> FloatImage:
    """Return brightness, 0 to 255; what is transparent becomes paper."""
    if image.mode.startswith("I"):  # 16 bits a pixel
        return np.asarray(image, np.float64) * (255 / 65535)
    if not (image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info):
        return np.asarray(image.convert("L"), np.float64)
    rgba = image.convert("RGBA")
    alpha = np.asarray(rgba.getchannel("A"), np.float64) / 255
    grey = np.asarray(rgba.convert("RGB").convert("L"), np.float64)
    if alpha.min() == 1:
        return grey
    # On paper that the digit stands out from: white under dark ink and black under light ink.
    is_light = float((alpha * grey).sum()) > 127.5 * float(alpha.sum())
    paper = 0.0 if is_light else 255.0
    mixed: FloatImage = np.round(alpha * grey + (1 - alpha) * paper)
    return mixed


def _is_laid_out(ink: FloatImage) -> bool:
    """Whether an image is already as MNIST's are."""
    if ink.shape != (FIELD, FIELD):
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
