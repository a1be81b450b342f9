"""A home with many finished trials in seconds: the rows of one trial, copied.

The stores are as large as after that many real trials, with the same indexes to keep; in their
content, all trials are alike. For measuring what a driver's work costs in such stores.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path

import numpy as np

from mnist_study.bench.driver import MODEL_BYTES, draw_params, synthetic_result
from mnist_study.core.config import ExperimentConfig
from mnist_study.core.home import Home
from mnist_study.core.trials import TrialSpec, derive_seeds
from mnist_study.search.history import History
from mnist_study.tracking.tracker import Tracker

_RUN, _MODEL = "printf('%032x', n)", "'m-' || printf('%032x', n)"
# By table of MLflow: which column finds the rows of one trial, and what its copies have instead.
_OF_A_RUN = {
    "runs": {"run_uuid": _RUN},
    "tags": {"run_uuid": _RUN, "value": "CASE key WHEN 'trial' THEN n ELSE value END"},
    "params": {"run_uuid": _RUN},
    "metrics": {"run_uuid": _RUN},
    "latest_metrics": {"run_uuid": _RUN},
}
_OF_A_MODEL = {
    "logged_models": {"model_id": _MODEL, "source_run_id": _RUN},
    "logged_model_tags": {"model_id": _MODEL},
    "logged_model_params": {"model_id": _MODEL},
    "logged_model_metrics": {"model_id": _MODEL, "run_id": _RUN},
}
# Tables of Optuna, whose first column counts their rows.
_OF_A_TRIAL = (
    "trial_values", "trial_params", "trial_user_attributes", "trial_system_attributes",
    "trial_intermediate_values",
)  # fmt: skip


def fill(
    experiment: ExperimentConfig, home: Home, history: History, tracker: Tracker, n_trials: int
) -> None:
    """Record one made-up trial, and copy its rows until both stores hold as many trials.

    What the sampler sees has parameters and values of its own for each trial.

    Args:
        experiment: of the study.
        home: with SQLite databases of its own.
        history: without trials yet.
        tracker: opened.
        n_trials: at least 1.
    """
    study, rng = experiment.search, np.random.default_rng(0)
    n_epochs = experiment.training.epochs
    results = [
        synthetic_result(number, params, n_epochs, bytes(MODEL_BYTES) if number == 0 else None)
        for number in range(n_trials)
        for params in [draw_params(study.space, experiment.baseline, rng)]
    ]
    first = results[0]
    tracker.start(
        TrialSpec(
            0, first.params, derive_seeds(study.seed, 0), experiment.training, experiment.data
        )
    )
    run_id = tracker.finish(first)
    history.append(first, run_id)
    with closing(sqlite3.connect(home.mlflow_database)) as mlflow, mlflow:
        (model_id,) = mlflow.execute("SELECT model_id FROM logged_models").fetchone()
        for table, changes in _OF_A_RUN.items():
            _copy_rows(mlflow, table, ("run_uuid", run_id), changes, n_trials)
        for table, changes in _OF_A_MODEL.items():
            _copy_rows(mlflow, table, ("model_id", model_id), changes, n_trials)
    with closing(sqlite3.connect(Path(home.path, "optuna.db"))) as optuna, optuna:
        (trial_id,) = optuna.execute("SELECT trial_id FROM trials").fetchone()
        number = {"trial_id": f"{trial_id} + n"}
        _copy_rows(optuna, "trials", ("trial_id", trial_id), {**number, "number": "n"}, n_trials)
        for table in _OF_A_TRIAL:
            _copy_rows(optuna, table, ("trial_id", trial_id), number, n_trials, counts=True)
    history.results += results[1:]
    history.run_ids += [f"{number:032x}" for number in range(1, n_trials)]
    for times in (history.begun_at, history.finished_at):
        times += [datetime.now()] * (n_trials - 1)


def _copy_rows(
    database: sqlite3.Connection,
    table: str,
    row: tuple[str, object],
    changes: Mapping[str, str],
    n_trials: int,
    *,
    counts: bool = False,
) -> None:
    """Copy the rows where a column has a value, for n from 1 to n_trials - 1.

    Args:
        database: of the store.
        table: its name.
        row: that column and value.
        changes: SQL by column, in terms of n; all other columns are copied.
        n_trials: those of the trial that is copied included.
        counts: the first column counts rows and is left to the database.
    """
    names = [column[1] for column in database.execute(f"PRAGMA table_info({table})")]
    names = names[1:] if counts else names
    values = ", ".join(changes.get(name, name) for name in names)
    database.execute(
        "WITH RECURSIVE numbers(n) AS "
        "(SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?) "
        f"INSERT INTO {table} ({', '.join(names)}) "
        f"SELECT {values} FROM numbers, {table} WHERE {row[0]} = ? AND ? > 1",
        (n_trials, row[1], n_trials),
    )
