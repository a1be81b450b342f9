"""Waiting for a store that is locked or does not answer: five minutes, saying so."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from mnist_study.core.interrupts import is_stopping
from mnist_study.core.safe_text import safe
from mnist_study.core.text import duration

_Result = TypeVar("_Result")

SECONDS = 300.0
"""How many seconds a store may be locked, or not answer, before a command gives up."""
PAUSE_SECONDS = 1.0


def patiently(work: Callable[[], _Result], passing: Callable[[Exception], str | None]) -> _Result:
    """Do a piece of work, and repeat it while it fails for a reason that may pass.

    Args:
        work: leaves nothing behind when it fails.
        passing: returns a reason that may pass, such as "x is locked"; None for any other error.

    Raises:
        Exception: of the work: one for any other reason, the last one after `SECONDS`, or the next
            one after the program was asked to end.
    """
    began, reason = time.monotonic(), None
    while True:
        try:
            result = work()
        except Exception as error:
            known = passing(error)
            waited = time.monotonic() - began
            if known is None or waited >= SECONDS or is_stopping():
                raise
            if reason is None:
                _say(f"{known}; waiting for up to {duration(SECONDS)}")
            reason = known
            time.sleep(min(PAUSE_SECONDS, SECONDS - waited))
        else:
            if reason is not None:
                _say(f"that has passed after {duration(time.monotonic() - began)}; going on")
            return result


def _say(text: str) -> None:
    # A live view on the terminal prints this above its bars.
    print(safe(f"note: {text}"), file=sys.stderr, flush=True)
