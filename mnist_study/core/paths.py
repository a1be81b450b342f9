"""Paths as users write them: with `~`, and in environment variables."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: Path) -> Path:
    """Return a path with `~` expanded: shells leave that of `--output=~/x` and of `'~/x'`."""
    return Path(os.path.expanduser(path))


def path_in(variable: str) -> Path | None:
    """Return the path that an environment variable names, with `~` expanded; None for none.

    What reads `.env` files may leave their spaces, quotes and carriage returns around it.
    """
    given = os.environ.get(variable, "")
    if not os.path.lexists(given):
        given = given.strip()
        if len(given) > 1 and given[0] == given[-1] and given[0] in "\"'":
            given = given[1:-1].strip()
    return expanded(Path(given)) if given else None
