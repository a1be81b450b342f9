"""A reproducible study around one documented MNIST network."""

from __future__ import annotations

from os import PathLike

# Not typing's, whose import takes most of the time in which the program cannot be interrupted yet.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mnist_study.deployment.notebook import LoadedHome

__all__ = ["load"]


def load(home: str | PathLike[str] | None = None) -> LoadedHome:
    """Return a home's records as pandas tables, and its champion.

    Args:
        home: folder of the stores; None takes MNIST_STUDY_HOME, else `mlruns`.
    """
    from pathlib import Path

    # Imported here: whoever imports the package for its command line waits for no table.
    from mnist_study.core.home import Home
    from mnist_study.deployment.notebook import LoadedHome

    return LoadedHome(Home.at(None if home is None else Path(home)))
