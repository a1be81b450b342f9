"""Optuna's storage: opened, its errors in the user's terms, extended and cut back."""

from __future__ import annotations

import json
import shlex
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy
import sqlalchemy.orm
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial

from mnist_study.core.databases import is_on_local_disk, sqlite_path
from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import sqlite_url
from mnist_study.core.patience import patiently
from mnist_study.core.safe_text import shown_address
from mnist_study.core.text import first_line

_Result = TypeVar("_Result")


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


def ask(url: str, work: Callable[[], _Result], *, is_known: bool = False) -> _Result:
    """Read or write a storage: wait while it is locked, and raise other errors in one line.

    Args:
        url: of the storage.
        work: leaves nothing behind when it fails.
        is_known: it was used before, so that a server that does not answer is waited for too.

    Raises:
        HistoryError: it cannot be read or written.
    """
    shown = shown_address(url)

    def passing(error: Exception) -> str | None:
        text = _cause(error)
        if "locked" in text:
            return f"{shown} is locked by another program"
        if is_known and any(sign in text for sign in _NO_ANSWER):
            return f"{shown} does not answer ({first_line(text)})"
        return None

    with _readable_errors(shown):
        return patiently(work, passing)


# Of the drivers of PostgreSQL and MySQL.
_NO_ANSWER = (
    "connection failed", "could not connect", "Connection refused", "closed the connection",
    "server closed", "terminating connection", "Can't connect", "Lost connection",
    "connection is closed", "starting up", "shutting down",
)  # fmt: skip


def _cause(error: Exception) -> str:
    """Return the database's own message."""
    return str(getattr(error.__cause__, "orig", None) or getattr(error, "orig", None) or error)


@contextmanager
def _readable_errors(shown: str) -> Iterator[None]:
    """Turn what databases raise into one line."""
    try:
        yield
    # First, because SQLAlchemy derives this error from the next.
    except (sqlalchemy.exc.ArgumentError, ImportError) as error:
        raise _bad_address(shown, error) from error
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise HistoryError(f"{shown}: {_advice(_cause(error))}") from error
    except RuntimeError as error:
        # Optuna raises it only for tables of another version.
        if "schema" not in str(error):
            raise
        raise HistoryError(
            f"{shown}: was written by another version of Optuna ({first_line(error)}); "
            f"{_upgrade(shown) if 'storage upgrade' in str(error) else 'expected an earlier one'}, "
            "or install the version that wrote it"
        ) from error


def _upgrade(shown: str) -> str:
    program = Path(sys.executable).with_name("optuna")
    return f"copy it, then run `{program} storage upgrade --storage {shlex.quote(shown)}`"


def _advice(cause: str) -> str:
    """Return the meaning of a database's error and what to do."""
    found = f"the study's record cannot be read or written ({first_line(cause)}); "
    if "locked" in cause:
        return f"{found}another program has locked it; end that program, then start again"
    if any(sign in cause for sign in ("alembic", "no such column", "Can't locate revision")):
        return f"{found}expected the tables of the installed Optuna; install the one that wrote it"
    if "malformed" in cause or "not a database" in cause:
        return f"{found}the file is damaged; restore a copy of it or choose another --home"
    return (
        f"{found}expected an Optuna database that this user may write to, on a disk with space left"
    )


def is_missing(url: str) -> bool:
    """Whether a storage is a file that does not exist, or that was truncated to nothing."""
    path = sqlite_path(url)
    return path is not None and (not path.exists() or path.stat().st_size == 0)


def open_storage(url: str) -> RDBStorage:
    """Open a storage; a new SQLite file appears only when it is complete.

    A driver killed while Optuna creates its tables would leave a file that nothing can open.
    """
    path = sqlite_path(url)
    if path is None or not is_missing(url):
        storage = RDBStorage(_literal(url))
        # Optuna itself looks only when a study is created.
        storage._version_manager.check_table_schema_compatibility()
        return storage
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".optuna-") as folder:
        unfinished = Path(folder) / path.name
        RDBStorage(sqlite_url(unfinished)).engine.dispose()
        if is_on_local_disk(path):
            with closing(sqlite3.connect(unfinished)) as database:
                # As durable as the default and three times as fast; the file remembers it.
                database.execute("PRAGMA journal_mode = WAL")
        unfinished.replace(path)
    return RDBStorage(_literal(url))


def _literal(url: str) -> str:
    """Return an address without braces, which Optuna takes for a template's."""
    return url.replace("{", "%7B").replace("}", "%7D")


def insert_trial(study: optuna.Study, trial: FrozenTrial, n_before: int) -> int:
    """Store a finished trial as the next one, in one transaction.

    Optuna's own `add_trial` asks the database before each value of each epoch, which takes ten
    times as long, and afterwards reads the trial back.

    Args:
        study: of an `RDBStorage`.
        trial: finished; of the study's only search space.
        n_before: how many trials are expected to be stored.

    Returns:
        How many were; unless as many as expected, nothing was stored.
    """
    backend = study._storage._backend  # type: ignore[attr-defined]
    with sqlalchemy.orm.Session(backend.engine) as session:
        # A second driver waits here on a server; on a SQLite file it waits at its insert.
        models.StudyModel.find_or_raise_by_id(study._study_id, session, for_update=True)
        stored = session.query(models.TrialModel.trial_id).filter_by(study_id=study._study_id)
        n_stored = int(stored.count())
        if n_stored == n_before:
            _add_rows(session, study._study_id, n_before, trial)
            # SQLite locks with the insert, not before it.
            n_stored = stored.count() - 1
            if n_stored == n_before:
                session.commit()
    return n_stored


def _add_rows(
    session: sqlalchemy.orm.Session, study_id: int, number: int, trial: FrozenTrial
) -> None:
    row = models.TrialModel(study_id=study_id, number=number, state=trial.state)
    row.datetime_start, row.datetime_complete = trial.datetime_start, trial.datetime_complete
    session.add(row)
    session.flush()
    for model, rows in _rows(trial).items():
        if rows:  # of one table, in one statement
            added = [{"trial_id": row.trial_id, **columns} for columns in rows]
            session.execute(sqlalchemy.insert(model), added)


def _rows(trial: FrozenTrial) -> dict[type, list[dict[str, Any]]]:
    """Return a trial's rows by table, as columns by name."""
    values, epochs = models.TrialValueModel, models.TrialIntermediateValueModel
    stored = {} if trial.value is None else {0: values.value_to_stored_repr(trial.value)}
    reported = {
        step: epochs.intermediate_value_to_stored_repr(value)
        for step, value in trial.intermediate_values.items()
    }
    return {
        values: [
            {"objective": objective, "value": value, "value_type": kind}
            for objective, (value, kind) in stored.items()
        ],
        models.TrialParamModel: [
            {
                "param_name": name,
                "param_value": distribution.to_internal_repr(trial.params[name]),
                "distribution_json": distribution_to_json(distribution),
            }
            for name, distribution in trial.distributions.items()
        ],
        models.TrialUserAttributeModel: _attributes(trial.user_attrs),
        models.TrialSystemAttributeModel: _attributes(trial.system_attrs),
        epochs: [
            {"step": step, "intermediate_value": value, "intermediate_value_type": kind}
            for step, (value, kind) in reported.items()
        ],
    }


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]


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
