"""Where the digits of a photograph are, and their ink without paper, light, lines and dirt.

The local background is a morphological closing: it fills whatever is darker and narrower than its
footprint, so strokes stand out from it and gradients, shadows and the edge of a table do not. The
difference to it is ink. Light ink on dark ground is found the same way on the negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import skimage.morphology as morphology
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters, measure, transform

from mnist_study.data.marks import Mark, least_ink, with_loose_strokes

FloatImage = NDArray[np.float64]
Mask = NDArray[np.bool_]

WORKING_SIDE = 480
"""Longest side, in pixels, that pictures are examined at."""
_LEAST_SIDE = 160
# Shares of the shorter side: no stroke is broader, and no background changes within less.
_FOOTPRINTS = (0.25, 0.12)
# The least contrast of ink, as a share of its background; noise may ask for more.
_LEAST_CONTRAST = 0.07
_NOISE_FACTOR = 4.0
MOST_DIGITS = 40
# In pixels at the working size; of what is smaller, no strokes can be told apart.
_LEAST_DIGIT = 12
# Of the brightest paper: what is darker lies in no shadow of it.
_DARKEST_PAPER = 0.22
# Of the digit's size: MNIST's strokes are two to four of 20 pixels wide.
_LEAST_STROKE, _STROKE = 0.06, 0.1


@dataclass(frozen=True, slots=True)
class Digit:
    """One digit of a picture.

    Attributes:
        ink: (height, width), 0 paper to 1 ink, cut out with a margin.
        box: left, top, right, bottom, as shares of the picture's width and height.
    """

    ink: FloatImage
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in a picture.

    Attributes:
        digits: left to right.
        reason: why there are none, else "".
    """

    digits: tuple[Digit, ...]
    reason: str


def find_digits(grey: FloatImage) -> Found:
    """Find the digits of a picture.

    Args:
        grey: brightness, (height, width), 0 to 255.

    Returns:
        What may be digits, left to right; none where nothing looks like ink.
    """
    image = _denoised(_working_size(grey) / 255)
    paper = _paper(image)
    best: list[Mark] = []
    best_ink, contrast = image, 0.0
    for is_light in (False, True):
        angles: tuple[float, float] | None = None
        for share in _FOOTPRINTS:
            ink = _ink(image, paper, share, is_light=is_light)
            contrast = max(contrast, float(ink.max()))
            if angles is None:
                angles = _line_angle(ink), _line_angle(ink.T)
            ink = _without_horizontal_lines(ink, angles[0])
            ink = _without_horizontal_lines(ink.T, angles[1]).T
            found = _candidates(ink, 1 - image if is_light else image)
            if _quality(found) > 1.05 * _quality(best):
                best, best_ink = found, ink
    if len(best) > MOST_DIGITS:
        return Found((), f"{len(best)} marks of like size, a texture rather than digits")
    if not best:
        return Found((), _why_none(contrast))
    return Found(tuple(_digit(best_ink, candidate) for candidate in best), "")


def _why_none(contrast: float) -> str:
    if contrast < _LEAST_CONTRAST:
        return f"nothing stands out from the background (largest contrast {contrast:.0%})"
    return "nothing in it is made of strokes that end within the picture"


def _quality(found: list[Mark]) -> float:
    return max((candidate.weight for candidate in found), default=0.0)


def _paper(image: FloatImage) -> FloatImage:
    """Return the brightness that prevails around each pixel."""
    factor = 96 / max(image.shape)
    shape = [max(3, round(side * factor)) for side in image.shape]
    small = transform.resize(image, shape, anti_aliasing=True, order=1)
    scaled = np.round(255 * np.clip(small, 0, 1)).astype(np.uint8)
    reach = max(3, min(shape) // 3)
    padded = np.pad(scaled, reach, mode="symmetric" if reach <= min(shape) else "edge")
    median = filters.rank.median(padded, morphology.disk(reach))[reach:-reach, reach:-reach]
    paper: FloatImage = transform.resize(median / 255, image.shape, order=1)
    return paper


def _working_size(grey: FloatImage) -> FloatImage:
    """Reduce a picture to the working size, or enlarge a small one."""
    longest, shortest = max(grey.shape), min(grey.shape)
    factor = WORKING_SIDE / longest
    if factor > 1:
        factor = max(1.0, min(factor, _LEAST_SIDE / shortest))
    if factor == 1:
        return grey
    shape = [max(1, round(side * factor)) for side in grey.shape]
    resized: FloatImage = transform.resize(
        grey, shape, order=1 if factor < 1 else 3, anti_aliasing=factor < 1, mode="edge",
        preserve_range=True,
    )  # fmt: skip
    return np.clip(resized, 0, 255)


def _denoised(image: FloatImage) -> FloatImage:
    """Smooth a picture as much as its noise asks for."""
    # Of white noise, the Laplacian's deviation is sqrt(20) times the noise's.
    sigma = 1.4826 * float(np.median(np.abs(filters.laplace(image)))) / 20**0.5
    if sigma > 0.02:
        image = filters.median(image, morphology.disk(1))
    width = float(np.clip(60 * sigma, 0.5, 2.0))
    smooth: FloatImage = filters.gaussian(image, width)
    return smooth


def _ink(image: FloatImage, paper: FloatImage, share: float, *, is_light: bool) -> FloatImage:
    """Return the contrast of every pixel to its local background, as a share of it.

    Ink differs from what is beside it and from the paper. What is bright between two dark strokes
    differs from the strokes alone.
    """
    side = max(3, round(share * min(image.shape)) | 1)
    footprint = morphology.footprint_rectangle((side, side), decomposition="separable")
    padded = np.pad(1 - image if is_light else image, side, mode="edge")
    ground = morphology.closing(padded, footprint)[side:-side, side:-side]
    if is_light:
        ground = 1 - ground
        contrast = np.minimum(image - ground, image - paper) / np.maximum(1 - ground, 0.2)
    else:
        # Light multiplies, so that a share of the background is the same in the shadow.
        beside = np.minimum(ground, paper)
        contrast = (beside - image) / np.maximum(beside, 0.1)
    shares: FloatImage = np.clip(contrast, 0, 1)
    return shares


def _noise_level(ink: FloatImage) -> float:
    """Return the deviation of the paper's noise."""
    # Half of the paper is darker than the median; the part above three deviations is ink.
    return float(np.percentile(ink, 80)) / 0.6


_ANGLES = np.radians(np.arange(-8, 8.1, 0.2))
_LINE_CONTRAST = 0.02


def _without_horizontal_lines(ink: FloatImage, angle: float) -> FloatImage:
    """Take out lines that run across the picture, such as those of ruled and squared paper."""
    level = transform.rotate(ink, angle, order=1) if angle else ink
    reach = max(3, int(0.25 * level.shape[1]))
    scaled = np.pad(np.round(255 * np.clip(level, 0, 1)).astype(np.uint8), ((0, 0), (reach, reach)))
    # At the border, half of what is looked at lies outside.
    along = filters.rank.percentile(scaled, np.ones((1, 2 * reach + 1), np.uint8), p0=0.58) / 255
    along = along[:, reach:-reach]
    thick = max(3, round(0.025 * min(level.shape))) | 1
    lines = along - morphology.opening(along, np.ones((thick, 1)))
    lines = morphology.dilation(lines, np.ones((3, 1)))
    is_ruled = (lines > _LINE_CONTRAST).mean(axis=1) >= 0.5
    if not is_ruled.any():
        return ink
    # Where a digit stands on a line, the line is as strong as elsewhere.
    strength = np.median(lines, axis=1, keepdims=True)
    lines = np.where(is_ruled[:, None], np.maximum(lines, strength), 0.0)
    if angle:
        lines = np.clip(transform.rotate(lines, -angle, order=1), 0, 1)
    is_line = lines > _LINE_CONTRAST
    left = np.where(is_line & (ink < 1.5 * lines + 0.03), 0.0, ink)
    # A stroke that the line crosses is mended.
    mended = morphology.closing(left, np.ones((7, 1)))
    return np.where(is_line, np.maximum(left, np.minimum(mended, ink)), left)


def _line_angle(ink: FloatImage) -> float:
    """Return the angle in degrees that the picture is turned by to make lines horizontal."""
    factor = 240 / max(ink.shape)
    small = transform.resize(ink, [max(3, round(n * factor)) for n in ink.shape], order=1)
    # Rows of the accumulator are lines; where they are parallel to ink, they differ most.
    accumulator, _, _ = transform.hough_line(small > _LINE_CONTRAST, theta=_ANGLES + np.pi / 2)
    sharpness = np.square(np.diff(accumulator.astype(np.float64), axis=0)).sum(axis=0)
    return round(float(np.degrees(_ANGLES[int(np.argmax(sharpness))])), 1)


def _candidates(ink: FloatImage, image: FloatImage) -> list[Mark]:
    """Return the connected pieces of ink that may be digits, left to right.

    Args:
        ink: contrast of every pixel.
        image: brightness, where ink is dark.
    """
    floor = max(_LEAST_CONTRAST, _NOISE_FACTOR * _noise_level(ink))
    if ink.max() < floor:
        return []
    pieces = _plausible(_pieces(ink, measure.label(ink > floor)), ink)
    if not pieces:
        return []
    main = max(pieces, key=lambda piece: piece.weight)
    strong = np.zeros(ink.shape, bool)
    for piece in pieces:
        # What is small beside the digit is dirt.
        if piece.strength >= 0.4 * main.strength and piece.size >= 0.12 * main.size:
            own = ink[piece.box]
            strong[piece.box] |= piece.pixels & (own > least_ink(own, piece))
    reach = max(1, round(0.06 * main.size))
    joined = measure.label(morphology.dilation(strong, morphology.disk(reach))) * strong
    groups = [g for g in _pieces(ink, joined) if g.size >= _LEAST_DIGIT]
    groups = _plausible(groups, ink)
    groups = _on_one_paper(groups, image)
    if not groups:
        return []
    if len(groups) <= MOST_DIGITS:
        groups = with_loose_strokes(groups)
    main = max(groups, key=lambda piece: piece.weight)
    kept = [
        piece
        for piece in groups
        if piece.size >= 0.4 * main.size
        and piece.weight >= 0.3 * main.weight
        and piece.strength >= 0.55 * main.strength
    ]
    return sorted(kept, key=lambda piece: piece.box[1].start)


def _pieces(ink: FloatImage, labels: NDArray[np.integer]) -> list[Mark]:
    least = max(6, int(2e-5 * ink.size))
    height, width = ink.shape
    pieces = []
    for region in measure.regionprops(labels):
        if region.area < least:
            continue
        pixels, (rows, columns) = region.image, region.slice
        contact = (
            int(pixels[0].sum()) if rows.start == 0 else 0,
            int(pixels[-1].sum()) if rows.stop == height else 0,
            int(pixels[:, 0].sum()) if columns.start == 0 else 0,
            int(pixels[:, -1].sum()) if columns.stop == width else 0,
        )
        strength = float(np.percentile(ink[region.slice][pixels], 85))
        pieces.append(Mark((rows, columns), pixels, strength, contact))
    return pieces


def _plausible(pieces: list[Mark], ink: FloatImage) -> list[Mark]:
    """Return the pieces that are neither blobs nor cut off by the picture's border."""
    strokes = [piece for piece in pieces if not _is_solid(piece, ink)]
    inside = [piece for piece in strokes if not _is_at_border(piece, ink.shape)]
    # A picture may be cut out along its digit.
    return inside or [piece for piece in strokes if max(piece.contact) < 0.5 * piece.size]


def _is_at_border(piece: Mark, shape: tuple[int, ...]) -> bool:
    """Whether a piece is a frame, a table, or something else that the picture cuts off."""
    n_sides = sum(n > 0 for n in piece.contact)
    is_long = max(piece.contact) > 0.35 * piece.size or piece.size > 0.9 * min(shape)
    return n_sides > 1 or (n_sides == 1 and is_long)


def _on_one_paper(pieces: list[Mark], image: FloatImage) -> list[Mark]:
    """Return the pieces with paper on all sides, of which none is much darker than the brightest.

    The grain of a dark table is strokes on a ground too, beside strokes on paper.
    """
    around = [(piece, _paper_around(piece, image)) for piece in pieces]
    papers = [(piece, paper) for piece, paper in around if paper is not None]
    heaviest = max((piece.weight for piece, _ in papers), default=0.0)
    brightest = max((p for piece, p in papers if piece.weight >= 0.3 * heaviest), default=0.0)
    return [piece for piece, paper in papers if paper >= _DARKEST_PAPER * brightest]


def _paper_around(piece: Mark, image: FloatImage) -> float | None:
    """Return the brightness around a piece; None for the rim of something as dark."""
    reach = max(3, round(0.06 * piece.size))
    inner = max(2, reach // 3)
    own = np.pad(piece.pixels, reach + 1)
    shown = np.pad(image, reach + 1, mode="edge")
    rows, columns = (slice(side.start, side.stop + 2 * (reach + 1)) for side in piece.box)
    around = morphology.dilation(own, morphology.disk(reach))
    ring = shown[rows, columns][around & ~morphology.dilation(own, morphology.disk(inner))]
    # The ink in a shadow is darker than the shadow's paper, and the rim of a table is not darker
    # than the table.
    dark = float(np.percentile(shown[rows, columns][own], 25))
    light = float(np.percentile(ring, 75))
    is_rim = float((ring < dark + 0.15 * (light - dark)).mean()) >= 0.2
    return None if is_rim else light


def _is_solid(piece: Mark, ink: FloatImage) -> bool:
    """Whether a piece has no strokes: it is nearly as thick as it is long."""
    # Without the blur around the strokes, which closes the loops of small digits.
    core = piece.pixels & (ink[piece.box] > 0.4 * piece.strength)
    thickness = 2 * float(ndimage.distance_transform_edt(np.pad(core, 1)).max())
    return thickness > 0.5 * piece.size


def _digit(ink: FloatImage, candidate: Mark) -> Digit:
    """Cut out a digit with its soft edge; a fine pen's strokes become as wide as MNIST's."""
    margin = max(3, round(_STROKE * candidate.size))
    own = np.pad(candidate.pixels, margin)
    rows, columns = (slice(side.start, side.stop + 2 * margin) for side in candidate.box)
    near = morphology.dilation(own, morphology.disk(2))
    cut = np.where(near, np.pad(ink, margin)[rows, columns] / candidate.strength, 0.0)
    cut = np.clip(cut, 0, 1)
    width = float(own.sum() / max(1, morphology.skeletonize(own).sum()))
    if width < _LEAST_STROKE * candidate.size:
        radius = max(1, round((_STROKE * candidate.size - width) / 2))
        cut = morphology.dilation(cut, morphology.disk(radius))
    height, length = ink.shape
    (top, bottom), (left, right) = ((side.start, side.stop) for side in candidate.box)
    return Digit(cut, (left / length, top / height, right / length, bottom / height))
