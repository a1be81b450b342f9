"""Small pieces of text that every room writes alike."""

from __future__ import annotations


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
