"""The two stages of a confirmation, read from records made by hand."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import MemoryHistory, completed, fill_study, study_identity
from typer.testing import CliRunner

from mnist_study.cli import app
from mnist_study.core.config import ConfigError, load_experiment
from mnist_study.core.home import Home
from mnist_study.core.identity import ConfirmationIdentity, parse_identity
from mnist_study.core.trials import TrialState
from mnist_study.data.dataset import load_test_set, load_training_set
from mnist_study.execution.driver import JobResult, RunOptions
from mnist_study.execution.job import Job
from mnist_study.execution.loop import DriverTimes
from mnist_study.experiments import confirmation
from mnist_study.experiments.confirmation import (
    ConfirmationDesign,
    candidates,
    confirm_job,
    plan_line,
    read_confirmation,
    read_screening,
    run_confirmation,
    screening_job,
)
from mnist_study.experiments.confirmation_results import confirmed, finalists, winner
from mnist_study.search.history import History
from mnist_study.stats.selection import corrected_resampled_estimate

EXPERIMENT = load_experiment(Path(__file__).parents[2] / "experiments" / "smoke.toml")
DESIGN = ConfirmationDesign(top=4, screening_seeds=3, n_finalists=2, n_seeds=12)
TRAINING_SET = load_training_set("digits")

Value = Callable[[int, int], float | None]


@pytest.fixture
def study() -> History:
    history = MemoryHistory(EXPERIMENT.name, study_identity(EXPERIMENT))
    fill_study(history, EXPERIMENT, (0.97, 0.98, 0.99, 0.975, 0.972, 0.981))
    return history


def record(job: Job, value: Value, n_runs: int | None = None, *others: History) -> History:
    """Record a stage.

    Args:
        job: of the stage.
        value: of a replicate and the trial that a configuration comes from; None fails.
        n_runs: how many runs are finished, all by default.
        others: records beside it.
    """
    history = MemoryHistory(job.name, job.identity, *others)
    history.n_trials = job.n_trials
    chosen = job.identity.candidates  # type: ignore[union-attr]
    plan = job.make_plan()
    for number in range(job.n_trials if n_runs is None else n_runs):
        replicate, position = divmod(number, len(chosen))
        trial = chosen[position].trial
        found = value(replicate, trial)
        params = plan.suggest(number, [], []).params
        result = completed(number, params, found or 0.5, n_parameters=1000 * (1 + trial))
        if found is None:
            result = replace(result, state=TrialState.FAILED, value=None, best_epoch=None)
        history.append(result, f"run-{number}")
    return history


def noisy(means: dict[int, float], sd: float = 0.0005) -> Value:
    noise = np.random.default_rng(0).normal(0, sd, (100, 10))
    return lambda replicate, trial: means[trial] + float(noise[replicate, trial])


def test_candidates_are_the_baseline_and_the_best_distinct_configurations(study: History) -> None:
    assert [c.trial for c in candidates(study, top=9)] == [0, 2, 5, 1, 3, 4]
    assert [c.trial for c in candidates(study, top=1)] == [0, 2]
    study.append(completed(6, study.results[2].params, 0.999), "run-6")
    assert [c.trial for c in candidates(study, top=2)] == [0, 6, 5]


def test_runs_of_a_replicate_share_seeds_and_split_and_the_stages_share_none(
    study: History,
) -> None:
    blocks = []
    for job, n in (
        (screening_job(study, TRAINING_SET, DESIGN), 4),
        (confirm_job(study, TRAINING_SET, DESIGN, candidates(study, 2)[1:]), 3),
    ):
        plan = job.make_plan()
        specs = [plan.suggest(number, [], []) for number in range(plan.n_trials)]
        blocks += [specs[i : i + n] for i in range(0, len(specs), n)]
        assert job.test_set is None
        assert not any(spec.reads_test_set for spec in specs)
    assert len(blocks) == 3 + 12
    for block in blocks:
        assert len({(spec.seeds, spec.data) for spec in block}) == 1
    assert len({block[0].data.split_seed for block in blocks}) == 15
    assert len({block[0].seeds.init_seed for block in blocks}) == 15
    # The documented network is no candidate of the screening: it goes on in any case.
    assert study.results[0].params not in [spec.params for spec in blocks[0]]
    assert study.results[0].params == blocks[-1][0].params


def test_finalists_have_the_highest_means_and_no_run_that_failed(study: History) -> None:
    job = screening_job(study, TRAINING_SET, DESIGN)
    means = {2: 0.95, 5: 0.96, 1: 0.97, 3: 0.99}
    values = noisy(means)

    def failing(replicate: int, trial: int) -> float | None:
        return None if (replicate, trial) == (1, 3) else values(replicate, trial)

    history = record(job, failing, 11)
    with pytest.raises(ConfigError, match="2 of 3 replicates are finished"):
        finalists(history)
    assert "11 of 12 runs are finished" in read_screening(history).lines[0]
    history = record(job, failing)
    assert [c.trial for c in finalists(history)] == [1, 5]
    found = read_screening(history)
    assert "trials 1, 5 go on" in found.lines[0]
    assert "| 1 | 0.9800 | 0.97" in found.tables["README.md"]
    assert found.tables["runs.csv"].count("\n") == 1 + 12


def executed(
    monkeypatch: pytest.MonkeyPatch, folder: Path, study: History, design: ConfirmationDesign
) -> list[tuple[str, list[int]]]:
    """Run a confirmation with made-up results; return name and trials of each stage."""
    stages: list[tuple[str, list[int]]] = []
    done: list[History] = []

    def run_job(job: Job, *_: object) -> JobResult:
        chosen = [c.trial for c in job.identity.candidates]  # type: ignore[union-attr]
        stages.append((job.name, chosen))
        value = noisy({0: 0.9, 1: 0.95, 2: 0.94, 3: 0.98, 5: 0.93})
        history = record(job, value, None, *done)
        done.append(history)
        times = DriverTimes(total=10.0)
        return JobResult(history, job.read(history), times, 0.0, folder)

    monkeypatch.setattr(confirmation, "run_job", run_job)
    options = RunOptions(Home(folder), "mnist-study confirm", 1)
    result = run_confirmation(study, TRAINING_SET, design, options, lambda *_: None)  # type: ignore[arg-type]
    assert result.times.total == 10.0 * len(stages)
    assert ("Screening" in result.findings.tables["README.md"]) == (len(stages) == 2)
    return stages


def test_the_second_stage_has_the_finalists_of_the_first_and_the_documented_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, study: History
) -> None:
    (first, screened), (second, chosen) = executed(monkeypatch, tmp_path, study, DESIGN)
    assert (screened, chosen) == ([2, 5, 1, 3], [0, 3, 1])
    # More seeds continue the records, another design has its own.
    more = replace(DESIGN, n_seeds=20)
    assert [name for name, _ in executed(monkeypatch, tmp_path, study, more)] == [first, second]
    other = executed(monkeypatch, tmp_path, study, replace(DESIGN, screening_seeds=4))
    assert not {name for name, _ in other} & {first, second}


def test_without_more_candidates_than_finalists_there_is_one_stage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, study: History
) -> None:
    design = replace(DESIGN, top=2)
    ((name, chosen),) = executed(monkeypatch, tmp_path, study, design)
    assert chosen == [0, 2, 5]
    assert "-confirm-" in name


def not_significantly_worse(replicate: int, trial: int) -> float:
    """Give trial 1, the smallest, 0.02 points less than trial 5 on average, and a wide spread."""
    spread = 0.002 if replicate % 2 else -0.002
    return {0: 0.96, 1: 0.9798 + spread, 2: 0.96, 5: 0.98}[trial]


def a_confirmation(study: History, value: Value, n_runs: int | None = None) -> History:
    """Record both stages; trials 2, 5 and 1 are in the second one, the smallest network is 1."""
    design = replace(DESIGN, n_finalists=3)
    screening = screening_job(study, TRAINING_SET, design)
    first = record(screening, noisy({2: 0.97, 5: 0.96, 1: 0.95, 3: 0.9}))
    job = confirm_job(study, TRAINING_SET, design, finalists(first))
    return record(job, value, n_runs, first)


def test_the_winner_is_the_smallest_network_shown_to_lie_within_the_margin(study: History) -> None:
    history = a_confirmation(study, noisy({0: 0.96, 1: 0.97945, 2: 0.9799, 5: 0.98}, sd=0.0001))
    found = {c.candidate.trial: c for c in confirmed(history)}
    assert {trial: c.may_win for trial, c in found.items()} == {
        0: False, 1: False, 2: True, 5: True
    }  # fmt: skip
    assert winner(list(found.values())).candidate.trial == 2
    text = " ".join(read_confirmation(history).lines)
    assert "Winner: trial 2," in text
    assert "Trial 5 has the highest mean" in text
    assert "the smallest network shown to be less than 0.05 points worse" in text


def test_a_smaller_network_that_is_not_significantly_worse_does_not_win_by_that(
    study: History,
) -> None:
    history = a_confirmation(study, not_significantly_worse)
    found = {c.candidate.trial: c for c in confirmed(history)}
    smaller = found[1]
    assert smaller.to_best is not None
    assert smaller.to_best.interval.contains(0.0)
    assert not smaller.may_win
    assert winner(list(found.values())).candidate.trial == 5
    assert "no smaller network is shown" in " ".join(read_confirmation(history).lines)


def test_the_verdict_of_an_earlier_record_stays_what_it_was(study: History) -> None:
    history = a_confirmation(study, not_significantly_worse)
    document = history.identity.as_document()
    del document["margin"], document["screening"], document["data"]["n_rows"]
    earlier = MemoryHistory("earlier", parse_identity(json.dumps(document)))
    assert earlier.identity.as_document() == document
    for number, result in enumerate(history.results):
        earlier.append(result, f"run-{number}")
    found = confirmed(earlier)
    assert winner(found).candidate.trial == 1
    report = read_confirmation(earlier)
    assert "does not show that it is as good" in " ".join(report.lines)
    assert "orrected" not in report.tables["README.md"]
    assert "one-sided" not in report.tables["README.md"]


def test_a_replicate_with_a_failed_run_is_left_out_for_all(study: History) -> None:
    value = noisy({0: 0.96, 1: 0.975, 2: 0.979, 5: 0.98})
    history = a_confirmation(
        study, lambda r, trial: None if (r, trial) == (7, 1) else value(r, trial)
    )
    found = {c.candidate.trial: c for c in confirmed(history)}
    assert {trial: (len(c.values), c.n_failed) for trial, c in found.items()} == {
        0: (11, 0), 1: (11, 1), 2: (11, 0), 5: (11, 0)
    }  # fmt: skip
    assert "Runs without a value: 1 of trial 1" in " ".join(read_confirmation(history).lines)


def test_an_unfinished_confirmation_says_so(study: History) -> None:
    value = noisy({0: 0.96, 1: 0.975, 2: 0.979, 5: 0.98})
    history = a_confirmation(study, value, n_runs=4)
    with pytest.raises(ConfigError, match="1 replicates are complete"):
        read_confirmation(history)
    history = a_confirmation(study, value, n_runs=20)
    assert "Not finished: 20 of 48 runs" in " ".join(read_confirmation(history).lines)


def test_the_report_can_be_recomputed_from_its_csv(study: History) -> None:
    history = a_confirmation(study, noisy({0: 0.96, 1: 0.975, 2: 0.979, 5: 0.98}))
    report = read_confirmation(history)
    rows = list(csv.DictReader(io.StringIO(report.tables["runs.csv"])))
    stages = [row["stage"] for row in rows]
    assert (stages.count("screening"), stages.count("confirmation")) == (12, 48)
    by_trial: dict[str, list[float]] = {}
    for row in rows:
        if row["stage"] == "confirmation":
            by_trial.setdefault(row["trial"], []).append(float(row["value"]))
    job = confirm_job(
        study, TRAINING_SET, replace(DESIGN, n_finalists=3),
        history.identity_as(ConfirmationIdentity).candidates[1:],
    )  # fmt: skip
    spec = job.make_plan().suggest(47, [], [])
    assert rows[-1]["split_seed"] == str(spec.data.split_seed)
    assert rows[-1]["init_seed"] == str(spec.seeds.init_seed)
    assert rows[-1]["replicate"] == "11"
    assert rows[-1]["run_id"] == history.run_ids[-1]
    # 287 validation rows and 1,150 training rows.
    difference = np.array(by_trial["2"]) - np.array(by_trial["5"])
    corrected = corrected_resampled_estimate(difference, 287 / 1150).interval(0.95)
    markdown = report.tables["README.md"]
    assert f"{100 * corrected.low:+.3f} to {100 * corrected.high:+.3f}" in markdown
    assert f"| 5 | {100 * np.mean(by_trial['5']):.2f} |" in markdown
    assert "(Nadeau and Bengio 2003)" in markdown
    assert "| 3 | 0.9750 | 0.9" in markdown  # of the screening, and no finalist


def test_the_report_has_the_sessions_of_both_stages(study: History) -> None:
    history = a_confirmation(study, noisy({0: 0.96, 1: 0.975, 2: 0.979, 5: 0.98}))
    (screening,) = history.siblings("screen")
    session = {
        "begun": "2026-01-01T00:00:00", "command": "confirm", "commit": None, "dirty": False,
        "workers": 2, "hardware": "a processor",
    }  # fmt: skip
    screening.note_session("0", session | {"seconds": 700.0, "n_trials": 12})
    history.note_session("0", session | {"seconds": 1600.0, "n_trials": 48})
    markdown = read_confirmation(history).tables["README.md"]
    assert markdown.index("| 700 | 12 |") < markdown.index("| 1600 | 48 |")


def test_the_plan_is_said_before_it_is_run(study: History) -> None:
    # Three seconds a trial: 4 x 3 + (2 + 1) x 12 runs by two workers.
    assert plan_line(study, DESIGN, 2) == (
        "plan: 4 candidates x 3 seeds, then 2 finalists and the documented network x 12 seeds: "
        "48 runs, about 72 s with 2 workers at the pace of the study's own trials"
    )
    assert plan_line(study, replace(DESIGN, top=2), 1).startswith(
        "plan: 2 configurations and the documented network x 12 seeds: 36 runs, about 2 min"
    )


def test_fewer_than_ten_seeds_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--seeds 9: expected 10 or more") as refusal:
        replace(DESIGN, n_seeds=9)
    assert "\n" not in str(refusal.value)
    done = CliRunner().invoke(app, ["confirm", "--seeds", "9", "--home", str(tmp_path)])
    assert str(done.exception) == str(refusal.value)


def test_other_data_than_the_studys_is_refused(study: History) -> None:
    other: Any = load_test_set("digits")
    for describe in (screening_job, confirm_job):
        with pytest.raises(ConfigError, match="give the study's own data"):
            describe(study, other, DESIGN)
