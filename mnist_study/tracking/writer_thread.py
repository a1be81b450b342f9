"""A thread that does work in the order in which it was submitted."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any, TypeVar

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Job:
    """One piece of work and the future of its result."""

    work: Callable[[], Any]
    future: Future[Any]
    is_last: bool = False


class WriterThread:
    """Does work in order, one piece at a time, and raises its errors in the next caller.

    After an error the rest of the queue is dropped.

    Attributes:
        busy_seconds: time spent working.
    """

    def __init__(
        self, *, timed_work: Callable[[], object], as_known: Callable[[Exception], Exception]
    ) -> None:
        """Start the thread.

        Args:
            timed_work: done when `do_within` asks for it.
            as_known: turns an error into the one to raise.
        """
        self.busy_seconds = 0.0
        self._timed_work = timed_work
        self._as_known = as_known
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._due: float | None = None
        self._aborting = threading.Event()
        self._closed = False
        # A daemon, so that a store that does not answer cannot keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], object]) -> None:
        """Queue work without waiting for it."""
        self._check()
        self._jobs.put(_Job(work, Future()))

    def hint(self, work: Callable[[], object]) -> None:
        """Queue work from any thread; never raises, and does nothing after an error or the end.

        An error of the work itself is raised by the next other call.
        """
        self._jobs.put(_Job(work, Future()))

    def begin(self, work: Callable[[], _Result]) -> Future[_Result]:
        """Queue work whose result is asked for later, with `outcome`."""
        self._check()
        job = _Job(work, Future())
        self._jobs.put(job)
        return job.future

    def outcome(self, future: Future[_Result]) -> _Result:
        """Wait until work is done and return its result."""
        try:
            return future.result()
        except CancelledError:
            # Earlier work failed while this was waiting in the queue.
            self._raise_error()
            raise

    def wait(self, work: Callable[[], _Result]) -> _Result:
        """Queue work, wait until it is done and return its result."""
        return self.outcome(self.begin(work))

    def do_within(self, seconds: float) -> None:
        """Schedule the timed work after this many seconds, unless it is scheduled earlier.

        To be called by the work itself, from the writer thread.
        """
        due = time.monotonic() + seconds
        self._due = due if self._due is None else min(self._due, due)

    def abort(self, last_work: Callable[[], _Result], timeout: float) -> _Result | None:
        """Drop all work that has not begun, do one last piece and end the thread.

        Args:
            last_work: done even after an error.
            timeout: how long to wait for it, in seconds.

        Returns:
            Its result; None if it did not come in time or the thread had ended before.
        """
        if self._closed:
            return None
        self._closed = True
        self._aborting.set()
        job = _Job(last_work, Future(), is_last=True)
        self._jobs.put(job)
        self._jobs.put(None)
        try:
            result: _Result = job.future.result(timeout)
        except TimeoutError:
            return None
        return result

    def close(self) -> None:
        """Wait until all work is done and end the thread.

        Raises:
            Exception: of work that no caller has waited for.
        """
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        self._thread.join()
        self._raise_error()

    def _check(self) -> None:
        if self._closed:
            raise RuntimeError("the record has been closed or aborted; open a new one")
        self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            wait = None if self._due is None else max(0.0, self._due - time.monotonic())
            try:
                job = self._jobs.get(timeout=wait)
            except queue.Empty:
                self._due = None
                job = _Job(self._timed_work, Future())
            if job is None:
                return
            self._do(job)

    def _do(self, job: _Job) -> None:
        if (self._error is not None or self._aborting.is_set()) and not job.is_last:
            job.future.cancel()
            return
        started = time.perf_counter()
        try:
            result = job.work()
        except Exception as error:
            known = self._as_known(error)
            if known is not error:
                known.__cause__ = error
            self._error = known
            job.future.set_exception(known)
        else:
            job.future.set_result(result)
        self.busy_seconds += time.perf_counter() - started
