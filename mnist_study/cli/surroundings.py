"""What the program settles about its process before a command runs: streams and libraries."""

from __future__ import annotations

import codecs
import io
import os
import sys
import tempfile

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


def settle_folders() -> None:
    """Give matplotlib a folder of the command's own where it may not write to the user's.

    Otherwise matplotlib makes a temporary folder, warns at length, and ends with a traceback when
    the command's temporary folder, in which it lies, is removed first.
    """
    given = os.environ.get("MPLCONFIGDIR")
    folders = [given] if given else [
        os.environ.get(variable) or os.path.expanduser(default)
        for variable, default in (("XDG_CONFIG_HOME", "~/.config"), ("XDG_CACHE_HOME", "~/.cache"))
    ]  # fmt: skip
    if not all(map(_can_be_made, folders)):
        os.environ["MPLCONFIGDIR"] = os.path.join(tempfile.gettempdir(), "matplotlib")


def _can_be_made(folder: str) -> bool:
    """Whether this user can write to a folder, or make it where it is not there yet."""
    path = os.path.abspath(folder)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)


def _simplify(error: UnicodeError) -> tuple[str, int]:
    """Replace what an encoding does not have by what every one has."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    simple = [_SIMPLER.get(c) or c.encode("ascii", "backslashreplace").decode() for c in characters]
    return "".join(simple), error.end
