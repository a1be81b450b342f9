"""The command as it was typed, in characters that every store takes."""

from __future__ import annotations

import os
import sys


def command_text() -> str:
    """Return the command as it was typed, for the records."""
    return storable(" ".join(["mnist-study", *sys.argv[1:]]))


def storable(text: str) -> str:
    """Return an argument with the bytes that are not UTF-8 escaped."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
