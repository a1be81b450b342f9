"""Optuna's storage: opened, its errors in the user's terms, and cut back."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import optuna
import sqlalchemy
import sqlalchemy.orm
from optuna.storages import RDBStorage
from optuna.storages._rdb import models

from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import sqlite_url
from mnist_study.core.text import first_line


class HistoryError(UserFacingError):
    """A storage that cannot be used, or that holds another study."""


class NoStudyError(HistoryError):
    """A storage that holds no study yet."""


def parse_url(url: str) -> sqlalchemy.URL:
    """Parse the address of a storage.

    Raises:
        HistoryError: it is not a database URL.
    """
    try:
        return sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise _bad_address("something", error) from error


def _bad_address(shown: str, error: Exception) -> HistoryError:
    return HistoryError(
        f"MNIST_STUDY_STORAGE: found {shown} that is no database address that can "
        f"be used ({error}); expected one such as sqlite:////path/optuna.db or "
        "postgresql://host/name, with its driver installed"
    )


@contextmanager
def readable_errors(url: str) -> Iterator[None]:
    """Turn what databases raise into one line, without the password in an address."""
    shown = parse_url(url).render_as_string(hide_password=True)
    try:
        yield
    # First, because SQLAlchemy derives this error from the next.
    except (sqlalchemy.exc.ArgumentError, ImportError) as error:
        raise _bad_address(shown, error) from error
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = str(getattr(error.__cause__, "orig", None) or getattr(error, "orig", None) or error)
        raise HistoryError(
            f"{shown}: the study's record cannot be read or written "
            f"({first_line(cause)}); expected an Optuna database that this user may "
            "write to, on a disk with space left"
        ) from error


def open_storage(url: str) -> RDBStorage:
    """Open a storage; a new SQLite file appears only when it is complete.

    A driver killed while Optuna lays out its tables would leave a file that nothing can open.
    """
    address = sqlalchemy.make_url(url)
    is_file = address.drivername == "sqlite" and address.database
    path = Path(str(address.database)) if is_file else None
    if path is None or path.exists():
        return RDBStorage(url)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".optuna-") as folder:
        unfinished = Path(folder) / path.name
        RDBStorage(sqlite_url(unfinished)).engine.dispose()
        with closing(sqlite3.connect(unfinished)) as database:
            # As durable as the default and three times as fast; the file remembers it.
            database.execute("PRAGMA journal_mode = WAL")
        unfinished.replace(path)
    return RDBStorage(url)


def drop_trials(study: optuna.Study, n_kept: int) -> None:
    """Remove all trials of a study but the first ones, in one transaction.

    Optuna itself can only delete a whole study.

    Args:
        study: of an `RDBStorage`.
        n_kept: how many stay.
    """
    backend = study._storage._backend  # type: ignore[attr-defined]
    with sqlalchemy.orm.Session(backend.engine) as session, session.begin():
        dropped = session.query(models.TrialModel).filter(
            models.TrialModel.study_id == study._study_id, models.TrialModel.number >= n_kept
        )
        for trial in dropped:
            session.delete(trial)  # with what belongs to it
