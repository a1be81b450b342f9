"""A store that has lost a study is not begun again while the other one still holds it."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from handmade import a_history, completed, study_identity
from synthetic_study import make_experiment
from tracked_home import PARAMS, TrackedHome

from mnist_study.core import patience
from mnist_study.core.databases import DatabaseError
from mnist_study.core.home import Home
from mnist_study.execution.stores import StoresError, check_agreement, open_histories
from mnist_study.search.history import History
from mnist_study.search.storage import NoStudyError, insert_trial
from mnist_study.tracking.trial_count import count_trials


def test_lost_history_is_named_while_mlflow_holds_its_trials(tracked: TrackedHome) -> None:
    tracked.recorded(0)
    home = tracked.home
    other_study = a_history(home.path, "other", study_identity(make_experiment()))
    for state in ("other studies alone", "truncated", "removed"):
        if state != "other studies alone":
            (home.path / "optuna.db").unlink()
        if state == "truncated":
            (home.path / "optuna.db").touch()
        match = r"optuna\.db: holds no trial of study 'some-study', but .*mlflow\.db still holds 1"
        with pytest.raises(StoresError, match=match):
            check_agreement(home, "some-study")
        check_agreement(home, other_study.name)
    with pytest.raises(StoresError, match="holds no trial of any study"):
        open_histories(home)
    assert not (home.path / "optuna.db").exists()


def test_trials_that_had_not_ended_are_no_reason_to_refuse(tracked: TrackedHome) -> None:
    tracker = tracked.tracker()
    tracker.open({})
    check_agreement(tracked.home, "some-study")
    with pytest.raises(NoStudyError):
        open_histories(tracked.home)
    assert count_trials(tracked.home.path / "mlflow.db") == 0


@pytest.mark.parametrize("state", ["truncated", "removed"])
def test_lost_runs_are_named_while_history_holds_the_trials(tmp_path: Path, state: str) -> None:
    history = a_history(tmp_path, "some-study", study_identity(make_experiment()))
    check_agreement(Home(tmp_path), "some-study")
    history.append(completed(0, PARAMS, 0.9), "run-0")
    if state == "truncated":
        (tmp_path / "mlflow.db").touch()
    with pytest.raises(StoresError, match=r"mlflow\.db holds no run of 'some-study'.* the 1 tri"):
        check_agreement(Home(tmp_path), "some-study")
    assert state == "truncated" or not (tmp_path / "mlflow.db").exists()


def test_history_that_is_deleted_meanwhile_is_an_error_of_the_next_write(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    history = a_history(home, "some-study", study_identity(make_experiment()))
    history.append(completed(0, PARAMS, 0.9), "run-0")
    shutil.rmtree(home)
    with pytest.raises(DatabaseError, match=r"optuna\.db: deleted, moved or replaced"):
        history.append(completed(1, PARAMS, 0.9), "run-1")
    assert len(history.results) == 1
    assert not home.exists()


def test_insert_whose_answer_was_lost_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    history = a_history(tmp_path, "some-study", study_identity(make_experiment()))
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.01)
    answers = iter(["server closed the connection", None, "database is locked", None])

    def losing(*arguments: Any) -> int:  # noqa: ANN401
        n_before = insert_trial(*arguments)
        if answer := next(answers):
            raise sqlalchemy.exc.OperationalError("INSERT", {}, sqlite3.OperationalError(answer))
        return n_before

    monkeypatch.setattr("mnist_study.search.history.insert_trial", losing)
    for number in range(2):
        history.append(completed(number, PARAMS, 0.9), f"run-{number}")
    said = capsys.readouterr().err
    assert "does not answer (server closed the connection); waiting for up to 5 min" in said
    assert "is locked by another program" in said
    stored = History.open(history._url, "some-study")
    assert stored.run_ids == ["run-0", "run-1"]
