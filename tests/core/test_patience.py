"""Waiting for what may pass: as long as it is said, and no longer."""

from __future__ import annotations

import time

import pytest

from mnist_study.core import interrupts, patience
from mnist_study.core.patience import patiently


class Locked(Exception):
    """Passes."""


def work_that_fails(n_times: int, error: Exception) -> tuple[list[int], object]:
    calls: list[int] = []

    def work() -> str:
        calls.append(len(calls))
        if len(calls) <= n_times:
            raise error
        return "done"

    return calls, work


def passing(error: Exception) -> str | None:
    return "the store is locked" if isinstance(error, Locked) else None


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.01)


def test_what_passes_is_waited_for_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    calls, work = work_that_fails(5, Locked())
    assert patiently(work, passing) == "done"  # type: ignore[arg-type]
    assert len(calls) == 6
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "note: the store is locked; waiting for up to 5 min"
    assert len(said) == 2


def test_any_other_error_is_raised_at_once() -> None:
    calls, work = work_that_fails(1, ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        patiently(work, passing)  # type: ignore[arg-type]
    assert len(calls) == 1


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SECONDS", 0.1)
    _, work = work_that_fails(1000, Locked("still"))
    began = time.monotonic()
    with pytest.raises(Locked, match="still"):
        patiently(work, passing)  # type: ignore[arg-type]
    assert 0.1 <= time.monotonic() - began < 2


def test_who_is_asked_to_end_waits_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "_is_stopping", True)
    calls, work = work_that_fails(1000, Locked("still"))
    with pytest.raises(Locked):
        patiently(work, passing)  # type: ignore[arg-type]
    assert len(calls) == 1
