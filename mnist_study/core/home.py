"""The folder that holds a study's stores, and the lock on it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from mnist_study.core.databases import usable_address
from mnist_study.core.errors import UserFacingError
from mnist_study.core.ledger import Ledger
from mnist_study.core.paths import expanded, path_in
from mnist_study.core.safe_text import has_unescaped_password, shown_address

_SPECIAL = re.compile("[%?{}]")
_MLFLOW, _OPTUNA = "mlflow.db", "optuna.db"


class HomeError(UserFacingError):
    """A home that cannot be used."""


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file, with what URLs and Optuna's templates read escaped."""
    name = str(path)
    escaped = _SPECIAL.sub(lambda found: f"%{ord(found[0]):02X}", name)
    # Given an address without a driver, MLflow creates the folder, under the escaped name.
    driver = "" if escaped == name else "+pysqlite"
    return f"sqlite{driver}:///{escaped}"


def _server_address(variable: str) -> str | None:
    address = os.environ.get(variable)
    if address and has_unescaped_password(address):
        raise HomeError(
            f"{variable}: found / or @ in the password of {shown_address(address)}, expected %2F "
            "and %40 in their place"
        )
    return usable_address(address, variable) if address else address


@dataclass(frozen=True, slots=True)
class Home:
    """Where the stores are: under `path`, or on servers named in the environment.

    Attributes:
        path: absolute, because MLflow stores artifact locations as absolute paths.
        databases: folder of the databases under it; None where that is the home itself.
    """

    path: Path
    databases: Path | None = None

    @classmethod
    def at(cls, path: Path | None) -> Home:
        """Return the home given, else MNIST_STUDY_HOME, else `mlruns`; creates nothing."""
        given = path or path_in("MNIST_STUDY_HOME") or "mlruns"
        path = expanded(Path(given)).absolute()
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise HomeError(
                f"{path}: found a name that is not UTF-8, expected UTF-8, in which the databases "
                "store paths; rename the folder, or choose another --home"
            ) from error
        return cls(path)

    @property
    def is_read_only(self) -> bool:
        """Whether the folder exists and cannot be written to."""
        return self.path.is_dir() and not os.access(self.path, os.W_OK)

    @contextmanager
    def to_read(self) -> Iterator[Home]:
        """Yield the home for a command that only reads it.

        SQLite writes files beside a database even to read it, so where the home cannot be written
        to, copies of its databases are read.
        """
        if not self.is_read_only:
            yield self
            return
        with tempfile.TemporaryDirectory(prefix="mnist-study-") as folder:
            for database in (_MLFLOW, _OPTUNA):
                # The latest writes may still be in the write-ahead log.
                for path in (self.path / database, self.path / f"{database}-wal"):
                    if path.exists():
                        shutil.copyfile(path, Path(folder, path.name))
            yield replace(self, databases=Path(folder))

    @property
    def tracking_uri(self) -> str:
        """Address of the MLflow store; always passed to MLflow, which would otherwise guess one.

        Raises:
            HomeError: a password in it is not escaped.
        """
        return _server_address("MLFLOW_TRACKING_URI") or sqlite_url(self.mlflow_database)

    @property
    def mlflow_database(self) -> Path:
        """MLflow's database file, used where no server is set."""
        return (self.databases or self.path) / _MLFLOW

    @property
    def artifact_root(self) -> str | None:
        """Folder of MLflow's files; None where a server decides."""
        if os.environ.get("MLFLOW_TRACKING_URI"):
            return None
        return str(self.path / "artifacts")

    @property
    def has_mlflow_store(self) -> bool:
        """Whether an MLflow store exists; asking MLflow itself would create one."""
        database = self.mlflow_database
        return self.artifact_root is None or (database.exists() and database.stat().st_size > 0)

    @property
    def storage_url(self) -> str:
        """Address of Optuna's storage.

        Raises:
            HomeError: a password in it is not escaped.
        """
        return _server_address("MNIST_STUDY_STORAGE") or sqlite_url(
            (self.databases or self.path) / _OPTUNA
        )

    @property
    def ledger(self) -> Ledger:
        """The readings of the test set under this home."""
        return Ledger(self.path / "test_set_ledger.jsonl")

    @property
    def readouts(self) -> Path:
        """Where the answers on the test set are kept, one file per model."""
        return self.path / "readouts"

    def unrecorded(self, name: str) -> Path:
        """Where results of a record are kept while MLflow's store is locked or does not answer."""
        return self.path / f"unrecorded-{name}"

    @property
    def worker_log(self) -> Path:
        """Where local workers write their error output."""
        return self.path / "workers.log"

    @property
    def server_log(self) -> Path:
        """Where MLflow's server, which `ui` starts, writes its output."""
        return self.path / "mlflow-server.log"

    def is_in_use(self) -> bool:
        """Whether a command is writing to the home."""
        if not (self.path / ".lock").exists():
            return False
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:
            return False  # the home cannot be written to
        lock.release()
        return False

    @property
    def holder(self) -> str | None:
        """The command that is writing to the home, as text; None if there is none."""
        return self._holder() if self.is_in_use() else None

    def _holder(self) -> str:
        try:
            return (self.path / ".lock-holder").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return "another process"

    @contextmanager
    def locked(self, command: str) -> Iterator[None]:
        """Lock the home for one writing command.

        Raises:
            HomeError: another process has locked it, or it is no folder that can be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".probe-{os.getpid()}"
            try:
                probe.write_bytes(b"mnist-study")
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            cause = "it is a file" if self.path.is_file() else error.strerror
            raise HomeError(
                f"{self.path}: cannot be used as home ({cause}); expected a folder that this user "
                "may write to, on a disk with space left; correct that or choose another --home"
            ) from error
        holder_path = self.path / ".lock-holder"
        lock = FileLock(self.path / ".lock")
        try:
            # Tried repeatedly: `is_in_use` in another process takes the lock for a moment.
            lock.acquire(timeout=0.5, poll_interval=0.05)
        except Timeout:
            raise HomeError(
                f"{self.path}: in use by {self._holder()}; expected a home that no command "
                "writes to; wait until it ends, stop it, or choose another --home"
            ) from None
        except OSError as error:
            raise HomeError(
                f"{self.path}: its file system cannot lock files (flock: {error.strerror}); "
                "expected one that can, so that no two commands write at once; choose a --home on "
                "another disk"
            ) from error
        try:
            since = time.strftime("%H:%M:%S")
            holder_path.write_text(
                f"`{command}` (process {os.getpid()} on {socket.gethostname()}, since {since})\n",
                encoding="utf-8",
            )
            yield
        finally:
            holder_path.unlink(missing_ok=True)
            lock.release()
