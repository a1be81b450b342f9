"""Drawings that are no digits, laid out as MNIST's digits are: what a digit is told apart from.

Letters of many fonts, lines between random points, arcs, polygons, stars, spirals, bars, patches
of texture, noise, and training images turned on their side, all as different hands and pens would
draw them. No photograph is among them.
"""

from __future__ import annotations

import string
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from mnist_study.data.glyphs import glyph
from mnist_study.data.pens import SIDE, drawn_again

# The corners and middles of a letter's square, near which many drawings begin and end.
_ANCHORS = np.array([(x, y) for x in (15, 50, 85) for y in (10, 50, 90)], np.float64)
_PERCENT = SIDE / 100
_BEND = 0.035
Rng = np.random.Generator
Points = NDArray[np.float64]


def other_drawings(images: NDArray[np.uint8], n: int, seed: int) -> NDArray[np.uint8]:
    """Return drawings of letters, strokes and shapes, images turned on their side, and noise.

    Args:
        images: of the training set, uint8 (m, 28, 28).
        n: number of drawings.
        seed: of every draw.

    Returns:
        uint8 (n, 28, 28), or a few less.
    """
    rng = np.random.default_rng(seed)
    makers: dict[Callable[[Rng], Image.Image], float] = {
        _letter: 0.4,
        _strokes: 0.19,
        _shape: 0.25,
        lambda rng: _turned(images, rng): 0.1,
        _texture: 0.05,
        _noise: 0.01,
    }
    chosen = rng.choice(len(makers), n, p=list(makers.values()))
    functions = list(makers)
    drawn = [drawn_again(functions[kind](rng), rng, bend=_BEND) for kind in chosen]
    return np.stack([image for image in drawn if image is not None])


def _letter(rng: Rng) -> Image.Image:
    letters = string.ascii_letters
    return glyph(letters[int(rng.integers(len(letters)))], SIDE, rng)


def _turned(images: NDArray[np.uint8], rng: Rng) -> Image.Image:
    image = np.rot90(images[int(rng.integers(len(images)))], int(rng.choice((1, 3))))
    return Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _noise(rng: Rng) -> Image.Image:
    small = Image.fromarray(rng.integers(0, 256, (28, 28)).astype(np.uint8))
    return small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _texture(rng: Rng) -> Image.Image:
    """The largest patch of a random landscape, or all of them."""
    heights = ndimage.gaussian_filter(rng.normal(0, 1, (SIDE, SIDE)), rng.uniform(0.7, 7))
    level = rng.uniform(-0.3, 1)
    ink = np.clip((heights / heights.std() - level) * rng.uniform(0.6, 3), 0, 1)
    if rng.random() < 0.6:
        labels, n = ndimage.label(ink > 0.25)
        if n:
            ink = np.where(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]), ink, 0.0)
    return Image.fromarray((255 * ink).astype(np.uint8))


def _blank() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("L", (SIDE, SIDE), 0)
    return image, ImageDraw.Draw(image)


def _strokes(rng: Rng) -> Image.Image:
    """Lines and arcs, one after the other or apart."""
    image, pen = _blank()
    width = int(rng.integers(3, 11))
    is_anchored = rng.random() < 0.6
    at = _point(rng, is_anchored=is_anchored)
    for _ in range(int(rng.integers(1, 6))):
        if rng.random() < 0.3:
            pen.line(_flat(_arc(rng)), fill=255, width=width, joint="curve")
            continue
        begin = _point(rng, is_anchored=is_anchored) if rng.random() < 0.35 else at
        at = _point(rng, is_anchored=is_anchored)
        pen.line(_flat(np.stack([begin, at])), fill=255, width=width)
        for x, y in (begin, at):
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    return image


def _flat(points: Points) -> list[float]:
    return [float(v) for v in points.ravel()]


def _point(rng: Rng, *, is_anchored: bool) -> Points:
    if is_anchored:
        anchor: Points = _ANCHORS[int(rng.integers(len(_ANCHORS)))] + rng.normal(0, 4, 2)
        return anchor * _PERCENT
    return rng.uniform(5, 95, 2) * _PERCENT


def _arc(rng: Rng) -> Points:
    begin, span = rng.uniform(0, 2 * np.pi), rng.uniform(np.pi / 2, 2 * np.pi)
    angles, turn = np.linspace(begin, begin + span, 24), rng.uniform(0, np.pi)
    across, along = rng.uniform(10, 45, 2)
    ellipse = np.stack([across * np.cos(angles), along * np.sin(angles)], axis=1)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points: Points = (ellipse @ rotation + rng.uniform(25, 75, 2)) * _PERCENT
    return points


def _shape(rng: Rng) -> Image.Image:
    """One outline, filled shape, curve, or pattern of bars."""
    image, pen = _blank()
    width = int(rng.integers(2, 9))
    kind = int(rng.integers(len(_SHAPES)))
    lines, may_be_filled = _SHAPES[kind](rng)
    is_filled, stretch = may_be_filled and rng.random() < 0.4, np.ones(2)
    if is_filled and rng.random() < 0.5:
        # As trees and leaves are. An outline might become a zero.
        stretch[int(rng.integers(2))] = rng.uniform(0.2, 0.8)
    for line in lines:
        points = _flat(SIDE / 2 + 0.38 * SIDE * stretch * line)
        if is_filled:
            pen.polygon(points, fill=255)
        else:
            pen.line(points, fill=255, width=width, joint="curve")
    return image


_Shape = tuple[list[Points], bool]
_AROUND = np.linspace(0, 2 * np.pi, 50)


def _closed(points: Points) -> Points:
    return np.concatenate([points, points[:2]])


def _star(rng: Rng) -> _Shape:
    """A polygon, or a star of four to seven points."""
    is_star = rng.random() < 0.5
    n = 2 * int(rng.integers(4, 8)) if is_star else int(rng.integers(3, 8))
    angles = np.arange(n) * 2 * np.pi / n + rng.uniform(0, 2 * np.pi)
    radii = np.where(np.arange(n) % 2, rng.uniform(0.3, 0.7) if is_star else 1.0, 1.0)
    corners = np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1)
    corners *= [1, rng.uniform(0.5, 1)]
    return [_closed(corners + rng.normal(0, 0.05, corners.shape))], True


def _ring(rng: Rng) -> _Shape:
    """A circle, empty or with something in it."""
    circle = np.stack([np.cos(_AROUND), rng.uniform(0.85, 1) * np.sin(_AROUND)], axis=1)
    lines = [_closed(circle)]
    if rng.random() < 0.6:
        for _ in range(int(rng.integers(1, 4))):
            inner = rng.uniform(-0.6, 0.6, 2) + rng.uniform(0.1, 0.4) * circle
            lines.append(inner if rng.random() < 0.5 else rng.uniform(-0.9, 0.9, (2, 2)))
    return lines, False


def _spiral(rng: Rng) -> _Shape:
    turns = _AROUND * rng.uniform(1.5, 3.5) * rng.choice((-1, 1)) + rng.uniform(0, 2 * np.pi)
    radius = _AROUND / (2 * np.pi)
    return [np.stack([radius * np.cos(turns), radius * np.sin(turns)], axis=1)], False


def _wave(rng: Rng) -> _Shape:
    """A wave or a zigzag, level or upright."""
    across, height = np.linspace(-1, 1, 50), rng.uniform(0.2, 0.8)
    if rng.random() < 0.5:
        up = np.sin(rng.uniform(3, 12) * across + rng.uniform(0, 2 * np.pi))
    else:
        across = np.linspace(-1, 1, int(rng.integers(4, 9)))
        up = (-1.0) ** np.arange(len(across))
    points = np.stack([across, height * up], axis=1)
    return [points[:, ::-1] if rng.random() < 0.3 else points], False


def _bars(rng: Rng) -> _Shape:
    """Bars side by side, or some of them across the others."""
    first = float(rng.choice((0.0, np.pi / 2, rng.uniform(0, np.pi))))
    is_crossed = rng.random() < 0.6
    lines = []
    for number in range(int(rng.integers(2, 5))):
        angle = first + (np.pi / 2 if is_crossed and number % 2 else 0)
        along = np.array([np.cos(angle), np.sin(angle)])
        aside = np.array([-along[1], along[0]]) * rng.uniform(-0.7, 0.7)
        if is_crossed and rng.random() < 0.5:
            aside *= 0
        lines.append(np.stack([aside - along, aside + along]))
    return lines, False


def _mirrored(rng: Rng) -> _Shape:
    """A closed curve that is the same left and right, such as a heart or a leaf."""
    radius = np.ones_like(_AROUND)
    for n in range(2, 2 + int(rng.integers(2, 5))):
        radius = radius + rng.normal(0, 0.25) * np.cos(n * _AROUND)
    points = np.stack([radius * np.sin(_AROUND), -radius * np.cos(_AROUND)], axis=1)
    return [_closed(0.8 * points)], True


def _scribble(rng: Rng) -> _Shape:
    steps = rng.normal(0, 1, (int(rng.integers(20, 70)), 2))
    points = ndimage.gaussian_filter1d(steps, 2.5, axis=0)
    return [points / np.abs(points).max()], False


_SHAPES: tuple[Callable[[Rng], _Shape], ...] = (
    _star, _star, _ring, _spiral, _wave, _bars, _mirrored, _scribble,
)  # fmt: skip
