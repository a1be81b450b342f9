"""Both stores of a home: neither is begun again while the other still holds the trials."""

from __future__ import annotations

import sqlite3

from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import Home
from mnist_study.core.safe_text import shown_address
from mnist_study.search.history import History
from mnist_study.search.storage import NoStudyError
from mnist_study.tracking.connection import explain, is_missing
from mnist_study.tracking.trial_count import count_trials


class StoresError(UserFacingError):
    """Stores of which one has lost what the other holds."""


def open_histories(home: Home) -> list[History]:
    """Open every study of a home to read it.

    Raises:
        StoresError: there is none, though MLflow's database of the home holds trials.
        NoStudyError: there is none at all.
        HistoryError: the storage cannot be read.
    """
    try:
        return History.open_all(home.storage_url)
    except NoStudyError as error:
        _check_mlflow_is_empty(home, None, error)
        raise


def check_agreement(home: Home, study: str) -> None:
    """Check, before anything is written, that no store has lost a study that the other holds.

    Args:
        home: where the stores are.
        study: its name.

    Raises:
        StoresError: one of them has.
    """
    try:
        histories = History.open_all(home.storage_url)
    except NoStudyError as error:
        _check_mlflow_is_empty(home, study, error)
        return
    history = next((history for history in histories if history.name == study), None)
    if history is None:
        _check_mlflow_is_empty(home, study, None)
    elif history.results and is_missing(home.tracking_uri):
        raise lost_runs(home.tracking_uri, study, len(history.results))


def lost_runs(tracking_uri: str, study: str, n_trials: int) -> StoresError:
    """Return the error for an MLflow store that has none of the runs of a study's trials."""
    return StoresError(
        f"MLflow: {shown_address(tracking_uri)} holds no run of {study!r}, expected those of the "
        f"{n_trials} trials that Optuna's storage holds; restore a copy of the store, correct "
        "MLFLOW_TRACKING_URI, or choose another --home to begin again"
    )


def _check_mlflow_is_empty(home: Home, study: str | None, error: Exception | None) -> None:
    """Raise an error if the home's own MLflow database holds trials that history does not."""
    if home.artifact_root is None:
        return  # a server may be that of several homes
    database = home.mlflow_database
    try:
        n_trials = count_trials(database, study)
    except sqlite3.Error as cause:
        raise explain(cause, home.tracking_uri) or cause from cause
    if n_trials:
        named = "any study" if study is None else f"study {study!r}"
        raise StoresError(
            f"{shown_address(home.storage_url)}: holds no trial of {named}, but {database} still "
            f"holds {n_trials}; restore a copy of Optuna's storage, correct MNIST_STUDY_STORAGE, "
            "or choose another --home to begin again"
        ) from error
