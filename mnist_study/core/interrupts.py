"""Ctrl-C, SIGTERM, a closed terminal: the program ends soon and in order, also when repeated."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from mnist_study.core.temporary import remove_own_folder

# A store or cluster that does not answer must not keep the program from ending.
STOP_SECONDS = 8.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Signals have one handler per process, so there is one of each of these; main thread only.
_is_undisturbed = False
_is_stopping = False
_held_back: Stopped | None = None


class Stopped(BaseException):
    """The user, or the system, asked the program to end.

    Not a `KeyboardInterrupt`, for which the command line library has an exit status of its own.

    Attributes:
        status: exit status of the program: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
        standing: the state of the work, printed after "stopped"; set by the code that knows it.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.status = 128 + signal_number
        self.standing = ""


def stop_on_signals() -> None:
    """Let the first of the signals raise `Stopped` in the main thread; later ones do nothing."""
    for number in _SIGNALS:
        # A shell starts background jobs with SIGINT ignored, nohup a program with SIGHUP.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def is_stopping() -> bool:
    """Whether the program was asked to end; code that waits within `undisturbed` must check."""
    return _is_stopping


@contextmanager
def undisturbed() -> Iterator[None]:
    """Delay `Stopped` until the block has ended, for a few writes that belong together.

    The forced exit after `STOP_SECONDS` is not delayed.
    """
    global _is_undisturbed, _held_back
    _is_undisturbed = True
    try:
        yield
    finally:
        _is_undisturbed = False
        stopped, _held_back = _held_back, None
        if stopped is not None:
            raise stopped


def leave(status: int) -> NoReturn:
    """End the process at once: Dask's orderly close takes seconds and prints tracebacks.

    A worker process that is still starting when its parent is gone prints tracebacks too.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        # Other threads run until the exit; their output from here on is discarded.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        import psutil  # takes 20 ms, needed by this way out alone

        this = psutil.Process()
        for child in this.children():
            with suppress(psutil.Error):
                # For a moment a new process still has the command line of this one.
                command = child.cmdline()
                if command == this.cmdline() or any("multiprocessing.spawn" in c for c in command):
                    child.kill()
        remove_own_folder()
    finally:
        os._exit(status)


def _stop(signal_number: int, _: FrameType | None) -> None:
    global _held_back, _is_stopping
    _is_stopping = True
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    stopped = Stopped(signal_number)
    last_resort = threading.Timer(STOP_SECONDS, os._exit, (stopped.status,))
    last_resort.daemon = True
    last_resort.start()
    if not _is_undisturbed:
        raise stopped
    _held_back = stopped
