"""Drawings as another hand and another pen would make them, laid out as MNIST's digits are."""

from __future__ import annotations

import numpy as np
import skimage.morphology as morphology
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from mnist_study.data.pictures import lay_out

SIDE = 64
"""Of the square that is drawn in, in pixels."""
_TILES = 2
_ROUGH_SHARE = 0.3


def drawn_again(
    drawing: Image.Image, rng: np.random.Generator, *, bend: float
) -> NDArray[np.uint8] | None:
    """Bend a drawing, change the width and the edge of its strokes, and lay it out.

    Args:
        drawing: (SIDE, SIDE), light on dark.
        rng: of everything that varies.
        bend: standard deviation of the displacement, as a share of the side.

    Returns:
        uint8 (28, 28); None if nothing is left of it.
    """
    image = _bent(drawing, rng, bend)
    pen = rng.random()
    if pen < 0.3:
        image = image.filter(ImageFilter.MaxFilter(3 if pen < 0.2 else 5))
    elif pen < 0.4:
        image = image.filter(ImageFilter.MinFilter(3))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.6)))
    ink = np.asarray(image, np.float64)
    if rng.random() < _ROUGH_SHARE:
        ink = _rough(ink, rng)
    highest = float(ink.max())
    return lay_out(ink * (255 / highest)) if highest >= 1 else None


def _rough(ink: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Add to the strokes and beside them what noise, or rough paper, leaves in a photograph."""
    noise = ndimage.gaussian_filter(rng.normal(0, 1, ink.shape), rng.uniform(0.7, 1.5))
    noise *= rng.uniform(15, 60) / noise.std()
    is_near = ndimage.maximum_filter(ink, 5) > 60
    return np.clip(np.where(is_near, ink + noise, 0.0), 0, 255)


def _bent(drawing: Image.Image, rng: np.random.Generator, bend: float) -> Image.Image:
    """Move the corners of a grid of tiles, all by one shear and each by its own way."""
    lines = np.linspace(0, SIDE, _TILES + 1)
    grid = np.stack(np.meshgrid(lines, lines), axis=-1) - SIDE / 2
    shear = np.eye(2) + rng.normal(0, 2 * bend, (2, 2))
    moved = grid @ shear + rng.normal(0, bend * SIDE, grid.shape) + SIDE / 2
    mesh = []
    for row in range(_TILES):
        for column in range(_TILES):
            left, right = lines[column], lines[column + 1]
            top, bottom = lines[row], lines[row + 1]
            # Upper left, lower left, lower right, upper right.
            at = ((row, column), (row + 1, column), (row + 1, column + 1), (row, column + 1))
            quad = [float(v) for corner in at for v in moved[corner]]
            mesh.append(((int(left), int(top), int(right), int(bottom)), quad))
    return drawing.transform(drawing.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def digits_of_other_pens(
    images: NDArray[np.uint8], labels: NDArray[np.integer], n: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
    """Return training images as a pencil, a felt pen or chalk would have drawn them.

    What a photograph shows of a digit has another stroke than the training images.

    Args:
        images: of the training set, uint8 (m, 28, 28).
        labels: their classes, (m,).
        n: number of images.
        seed: of every draw.

    Returns:
        uint8 (n, 28, 28), or a few less, and their classes.
    """
    rng = np.random.default_rng(seed)
    drawn, rows = [], []
    for row in rng.integers(len(images), size=n):
        large = Image.fromarray(images[row]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        image = drawn_again(_with_pen(large, rng), rng, bend=0.02)
        if image is not None:
            drawn.append(image)
            rows.append(row)
    return np.stack(drawn), labels[rows]


def _with_pen(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    pen = rng.random()
    if pen < 0.3:
        return image
    ink = ndimage.gaussian_filter(np.asarray(image, np.float64), 0.8)
    if pen < 0.7:  # a sharp edge
        drawn = (ink - rng.uniform(80, 140)) * rng.uniform(2, 8) + 128
    else:  # a stroke of even width
        away = ndimage.distance_transform_edt(~morphology.skeletonize(ink > 100))
        drawn = 255 * (rng.uniform(1, 4) + 0.5 - away)
    return Image.fromarray(np.clip(drawn, 0, 255).astype(np.uint8))
