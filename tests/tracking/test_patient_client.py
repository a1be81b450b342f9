"""A store that is locked or away for a while, and answers that are lost on the way."""

from __future__ import annotations

import functools
import shutil
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from real_servers import free_port
from tracked_home import TrackedHome, complete, spec

from mnist_study.core import patience
from mnist_study.core.databases import DatabaseError
from mnist_study.tracking.connection import TrackingError
from mnist_study.tracking.patient_client import patiently_on


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.01)


def of_mlflow(cause: Exception) -> MlflowException:
    error = MlflowException("the API request failed")
    error.__cause__ = cause
    return error


LOCKED = of_mlflow(sqlite3.OperationalError("database is locked"))
AWAY = of_mlflow(requests.exceptions.ConnectionError("connection refused"))


def fail_first(
    monkeypatch: pytest.MonkeyPatch, name: str, n_times: int, error: Exception, *, works: bool
) -> None:
    """Let a call of MLflow's client fail, before or after it has done its work."""
    original: Callable[..., Any] = getattr(MlflowClient, name)
    left = iter(range(n_times))

    @functools.wraps(original)
    def failing(*arguments: object, **options: object) -> object:
        if next(left, None) is None:
            return original(*arguments, **options)
        if works:
            original(*arguments, **options)
        raise error

    monkeypatch.setattr(MlflowClient, name, failing)


@pytest.mark.parametrize(("error", "said"), [(LOCKED, "is locked"), (AWAY, "does not answer")])
def test_store_that_is_locked_or_away_is_waited_for(
    tracked: TrackedHome,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    said: str,
) -> None:
    fail_first(monkeypatch, "log_batch", 3, error, works=False)
    tracked.recorded()
    assert said in capsys.readouterr().err
    assert len(tracked.children()) == 1


def test_what_a_server_fails_by_is_said_without_what_libraries_wrap_it_in(
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    first: list[Callable[[], object]] = [lambda: requests.get(address, timeout=5)]
    patiently_on(address, lambda: first.pop()() if first else None)
    said = capsys.readouterr().err
    assert f"the server {address} does not answer ([Errno 111] Connection refused)" in said


def test_store_that_stays_away_ends_the_study(
    tracked: TrackedHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "SECONDS", 0.1)
    fail_first(monkeypatch, "set_terminated", 10**6, AWAY, works=False)
    with pytest.raises(TrackingError, match="does not answer"):
        tracked.recorded()


@pytest.mark.parametrize("name", ["create_run", "create_logged_model", "log_batch", "log_outputs"])
def test_answer_that_is_lost_leaves_one_run_and_one_model_per_trial(
    tracked: TrackedHome, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tracker = tracked.tracker()
    tracker.open({})
    fail_first(monkeypatch, name, 1, AWAY, works=True)
    tracker.start(spec(0))
    run_id = tracker.finish(complete(0))
    repairs = tracker.finish_parent()
    tracker.close()
    assert [run.info.run_id for run in tracked.children()] == [run_id]
    assert [model.source_run_id for model in tracked.models()] == [run_id]
    assert len(repairs) == (name in ("create_run", "create_logged_model"))
    assert all(len(points) == len(set(points)) for points in tracked.points(run_id).values())
    assert tracked.parent().info.status == "FINISHED"


def test_run_whose_creation_had_no_answer_is_not_left_running_by_an_abort(
    tracked: TrackedHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = tracked.tracker()
    tracker.open({})
    fail_first(monkeypatch, "create_run", 1, AWAY, works=True)
    tracker.start(spec(0))
    tracker.start(spec(1))
    assert tracker.finish(complete(0))
    assert tracker.abort() == []
    assert all(run.info.status != "RUNNING" for run in tracked.runs())
    assert [run.data.tags["trial"] for run in tracked.children()] in (["0", "1"], ["1", "0"])


def test_home_that_is_deleted_meanwhile_is_an_error_of_the_next_write(
    tracked: TrackedHome,
) -> None:
    tracker = tracked.tracker()
    tracker.open({})
    shutil.rmtree(tracked.home.path)
    tracker.start(spec(0))
    with pytest.raises(DatabaseError, match=r"mlflow\.db: deleted, moved or replaced"):
        tracker.finish(complete(0))
    assert not tracked.home.path.exists()
