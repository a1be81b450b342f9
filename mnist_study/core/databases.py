"""Addresses of databases and the files behind them, for MLflow's and Optuna's stores."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from mnist_study.core.errors import UserFacingError

SERVER_SECONDS = 5
"""How long a connection to a database server may take, in seconds."""

_RELATIVE_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!/|:memory:)(.+)", re.DOTALL)
_POSTGRES = re.compile(r"postgres(?:ql)?(?:\+(\w+))?://")
_POSTGRES_DRIVERS = ("psycopg", "psycopg2")
_LOCAL_FILE_SYSTEMS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "apfs")


class DatabaseError(UserFacingError):
    """A database that cannot be used."""


def usable_address(address: str, variable: str) -> str:
    """Return an address in the form that the installed libraries can use.

    A relative SQLite path is made absolute. A PostgreSQL address gets the driver that is installed
    and a connection timeout.

    Args:
        address: as the user set it.
        variable: the environment variable that holds it.

    Raises:
        DatabaseError: a driver for PostgreSQL is not installed.
    """
    relative = _RELATIVE_SQLITE.match(address)
    if relative is not None:
        path, mark, query = relative[2].partition("?")
        return f"{relative[1]}{os.path.abspath(os.path.expanduser(path))}{mark}{query}"
    postgres = _POSTGRES.match(address)
    if postgres is None:
        return address
    named = postgres[1]
    if named is None or named in _POSTGRES_DRIVERS:
        drivers = [named] if named else []
        drivers += [name for name in _POSTGRES_DRIVERS if name != named]
        installed = next((name for name in drivers if importlib.util.find_spec(name)), None)
        if installed is None:
            raise DatabaseError(
                f"{variable}: found a PostgreSQL address, expected psycopg or psycopg2 to be "
                "installed; run `pip install 'psycopg[binary]'`, then the same command again"
            )
        address = f"postgresql+{installed}://{address[postgres.end() :]}"
    if "connect_timeout=" not in address:
        address += f"{'&' if '?' in address else '?'}connect_timeout={SERVER_SECONDS}"
    return address


def sqlite_path(address: str) -> Path | None:
    """Return the file of a SQLite database; None for any other database."""
    head, slashes, rest = address.partition(":///")
    if not slashes or head.partition("+")[0] != "sqlite" or not rest:
        return None
    return Path(unquote(rest.partition("?")[0]))


def is_on_local_disk(path: Path) -> bool:
    """Whether a file lies on this machine; a write-ahead log does not work across a network."""
    import psutil  # takes 20 ms, needed only where a database is created

    folders = [str(path.resolve()), *map(str, path.resolve().parents)]
    mounted = {partition.mountpoint: partition.fstype for partition in psutil.disk_partitions(True)}
    kind = next((mounted[folder] for folder in folders if folder in mounted), "")
    return kind in _LOCAL_FILE_SYSTEMS


@dataclass(frozen=True, slots=True)
class DatabaseFile:
    """The file of a database that was opened.

    SQLite goes on writing to a deleted file without an error.

    Attributes:
        path: of the file when it was opened.
        inode: of that file.
    """

    path: Path
    inode: int

    @classmethod
    def at(cls, address: str) -> DatabaseFile | None:
        """Return the file at an address, None for a database without one."""
        path = sqlite_path(address)
        return None if path is None or not path.exists() else cls(path, path.stat().st_ino)

    def check(self) -> None:
        """Check that the file is where it was.

        Raises:
            DatabaseError: it was deleted, moved or replaced.
        """
        try:
            inode = self.path.stat().st_ino
        except OSError:
            inode = None
        if inode != self.inode:
            raise DatabaseError(
                f"{self.path}: deleted, moved or replaced while the command ran; expected it to "
                "stay in place; put it back if there is a copy, then run the same command again"
            )
