"""The baseline over many seeds, read from records made by hand, and the ledger of its readings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from handmade import a_history, completed, fill_study, study_identity
from typer.testing import CliRunner

from mnist_study.cli import app
from mnist_study.core.config import ConfigError, ExperimentConfig, load_experiment
from mnist_study.core.errors import UserFacingError
from mnist_study.core.identity import parse_identity
from mnist_study.core.ledger import Ledger, LedgerError
from mnist_study.data.dataset import load_test_set, load_training_set
from mnist_study.experiments.baseline import baseline_job, read_baseline
from mnist_study.search.history import History

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def experiment() -> ExperimentConfig:
    return load_experiment(EXPERIMENTS / "smoke.toml")


@pytest.fixture
def study(tmp_path: Path, experiment: ExperimentConfig) -> History:
    history = a_history(tmp_path, experiment.name, study_identity(experiment))
    fill_study(history, experiment, (0.97, 0.98))
    return history


def test_documented_number_is_judged_by_the_range_of_one_more_run(
    tmp_path: Path, experiment: ExperimentConfig
) -> None:
    training_set, test_set = load_training_set("digits"), load_test_set("digits")
    job = baseline_job(experiment, training_set, test_set, 4)
    document = job.identity.as_document()
    document["data"]["dataset"] = "mnist"
    as_mnist = parse_identity(json.dumps(document))
    for name, center, verdict in (("near", 0.9728, "lies inside"), ("far", 0.99, "lies outside")):
        history = a_history(tmp_path, name, as_mnist)
        for number, offset in enumerate((-0.001, 0.0, 0.001, 0.0005)):
            metrics = {"test/accuracy": center + offset, "test/loss": 0.1}
            history.append(
                completed(number, experiment.baseline, 0.97 + offset, test_metrics=metrics), "run"
            )
        assert verdict in read_baseline(history).lines[1]


def test_digits_are_never_compared_with_the_documented_number(
    tmp_path: Path, experiment: ExperimentConfig
) -> None:
    job = baseline_job(experiment, load_training_set("digits"), load_test_set("digits"), 2)
    history = a_history(tmp_path, job.name, job.identity)
    for number in range(2):
        metrics = {"test/accuracy": 0.9 + number / 100, "test/loss": 0.1}
        history.append(completed(number, experiment.baseline, 0.9, test_metrics=metrics), "run")
    found = read_baseline(history)
    assert not any("0.9728" in line for line in found.lines)
    assert "not MNIST" in found.tables["README.md"]


def test_a_baseline_interrupted_before_its_second_run_has_no_report_yet(
    tmp_path: Path, experiment: ExperimentConfig
) -> None:
    job = baseline_job(experiment, load_training_set("digits"), load_test_set("digits"), 2)
    history = a_history(tmp_path, job.name, job.identity)
    metrics = {"test/accuracy": 0.9, "test/loss": 0.1}
    history.append(completed(0, experiment.baseline, 0.9, test_metrics=metrics), "run")
    with pytest.raises(ConfigError, match="1 runs are complete, expected 2 or more"):
        read_baseline(history)


def test_an_unfinished_record_is_named_and_keeps_no_other_from_its_report(
    tmp_path: Path, study: History, experiment: ExperimentConfig
) -> None:
    # Its name comes first, so that it is met before the study.
    job = baseline_job(experiment, load_training_set("digits"), load_test_set("digits"), 2)
    history = a_history(tmp_path, "a-baseline", job.identity)
    metrics = {"test/accuracy": 0.9, "test/loss": 0.1}
    history.append(completed(0, experiment.baseline, 0.9, test_metrics=metrics), "run")
    done = CliRunner().invoke(app, ["report", "--home", str(tmp_path)])
    assert isinstance(done.exception, UserFacingError)
    assert "1 runs are complete, expected 2 or more" in str(done.exception)
    assert (tmp_path / "reports" / study.name / "README.md").exists()
    assert study.name in done.stdout


def test_every_run_of_a_baseline_reads_the_test_set(experiment: ExperimentConfig) -> None:
    job = baseline_job(experiment, load_training_set("digits"), load_test_set("digits"), 2)
    assert job.test_set is not None
    assert all(job.make_plan().suggest(number, [], []).reads_test_set for number in range(2))


def test_ledger_keeps_every_reading_and_refuses_a_line_that_is_none(
    tmp_path: Path, experiment: ExperimentConfig
) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    read = completed(0, experiment.baseline, 0.9, test_metrics={"test/accuracy": 0.9})
    ledger.record("mnist-study baseline", "digits", read)
    ledger.record("mnist-study baseline", "digits", completed(1, experiment.baseline, 0.9))
    assert [r.result for r in ledger.readings()] == [{"test/accuracy": 0.9}]
    with (tmp_path / "ledger.jsonl").open("a") as file:
        file.write(json.dumps({"when": "today"}) + "\n")
    with pytest.raises(LedgerError, match="line 2"):
        ledger.readings()
