"""One look for every figure: sizes, fonts, and one colour per meaning.

Figures are made without pyplot, so nothing is registered globally and nothing has to be closed.
The style is applied with `styled` while a figure is built and fixes everything that a user's
matplotlibrc could change, so that the same rows give the same PNG bytes.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure as Figure
from matplotlib.ticker import NullLocator
from PIL import Image

# Okabe and Ito's palette, told apart with every common colour blindness; one colour, one meaning.
TRAINING = "#D07F00"
VALIDATION = "#0072B2"
COMPLETE = VALIDATION
BASELINE = "#000000"
BEST = "#D55E00"
PRUNED = "#9A9A9A"
FAILED = "#AA4499"
INK = "#262626"
MUTED = "#6B6B6B"
RULE = "#DDDDDD"

REFERENCE_LINE: dict[str, Any] = {
    "color": MUTED,
    "linewidth": 0.9,
    "linestyle": (0, (4, 2)),
    "zorder": 1,
}
"""How a vertical or horizontal line is drawn that marks an epoch or a value."""
ON_WHITE: dict[str, Any] = {"facecolor": "white", "alpha": 0.75, "pad": 0.6, "linewidth": 0}
"""The box behind a label that lies on lines."""

TEXT_WIDTH = 7.0
"""Inches: the width of a text block, and about that of a notebook or browser column."""
DPI = 150
FONT_FAMILY = ["DejaVu Sans"]
FONT_SIZE = 8.5
SMALL = 7.5
_COMPRESSION = 3

_RC: dict[str, object] = {
    # By name and not "sans-serif", which is looked up only when the text is drawn.
    "font.family": FONT_FAMILY,
    "font.size": FONT_SIZE,
    "axes.titlesize": FONT_SIZE,
    "axes.titleweight": "normal",
    "axes.titlelocation": "left",
    "axes.titlepad": 6.0,
    "axes.labelsize": FONT_SIZE,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "text.color": INK,
    "text.usetex": False,
    "text.parse_math": False,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "figure.dpi": DPI,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "legend.frameon": False,
    "legend.fontsize": SMALL,
}

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")


def styled(function: Callable[_Args, _Result]) -> Callable[_Args, _Result]:
    """Run a drawing function under the project's style, whatever the user's matplotlibrc says."""

    @functools.wraps(function)
    def under_style(*args: _Args.args, **kwargs: _Args.kwargs) -> _Result:
        with matplotlib.rc_context():
            matplotlib.rcParams.update(_drawing_defaults())
            return function(*args, **kwargs)

    return under_style


@functools.cache
def _drawing_defaults() -> dict[str, object]:
    """Return matplotlib's own defaults for everything drawn, with the project's on top."""
    prefixes = (
        "axes",
        "figure",
        "font",
        "grid",
        "legend",
        "lines",
        "mathtext",
        "patch",
        "path",
        "scatter",
        "text",
        "xtick",
        "ytick",
        "markers",
        "image",
        "hatch",
    )
    shipped = {
        key: value
        for key, value in matplotlib.rcParamsDefault.items()
        if key.split(".")[0] in prefixes and key != "text.latex.preamble"
    }
    return {**shipped, **_RC}


def new_figure(width: float = TEXT_WIDTH, height: float = 2.8) -> Figure:
    """Return an empty figure of so many inches on an Agg canvas, unknown to pyplot."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def to_png(figure: Figure) -> bytes:
    """Encode a figure as PNG; the same figure gives the same bytes.

    A figure without a colour map gets a palette of 256 colours, which takes two thirds of the time
    and a third of the bytes; no channel of a pixel moved by more than 15 of 255, and that at edges.

    Args:
        figure: as returned by the functions of this package.

    Returns:
        The PNG file's content, without a date or a program's version in it.
    """
    canvas = figure.canvas
    if not isinstance(canvas, FigureCanvasAgg):
        canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    height, width = pixels.shape[:2]
    image = Image.frombuffer("RGBA", (width, height), pixels, "raw", "RGBA", 0, 1).convert("RGB")
    if not _has_color_map(figure):
        image = image.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=_COMPRESSION, dpi=(figure.dpi, figure.dpi))
    return buffer.getvalue()


def to_pngs(figures: Mapping[str, Figure]) -> dict[str, bytes]:
    """Encode figures as `to_png` does, by their names."""
    return {name: to_png(figure) for name, figure in figures.items()}


def _has_color_map(figure: Figure) -> bool:
    return any(
        axes.images or any(artist.get_array() is not None for artist in axes.collections)
        for axes in figure.axes
    )


def write_title(figure: Figure, left: float, title: str) -> None:
    """Write a figure's title at its top, on the line of the legend."""
    figure.text(left, 1 - 0.105 / figure.get_size_inches()[1], title, va="center_baseline")


def nice_ticks(low: float, high: float, at_most: int = 6) -> list[float]:
    """Return round numbers, 1, 2, 2.5 or 5 times a power of ten apart, inside [low, high].

    Args:
        low: finite.
        high: finite, above low.
        at_most: upper limit of the number of ticks, at least 2.
    """
    exact = (high - low) / max(at_most - 1, 1)
    power = 10.0 ** math.floor(math.log10(exact))
    tolerance = 1e-9 * (high - low)
    for factor in (1.0, 2.0, 2.5, 5.0, 10.0, 20.0, 25.0, 50.0):
        step = factor * power
        first, last = math.ceil((low - tolerance) / step), math.floor((high + tolerance) / step)
        if last - first + 1 <= at_most:
            return [number * step for number in range(first, last + 1)]
    raise AssertionError("a step of 50 times the exact one leaves at most one tick")


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Format round numbers with the digits that their distance needs, the same for all."""
    if len(ticks) < 2:
        return [f"{tick:g}" for tick in ticks]
    step = ticks[1] - ticks[0]
    digits = next((d for d in range(9) if abs(step * 10**d - round(step * 10**d)) < 1e-6), 9)
    return [f"{tick:.{digits}f}" for tick in ticks]


def set_y_ticks(axes: Axes, ticks: Sequence[float]) -> None:
    """Fix the y ticks and their labels."""
    axes.set_yticks(ticks, tick_labels(ticks))
    axes.yaxis.set_minor_locator(NullLocator())


def set_x_ticks(axes: Axes, at_most: int) -> None:
    """Put round numbers on the x axis, as many as allowed, and keep its limits."""
    limits = axes.get_xlim()
    ticks = nice_ticks(*limits, at_most)
    labels = [label.replace("-", "\N{MINUS SIGN}") for label in tick_labels(ticks)]
    axes.set_xticks(ticks, labels)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(limits)


def spread_apart(positions: Sequence[float], distance: float) -> list[float]:
    """Move ascending positions as little as possible until neighbours are so far apart.

    Groups that would overlap are centred on the mean of their positions.
    """
    groups: list[list[float]] = []
    for position in positions:
        groups.append([position])
        while len(groups) > 1 and _low_end(groups[-1], distance) < (
            _low_end(groups[-2], distance) + distance * len(groups[-2])
        ):
            groups[-2:] = [groups[-2] + groups[-1]]
    return [
        _low_end(group, distance) + distance * place
        for group in groups
        for place in range(len(group))
    ]


def _low_end(group: Sequence[float], distance: float) -> float:
    return sum(group) / len(group) - distance * (len(group) - 1) / 2


def epoch_ticks(n_epochs: int) -> list[int]:
    """Return at most seven whole epochs to label, the first one among them."""
    high = max(n_epochs, 2)
    step = next(s for s in _epoch_steps() if high / s <= 6)
    return [1, *range(step, high + 1, step)] if step > 1 else list(range(1, high + 1))


def set_epoch_ticks(axes: Axes, n_epochs: int) -> None:
    """Put whole epochs on the x axis, the first one labelled 1."""
    high = max(n_epochs, 2)
    ticks = epoch_ticks(n_epochs)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xlim(1 - 0.03 * (high - 1), high + 0.03 * (high - 1))


def _epoch_steps() -> Iterable[int]:
    power = 1
    while True:
        yield from (power, 2 * power, 5 * power)
        power *= 10


def value_colors() -> ListedColormap:
    """Return the colours of validation accuracy: pale for low, dark for high."""
    return _part_of("viridis_r", 0.08, 1.0)


def order_colors() -> ListedColormap:
    """Return the colours of trial order: pale blue for early, dark blue for late."""
    return _part_of("Blues", 0.25, 1.0)


def _part_of(name: str, low: float, high: float) -> ListedColormap:
    return ListedColormap(matplotlib.colormaps[name](np.linspace(low, high, 256)))
