"""One look for every figure: sizes, fonts, and one colour per meaning.

Figures are made without pyplot, so nothing is registered globally and nothing has to be closed.
The style is applied with `styled` while a figure is built and fixes everything that a user's
matplotlibrc could change, so that the same rows give the same PNG bytes.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure as Figure
from matplotlib.ticker import NullLocator
from PIL import Image

# Told apart by colour-blind readers: from Okabe and Ito's palette, purple from Tol's.
ORANGE, BLUE, VERMILION, PURPLE, GREEN, OLIVE, BLACK = (
    "#D07F00", "#0072B2", "#D55E00", "#AA4499", "#009E73", "#8A7A00", "#000000",
)  # fmt: skip
INK, MUTED, GREY, RULE, BAND = "#262626", "#6B6B6B", "#9A9A9A", "#DDDDDD", "#E4E4E4"

# One colour per meaning, in all figures. BEST is the best or the chosen one, the winner.
TRAINING, VALIDATION, TEST = ORANGE, BLUE, GREEN
COMPLETE, PRUNED, FAILED = BLUE, GREY, PURPLE
BEST, DOCUMENTED = VERMILION, BLACK
AT_RANDOM = OLIVE

ON_DARK = {
    "#FFFFFF": "#16181C", INK: "#E4E4E4", MUTED: "#A6A6A6", GREY: "#8C8C8C", RULE: "#3A3E45",
    BAND: "#33373E", BLACK: "#FFFFFF", ORANGE: "#F2A93B", BLUE: "#58B2EC", VERMILION: "#FF8552",
    PURPLE: "#DE8FCF", GREEN: "#45C59B", OLIVE: "#D3C04A",
}  # fmt: skip
"""What the colours become on a dark page, whose background is that of white."""

DASHED = (0, (4, 2))
REFERENCE_LINE: dict[str, Any] = {"color": MUTED, "linewidth": 0.9, "zorder": 1}
"""A line that marks an epoch or a value on an axis."""
RING: dict[str, Any] = {
    "linestyle": "", "marker": "o", "markersize": 8, "markerfacecolor": "none",
    "markeredgecolor": BEST, "markeredgewidth": 1.3,
}  # fmt: skip
"""A ring around the best point."""
STAR: dict[str, Any] = {
    "linestyle": "", "marker": "*", "markersize": 10, "markerfacecolor": BEST,
    "markeredgecolor": "white", "markeredgewidth": 0.7,
}  # fmt: skip
"""The winner of the confirmation, which is promoted unless another run is named."""
ON_WHITE: dict[str, Any] = {"facecolor": "white", "alpha": 0.75, "pad": 0.6, "linewidth": 0}
"""The box behind a label that lies on lines."""

TEXT_WIDTH = 7.0
"""Inches: the width of a text block, and about that of a notebook or browser column."""
COLUMN_WIDTH = 4.8
"""Inches: the width of a figure whose words can be read on a telephone too."""
DPI = 150
REPORT_DPI = 220
"""Of figures in reports: sharp on screens of two dots a point."""
FONT_SIZE = 8.5
SMALL = 7.5
_COMPRESSION = 3

_RC: dict[str, object] = {
    # By name and not "sans-serif", which is looked up only when the text is drawn.
    "font.family": ["DejaVu Sans"],
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
        "axes", "figure", "font", "grid", "legend", "lines", "mathtext", "patch", "path", "scatter",
        "text", "xtick", "ytick", "markers", "image", "hatch",
    )  # fmt: skip
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


def new_column(height: float) -> Figure:
    """Return an empty figure of a report, as wide as a column."""
    figure = new_figure(COLUMN_WIDTH, height)
    figure.set_dpi(REPORT_DPI)
    return figure


def to_png(figure: Figure) -> bytes:
    """Encode a figure as PNG, without date or version: the same figure gives the same bytes.

    A figure without a colour map is reduced to a palette of 256 colours, which takes two thirds of
    the time and a third of the bytes; channels change by at most 15 of 255, along edges.
    """
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
    """Encode figures as PNG, by name."""
    return {name: to_png(figure) for name, figure in figures.items()}


def _has_color_map(figure: Figure) -> bool:
    return any(
        axes.images or any(artist.get_array() is not None for artist in axes.collections)
        for axes in figure.axes
    )


def write_title(figure: Figure, left: float, title: str, note: str = "") -> None:
    """Write a title at the top of a figure, level with the legend, and a note at the right end."""
    y = 1 - 0.105 / figure.get_figheight()
    figure.text(left, y, title, va="center_baseline")
    if note:
        figure.text(0.985, y, note, va="center_baseline", ha="right", fontsize=SMALL, color=MUTED)


def nice_ticks(low: float, high: float, at_most: int = 6) -> list[float]:
    """Return at most so many (2 or more) round numbers in [low, high], evenly spaced.

    Their distance is 1, 2, 2.5 or 5 times a power of ten.
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


def log_ticks(low: float, high: float, factors: Sequence[int] = (1, 2, 5)) -> list[float]:
    """Return the round numbers in [low, high] for a log scale: factors times powers of ten."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    numbers = [factor * 10.0**power for power in powers for factor in factors]
    return [number for number in numbers if low * 0.999 <= number <= high * 1.001]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Format ticks with as many decimals as their spacing needs."""
    if len(ticks) < 2:
        return [f"{tick:g}" for tick in ticks]
    step = ticks[1] - ticks[0]
    digits = next((d for d in range(9) if abs(step * 10**d - round(step * 10**d)) < 1e-6), 9)
    return [f"{tick:.{digits}f}" for tick in ticks]


def set_y_limits(axes: Axes, low: float, high: float, at_most: int = 6) -> None:
    """Fix the limits of the y axis and put at most so many round numbers on it."""
    axes.set_ylim(low, high)
    set_y_ticks(axes, nice_ticks(low, high, at_most))


def set_y_ticks(axes: Axes, ticks: Sequence[float]) -> None:
    """Fix the y ticks, labelled with the decimals that they need."""
    axes.set_yticks(ticks, tick_labels(ticks))
    axes.yaxis.set_minor_locator(NullLocator())


def set_x_ticks(axes: Axes, at_most: int) -> None:
    """Put at most so many round numbers on the x axis, whose limits stay."""
    limits = axes.get_xlim()
    ticks = nice_ticks(*limits, at_most)
    labels = [label.replace("-", "\N{MINUS SIGN}") for label in tick_labels(ticks)]
    axes.set_xticks(ticks, labels)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(limits)


def spread_apart(positions: Sequence[float], distance: float) -> list[float]:
    """Return ascending positions at least `distance` apart, moved as little as possible.

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
        _low_end(group, distance) + distance * index
        for group in groups
        for index in range(len(group))
    ]


def _low_end(group: Sequence[float], distance: float) -> float:
    return sum(group) / len(group) - distance * (len(group) - 1) / 2


def epoch_ticks(n_epochs: int) -> list[int]:
    """Return at most seven epochs to label, among them the first."""
    last = max(n_epochs, 2)
    steps = (factor * 10**power for power in range(9) for factor in (1, 2, 5))
    step = next(step for step in steps if last / step <= 6)
    return [1, *range(step, last + 1, step)] if step > 1 else list(range(1, last + 1))


def set_epoch_ticks(axes: Axes, n_epochs: int) -> None:
    """Fix limits and ticks of an x axis of epochs, which count from 1."""
    last = max(n_epochs, 2)
    ticks = epoch_ticks(n_epochs)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xlim(1 - 0.03 * (last - 1), last + 0.03 * (last - 1))


def draw_color_scale(axes: Axes, colors: ListedColormap, low: float, high: float) -> None:
    """Fill a flat axis with the colours of a scale, as shapes and not as an image."""
    n = 32
    edges = np.linspace(low, high, n + 1)
    for k in range(n):
        # A little wider than their share, so that no seam shows between two of them.
        axes.axvspan(edges[k], edges[min(k + 2, n)], color=colors((k + 0.5) / n), linewidth=0)
    axes.set_xlim(low, high)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def value_colors() -> ListedColormap:
    """Return the colours of validation accuracy: pale for low, dark for high."""
    return _part_of("viridis_r", 0.08, 1.0)


def order_colors() -> ListedColormap:
    """Return the colours of trial order: pale blue for early, dark blue for late."""
    return _part_of("Blues", 0.25, 1.0)


def _part_of(name: str, low: float, high: float) -> ListedColormap:
    return ListedColormap(matplotlib.colormaps[name](np.linspace(low, high, 256)))
