"""Paths that environment variables name."""

from __future__ import annotations

import os
from pathlib import Path


def path_in(variable: str) -> Path | None:
    """Return the path that an environment variable names, with `~` expanded; None for none.

    What reads `.env` files may leave their spaces, quotes and carriage returns around it.
    """
    given = os.environ.get(variable, "")
    if not os.path.lexists(given):
        given = given.strip()
        if len(given) > 1 and given[0] == given[-1] and given[0] in "\"'":
            given = given[1:-1].strip()
    return Path(os.path.expanduser(given)) if given else None
