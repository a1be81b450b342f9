"""The audit: silent about a true record, and it names each thing that was tampered with."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mnist_study.cli import app
from mnist_study.core.config import load_experiment
from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import Home
from mnist_study.core.identity import StudyIdentity
from mnist_study.core.provenance import DatasetRecord, Provenance
from mnist_study.core.readouts import Readout
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialSpec, TrialState, derive_seeds
from mnist_study.execution.audit import StudyAudit, audit_home, audit_lines
from mnist_study.plots import trial_png
from mnist_study.search.history import History
from mnist_study.search.storage import NoStudyError
from mnist_study.tracking.checked_models import FILES_TAG
from mnist_study.tracking.connection import connect
from mnist_study.tracking.tracker import Tracker

EXPERIMENT = load_experiment(Path(__file__).parents[2] / "experiments" / "smoke.toml")
DATASET = DatasetRecord("digits", "made up", "ab" * 32, 100, 20, 0)
PROVENANCE = Provenance(
    None, False, "", "3.11.0", {"numpy": "2.0"}, "a processor", (), {}, "f" * 64, ""
)
STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)


def result(number: int) -> TrialResult:
    """Return a trial of the state at its number; the FAILED one diverged in its second epoch."""
    epochs = tuple(
        EpochMetrics(epoch, 1 / epoch, 0.5, 2 / epoch, 0.25 + epoch / 8) for epoch in (1, 2)
    )
    if STATES[number] is TrialState.FAILED:
        epochs = (epochs[0], EpochMetrics(2, float("inf"), 0.1, float("nan"), 0.1))
        return TrialResult(
            number, EXPERIMENT.baseline, TrialState.FAILED, epochs, reason="diverged"
        )
    return TrialResult(
        number,
        EXPERIMENT.baseline,
        STATES[number],
        epochs,
        value=0.5,
        best_epoch=2,
        restored_train_accuracy=0.5,
        n_parameters=3,
        weights_sha256=f"{number}" * 64,
        model_keras=b"a model",
    )


@dataclass
class Recorded:
    """A finished study of three trials in a home, and access to its stores."""

    home: Home

    def tracker(self) -> Tracker:
        return Tracker(
            self.home, experiment="smoke", identity=self.history.mlflow_identity, dataset=DATASET,
            provenance=PROVENANCE, draw_trial=trial_png,
        )  # fmt: skip

    @property
    def history(self) -> History:
        return History.open(self.home.storage_url, "smoke")

    def run_id(self, number: int) -> str:
        return self.history.run_ids[number]

    def model_id(self, number: int) -> str:
        run = connect(self.home.tracking_uri).get_run(self.run_id(number))
        assert run.outputs is not None
        return str(run.outputs.model_outputs[0].model_id)

    def audit(self, *, repair: bool = False) -> StudyAudit:
        (audit,) = audit_home(self.home, repair=repair)
        return audit


def start(tracker: Tracker, number: int) -> None:
    tracker.start(
        TrialSpec(
            number,
            EXPERIMENT.baseline,
            derive_seeds(0, number),
            EXPERIMENT.training,
            EXPERIMENT.data,
        )
    )


@pytest.fixture(scope="module")
def empty_stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the two databases; creating them takes seconds."""
    folder = tmp_path_factory.mktemp("empty")
    connect(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    History.open(f"sqlite:///{folder / 'optuna.db'}", "smoke")
    return folder


@pytest.fixture
def recorded(empty_stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    for variable in ("MLFLOW_TRACKING_URI", "MNIST_STUDY_STORAGE"):
        monkeypatch.delenv(variable, raising=False)
    for name in ("mlflow.db", "optuna.db"):
        with (
            closing(sqlite3.connect(empty_stores / name)) as source,
            closing(sqlite3.connect(tmp_path / name)) as target,
        ):
            source.backup(target)
    study = Recorded(Home(tmp_path))
    history = study.history
    history.check_identity(StudyIdentity.of(EXPERIMENT, "digits", "ab" * 32), allow_mixed=False)
    history.n_trials = len(STATES)
    tracker = study.tracker()
    tracker.open({})
    for number in range(len(STATES)):
        start(tracker, number)
        history.append(result(number), tracker.finish(result(number)))
    tracker.finish_parent()
    tracker.close()
    return study


def test_a_true_record_is_proven_and_counted(recorded: Recorded) -> None:
    audit = recorded.audit()
    assert audit.findings == []
    assert audit.counts == {
        "finished_trials": 3,
        "trials_with_one_live_run": 3,
        "runs_left_running": 0,
        "interrupted_runs": 0,
        "models": 2,
        "models_with_checked_files": 2,
        "models_without_a_live_run": 0,
        # Two epochs of four values and what sums each trial up; no infinity and no NaN.
        "metric_points": 2 * (8 + 6) + (6 + 1 + 0),
        "metric_points_logged_twice": 0,
        "test_set_readings": 0,
        "test_set_readings_not_in_the_ledger": 0,
    }
    assert "proven" in audit_lines(audit)[0]


def log_twice(study: Recorded) -> None:
    connect(study.home.tracking_uri).log_metric(study.run_id(0), "val/accuracy", 0.375, step=1)


def log_other_value(study: Recorded) -> None:
    connect(study.home.tracking_uri).log_metric(study.run_id(1), "train/loss", 7.0, step=3)


def end_differently(study: Recorded) -> None:
    connect(study.home.tracking_uri).set_terminated(study.run_id(1), "FINISHED")


def add_parameter(study: Recorded) -> None:
    connect(study.home.tracking_uri).log_param(study.run_id(0), "units_4", 8)


def retag_weights(study: Recorded) -> None:
    connect(study.home.tracking_uri).set_logged_model_tags(
        study.model_id(1), {"weights_sha256": "0" * 64}
    )


def delete_model(study: Recorded) -> None:
    connect(study.home.tracking_uri).delete_logged_model(study.model_id(1))


def change_model_file(study: Recorded) -> None:
    (file,) = study.home.path.rglob(f"{study.model_id(0)}/**/model.keras")
    file.write_bytes(b"another model")


def add_second_run(study: Recorded) -> None:
    client = connect(study.home.tracking_uri)
    run = client.get_run(study.run_id(0))
    client.create_run(run.info.experiment_id, tags=run.data.tags)


TAMPERED = (
    (log_twice, "val/accuracy: 1 points logged more than once"),
    (log_other_value, "train/loss"),
    (end_differently, "FINISHED, tagged PRUNED; history says PRUNED"),
    (add_parameter, "units_4"),
    (retag_weights, "another hash of the weights"),
    (delete_model, "expected one that is READY"),
    (change_model_file, "the file was changed since"),
    (add_second_run, "2 live runs, expected 1"),
)


def test_everything_that_was_tampered_with_is_named(recorded: Recorded) -> None:
    for tamper, found in TAMPERED:
        assert not any(found in line for line in recorded.audit().findings)
        tamper(recorded)
        assert any(found in line for line in recorded.audit().findings), found


def test_every_file_of_a_model_is_checked_also_those_beside_the_network(recorded: Recorded) -> None:
    (mlmodel,) = recorded.home.path.rglob(f"{recorded.model_id(0)}/**/MLmodel")
    folder = mlmodel.parent
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert {"MLmodel", "model.keras", "requirements.txt"} < {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        (finding,) = recorded.audit().findings
        assert "changed since" in finding or f"changed {path.relative_to(folder)}" in finding
        path.unlink()
        (finding,) = recorded.audit().findings
        assert str(path.relative_to(folder)) in finding
        path.write_bytes(content)
    added = folder / "code" / "loader.py"
    added.parent.mkdir()
    added.write_text("print('executed')")
    (finding,) = recorded.audit().findings
    assert "added code/loader.py" in finding
    # A model of an earlier version: only the network's file has a hash.
    connect(recorded.home.tracking_uri).delete_logged_model_tag(recorded.model_id(0), FILES_TAG)
    assert recorded.audit().findings == []


def test_a_reading_of_the_test_set_that_the_ledger_does_not_hold_is_named(
    recorded: Recorded,
) -> None:
    history, tracker, ledger = recorded.history, recorded.tracker(), recorded.home.ledger
    tracker.open(dict(enumerate(history.run_ids)))
    readout = Readout("restored", 2, 2, "ef" * 32, 0.5, 1.0, 0.25, 1.5, 0.125, correct_bits="AAAA")
    read = replace(result(0), number=3, test_metrics={"test/accuracy": 0.25}, readouts=(readout,))
    start(tracker, 3)
    ledger.record("mnist-study baseline", "digits", read)
    history.append(read, tracker.finish(read))
    tracker.finish_parent()
    tracker.close()
    audit = recorded.audit()
    assert audit.findings == []
    assert audit.counts["test_set_readings"] == 2

    path = recorded.home.path / "test_set_ledger.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1].replace("0.125", "0.126"))
    (finding,) = recorded.audit().findings
    assert finding.startswith("trial 3: it read the test set with weights efefefefefef…")
    path.unlink()
    audit = recorded.audit()
    assert len(audit.findings) == audit.counts["test_set_readings_not_in_the_ledger"] == 2


def test_what_a_killed_driver_left_is_found_and_repaired_once(recorded: Recorded) -> None:
    client = connect(recorded.home.tracking_uri)
    history = recorded.history
    tracker = recorded.tracker()
    tracker.open(dict(enumerate(history.run_ids)))
    start(tracker, 3)
    start(tracker, 4)
    # All but the insert into history, and a model whose run was deleted already.
    run_id = tracker.finish(replace(result(0), number=3))
    client.delete_run(run_id)
    tracker.close()

    audit = recorded.audit()
    assert audit.counts["runs_left_running"] == 2  # trial 4 and the study's own
    assert audit.counts["models_without_a_live_run"] == 1
    assert len(audit.findings) == 3
    repaired = recorded.audit(repair=True)
    assert len(repaired.repaired) == 3
    assert repaired.findings == []
    assert recorded.audit(repair=True).repaired == []


def test_what_is_being_written_is_not_judged(recorded: Recorded) -> None:
    tracker = recorded.tracker()
    with recorded.home.locked("mnist-study study"):
        tracker.open(dict(enumerate(recorded.history.run_ids)))
        start(tracker, 3)
        audit = recorded.audit()
        assert audit.in_use
        assert audit.findings == []
        with pytest.raises(UserFacingError, match="in use by `mnist-study study`"):
            recorded.audit(repair=True)
    tracker.abort()
    audit = recorded.audit()
    assert audit.findings == []
    assert audit.counts["interrupted_runs"] == 1


def test_the_command_ends_with_one_if_something_is_broken(recorded: Recorded) -> None:
    arguments = ["audit", "--home", str(recorded.home.path), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert json.loads(done.stdout)[0]["findings"] == []
    log_twice(recorded)
    done = CliRunner().invoke(app, [*arguments, "--repair"])
    assert isinstance(done.exception, UserFacingError)
    assert "audit found 1 inconsistency" in str(done.exception)


def test_to_repair_where_nothing_is_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(NoStudyError):
        audit_home(Home.at(tmp_path / "new"), repair=True)
    assert not (tmp_path / "new").exists()


def test_a_lost_store_is_a_finding_and_is_not_created(recorded: Recorded) -> None:
    place = recorded.home.path / "mlflow.db"
    place.unlink()
    assert any("no MLflow store" in line for line in recorded.audit().findings)
    assert not place.exists()
