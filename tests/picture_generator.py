"""Pictures of digits as a phone takes them, drawn from a seed.

Each kind varies in more than its name says: size and place of the digit, width and edge of the
stroke, colours, quality of the JPEG. A size in pixels is at 1000 pixels of the shorter side.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import skimage.morphology as morphology
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

Picture = NDArray[np.float64]
"""(height, width, 3), 0 to 255."""
Rng = np.random.Generator


def photograph(kind: str, digit: NDArray[np.uint8], rng: Rng) -> Picture:
    """Draw a digit as a picture of a kind.

    Args:
        kind: one of `KINDS`.
        digit: uint8 (28, 28), 0 paper to 255 ink.
        rng: of everything that varies.
    """
    return KINDS[kind](_sheet(digit, rng, _STYLES.get(kind, "ink")), rng)


def encoded(picture: Picture, rng: Rng) -> tuple[str, bytes]:
    """Return a picture as a file of a random format: its suffix and content."""
    image = Image.fromarray(np.clip(np.round(picture), 0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    choice = rng.random()
    if choice < 0.2:
        image.save(buffer, "PNG")
        return ".png", buffer.getvalue()
    if choice < 0.4:  # lies on its side; EXIF says how to turn it
        exif = image.getexif()
        exif[0x0112] = 6
        turned = image.transpose(Image.Transpose.ROTATE_90)
        turned.save(buffer, "JPEG", exif=exif, quality=int(rng.integers(60, 96)))
    else:
        image.save(buffer, "JPEG", quality=int(rng.integers(60, 96)))
    return ".jpg", buffer.getvalue()


def as_png(brightness: NDArray[np.float64]) -> bytes:
    """Return brightness, (height, width), 0 to 255, as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.round(brightness), 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


class _Sheet:
    """A digit's ink and the colours that it is drawn in.

    Attributes:
        alpha: how much ink lies where, (height, width), 0 to 1.
        paper, ink: colours, 0 to 255.
    """

    def __init__(self, alpha: NDArray[np.float64], paper: list[float], ink: list[float]) -> None:
        self.alpha, self.paper, self.ink = alpha, np.array(paper), np.array(ink)

    @property
    def unit(self) -> float:
        """A thousandth of the shorter side, in pixels."""
        height, width = self.alpha.shape
        return float(min(height, width)) / 1000

    def drawn(self, on: Picture | None = None) -> Picture:
        """Return the paper, or another ground, with the ink on it."""
        ground = np.broadcast_to(self.paper, (*self.alpha.shape, 3)) if on is None else on
        alpha = self.alpha[..., None]
        drawn: Picture = ground * (1 - alpha) + self.ink * alpha
        return drawn


def _sheet(digit: NDArray[np.uint8], rng: Rng, style: str) -> _Sheet:
    width, height = picture_size(rng)
    side = int(min(width, height) * rng.uniform(0.2, 0.8))
    big = np.asarray(
        Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC), np.float64
    )
    big = big / 255
    pen = rng.random()
    if pen < 0.2:  # a stroke of even width
        big = _with_even_stroke(digit, side, rng)
    elif pen < 0.7:  # a pen's edge is sharp, and its stroke of another width than MNIST's
        level = rng.uniform(0.3, 0.6)
        big = np.clip((big - level) * side / rng.uniform(20, 60) + 0.5, 0, 1)
    # The 28 pixels have a margin of four, so the digit itself is in the picture.
    overlap = int(side * 0.1)
    top = int(rng.integers(-overlap, height - side + overlap + 1))
    left = int(rng.integers(-overlap, width - side + overlap + 1))
    field = np.zeros((height + 2 * overlap, width + 2 * overlap))
    field[top + overlap : top + overlap + side, left + overlap : left + overlap + side] = big
    alpha = field[overlap : overlap + height, overlap : overlap + width]
    bright = rng.uniform(205, 252)
    paper = [bright, bright - rng.uniform(0, 8), bright - rng.uniform(0, 25)]
    ink = rng.uniform(5, 70)
    inks = [[ink, ink, ink], [ink, ink, ink + 90], [ink + 70, ink, ink]]
    chosen = inks[int(rng.integers(3))]
    if style == "pencil":
        texture = ndimage.gaussian_filter(rng.random((height, width)), max(0.7, side / 300))
        texture = (texture - texture.min()) / (texture.max() - texture.min())
        alpha = alpha * (1 - rng.uniform(0.2, 0.7) * texture)
        chosen = [bright - rng.uniform(45, 110)] * 3
    if style == "chalk":
        texture = ndimage.gaussian_filter(rng.random((height, width)), max(0.8, side / 250))
        texture = (texture - texture.min()) / (texture.max() - texture.min())
        alpha = alpha * (1 - rng.uniform(0.1, 0.6) * texture)
        board = rng.uniform(20, 75)
        paper = [board, board + rng.uniform(0, 25), board + rng.uniform(0, 10)]
        chosen = [rng.uniform(170, 250)] * 3
    return _Sheet(alpha, paper, chosen)


def _with_even_stroke(digit: NDArray[np.uint8], side: int, rng: Rng) -> NDArray[np.float64]:
    """Return the digit as a round nib draws it along the middle of its strokes."""
    large = np.asarray(Image.fromarray(digit).resize((200, 200), Image.Resampling.BICUBIC))
    middle = morphology.skeletonize(ndimage.gaussian_filter(large.astype(float), 3) > 100)
    away = ndimage.distance_transform_edt(~middle)
    drawn = np.clip(rng.uniform(3, 9) + 0.5 - away, 0, 1)
    image = Image.fromarray(drawn.astype(np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR), np.float64)


def picture_size(rng: Rng) -> tuple[int, int]:
    small = rng.random() < 0.25
    short = int(rng.integers(160, 400) if small else rng.integers(400, 1201))
    long = int(short * (1, 4 / 3, 16 / 9)[int(rng.integers(3))])
    return (short, long) if rng.random() < 0.5 else (long, short)


def grain(picture: Picture, rng: Rng, sigma: float | None = None) -> Picture:
    """What every sensor adds."""
    strength = rng.uniform(0.5, 3.0) if sigma is None else sigma
    noisy: Picture = picture + rng.normal(0, strength, picture.shape[:2])[..., None]
    return noisy


def _direction(shape: tuple[int, ...], rng: Rng) -> NDArray[np.float64]:
    """Return how far a pixel lies along a random direction, -1 to 1, (height, width)."""
    angle = rng.uniform(0, 2 * np.pi)
    height, width = shape[:2]
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    along: NDArray[np.float64] = rows * np.sin(angle) + columns * np.cos(angle)
    scaled: NDArray[np.float64] = along / np.abs(along).max()
    return scaled


def _clean(sheet: _Sheet, rng: Rng) -> Picture:
    return grain(sheet.drawn(), rng)


def gradient(picture: Picture, rng: Rng) -> Picture:
    lowest = rng.uniform(0.25, 0.6)
    light = (_direction(picture.shape, rng) + 1) / 2 * (1 - lowest) + lowest
    shaded: Picture = picture * light[..., None]
    return shaded


def shadow(picture: Picture, rng: Rng) -> Picture:
    """A shadow with an edge: a half plane or a band, which may cross the digit."""
    along = _direction(picture.shape, rng)
    begin = rng.uniform(-0.5, 0.5)
    is_dark = along > begin
    if rng.random() < 0.4:
        is_dark &= along < begin + rng.uniform(0.25, 0.8)
    blur = rng.uniform(0.5, 10) * min(picture.shape[:2]) / 1000
    light = 1 - rng.uniform(0.35, 0.65) * ndimage.gaussian_filter(is_dark.astype(float), blur)
    shaded: Picture = picture * light[..., None]
    return shaded


def _frame(picture: Picture, rng: Rng) -> Picture:
    framed = picture.copy()
    color = rng.uniform(0, 70, 3)
    unit = min(picture.shape[:2])
    alike = rng.uniform(0.015, 0.07) * unit
    for side in range(4):
        width = int(alike * rng.uniform(0.7, 1.3))
        turned = np.rot90(framed, side)
        turned[:width] = color
    return framed


def _room_for_frame(sheet: _Sheet) -> _Sheet:
    """Move the ink away from the border, as someone who draws within a frame does."""
    rows, columns = (np.flatnonzero((sheet.alpha > 0.05).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return sheet
    box = sheet.alpha[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    alpha = np.zeros_like(sheet.alpha)
    margin = int(0.1 * min(alpha.shape))
    most = [length - 2 * margin - size for length, size in zip(alpha.shape, box.shape, strict=True)]
    top = margin + min(max(rows[0] - margin, 0), max(most[0], 0))
    left = margin + min(max(columns[0] - margin, 0), max(most[1], 0))
    alpha[top : top + box.shape[0], left : left + box.shape[1]] = box
    return _Sheet(alpha, list(sheet.paper), list(sheet.ink))


def _noise(picture: Picture, rng: Rng) -> Picture:
    if rng.random() < 0.25:
        noisy = picture.copy()
        hit = rng.random(picture.shape[:2])
        share = rng.uniform(0.01, 0.06)
        noisy[hit < share / 2] = 0
        noisy[hit > 1 - share / 2] = 255
        return noisy
    noisy = np.clip(picture + rng.normal(0, rng.uniform(12, 50), picture.shape), 0, 255)
    return noisy


def _dust(picture: Picture, rng: Rng) -> Picture:
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    unit = min(image.size) / 1000
    is_dark_ground = np.median(picture) < 110
    for _ in range(int(rng.integers(20, 200))):
        x, y = rng.uniform(0, image.width), rng.uniform(0, image.height)
        radius = rng.uniform(1, 7) * unit
        level = int(rng.uniform(150, 255) if is_dark_ground else rng.uniform(0, 130))
        other = radius * rng.uniform(0.5, 1.5)
        pen.ellipse((x - radius, y - other, x + radius, y + other), fill=(level,) * 3)
    return np.asarray(image, np.float64)


def _lines(shape: tuple[int, ...], rng: Rng, *, turned: float, is_vertical: bool) -> Picture:
    """Return where lines of paper lie, (height, width, 1), 0 to 1."""
    height, width = shape[:2]
    unit = min(height, width) / 1000
    rows, columns = np.mgrid[:height, :width]
    across = (
        columns * np.cos(turned) + rows * np.sin(turned)
        if is_vertical
        else rows * np.cos(turned) - columns * np.sin(turned)
    )
    spacing, thickness = rng.uniform(45, 140) * unit, max(1.0, rng.uniform(1.0, 5.0) * unit)
    distance = np.abs((across + rng.uniform(0, spacing)) % spacing - spacing / 2)
    drawn: Picture = np.clip(thickness / 2 + 0.5 - distance, 0, 1)[..., None]
    return drawn


def _ruled_ground(sheet: _Sheet, rng: Rng, *, is_grid: bool) -> Picture:
    ground: Picture = np.broadcast_to(sheet.paper, (*sheet.alpha.shape, 3)).astype(np.float64)
    dark = rng.uniform(0.25, 0.75)
    color = sheet.paper * (1 - dark * np.array([1.0, 0.85, rng.uniform(0.3, 1.0)]))
    turned = np.radians(rng.uniform(-4, 4))
    lines = [_lines(sheet.alpha.shape, rng, turned=turned, is_vertical=False)]
    if is_grid:
        lines.append(_lines(sheet.alpha.shape, rng, turned=turned, is_vertical=True))
    for line in lines:
        ground = ground * (1 - line) + color * line
    return ground


def _ruled(sheet: _Sheet, rng: Rng) -> Picture:
    return grain(sheet.drawn(_ruled_ground(sheet, rng, is_grid=False)), rng)


def _grid(sheet: _Sheet, rng: Rng) -> Picture:
    return grain(sheet.drawn(_ruled_ground(sheet, rng, is_grid=True)), rng)


def table_edge(picture: Picture, rng: Rng, alpha: NDArray[np.float64]) -> Picture:
    """A table beyond the edge of the paper, where no ink is."""
    for _ in range(50):
        along = _direction(picture.shape, rng)
        is_table = along > rng.uniform(0.3, 0.8)
        if alpha[is_table].sum() == 0:
            break
    else:
        return picture
    height, width = picture.shape[:2]
    level = rng.uniform(30, 130)
    stripes = ndimage.gaussian_filter(
        rng.normal(0, 1, (height, width)), (rng.uniform(0.5, 2), rng.uniform(15, 60))
    )
    wood = level + rng.uniform(0, 18) * stripes / stripes.std()
    color = wood[..., None] * np.array([1.0, rng.uniform(0.7, 1), rng.uniform(0.4, 1)])
    edge = ndimage.gaussian_filter(is_table.astype(float), rng.uniform(0.5, 3))[..., None]
    shown: Picture = picture * (1 - edge) + color * edge
    return shown


def _board(sheet: _Sheet, rng: Rng) -> Picture:
    smudge = ndimage.gaussian_filter(rng.normal(0, 1, sheet.alpha.shape), 60 * sheet.unit)
    smudge = smudge / smudge.std() * rng.uniform(0, 10)
    return grain(sheet.drawn(sheet.paper + smudge[..., None]), rng)


def _mixture(sheet: _Sheet, rng: Rng) -> Picture:
    sheet = _room_for_frame(sheet) if (is_framed := rng.random() < 0.2) else sheet
    ruling = rng.random()
    if ruling < 0.35:
        picture = sheet.drawn(_ruled_ground(sheet, rng, is_grid=ruling < 0.1))
    else:
        picture = sheet.drawn()
    if rng.random() < 0.3:
        picture = table_edge(picture, rng, sheet.alpha)
    if rng.random() < 0.3:
        picture = _dust(picture, rng)
    if is_framed:
        picture = _frame(picture, rng)
    light = rng.random()
    if light < 0.35:
        picture = gradient(picture, rng)
    elif light < 0.7:
        picture = shadow(picture, rng)
    return grain(picture, rng, rng.uniform(1, 12))


KINDS: dict[str, Callable[[_Sheet, Rng], Picture]] = {
    "clean": _clean,
    "shadow gradient": lambda sheet, rng: grain(gradient(sheet.drawn(), rng), rng),
    "hard shadow": lambda sheet, rng: grain(shadow(sheet.drawn(), rng), rng),
    "dark frame": lambda sheet, rng: grain(_frame(_room_for_frame(sheet).drawn(), rng), rng),
    "noise": lambda sheet, rng: _noise(sheet.drawn(), rng),
    "dust": lambda sheet, rng: grain(_dust(sheet.drawn(), rng), rng),
    "ruled paper": _ruled,
    "grid paper": _grid,
    "table edge": lambda sheet, rng: grain(table_edge(sheet.drawn(), rng, sheet.alpha), rng),
    "pencil": _clean,
    "blackboard": _board,
    "mixture": _mixture,
}
_STYLES = {"pencil": "pencil", "blackboard": "chalk"}
