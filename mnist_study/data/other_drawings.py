"""Drawings that are no digits, laid out as MNIST's digits are: what a digit is told apart from.

Lines between random points, arcs, polygons, filled shapes, noise, and training images turned on
their side. No letter, font or photograph is among them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mnist_study.data.pictures import lay_out

_SIDE = 100
# The corners and middles of a letter's square, near which many drawings begin and end.
_ANCHORS = np.array([(x, y) for x in (15, 50, 85) for y in (10, 50, 90)], np.float64)
_TURNED_SHARE, _NOISE_SHARE = 0.2, 0.03
Points = NDArray[np.float64]


def other_drawings(images: NDArray[np.uint8], n: int, seed: int) -> NDArray[np.uint8]:
    """Return drawings of strokes and shapes, images turned on their side, and noise.

    Args:
        images: of the training set, uint8 (m, 28, 28).
        n: number of drawings.
        seed: of every draw.

    Returns:
        uint8 (n, 28, 28).
    """
    rng = np.random.default_rng(seed)
    n_turned, n_noise = int(_TURNED_SHARE * n), int(_NOISE_SHARE * n)
    turned = [
        np.rot90(images[int(rng.integers(len(images)))], int(rng.choice((1, 3))))
        for _ in range(n_turned)
    ]
    noise = [rng.integers(0, 256, (28, 28)).astype(np.uint8) for _ in range(n_noise)]
    drawn = [_drawing(rng) for _ in range(n - n_turned - n_noise)]
    laid_out = [lay_out(np.asarray(image, np.float64)) for image in (*turned, *drawn)]
    return np.stack([image for image in laid_out if image is not None] + noise)


def _drawing(rng: np.random.Generator) -> NDArray[np.uint8]:
    image = Image.new("L", (_SIDE, _SIDE), 0)
    pen, width = ImageDraw.Draw(image), int(rng.integers(4, 17))
    if rng.random() < 0.25:
        points = _polygon(rng)
        if rng.random() < 0.3:
            pen.polygon(_flat(points), fill=255)
        else:
            pen.line(_flat(points), fill=255, width=width, joint="curve")
        return np.asarray(image)
    is_anchored = rng.random() < 0.65
    at = _point(rng, is_anchored)
    for _ in range(int(rng.integers(2, 6))):
        if rng.random() < 0.3:
            pen.line(_flat(_arc(rng)), fill=255, width=width, joint="curve")
            continue
        begin = _point(rng, is_anchored) if rng.random() < 0.35 else at
        at = _point(rng, is_anchored)
        pen.line(_flat(np.stack([begin, at])), fill=255, width=width)
        for x, y in (begin, at):
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    return np.asarray(image)


def _flat(points: Points) -> list[float]:
    return [float(v) for v in points.ravel()]


def _point(rng: np.random.Generator, is_anchored: bool) -> Points:
    if is_anchored:
        anchor: Points = _ANCHORS[int(rng.integers(len(_ANCHORS)))] + rng.normal(0, 4, 2)
        return anchor
    return rng.uniform(5, 95, 2)


def _arc(rng: np.random.Generator) -> Points:
    begin, span = rng.uniform(0, 2 * np.pi), rng.uniform(np.pi / 2, 2 * np.pi)
    angles, turn = np.linspace(begin, begin + span, 24), rng.uniform(0, np.pi)
    across, along = rng.uniform(10, 45, 2)
    ellipse = np.stack([across * np.cos(angles), along * np.sin(angles)], axis=1)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points: Points = ellipse @ rotation + rng.uniform(25, 75, 2)
    return points


def _polygon(rng: np.random.Generator) -> Points:
    n = int(rng.integers(3, 9))
    angles = np.arange(n) * 2 * np.pi / n + rng.uniform(0, 2 * np.pi)
    radii = 42 * np.where(np.arange(n) % 2, rng.uniform(0.35, 1), 1)
    corners = np.stack(
        [50 + radii * np.cos(angles), 50 + radii * np.sin(angles) * rng.uniform(0.6, 1)], axis=1
    )
    corners += rng.normal(0, 3, corners.shape)
    return np.concatenate([corners, corners[:2]])
