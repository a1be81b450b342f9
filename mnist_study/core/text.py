"""Small pieces of text that every room writes alike."""

from __future__ import annotations

import re


def duration(seconds: float) -> str:
    """Write a duration as 45 s, 12 min or 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def first_line(text: object, longest: int = 300) -> str:
    """Return the first line of a text or an exception, cut to a length that fits a message."""
    return str(text).strip().partition("\n")[0][:longest]


def error_line(text: str) -> str:
    """Return the line of a traceback that names the error; of another text, the last line."""
    lines = text.strip().splitlines() or [""]
    errors = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(Error|Exception)\b", line)]
    return errors[-1] if errors else lines[-1]
