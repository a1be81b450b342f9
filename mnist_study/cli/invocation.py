"""The command as it was typed, in characters that every store and terminal takes."""

from __future__ import annotations

import os
import sys

from mnist_study.core.safe_text import printable, without_passwords


def command_text() -> str:
    """Return the command as it was typed, for the records."""
    return without_passwords(storable(" ".join(["mnist-study", *sys.argv[1:]])))


def storable(text: str) -> str:
    """Return an argument with everything escaped that is no visible character in UTF-8."""
    return printable(os.fsencode(text).decode("utf-8", "backslashreplace"))
