"""A home as one archive: made of consistent copies of its databases, and brought back elsewhere.

An archive is a gzipped tar file with `manifest.json` first: the digest of every record, so that
what is brought back is known to be what was packed.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import sqlite3
import tarfile
from contextlib import closing, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import Home
from mnist_study.core.text import first_line
from mnist_study.core.trials import digest
from mnist_study.execution.stores import open_histories
from mnist_study.tracking.relocation import relocate

MANIFEST = "manifest.json"
_DATABASES = ("mlflow.db", "optuna.db")
_FILES = ("artifacts", "readouts", "reports", "index.html", "test_set_ledger.jsonl")
_FORMAT = 1
_BLOCK_BYTES = 1 << 20


class ArchiveError(UserFacingError):
    """A home that cannot be packed, or an archive that cannot be brought back."""


def export_home(home: Home, file: Path) -> dict[str, str]:
    """Pack a home into an archive; the file is there whole or not at all.

    Args:
        home: whose stores are its own and not on servers.
        file: to be written; there must be none of this name yet.

    Returns:
        The digest of each record, by name.

    Raises:
        UserFacingError: the home is in use, has no record, or keeps its stores on a server; or the
            file is there, or would lie among what is packed.
    """
    _refuse_servers(home)
    _refuse_target(home, file)
    with home.to_read() as source:
        open_histories(source)  # a home without a record is not created either
        with nullcontext() if home.is_read_only else home.locked("mnist-study home export"):
            digests = _digests(source)
            part = file.with_name(f".{file.name}.part-{os.getpid()}")
            try:
                with TemporaryDirectory(prefix="mnist-study-") as folder:
                    _pack(source, digests, Path(folder), part)
                os.replace(part, file)
            finally:
                part.unlink(missing_ok=True)
    return digests


def _refuse_target(home: Home, file: Path) -> None:
    if os.path.lexists(file):
        raise ArchiveError(f"{file}: it is there already; choose another name or remove it")
    if not file.parent.is_dir():
        raise ArchiveError(f"{file.parent}: no such folder; expected one to write the archive into")
    packed = [(home.path / name).resolve() for name in _FILES]
    if any(file.parent.resolve().is_relative_to(folder) for folder in packed):
        raise ArchiveError(
            f"{file}: it would lie among the files that it packs; choose a place outside of them"
        )


def _pack(home: Home, digests: dict[str, str], folder: Path, part: Path) -> None:
    manifest = json.dumps({"format": _FORMAT, "digests": digests}, indent=2).encode()
    # What links point to, on another disk for its size, is the home's too.
    with tarfile.open(part, "w:gz", dereference=True) as archive:
        about = tarfile.TarInfo(MANIFEST)
        about.size = len(manifest)
        archive.addfile(about, io.BytesIO(manifest))
        for name in _DATABASES:
            database = (home.databases or home.path) / name
            if database.exists():
                _copy_database(database, folder / name)
                archive.add(folder / name, name)
        for name in _FILES:
            if (home.path / name).exists():
                archive.add(home.path / name, name)


def _copy_database(source: Path, target: Path) -> None:
    """Copy a database as one transaction sees it, whatever lies in its log."""
    with closing(sqlite3.connect(source)) as known, closing(sqlite3.connect(target)) as copy:
        known.backup(copy)


def import_home(file: Path, home: Home) -> dict[str, str]:
    """Bring an archive back as a home; the home is there whole or not at all.

    Args:
        file: from `export_home`.
        home: a folder that is not there yet, or is empty.

    Returns:
        The digest of each record, by name, as it was when the archive was packed.

    Raises:
        ArchiveError: the file is no such archive, its records are not what its manifest says, or
            the home is there.
    """
    _refuse_servers(home)
    if home.path.exists() and (not home.path.is_dir() or any(home.path.iterdir())):
        raise ArchiveError(
            f"{home.path}: it is there and not empty; expected a new --home for what {file} holds"
        )
    part = home.path.with_name(f".{home.path.name}.part-{os.getpid()}")
    try:
        manifest = _unpack(file, part)
        found = _read(Home(part), file)
        if found != manifest["digests"]:
            raise ArchiveError(
                f"{file}: its records have other digests than its manifest; expected the file as "
                "`home export` wrote it; copy it again"
            )
        if home.path.exists():
            home.path.rmdir()
        os.rename(part, home.path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    _move_locations(home)
    return found


def _read(packed: Home, file: Path) -> dict[str, str]:
    """Return the digests of a home that was just unpacked."""
    try:
        _move_locations(packed)
        return _digests(packed)
    except (sqlite3.Error, UserFacingError, ValueError, KeyError, TypeError) as error:
        raise ArchiveError(
            f"{file}: its records cannot be read ({first_line(error)}); expected the file as "
            "`home export` wrote it; copy it again"
        ) from error


def _unpack(file: Path, folder: Path) -> dict[str, Any]:
    """Unpack an archive; its members can lie nowhere but in the folder."""
    folder.mkdir(parents=True)
    try:
        # Browsers unpack what they download, if only from gzip.
        with tarfile.open(file, "r:*") as archive:
            archive.extractall(folder, filter="data")
            while archive.fileobj is not None and archive.fileobj.read(_BLOCK_BYTES):
                pass  # to the checksum at the end of gzip
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != _FORMAT or not isinstance(manifest["digests"], dict):
            raise ValueError(f"its format is {manifest['format']}, expected {_FORMAT}")
    except FileNotFoundError as error:
        if Path(error.filename or "") == file:
            raise ArchiveError(f"{file}: no such file; expected one of `home export`") from None
        raise ArchiveError(f"{file}: it has no {MANIFEST}; expected one of `home export`") from None
    # A damaged file raises errors of many kinds; a full disk is reported as that.
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, error.strerror, str(folder.parent)) from error
        cause = "it is no tar file" if isinstance(error, tarfile.ReadError) else first_line(error)
        raise ArchiveError(
            f"{file}: no whole archive of a home ({cause}); expected one of `home export`"
        ) from error
    (folder / MANIFEST).unlink()
    return dict(manifest)


def repair_home(home: Home) -> list[str]:
    """Let all locations of a moved or copied home point to where it lies now.

    Returns:
        What was corrected, a line each; empty where nothing had moved.

    Raises:
        UserFacingError: the home is in use, has no record, or keeps its stores on a server.
    """
    _refuse_servers(home)
    open_histories(home)
    with home.locked("mnist-study home repair"):
        return _move_locations(home)


def _move_locations(home: Home) -> list[str]:
    if home.artifact_root is None or not home.has_mlflow_store:
        return []
    return relocate(home.mlflow_database, Path(home.artifact_root))


def _digests(home: Home) -> dict[str, str]:
    return {history.name: digest(history.results) for history in open_histories(home)}


def _refuse_servers(home: Home) -> None:
    on_servers = [
        name
        for name, address in (
            ("MLFLOW_TRACKING_URI", home.tracking_uri),
            ("MNIST_STUDY_STORAGE", home.storage_url),
        )
        if os.environ.get(name) and address
    ]
    if on_servers:
        raise ArchiveError(
            f"{on_servers[0]}: the stores are where it says and not in {home.path}; expected a "
            "home that keeps its own; unset it, or move the stores with the tools of their server"
        )
