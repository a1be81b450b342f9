"""Connecting to an MLflow store that was checked first, and its errors in the user's terms."""

from __future__ import annotations

import errno
import http.client
import logging
import os
import re
import shlex
import sqlite3
import ssl
import sys
import tempfile
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mnist_study.core.databases import is_on_local_disk, sqlite_path
from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import sqlite_url
from mnist_study.core.safe_text import shown_address
from mnist_study.core.temporary import is_temporary_folder_full, temporary_folder_error
from mnist_study.core.text import first_line
from mnist_study.tracking.patient_client import PatientClient, causes, innermost, patiently_on

if TYPE_CHECKING:
    from mlflow import MlflowClient

_ANSWER_SECONDS = 6
_DATABASE_SERVERS = ("postgresql", "mysql", "mssql", "oracle")

# Settings of MLflow that the user's environment overrides.
MLFLOW_DEFAULTS = {
    # Read while MLflow is imported.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Two lines per run of a server would stand on stdout, where results belong.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # `PatientClient` waits, and says so.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


class TrackingError(UserFacingError):
    """The MLflow store cannot be used as it is."""


def connect(tracking_uri: str) -> MlflowClient:
    """Return a client; the process's own MLflow settings (tracking URI, active run) stay untouched.

    The store is checked first, because MLflow itself retries for minutes before it gives up on a
    file that is no database or a server that does not answer.

    Args:
        tracking_uri: `sqlite:///PATH`, another database, or `http(s)://SERVER`.

    Raises:
        TrackingError: the store does not answer, is no database or cannot be written.
    """
    check_store(tracking_uri)
    for name, value in MLFLOW_DEFAULTS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    # It reports on stderr that it creates tables, and prints a traceback of every database error
    # before it raises it.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    path = sqlite_path(tracking_uri)
    if path is not None and is_missing(tracking_uri):
        try:
            _create_sqlite(path)
        except (OSError, sqlite3.Error) as error:
            raise explain(error, tracking_uri) or error from error
    try:
        # The registry's address too, or MLflow would take it from the environment.
        client = MlflowClient(tracking_uri, registry_uri=tracking_uri)
        if path is None and not is_server(tracking_uri):
            # Other kinds of stores were not checked, and some fail only at the first query.
            client.search_experiments(max_results=1)
    # MLflow, SQLAlchemy and database drivers raise all kinds of errors about an address.
    except Exception as error:
        raise _explain_cause(error, tracking_uri) or _no_store(tracking_uri, error) from error
    return cast("MlflowClient", PatientClient(client, tracking_uri))


def check_store(tracking_uri: str) -> None:
    """Check that a store can be used, in a moment and without MLflow; changes nothing.

    Args:
        tracking_uri: as for `connect`.

    Raises:
        TrackingError: it does not answer, is no database or cannot be written.
    """
    path = sqlite_path(tracking_uri)
    if path is not None:
        try:
            patiently_on(tracking_uri, lambda: _check_sqlite(path))
        except (OSError, sqlite3.Error) as error:
            raise explain(error, tracking_uri) or error from error
    elif is_server(tracking_uri):
        _check_server(tracking_uri)
    elif tracking_uri.startswith(_DATABASE_SERVERS):
        _check_database(tracking_uri)


def is_missing(tracking_uri: str) -> bool:
    """Whether the store is a SQLite file that `connect` would create: none yet, or an empty one."""
    path = sqlite_path(tracking_uri)
    return path is not None and (not path.exists() or path.stat().st_size == 0)


def is_server(tracking_uri: str) -> bool:
    """Whether the store is behind a server, which then serves its interface too."""
    return tracking_uri.startswith(("http://", "https://"))


def _check_sqlite(path: Path) -> None:
    """Raise an error unless the file is a database that can be written, or can be created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        tempfile.TemporaryFile(dir=path.parent).close()
        return
    with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as connection:
        # Asks for the lock that a write needs, and writes nothing.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute("ROLLBACK")


def _create_sqlite(path: Path) -> None:
    """Create MLflow's database as a whole or not at all.

    MLflow creates its tables one by one over two seconds and, if it is killed meanwhile, never
    opens the file again. So they are created elsewhere, and the complete file is put in place.
    """
    from mlflow import MlflowClient

    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    # On the same disk, so that it is the one to blame.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".mlflow-") as directory:
        scratch = Path(directory, "mlflow.db")
        MlflowClient(tracking_uri=sqlite_url(scratch)).search_experiments(max_results=1)
        try:
            with (
                closing(sqlite3.connect(scratch)) as source,
                closing(sqlite3.connect(unfinished)) as target,
            ):
                source.backup(target)
                # A write-ahead log saves a third of the time of a trial's writes, is as durable as
                # the default, and lets the user interface read while the study writes. The setting
                # is stored in the file.
                if is_on_local_disk(path):
                    target.execute("PRAGMA journal_mode = WAL")
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def _check_server(tracking_uri: str) -> None:
    """Raise TrackingError if nothing answers; any answer will do, MLflow interprets it."""
    # MLflow sends name and password; here an answer that asks for them will do.
    health = re.sub("//[^/@]*@", "//", tracking_uri).rstrip("/") + "/health"
    try:
        urllib.request.urlopen(health, timeout=_ANSWER_SECONDS).close()
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError, http.client.HTTPException) as error:
        # A certificate that only MLflow is configured to trust is an answer too.
        if not isinstance(getattr(error, "reason", None), ssl.SSLError):
            raise _no_answer(tracking_uri, error) from error


def _check_database(tracking_uri: str) -> None:
    """Raise TrackingError if a database server does not answer; MLflow would try for minutes."""
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(tracking_uri)
        engine.connect().close()
        engine.dispose()
    # Drivers raise all kinds of errors.
    except Exception as error:
        raise _no_store(tracking_uri, getattr(error, "orig", None) or error) from error


def _no_answer(tracking_uri: str, error: BaseException) -> TrackingError:
    reason = getattr(error, "reason", None) or error
    return TrackingError(
        f"MLflow: the server {shown(tracking_uri)} does not answer ({first_line(reason)}); start "
        "it, or correct MLFLOW_TRACKING_URI, or unset it to use the store under the home"
    )


def _no_store(tracking_uri: str, error: BaseException) -> TrackingError:
    return TrackingError(
        f"MLflow: {shown(tracking_uri)} is no store that can be used ({first_line(error)}); "
        "expected a database such as sqlite:////path/mlflow.db, with its driver installed, or a "
        "server such as http://host:5000; correct MLFLOW_TRACKING_URI, or unset it to use the "
        "store under the home"
    )


def mlflow_command(tracking_uri: str | None = None) -> str:
    """Return how MLflow's own program is called from a shell, with the store that it is to use."""
    program = shlex.join([sys.executable, "-m", "mlflow"])
    if tracking_uri is None:
        return program
    return f"MLFLOW_TRACKING_URI={shlex.quote(shown(tracking_uri))} {program}"


def shown(tracking_uri: str) -> str:
    """Return an address as it may be printed, without a password."""
    return shown_address(tracking_uri)


def explain(error: BaseException, tracking_uri: str) -> TrackingError | None:
    """Return an error in one line that the user can act on, None if the user cannot.

    Args:
        error: what MLflow, SQLite or the file system raised; its causes are looked at too.
        tracking_uri: of the store that was written to.
    """
    known = _explain_cause(error, tracking_uri)
    # By name: MLflow may only be imported once `connect` has decided about telemetry.
    if known is None and type(error).__module__ == "mlflow.exceptions":
        return TrackingError(
            f"MLflow: {shown(tracking_uri)} refused: {first_line(error)}; expected an MLflow "
            "store that accepts it; look into its log, then run the same command again"
        )
    return known


def _explain_cause(error: BaseException, tracking_uri: str) -> TrackingError | None:
    for cause in causes(error):
        if isinstance(cause, TrackingError):
            return cause
        if type(cause).__module__ == "requests.exceptions":
            if getattr(cause, "response", None) is None:
                return _no_answer(tracking_uri, innermost(cause))
            return TrackingError(
                f"MLflow: the server {shown(tracking_uri)} answered: {first_line(cause)}; "
                "expected success; look into the server's log, then start again"
            )
        is_full = isinstance(cause, OSError) and cause.errno == errno.ENOSPC
        is_full |= isinstance(cause, sqlite3.Error) and "full" in str(cause)
        if is_full and is_temporary_folder_full():
            return TrackingError(str(temporary_folder_error("no space left on the disk")))
        if isinstance(cause, sqlite3.Error):
            location = sqlite_path(tracking_uri) or shown(tracking_uri)
            return TrackingError(f"MLflow: {location}: {_sqlite_advice(str(cause))}")
        if isinstance(cause, OSError) and cause.errno in _FILE_ADVICE:
            # Of a copy that fails, the second name is where it was to be written.
            location = str(cause.filename2 or cause.filename or tracking_uri)
            return TrackingError(f"MLflow: {location}: {_FILE_ADVICE[cause.errno]}")
        text = str(cause)
        if "out-of-date database schema" in text or "Can't locate revision" in text:
            return TrackingError(
                f"MLflow: {shown(tracking_uri)} was written by another version of MLflow; copy it, "
                f"then run `{mlflow_command()} db upgrade {shlex.quote(shown(tracking_uri))}`, or "
                "install the version that wrote it"
            )
        advice = _ACCESS_ADVICE.get(getattr(cause, "error_code", ""))
        if advice is not None:
            return TrackingError(
                f"MLflow: {shown(tracking_uri)} refused: {first_line(cause)}; {advice}"
            )
    return None


_NOT_KNOWN = (
    "expected name and password of one of its users in MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD"
)
_ACCESS_ADVICE = {
    "CUSTOMER_UNAUTHORIZED": _NOT_KNOWN,
    "UNAUTHENTICATED": _NOT_KNOWN,
    "PERMISSION_DENIED": "expected a user who may write there; ask its administrator for the "
    "permission to edit the experiment, or take another user",
}
_FILE_ADVICE = {
    errno.ENOSPC: "no space left on the disk; free some and start again, nothing finished is lost",
    errno.EDQUOT: "the disk quota is used up; free some and start again, nothing finished is lost",
    errno.EROFS: "on a read-only file system, expected a folder to write to; choose another --home",
    errno.EACCES: "cannot be written: permission denied; correct it or choose another --home",
    errno.EPERM: "cannot be written: not permitted; correct it or choose another --home",
    errno.ENOTDIR: "found a file where a folder is expected; move it or choose another --home",
    errno.EEXIST: "found a file where a folder is expected; move it or choose another --home",
    errno.EISDIR: "found a folder where a file is expected; move it or choose another --home",
}


def _sqlite_advice(message: str) -> str:
    advice = {
        "not a database": "found a file that is no SQLite database; move it away or choose "
        "another --home",
        "malformed": "the database is damaged; restore a copy of it or choose another --home",
        "full": _FILE_ADVICE[errno.ENOSPC],
        "readonly": _FILE_ADVICE[errno.EACCES],
        "unable to open": "cannot be opened as a database; check its folder and permissions or "
        "choose another --home",
        "locked": "another program has locked the database; end it and start again",
    }
    for fragment, text in advice.items():
        if fragment in message:
            return text
    return f"the database cannot be used ({message}); expected one that MLflow writes to"
