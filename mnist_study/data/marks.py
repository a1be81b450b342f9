"""Connected ink of a picture, and which of it belongs together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import skimage.morphology as morphology
from numpy.typing import NDArray
from scipy import spatial

# A shadow's tip is weaker than this share of the ink, and broader than the edge of a stroke.
_SHADE, _SHADE_RADIUS, _LEAST_SHADE = 0.75, 3, 0.1
# Of the digit's size: how small a stroke may stand apart from it, and how far; farther, and longer,
# where it lies beside the digit's top, as the upper stroke of a five does.
_LEAST_LOOSE, _LOOSE_REACH = 0.15, 0.18
_TOP_SHARE, _TOP_REACH, _TOP_LENGTH = 0.3, 0.3, 1.4


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """Connected ink.

    Attributes:
        box: rows and columns.
        pixels: which of the box are its own, bool.
        strength: contrast of its darker part.
        contact: along how many pixels it lies at each side of the picture.
    """

    box: tuple[slice, slice]
    pixels: NDArray[np.bool_]
    strength: float
    contact: tuple[int, int, int, int]

    @property
    def size(self) -> int:
        """Its longer side."""
        height, width = self.pixels.shape
        return int(max(height, width))

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])

    @property
    def weight(self) -> float:
        """How much it counts among others."""
        return self.strength * float(np.sqrt(self.pixels.sum()))


def least_ink(ink: NDArray[np.float64], mark: Mark) -> float:
    """Return the contrast that a mark's strokes have, and a shadow that touches them has not.

    Args:
        ink: contrast of the pixels of the mark's box.
        mark: strokes, possibly with the tip of a shadow, which is broad and evenly weaker.
    """
    full = float(np.percentile(ink[mark.pixels], 95))
    is_weak = np.pad(mark.pixels & (ink < _SHADE * full), 1)
    shade = morphology.opening(is_weak, morphology.disk(_SHADE_RADIUS))[1:-1, 1:-1]
    if shade.sum() < _LEAST_SHADE * mark.pixels.sum():
        return 0.4 * mark.strength
    return (float(np.median(ink[shade])) + full) / 2


def with_loose_strokes(marks: list[Mark]) -> list[Mark]:
    """Join low marks to the digit that they are near: the upper stroke of a five stands apart.

    Args:
        marks: at least one.
    """
    main = max(marks, key=lambda mark: mark.weight)
    tallest = max(mark.height for mark in marks)
    whole = [mark for mark in marks if mark.height > 0.5 * tallest]
    strokes: dict[int, list[Mark]] = {id(mark): [mark] for mark in marks}
    for mark in marks:
        if mark.size < _LEAST_LOOSE * main.size or mark.strength < 0.7 * main.strength:
            continue
        near = [(distance, owner) for owner in whole if (distance := _apart(mark, owner)) <= 1]
        if near:
            _, owner = min(near, key=lambda found: found[0])
            strokes[id(owner)].append(mark)
            del strokes[id(mark)]
    return [_union(strokes[id(mark)]) for mark in marks if id(mark) in strokes]


def _apart(mark: Mark, owner: Mark) -> float:
    """Return how far a mark is from a digit, as a share of the most that its stroke may be."""
    rows = mark.box[0]
    is_top = (rows.start + rows.stop) / 2 <= owner.box[0].start + _TOP_SHARE * owner.height
    reach, length = (_TOP_REACH, _TOP_LENGTH) if is_top else (_LOOSE_REACH, 1.0)
    if mark.height > 0.5 * owner.height or mark.size > length * owner.size:
        return float("inf")
    return _distance(mark, owner) / (reach * owner.size)


def _distance(mark: Mark, other: Mark) -> float:
    """Return the least distance of two marks, in pixels."""
    places = [
        np.argwhere(one.pixels) + np.array([side.start for side in one.box])
        for one in (mark, other)
    ]
    return float(spatial.KDTree(places[0]).query(places[1])[0].min())


def _union(marks: list[Mark]) -> Mark:
    if len(marks) == 1:
        return marks[0]
    rows, columns = (
        slice(
            min(mark.box[axis].start for mark in marks),
            max(mark.box[axis].stop for mark in marks),
        )
        for axis in (0, 1)
    )
    pixels = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
    for mark in marks:
        own = tuple(
            slice(side.start - begin.start, side.stop - begin.start)
            for side, begin in zip(mark.box, (rows, columns), strict=True)
        )
        pixels[own] |= mark.pixels
    top, bottom, left, right = np.max([mark.contact for mark in marks], axis=0).tolist()
    return Mark((rows, columns), pixels, marks[0].strength, (top, bottom, left, right))
