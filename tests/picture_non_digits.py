"""Pictures of what is no digit, drawn from a seed: shapes, letters, landscapes, noise, blank paper.

The letters are of fonts that no level is fitted with, or made of lines.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from picture_generator import Picture, Rng, gradient, grain, picture_size, shadow, table_edge
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage


def non_digit(kind: str, rng: Rng) -> Picture:
    """Draw what is no digit: one of `NON_DIGITS`."""
    return NON_DIGITS[kind](rng)


def _ground(rng: Rng) -> tuple[Image.Image, ImageDraw.ImageDraw, int, int]:
    """Return paper with a pen to draw on it, the pen's width, and the ink's level."""
    width, height = picture_size(rng)
    image = Image.new("L", (width, height), int(rng.uniform(200, 252)))
    pen_width = int(min(width, height) * rng.uniform(0.012, 0.06))
    return image, ImageDraw.Draw(image), pen_width, int(rng.uniform(0, 80))


def _finished(image: Image.Image, rng: Rng) -> Picture:
    grey = ndimage.gaussian_filter(np.asarray(image, np.float64), 0.7)
    picture = grain(np.repeat(grey[..., None], 3, axis=2), rng)
    return gradient(picture, rng) if rng.random() < 0.3 else picture


def _polygon(corners: int, rng: Rng, *, inner: float = 1.0) -> NDArray[np.float64]:
    angles = np.arange(corners) * 2 * np.pi / corners + rng.uniform(-0.3, 0.3) - np.pi / 2
    radii = np.where(np.arange(corners) % 2, inner, 1.0)
    return np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1)


def _shapes(rng: Rng) -> dict[str, list[NDArray[np.float64]]]:
    """Return shapes as polylines within the unit circle."""
    turn = np.linspace(0, 2 * np.pi, 60)
    heart = np.stack(
        [16 * np.sin(turn) ** 3,
         -(13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn))],
        axis=1,
    ) / 17  # fmt: skip
    square, triangle = _polygon(4, rng), _polygon(3, rng)
    star = _polygon(10, rng, inner=0.4)
    spiral = np.stack([turn / 6.3 * np.cos(3 * turn), turn / 6.3 * np.sin(3 * turn)], axis=1)
    wave = np.stack([np.linspace(-1, 1, 60), 0.3 * np.sin(2.5 * turn)], axis=1)
    line, down = np.array([[-1.0, 0.0], [1.0, 0.0]]), np.array([0.0, 0.3])
    arrow = np.array([[0.5, -0.4], [1.0, 0.0], [0.5, 0.4]])

    def closed(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([points, points[:2]])

    return {
        "triangle": [closed(triangle)],
        "square": [closed(square)],
        "star": [closed(star)],
        "hexagon": [closed(_polygon(6, rng))],
        "heart": [closed(heart)],
        "spiral": [spiral],
        "wave": [wave],
        "plus": [line, line[:, ::-1]],
        "cross": [line @ _turn(0.8), line @ _turn(-0.8)],
        "arrow": [line, arrow],
        "house": [np.array([[-0.7, 0.9], [-0.7, -0.1], [0, -0.9], [0.7, -0.1], [0.7, 0.9],
                            [-0.7, 0.9], [-0.7, -0.1]])],
        "grid": [line + down, line - down, line[:, ::-1] + down[::-1], line[:, ::-1] - down[::-1]],
        "face": [np.stack([np.cos(turn), np.sin(turn)], axis=1),
                 np.stack([0.5 * np.cos(turn[5:25]), 0.5 * np.sin(turn[5:25])], axis=1),
                 np.array([[-0.3, -0.3], [-0.3, -0.25]]), np.array([[0.3, -0.3], [0.3, -0.25]])],
        "circle": [np.stack([np.cos(turn), np.sin(turn)], axis=1)],
    }  # fmt: skip


def _turn(angle: float) -> NDArray[np.float64]:
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _shape(rng: Rng) -> Picture:
    image, pen, width, ink = _ground(rng)
    radius = min(image.size) * rng.uniform(0.15, 0.4)
    center = np.array(image.size) / 2 + rng.uniform(-0.1, 0.1, 2) * np.array(image.size)
    shapes = _shapes(rng)
    lines = shapes[list(shapes)[int(rng.integers(len(shapes)))]]
    is_filled = rng.random() < 0.25 and len(lines) == 1
    for line in lines:
        points = [tuple(p) for p in line * radius + center]
        if is_filled:
            pen.polygon(points, fill=ink)
        else:
            pen.line(points, fill=ink, width=width, joint="curve")
    return _finished(image, rng)


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FONTS = ("DejaVuSerif.ttf", "DejaVuSerif-BoldItalic.ttf", "cmtt10.ttf", "cmti10.ttf")
# Corners of a letter's square: columns a to c from the left, rows 0 to 4 from the top.
_WRITTEN = {
    "A": "a4 b0 c4, a3 c3", "E": "c0 a0 a4 c4, a2 b2", "F": "c0 a0 a4, a2 b2",
    "G": "c0 a1 a3 b4 c3 b2", "H": "a0 a4, c0 c4, a2 c2", "K": "a0 a4, c0 a2 c4", "L": "a0 a4 c4",
    "M": "a4 a0 b3 c0 c4", "N": "a4 a0 c4 c0", "P": "a4 a0 c0 c2 a2", "R": "a4 a0 c0 c2 a2 c4",
    "T": "a0 c0, b0 b4", "V": "a0 b4 c0", "W": "a0 a4 b1 c4 c0", "X": "a0 c4, c0 a4",
    "Y": "a0 b2 c0, b2 b4", "h": "a0 a4, a2 c2 c4", "k": "a0 a4, c1 a3 c4",
    "m": "a4 a2 b2 b4, b2 c2 c4", "n": "a2 a4, a2 c2 c4", "r": "a2 a4, a3 b2 c2",
    "t": "b0 b4 c4, a1 c1", "u": "a2 a4 c4 c2, c4 c2", "y": "a1 b2, c0 a4",
}  # fmt: skip


def _letter(rng: Rng) -> Picture:
    """A printed letter, or one that is written with a pen."""
    image, pen, width, ink = _ground(rng)
    _draw_letter(pen, image.size, width, ink, rng)
    paper = image.getpixel((0, 0))
    turned = image.rotate(rng.uniform(-12, 12), Image.Resampling.BICUBIC, fillcolor=paper)
    return _finished(turned, rng)


def letter_ink(rng: Rng) -> NDArray[np.float64]:
    """Return a letter alone, (200, 200), 0 paper to 255 ink."""
    image = Image.new("L", (200, 200), 0)
    _draw_letter(ImageDraw.Draw(image), image.size, int(rng.integers(8, 18)), 255, rng)
    return np.asarray(image, np.float64)


def _draw_letter(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], width: int, ink: int, rng: Rng
) -> None:
    if rng.random() < 0.5:
        _write(pen, size, width, ink, rng)
    else:
        _print(pen, size, ink, rng)


def _print(pen: ImageDraw.ImageDraw, size: tuple[int, int], ink: int, rng: Rng) -> None:
    import matplotlib

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    height = int(min(size) * rng.uniform(0.3, 0.8))
    font = ImageFont.truetype(str(fonts / _FONTS[int(rng.integers(len(_FONTS)))]), height)
    letter = LETTERS[int(rng.integers(len(LETTERS)))]
    pen.text((size[0] / 2, size[1] / 2), letter, font=font, fill=ink, anchor="mm")


def _write(pen: ImageDraw.ImageDraw, size: tuple[int, int], width: int, ink: int, rng: Rng) -> None:
    """Write a letter as curves through its corners, each a little off."""
    height = min(size) * rng.uniform(0.25, 0.7)
    lines = list(_WRITTEN.values())[int(rng.integers(len(_WRITTEN)))].split(", ")
    slant, narrow = rng.uniform(-0.1, 0.3), rng.uniform(0.6, 1.0)
    for line in lines:
        corners = np.array([("abc".index(name[0]) / 2 - 0.5, int(name[1]) / 4 - 0.5)
                            for name in line.split()])  # fmt: skip
        corners += rng.normal(0, 0.03, corners.shape)
        corners[:, 0] = narrow * corners[:, 0] - slant * corners[:, 1]
        places = np.linspace(0, len(corners) - 1, 12 * len(corners))
        curve = np.stack([np.interp(places, np.arange(len(corners)), c) for c in corners.T], axis=1)
        curve = ndimage.gaussian_filter1d(curve, rng.uniform(0.5, 2.5), axis=0, mode="nearest")
        points = curve * height + np.array(size) / 2
        pen.line([tuple(p) for p in points], fill=ink, width=width, joint="curve")


def _landscape(rng: Rng) -> Picture:
    width, height = picture_size(rng)
    rows = np.linspace(0, 1, height)[:, None, None]
    sky = np.array([rng.uniform(90, 180), rng.uniform(140, 210), rng.uniform(200, 255)])
    picture = sky * (1 - 0.4 * rows) + np.array([255, 230, 200]) * 0.4 * rows
    picture = np.repeat(picture, width, axis=1)
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    if rng.random() < 0.6:
        x, y, r = rng.uniform(0, width), rng.uniform(0, height / 3), rng.uniform(20, 80)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(255, 245, 200))
    columns = np.linspace(0, 1, 80)
    for layer in range(int(rng.integers(2, 5))):
        base = rng.uniform(0.35, 0.55) + 0.13 * layer
        ridge = np.full(len(columns), base)
        for _ in range(3):
            phase = columns * rng.uniform(3, 25) + rng.uniform(0, 6)
            ridge = ridge + rng.uniform(0.01, 0.08) * np.sin(phase)
        points = [(c * width, r * height) for c, r in zip(columns, ridge, strict=True)]
        shade = rng.uniform(0.3, 1.0)
        color = tuple(int(v * shade) for v in (rng.uniform(40, 120), rng.uniform(80, 150), 70))
        pen.polygon([*points, (width, height), (0, height)], fill=color)
    for _ in range(int(rng.integers(0, 12))):  # trees
        x, y, r = rng.uniform(0, width), rng.uniform(0.6, 0.95) * height, rng.uniform(10, 60)
        pen.rectangle((x - r / 8, y, x + r / 8, y + r), fill=(70, 50, 30))
        pen.polygon([(x - r / 2, y + r / 3), (x, y - 1.5 * r), (x + r / 2, y + r / 3)],
                    fill=(20, int(rng.uniform(60, 110)), 30))  # fmt: skip
    return grain(np.asarray(image, np.float64), rng, rng.uniform(1, 8))


def _only_noise(rng: Rng) -> Picture:
    width, height = picture_size(rng)
    blur = (0.0, 1.0, 4.0, 20.0)[int(rng.integers(4))]
    noise = ndimage.gaussian_filter(rng.normal(0, 1, (height, width)), blur)
    grey = 128 + noise / noise.std() * rng.uniform(20, 70)
    picture: Picture = np.clip(np.repeat(grey[..., None], 3, axis=2), 0, 255)
    return picture


def _blank(rng: Rng) -> Picture:
    width, height = picture_size(rng)
    level = rng.uniform(20, 250, 3) if rng.random() < 0.3 else np.full(3, rng.uniform(180, 250))
    picture = np.broadcast_to(level, (height, width, 3)).astype(np.float64)
    change: list[Callable[[Picture, Rng], Picture]] = [
        gradient,
        shadow,
        partial(grain, sigma=10.0),
        lambda p, r: table_edge(p, r, np.zeros(p.shape[:2])),
    ]
    if rng.random() < 0.7:
        picture = change[int(rng.integers(len(change)))](picture, rng)
    return grain(picture, rng)


NON_DIGITS: dict[str, Callable[[Rng], Picture]] = {
    "shapes": _shape,
    "letters": _letter,
    "landscapes": _landscape,
    "noise alone": _only_noise,
    "blank": _blank,
}
