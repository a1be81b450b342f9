"""Figures as SVG to be put into an HTML page: the same bytes each time, and colours for dark pages.

Every colour of a figure becomes a variable of the page's style sheet, named by its light value. A
light page gives it that value and a dark page its counterpart, so that a figure is drawn once.
"""

from __future__ import annotations

import colorsys
import io
import re
from collections.abc import Iterable

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex, to_rgb

from mnist_study.plots import style

_COLOR = re.compile(r"(?<=: )#[0-9a-f]{6}\b")
_VARIABLE = re.compile(r"var\(--c([0-9a-f]{6})\)")
_ID = re.compile(r' id="([^"]*)"')
_REFERENCE = re.compile(r'(xlink:href="#|url\(#)([^")]*)')
_PLACES = re.compile(r' (?:d|x|y)="[^"]*"')
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_SETTINGS = ("savefig.", "svg.")


def to_svg(figure: style.Figure, name: str) -> str:
    """Encode a figure as an SVG element, without date or version.

    Texts are drawn as outlines, so that they are as wide as they were laid out for. What an artist
    has as `gid` becomes a class. Addresses that begin with `#` lead to elements of the page.

    Args:
        figure: to be drawn; it stays as it is.
        name: of the figure, unique in its page: all ids begin with it.
    """
    shipped = {k: v for k, v in matplotlib.rcParamsDefault.items() if k.startswith(_SETTINGS)}
    buffer, dpi, canvas = io.StringIO(), figure.dpi, figure.canvas
    with matplotlib.rc_context({**shipped, "svg.hashsalt": name, "svg.fonttype": "path"}):
        FigureCanvasSVG(figure).print_figure(
            buffer, format="svg", facecolor="none", edgecolor="none", metadata={"Date": None}
        )
    figure.set_dpi(dpi)
    figure.set_canvas(canvas)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*|<!--.*?-->\s*", "", text, flags=re.DOTALL)
    # The page gives the size; without its own, the element is as wide as its column.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    # Hundredths of a point suffice for places; scales keep their digits.
    text = _PLACES.sub(
        lambda places: _NUMBER.sub(lambda number: f"{float(number[0]):.2f}", places[0]), text
    )
    return _COLOR.sub(lambda color: f"var(--c{color[0][1:]})", _with_own_ids(text, name)).strip()


def _with_own_ids(text: str, name: str) -> str:
    """Make ids that are referred to unique in the page, and classes of the others."""
    known, used = set(_ID.findall(text)), {found[1] for found in _REFERENCE.findall(text)}

    def of_id(found: re.Match[str]) -> str:
        if found[1] in used:
            return f' id="{name}-{found[1]}"'
        # matplotlib's own numbering of all elements says nothing.
        return "" if re.fullmatch(r"[A-Za-z0-9.]+_\d+", found[1]) else f' class="{found[1]}"'

    def of_reference(found: re.Match[str]) -> str:
        return f"{found[1]}{name}-{found[2]}" if found[2] in known else found[0]

    return _REFERENCE.sub(of_reference, _ID.sub(of_id, text))


def color_rules(svgs: Iterable[str]) -> str:
    """Return the style sheet that gives the figures' colours their values on light and dark pages.

    Args:
        svgs: all figures of the page, from `to_svg`.
    """
    used = sorted({color for svg in svgs for color in _VARIABLE.findall(svg)})
    light = "".join(f"--c{color}:#{color};" for color in used)
    dark = "".join(f"--c{color}:{on_dark('#' + color)};" for color in used)
    return (
        f"figure svg{{fill:#000}}:root{{{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{figure svg{{fill:{on_dark('#000000')}}}"
        f":root{{{dark}}}}}"
    )


def on_dark(color: str) -> str:
    """Return a colour's counterpart on a dark page: of its meaning, else with lightness inverted.

    Args:
        color: as `#rrggbb`.
    """
    named = {to_hex(light): dark for light, dark in style.ON_DARK.items()}
    if color.lower() in named:
        return named[color.lower()].lower()
    hue, lightness, saturation = colorsys.rgb_to_hls(*to_rgb(color))
    return to_hex(colorsys.hls_to_rgb(hue, 0.95 - 0.8 * lightness, saturation))
