"""The number of ended trials in a home's MLflow database, read without MLflow."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from mnist_study.core.home import sqlite_url
from mnist_study.core.trials import TrialState
from mnist_study.tracking.patient_client import patiently_on
from mnist_study.tracking.store import STATE_TAG, TRIAL_TAG

_COUNT = f"""
SELECT count(DISTINCT runs.run_uuid) FROM runs
JOIN tags AS trial ON trial.run_uuid = runs.run_uuid AND trial.key = '{TRIAL_TAG}'
JOIN tags AS state ON state.run_uuid = runs.run_uuid AND state.key = '{STATE_TAG}'
JOIN tags AS study ON study.run_uuid = runs.run_uuid AND study.key = 'study'
WHERE runs.lifecycle_stage = 'active' AND runs.end_time IS NOT NULL
AND state.value IN ({", ".join(f"'{state}'" for state in TrialState)})
AND (study.value = :study OR :study IS NULL)
"""


def count_trials(database: Path, study: str | None = None) -> int:
    """Count the live runs of trials that ended.

    Args:
        database: MLflow's SQLite file.
        study: name of the one that is asked about; None counts those of all.

    Returns:
        0 too where there is no such file, or none of MLflow's.
    """
    if not database.exists() or database.stat().st_size == 0:
        return 0

    def count() -> int:
        with closing(sqlite3.connect(database, timeout=5)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if not {"runs", "tags"} <= {name for (name,) in tables}:
                return 0
            (n_trials,) = connection.execute(_COUNT, {"study": study}).fetchone()
            return int(n_trials)

    return patiently_on(sqlite_url(database), count)
