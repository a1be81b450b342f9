"""Characters as fonts draw them: those that come with matplotlib, and Pillow's own."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Not all of them: letters of the others show how well unknown ones are told from digits.
_FILES = (
    "DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf", "DejaVuSansMono.ttf",
    "STIXGeneral.ttf", "STIXGeneralBol.ttf", "STIXGeneralItalic.ttf", "cmb10.ttf", "cmmi10.ttf",
    "cmr10.ttf", "cmss10.ttf",
)  # fmt: skip
_Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


def glyph(character: str, side: int, rng: np.random.Generator) -> Image.Image:
    """Draw a character of a random font in the middle of a square, light on dark.

    Args:
        character: one letter or digit.
        side: of the square, in pixels; the character takes about half of it.
        rng: chooses the font.
    """
    fonts = _fonts(round(0.7 * side))
    image = Image.new("L", (side, side), 0)
    font = fonts[int(rng.integers(len(fonts)))]
    ImageDraw.Draw(image).text((side / 2, side / 2), character, font=font, fill=255, anchor="mm")
    return image


@functools.cache
def _fonts(size: int) -> tuple[_Font, ...]:
    # Where a distribution has taken the fonts out of matplotlib, Pillow's is left.
    files = [path for name in _FILES if (path := _folder() / name).exists()]
    return (
        ImageFont.load_default(size),
        *(ImageFont.truetype(str(path), size) for path in files),
    )


def _folder() -> Path:
    """Return where matplotlib keeps its fonts, without importing it."""
    spec = importlib.util.find_spec("matplotlib")
    roots = list(spec.submodule_search_locations or ()) if spec else []
    return Path(roots[0] if roots else ".") / "mpl-data" / "fonts" / "ttf"
