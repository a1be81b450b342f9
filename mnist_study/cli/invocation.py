"""The command as it was typed, in characters that every store and terminal accepts."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from mnist_study.core.safe_text import printable, without_passwords

_NAME = "mnist-study"


def command_text() -> str:
    """Return the command as it was typed, for the records."""
    return without_passwords(storable(" ".join([_NAME, *sys.argv[1:]])))


def storable(text: str) -> str:
    """Return an argument with all characters escaped that are not visible or not UTF-8."""
    return printable(os.fsencode(text).decode("utf-8", "backslashreplace"))


def as_typed_here(text: str) -> str:
    """Return a text in which the program's commands can be typed as they stand.

    `make study` runs `.venv/bin/mnist-study`, which a shell does not find by its name alone.
    """
    program = Path(sys.argv[0])
    found = shutil.which(_NAME)
    is_known = found is not None and program.exists() and Path(found).samefile(program)
    if program.name != _NAME or is_known:
        return text
    return text.replace(f"`{_NAME} ", f"`{shlex.quote(str(program))} ")
