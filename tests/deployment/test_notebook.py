"""`mnist_study.load`: a home's records as tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from handmade import a_history, completed, fill_study, study_identity
from synthetic_study import make_experiment

import mnist_study
from mnist_study.core.config import ExperimentConfig
from mnist_study.core.errors import UserFacingError
from mnist_study.core.trials import TrialResult, TrialState
from mnist_study.deployment.notebook import _as_bytes

EXPERIMENT: ExperimentConfig = make_experiment()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("MLFLOW_TRACKING_URI", "MNIST_STUDY_STORAGE"):
        monkeypatch.delenv(variable, raising=False)
    history = a_history(tmp_path, "made-up", study_identity(EXPERIMENT))
    fill_study(history, EXPERIMENT, [0.9, 0.95])
    reason = "diverged at epoch 2"
    failed = TrialResult(2, EXPERIMENT.baseline, TrialState.FAILED, reason=reason)
    history.append(failed, "run-2")
    history.n_trials = 5
    return tmp_path


def test_trials_are_a_table_with_typed_columns_also_where_a_trial_failed(home: Path) -> None:
    trials = mnist_study.load(home).trials()
    assert trials.index.tolist() == [0, 1, 2]
    assert trials["units_1"].tolist() == [128, 138, EXPERIMENT.baseline.units_1]
    types = {name: str(trials[name].dtype) for name in trials}
    assert types["units_1"] == "int64"
    assert types["l2"] == types["value"] == "float64"
    assert types["best_epoch"] == types["n_parameters"] == "Int64"
    assert types["state"] == "category"
    assert trials.loc[1, "value"] == 0.95
    assert pd.isna(trials.loc[2, "value"])
    assert pd.isna(trials.loc[2, "best_epoch"])
    assert trials.loc[2, "reason"] == "diverged at epoch 2"
    assert trials["run_id"].tolist() == ["run-0", "run-1", "run-2"]
    assert trials["finished_at"].dt.tz is not None
    # What a notebook does first.
    assert trials.query("state == 'COMPLETE'")["value"].idxmax() == 1


def test_curves_are_one_long_table(home: Path) -> None:
    curves = mnist_study.load(home).curves("made-up")
    assert list(curves.columns) == ["number", "epoch", "metric", "value"]
    assert len(curves) == 2 * 2 * 4
    best = curves[(curves.number == 1) & (curves.metric == "val/accuracy")]
    assert best["value"].tolist() == pytest.approx([0.94, 0.95])


def test_studies_lists_every_record(home: Path) -> None:
    (row,) = mnist_study.load(home).studies.reset_index().to_dict("records")
    found = {key: row[key] for key in ("name", "kind", "n_finished", "n_trials", "best_trial")}
    assert found == {
        "name": "made-up", "kind": "study", "n_finished": 3, "n_trials": 5, "best_trial": 1,
    }  # fmt: skip


def test_what_is_not_there_is_said_in_one_line(home: Path) -> None:
    loaded = mnist_study.load(home)
    with pytest.raises(UserFacingError, match=r"found 0 records named 'other'.*made-up"):
        loaded.trials("other")
    with pytest.raises(UserFacingError, match="no record of kind confirm"):
        loaded.confirmation()
    with pytest.raises(UserFacingError, match="no champion"):
        loaded.champion()
    with pytest.raises(UserFacingError, match="no study here yet"):
        _ = mnist_study.load(home / "none").studies
    assert not (home / "none").exists()


def test_images_are_taken_as_bytes_or_as_shares_and_nothing_else() -> None:
    bytes_ = np.arange(784, dtype=np.int64).reshape(28, 28) % 256
    assert _as_bytes(bytes_).tolist() == [bytes_.tolist()]
    np.testing.assert_allclose(_as_bytes(bytes_[None] / 255.0)[0], bytes_, atol=1e-4)
    for wrong, words in (
        (np.zeros((28, 27)), "shape"),
        (np.full((28, 28), 255.0), "from 255.0 to 255.0"),
        (np.full((28, 28), -1), "from -1 to -1"),
        (np.full((28, 28), np.nan), "nan"),
        (np.array(["a"]), "shape"),
    ):
        with pytest.raises(UserFacingError, match=words):
            _as_bytes(wrong)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, mnist_study; print(len(set(sys.modules) & {'numpy', 'pandas', 'optuna'}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "0"


def test_a_completed_trial_carries_its_gap(home: Path) -> None:
    history = a_history(home, "second", study_identity(EXPERIMENT))
    history.append(
        completed(0, EXPERIMENT.baseline, 0.9, restored_train_accuracy=0.97), "run-of-second"
    )
    with pytest.raises(UserFacingError, match="found 2 records of kind study"):
        mnist_study.load(home).trials()
    table = mnist_study.load(home).trials("second")
    assert table.loc[0, "overfitting_gap"] == pytest.approx(0.07)
