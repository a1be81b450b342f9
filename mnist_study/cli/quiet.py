"""Whether progress is printed; a module of its own because help must not import `output`."""

from __future__ import annotations

_quiet = False


def be_quiet(*, quiet: bool = True) -> None:
    """From here on print only warnings, errors and results."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Whether only warnings, errors and results are to be printed."""
    return _quiet
