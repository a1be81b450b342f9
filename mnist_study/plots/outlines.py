"""Text as cached outlines, for figures that have to be drawn in a few milliseconds.

A matplotlib Text costs about a millisecond to lay out, hint and render, every time. Here every
string is turned into its outline once and kept; all text of one colour is then filled as one path.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

_POINTS_PER_INCH = 72.0


@functools.lru_cache(maxsize=256)
def _outline(
    content: str, size: float, family: str
) -> tuple[NDArray[np.float64], NDArray[np.uint8], float]:
    """Return vertices and codes in points from the baseline's left end, and the width."""
    path = TextPath((0, 0), content, size=size, prop=FontProperties(family=[family]))
    vertices = np.asarray(path.vertices, dtype=np.float64)
    codes = np.asarray(path.codes, dtype=np.uint8)
    return vertices, codes, float(vertices[:, 0].max()) if len(vertices) else 0.0


@functools.lru_cache(maxsize=16)
def _digit_height(size: float, family: str) -> float:
    vertices, _, _ = _outline("0", size, family)
    return float(vertices[:, 1].max())


class TextSheet:
    """Text of one figure, gathered by colour and drawn by `place`.

    Args:
        figure: whose coordinates, 0 to 1 from the lower left corner, the positions are in.
        family: name of the font.
    """

    def __init__(self, figure: Figure, family: str) -> None:
        self._figure = figure
        self._family = family
        self._texts: dict[str, list[str]] = {}
        self._paths: dict[str, list[tuple[NDArray[np.float64], NDArray[np.uint8]]]] = {}

    def write(
        self,
        x: float,
        y: float,
        content: str,
        *,
        size: float,
        color: str,
        ha: str = "left",
        va: str = "baseline",
    ) -> None:
        """Write one line.

        Args:
            x: where, in figure coordinates.
            y: where, in figure coordinates.
            content: not interpreted; no TeX, no line breaks.
            size: of the font, in points.
            color: of the letters.
            ha: which part of the text is at x: `left`, `center` or `right`.
            va: which height of it is at y: `baseline`, `center` or `top` (of the digits).
        """
        if not content.strip():
            return
        vertices, codes, width = _outline(content, size, self._family)
        height = _digit_height(size, self._family)
        inches_wide, inches_high = self._figure.get_size_inches()
        offset = (
            x * inches_wide * _POINTS_PER_INCH - width * {"left": 0, "center": 0.5, "right": 1}[ha],
            y * inches_high * _POINTS_PER_INCH
            - height * {"baseline": 0, "center": 0.5, "top": 1}[va],
        )
        self._texts.setdefault(color, []).append(content)
        self._paths.setdefault(color, []).append((vertices + offset, codes))

    def place(self) -> None:
        """Add what was written to the figure; the artists' labels hold the lines of text."""
        scale: Any = Affine2D().scale(1 / _POINTS_PER_INCH) + self._figure.dpi_scale_trans
        for color, parts in self._paths.items():
            path = Path(
                np.concatenate([vertices for vertices, _ in parts]),
                np.concatenate([codes for _, codes in parts]),
            )
            letters = PathPatch(
                path,
                facecolor=color,
                edgecolor="none",
                linewidth=0,
                zorder=4,
                snap=False,
                antialiased=True,
                label="\n".join(self._texts[color]),
                transform=scale,
            )
            self._figure.add_artist(letters)
