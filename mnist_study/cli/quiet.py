"""Whether messages are wanted; apart from the output, whose libraries help has no use for."""

from __future__ import annotations

_quiet = False


def be_quiet(*, quiet: bool = True) -> None:
    """Print no messages from here on but warnings and errors."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Whether only warnings, errors and results are to be printed."""
    return _quiet
