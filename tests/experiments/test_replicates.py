"""The baseline over many seeds and the fresh-seed confirmation, read from records made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from mnist_study.cli import app
from mnist_study.core.config import ConfigError, ExperimentConfig, load_experiment
from mnist_study.core.errors import UserFacingError
from mnist_study.core.identity import Identity, StudyIdentity, parse_identity
from mnist_study.core.ledger import Ledger, LedgerError
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialState
from mnist_study.data.dataset import load_test_set, load_training_set
from mnist_study.experiments.baseline import baseline_job, read_baseline
from mnist_study.experiments.confirmation import candidates, confirm_job, confirmed, winner
from mnist_study.search.history import History

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def experiment() -> ExperimentConfig:
    return load_experiment(EXPERIMENTS / "smoke.toml")


def result(number: int, params: Any, value: float, **more: Any) -> TrialResult:  # noqa: ANN401
    epochs = (EpochMetrics(1, 0.5, 0.8, 0.4, value - 0.01), EpochMetrics(2, 0.4, 0.9, 0.3, value))
    return TrialResult(
        number, params, TrialState.COMPLETE, epochs, value=value, best_epoch=2,
        n_parameters=1000, train_seconds=2.0, **more,
    )  # fmt: skip


def a_history(tmp_path: Path, name: str, identity: Identity) -> History:
    history = History.open(f"sqlite:///{tmp_path / 'optuna.db'}", name)
    history.check_identity(identity, allow_mixed=False)
    return history


@pytest.fixture
def study(tmp_path: Path, experiment: ExperimentConfig) -> History:
    training_set = load_training_set("digits")
    identity = StudyIdentity.of(experiment, "digits", training_set.content_hash)
    history = a_history(tmp_path, experiment.name, identity)
    wider = experiment.baseline.model_copy(update={"units_1": 200})
    widest = experiment.baseline.model_copy(update={"units_1": 250})
    for number, (params, value) in enumerate(
        [(experiment.baseline, 0.97), (wider, 0.98), (widest, 0.99), (wider, 0.975)]
    ):
        history.append(result(number, params, value), f"run-{number}")
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
                result(number, experiment.baseline, 0.97 + offset, test_metrics=metrics), "run"
            )
        assert verdict in read_baseline(history).lines[1]


def test_digits_are_never_compared_with_the_documented_number(
    tmp_path: Path, experiment: ExperimentConfig
) -> None:
    job = baseline_job(experiment, load_training_set("digits"), load_test_set("digits"), 2)
    history = a_history(tmp_path, job.name, job.identity)
    for number in range(2):
        metrics = {"test/accuracy": 0.9 + number / 100, "test/loss": 0.1}
        history.append(result(number, experiment.baseline, 0.9, test_metrics=metrics), "run")
    found = read_baseline(history)
    assert not any("0.9728" in line for line in found.lines)
    assert "not MNIST" in found.tables["README.md"]


def test_a_baseline_interrupted_before_its_second_run_has_no_report_yet(
    tmp_path: Path, experiment: ExperimentConfig
) -> None:
    job = baseline_job(experiment, load_training_set("digits"), load_test_set("digits"), 2)
    history = a_history(tmp_path, job.name, job.identity)
    metrics = {"test/accuracy": 0.9, "test/loss": 0.1}
    history.append(result(0, experiment.baseline, 0.9, test_metrics=metrics), "run")
    with pytest.raises(ConfigError, match="1 runs are complete, expected 2 or more"):
        read_baseline(history)


def test_an_unfinished_record_is_named_and_keeps_no_other_from_its_report(
    tmp_path: Path, study: History, experiment: ExperimentConfig
) -> None:
    # Its name comes first, so that it is met before the study.
    job = baseline_job(experiment, load_training_set("digits"), load_test_set("digits"), 2)
    history = a_history(tmp_path, "a-baseline", job.identity)
    metrics = {"test/accuracy": 0.9, "test/loss": 0.1}
    history.append(result(0, experiment.baseline, 0.9, test_metrics=metrics), "run")
    done = CliRunner().invoke(app, ["report", "--home", str(tmp_path)])
    assert isinstance(done.exception, UserFacingError)
    assert "1 runs are complete, expected 2 or more" in str(done.exception)
    assert (tmp_path / "reports" / study.name / "README.md").exists()
    assert study.name in done.stdout


def test_baseline_trials_alone_may_read_the_test_set(
    study: History, experiment: ExperimentConfig
) -> None:
    training_set = load_training_set("digits")
    job = baseline_job(experiment, training_set, load_test_set("digits"), 2)
    assert job.make_plan().suggest(0, [], []).reads_test_set
    confirmation = confirm_job(study, training_set, top=2, n_seeds=2)
    assert confirmation.test_set is None
    assert not confirmation.make_plan().suggest(0, [], []).reads_test_set


def test_candidates_are_the_baseline_and_the_best_distinct_configurations(study: History) -> None:
    assert [c.trial for c in candidates(study, top=5)] == [0, 2, 1]
    assert [c.trial for c in candidates(study, top=1)] == [0, 2]


def test_replicates_share_seeds_and_split_within_and_not_between(study: History) -> None:
    plan = confirm_job(study, load_training_set("digits"), top=2, n_seeds=3).make_plan()
    specs = [plan.suggest(number, [], []) for number in range(plan.n_trials)]
    assert len(specs) == 9
    blocks = [specs[i : i + 3] for i in (0, 3, 6)]
    for block in blocks:
        assert len({(spec.seeds, spec.data) for spec in block}) == 1
    assert len({(block[0].seeds, block[0].data.split_seed) for block in blocks}) == 3


def test_winner_is_the_smallest_of_those_that_cannot_be_told_apart(
    tmp_path: Path, study: History
) -> None:
    job = confirm_job(study, load_training_set("digits"), top=2, n_seeds=6)
    history = a_history(tmp_path, job.name, job.identity)
    noise = np.random.default_rng(0).normal(0, 0.001, (6, 3))
    means, sizes = (0.96, 0.98, 0.9801), (10, 30, 20)  # baseline clearly worse, the others level
    for number in range(job.n_trials):
        replicate, place = divmod(number, 3)
        spec = job.make_plan().suggest(number, [], [])
        trial = result(number, spec.params, means[place] + noise[replicate, place])
        history.append(
            TrialResult(
                **{
                    **{name: getattr(trial, name) for name in TrialResult.__slots__},
                    "n_parameters": sizes[place],
                }
            ),
            "run",
        )
    found = confirmed(history)
    assert [c.is_indistinguishable for c in found] == [False, True, True]
    assert winner(found).n_parameters == 20


def test_other_data_than_the_studys_is_refused(
    study: History, experiment: ExperimentConfig
) -> None:
    other = load_test_set("digits")
    with pytest.raises(ConfigError, match="give the study's own data"):
        confirm_job(study, other, top=1, n_seeds=2)  # type: ignore[arg-type]


def test_ledger_keeps_every_reading_and_refuses_a_line_that_is_none(
    tmp_path: Path, experiment: ExperimentConfig
) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    read = result(0, experiment.baseline, 0.9, test_metrics={"test/accuracy": 0.9})
    ledger.record("mnist-study baseline", "digits", read)
    ledger.record("mnist-study baseline", "digits", result(1, experiment.baseline, 0.9))
    assert [r.result for r in ledger.readings()] == [{"test/accuracy": 0.9}]
    with (tmp_path / "ledger.jsonl").open("a") as file:
        file.write(json.dumps({"when": "today"}) + "\n")
    with pytest.raises(LedgerError, match="line 2"):
        ledger.readings()
