"""Moved and copied homes: MLflow stores locations in full, and they must follow the home.

Only the store under a home is touched, and in it only locations under the folder that its artifacts
had: what a user keeps elsewhere stays where it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlparse

# Every column in which MLflow's database holds locations of artifacts.
_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_version_tags", "value"),
)


def relocate(database: Path, artifact_root: Path) -> list[str]:
    """Let all locations in a home's MLflow database point to where its artifacts lie now.

    Doing it twice changes nothing; each former place is corrected in one transaction.

    Args:
        database: MLflow's SQLite file under the home.
        artifact_root: the folder of all experiments' files under the home, a folder an experiment.

    Returns:
        What was corrected, a line for each former place; empty where nothing had moved.
    """
    here = artifact_root.resolve().as_uri()
    lines = []
    with closing(sqlite3.connect(database, timeout=5, isolation_level=None)) as connection:
        for there in sorted(set(_former_roots(connection, artifact_root, here))):
            connection.execute("BEGIN IMMEDIATE")
            try:
                n_corrected = sum(
                    _replace_prefix(connection, table, column, there, here)
                    for table, column in _LOCATIONS
                )
            except sqlite3.Error:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
            lines.append(
                f"this home was moved or copied: {n_corrected} locations in {database.name} now "
                f"point to {artifact_root} and no longer to {unquote(urlparse(there).path)}"
            )
    return lines


def _former_roots(connection: sqlite3.Connection, artifact_root: Path, here: str) -> Iterator[str]:
    """Yield the artifact folders that the experiments had whose files are here now."""
    for name, location in connection.execute("SELECT name, artifact_location FROM experiments"):
        root, _, last = str(location or "").rpartition("/")
        is_moved = root.startswith("file:///") and unquote(last) == name and root != here
        if is_moved and (artifact_root / name).is_dir():
            yield root


def _replace_prefix(
    connection: sqlite3.Connection, table: str, column: str, old: str, new: str
) -> int:
    # Table and column are this module's own names; comparing with LIKE would read `_` and `%`.
    cursor = connection.execute(
        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
        (new, len(old) + 1, len(old) + 1, f"{old}/"),
    )
    return cursor.rowcount
