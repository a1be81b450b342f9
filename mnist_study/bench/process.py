"""A process of its own for each candidate, kept warm and asked over a pipe."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_END_SECONDS = 20


class BenchProcessError(RuntimeError):
    """A candidate failed; carries its traceback."""


class BenchProcess(AbstractContextManager["BenchProcess[_Result]"], Generic[_Result]):
    """Runs a function again and again in one process, between others that do the same.

    Args:
        prepare: a function of a module; returns a context manager whose value is what is run.
        arguments: of `prepare`; have to be picklable.
        environment: variables that the process starts with, thread settings for example.
    """

    def __init__(
        self,
        prepare: Callable[..., AbstractContextManager[Callable[..., _Result]]],
        *arguments: Any,  # noqa: ANN401
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._log = tempfile.NamedTemporaryFile(prefix="mnist-study-bench-", suffix=".log")  # noqa: SIM115
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, self._log.name, prepare, arguments)
        )
        before = dict(os.environ)
        os.environ.update({"TF_CPP_MIN_LOG_LEVEL": "2", **(environment or {})})
        try:
            self._process.start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        theirs.close()
        self._receive()

    def __call__(self, *arguments: Any) -> _Result:  # noqa: ANN401
        """Run once and return the result."""
        self._connection.send(arguments)
        result: _Result = self._receive()
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._log.close()

    def _receive(self) -> Any:  # noqa: ANN401
        try:
            failure, result = self._connection.recv()
        except EOFError:
            failure = f"it ended unexpectedly\n{Path(self._log.name).read_text()[-4000:]}"
        if failure is not None:
            raise BenchProcessError(failure)
        return result


def _serve(
    connection: Connection,
    log_path: str,
    prepare: Callable[..., AbstractContextManager[Callable[..., Any]]],
    arguments: tuple[Any, ...],
) -> None:
    """Be the candidate's process: everything printed goes to the log, results to the pipe."""
    with open(log_path, "ab") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    try:
        with prepare(*arguments) as run:
            connection.send((None, None))
            while True:
                try:
                    asked = connection.recv()
                except EOFError:
                    return
                connection.send((None, run(*asked)))
    except Exception:
        connection.send((traceback.format_exc(), None))
