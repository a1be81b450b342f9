"""A client of MLflow that waits for a store that is locked or does not answer for a while."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from mnist_study.core.databases import DatabaseFile
from mnist_study.core.patience import patiently
from mnist_study.core.safe_text import shown_address
from mnist_study.core.text import first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

_Result = TypeVar("_Result")

# What passes by itself, among the errors that carry no answer of a server.
_PASSING_REQUESTS = (
    "ConnectionError", "ConnectTimeout", "ReadTimeout", "Timeout", "RetryError", "ProxyError",
    "ChunkedEncodingError",
)  # fmt: skip
_PASSING_STATUS = (429, 502, 503, 504)
# Calls without a result that MLflow refuses when they are made again, and how.
_ONCE = ("log_outputs", "log_inputs", "create_registered_model", "delete_run", "restore_run")
_DONE_BEFORE = (
    "UNIQUE constraint", "duplicate key", "Duplicate entry", "already exists", "must be in the",
)  # fmt: skip


class PatientClient:
    """MLflow's client, each of whose calls waits while the store is locked or away.

    A call that is made again may have done its work already, with only the answer lost: runs and
    models that were created twice that way are superseded when the record is reconciled.
    """

    def __init__(self, client: MlflowClient, tracking_uri: str) -> None:
        self._client = client
        self._uri = tracking_uri
        self._file = DatabaseFile.at(tracking_uri)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        method = getattr(self._client, name)
        if not callable(method):
            return method

        @functools.wraps(method)
        def call(*arguments: object, **options: object) -> Any:  # noqa: ANN401
            if self._file is not None:
                self._file.check()
            n_tries = 0

            def try_once() -> Any:  # noqa: ANN401
                nonlocal n_tries
                n_tries += 1
                try:
                    return method(*arguments, **options)
                except Exception as error:
                    # An earlier try was answered, and the answer lost.
                    if n_tries > 1 and name in _ONCE and _says_done(error):
                        return None
                    raise

            return patiently_on(self._uri, try_once)

        return call


def patiently_on(tracking_uri: str, work: Callable[[], _Result]) -> _Result:
    """Do work on a store, again and again while it is locked or does not answer."""
    return patiently(work, functools.partial(_passing, tracking_uri))


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, the innermost last."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def innermost(error: BaseException) -> BaseException:
    """Return what an error was caused by in the end: a refused connection, not its wrappings."""
    *_, last = causes(error)
    return last


def _says_done(error: Exception) -> bool:
    return any(sign in str(cause) for cause in causes(error) for sign in _DONE_BEFORE)


def _passing(tracking_uri: str, error: Exception) -> str | None:
    for cause in causes(error):
        if isinstance(cause, sqlite3.OperationalError) and "locked" in str(cause):
            return f"MLflow: {shown_address(tracking_uri)} is locked by another program"
        if type(cause).__module__ == "requests.exceptions":
            answer = getattr(cause, "response", None)
            is_passing = (
                type(cause).__name__ in _PASSING_REQUESTS
                if answer is None
                else answer.status_code in _PASSING_STATUS
            )
            if is_passing:
                return (
                    f"MLflow: the server {shown_address(tracking_uri)} does not answer "
                    f"({first_line(innermost(cause))})"
                )
        if type(cause).__name__ == "OperationalError" and "connect" in str(cause):
            return f"MLflow: {shown_address(tracking_uri)} does not answer ({first_line(cause)})"
    return None
