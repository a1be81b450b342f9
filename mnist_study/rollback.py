"""The way back: the champion before the present one."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mnist_study.home import Home
from mnist_study.mlflow_connection import readable_errors
from mnist_study.promotion import Outcome
from mnist_study.registry import Registry, RegistryError, champions
from mnist_study.stopping import undisturbed


def rollback(home: Home, command: str, registry: Registry) -> Outcome:
    """Make the champion before the present one champion again.

    Raises:
        UserFacingError: there is none, or its model is not what it was; nothing was moved.
    """
    with home.locked(command), readable_errors(home.tracking_uri):
        registry.settle_history()
        line = champions(registry.history())
        if not line:
            raise RegistryError(
                f"{registry.name} has no champion, expected one to go back from; run "
                "`mnist-study promote` first"
            )
        if len(line) == 1:
            raise RegistryError(
                f"{registry.name} version {line[0]} is the first champion, expected an earlier one "
                "to go back to; promote another model instead"
            )
        present, before = line[-1], registry.version(line[-2])
        with tempfile.TemporaryDirectory(prefix="mnist-study-") as folder:
            registry.fetch(before, Path(folder))
        with undisturbed():
            registry.move_champion(before, "rollback", from_version=present)
    return Outcome(
        [
            f"{registry.name} version {before.version} is champion again, "
            f"version {present} no longer."
        ],
        {"model": registry.name, "version": str(before.version), "from_version": present},
    )
