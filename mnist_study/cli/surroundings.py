"""What the program settles about its process before a command runs: streams and libraries."""

from __future__ import annotations

import codecs
import io
import os
import sys

_SIMPLER = {
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{PLUS-MINUS SIGN}": "+/-",
}


def settle_streams() -> None:
    """Let both streams take any text, whatever the terminal's encoding is."""
    codecs.register_error("mnist-study", _simplify)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="mnist-study")


def settle_libraries() -> None:
    """Take matplotlib as it comes: a user's settings could change figures, or be broken."""
    os.environ["MATPLOTLIBRC"] = os.devnull
    os.environ["MPLBACKEND"] = "agg"


def _simplify(error: UnicodeError) -> tuple[str, int]:
    """Replace what an encoding does not have by what every one has."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    simple = [_SIMPLER.get(c) or c.encode("ascii", "backslashreplace").decode() for c in characters]
    return "".join(simple), error.end
