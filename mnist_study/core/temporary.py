"""A temporary folder for each command, removed when it ends.

TensorFlow leaves generated code in the temporary folder, a file for each function.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from mnist_study.core.errors import UserFacingError

PREFIX = "mnist-study-run-"
_LOCK = ".lock"
# A folder without a lock may be one that is being made.
_OLD_SECONDS = 3600
# A trial's files, twice: one that is too small for them is as good as full.
_PROBE_BYTES = 4 << 20

_own: Path | None = None


class TemporaryFolderError(UserFacingError):
    """A temporary folder that cannot be written to."""


def use_own_folder() -> None:
    """Make a folder for the temporary files of this process and of those that it starts.

    Folders left by killed commands are removed. Where no folder can be made nothing is changed,
    because not every command needs one.
    """
    global _own
    with suppress(OSError):
        parent = Path(tempfile.gettempdir())
        _remove_left(parent)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        _own = folder
        # Held until this process ends, however it does.
        fcntl.flock(os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX)
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)


def remove_own_folder() -> None:
    """Remove the folder that `use_own_folder` made."""
    if _own is not None:
        shutil.rmtree(_own, ignore_errors=True)


def check_temporary_folder() -> None:
    """Check that temporary files can be written.

    Raises:
        TemporaryFolderError: they cannot.
    """
    try:
        with tempfile.TemporaryFile() as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
    except OSError as error:
        raise temporary_folder_error(error.strerror or str(error)) from error


def temporary_folder_error(reason: str) -> TemporaryFolderError:
    """Return the error for a temporary folder that cannot be written to."""
    folder = (_own.parent if _own else None) or os.environ.get("TMPDIR") or "/tmp"
    return TemporaryFolderError(
        f"{folder}: no temporary file can be written there ({reason}), expected a few megabytes "
        "of free space; free some, or set TMPDIR to another folder"
    )


def is_temporary_folder_full(needed: int = _PROBE_BYTES) -> bool:
    """Whether the temporary folder has no space left."""
    with suppress(OSError):
        return shutil.disk_usage(tempfile.gettempdir()).free < needed
    return True


def _remove_left(parent: Path) -> None:
    """Remove the folders of this user's commands that have ended."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            about = folder.lstat()
            if about.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
                continue
            if _is_left(folder, time.time() - about.st_mtime):
                shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path, age_seconds: float) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return age_seconds > _OLD_SECONDS
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
