"""The runs of an ablation as arrays and as tidy rows."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from ablation_simulation import draw_ablation, small_ablation

from mnist_study.core.trials import TrialState
from mnist_study.data.dataset import TestSet, TrainingSet
from mnist_study.experiments.ablation.design import PARTS
from mnist_study.experiments.ablation.job import ablation_job
from mnist_study.experiments.ablation.outcomes import deviations, epochs_to, jitter
from mnist_study.experiments.ablation.record import AblationRecord
from mnist_study.experiments.ablation.runs import runs_of, tidy_table, values_of
from mnist_study.search.history import History

pytest_plugins = ["ablation_fixtures"]


def test_every_run_stands_at_the_replicate_and_arm_of_its_specification(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    """All comparisons are paired by these places."""
    ablation = small_ablation(tmp_path, n_seeds=3)
    history = draw_ablation(tmp_path, ablation, digits, digits_test, {}, ("documented",))
    job = ablation_job(ablation, "documented", digits, digits_test)
    assert job is not None
    specs = [job.make_plan().suggest(number, [], []) for number in range(job.n_trials)]
    runs = runs_of(history)
    assert len(runs) == len(specs)
    places: dict[tuple[int, int], object] = {}
    for run, spec in zip(runs, specs, strict=True):
        assert (run.seeds, run.split_seed) == (spec.seeds, spec.data.split_seed)
        assert places.setdefault((run.execution, run.replicate), spec.seeds) == spec.seeds
        assert run.arm.cell is not None
        assert ablation.params(run.arm.cell) == spec.params == run.result.params
    assert len(set(places.values())) == 6


def test_a_run_that_failed_for_another_cause_is_missing_from_its_arm(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    history = draw_ablation(
        tmp_path, small_ablation(tmp_path, n_seeds=4), digits, digits_test, {}, ("documented",)
    )
    runs = runs_of(history)
    broken = next(r for r in runs if (r.execution, r.replicate) == (1, 2) and r.arm.label == "l2")
    failed = replace(
        broken.result, state=TrialState.FAILED, reason="the worker was lost", readouts=()
    )
    runs[runs.index(broken)] = replace(broken, result=failed)
    values = values_of(runs, 360, None)
    key = ("documented", "l2", "last")
    accuracy = values.of(key, "test_accuracy")
    assert np.argwhere(np.isnan(accuracy)).tolist() == [[1, 2]]
    assert np.nansum(values.of(key, "diverged")) == 0  # the surroundings failed, not the network
    complete = [r for r in runs if r.arm.label == "l2" and r.result.readouts]
    wanted = [r.result.readouts[0].test_accuracy for r in complete]
    assert sorted(accuracy[np.isfinite(accuracy)]) == sorted(wanted)
    images = values.per_image({key: 1.0})
    assert images.shape == (7, 360)
    assert images.mean(axis=1) == pytest.approx(accuracy[np.isfinite(accuracy)], abs=1e-12)


def test_a_diverged_run_keeps_what_early_stopping_had_saved_and_answers_by_chance_elsewhere(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    history = draw_ablation(
        tmp_path, small_ablation(tmp_path), digits, digits_test, {}, ("documented",)
    )
    runs = runs_of(history)
    first = runs[0]
    kept = tuple(r for r in first.result.readouts if r.point == "patience_1")
    diverged = replace(
        first.result, state=TrialState.FAILED, reason="diverged at epoch 4", readouts=kept
    )  # fmt: skip
    values = values_of([replace(first, result=diverged), *runs[1:]], 360, 0.99)
    saved, lost = (("documented", "none", name) for name in ("patience_1", "last"))
    assert values.of(saved, "test_accuracy")[0, 0] == kept[0].test_accuracy
    assert values.of(lost, "test_accuracy")[0, 0] == 0.1
    assert values.of(saved, "diverged")[0, 0] == 0
    assert values.of(lost, "diverged")[0, 0] == 1
    assert np.isnan(values.of(lost, "test_loss")[0, 0])
    # It was to train for four epochs, and would have reached the target after that at best.
    assert values.of(saved, "epochs_to_target")[0, 0] == 5


def test_read_outs_under_a_cap_are_arms_of_their_own(whole_ablation: History) -> None:
    values = AblationRecord(whole_ablation).values
    stopping = {key[1:] for key in values.outcomes if key[0] == "stopping"}
    caps = {"3 epochs", "6 epochs"}
    assert stopping == {(c, r) for c in caps for r in ("last", "patience_1", "patience_2")}
    for cap in (3, 6):
        share = values.of(("stopping", f"{cap} epochs", "patience_2"), "share_of_epochs")
        trained = values.of(("stopping", f"{cap} epochs", "patience_2"), "epochs_trained")
        assert np.array_equal(share, trained / cap)
        assert (trained <= cap).all()


def test_deviations_are_those_of_brown_and_forsythes_test() -> None:
    first, second = np.random.default_rng(1).normal(0, [[1.0], [1.5]], (2, 20))
    of_first, of_second = deviations(np.stack([first, second]))
    oracle = scipy.stats.levene(first, second, center="median")
    found = scipy.stats.ttest_ind(of_first, of_second)
    assert found.statistic**2 == pytest.approx(oracle.statistic, rel=1e-8)
    assert found.pvalue == pytest.approx(oracle.pvalue, rel=1e-8)


def test_jitter_is_the_spread_about_the_curve_and_not_its_rise() -> None:
    noise = np.random.default_rng(2).normal(0, 0.002, 4000)
    assert jitter(0.97 + noise) == pytest.approx(0.002, rel=0.05)
    assert jitter(np.linspace(0.9, 0.98, 4000) + noise) == pytest.approx(0.002, rel=0.05)
    early = np.concatenate([[0.1, 0.9, 0.2, 0.8], np.full(6, 0.97)])
    assert jitter(early) == 0.0  # only the second half counts
    assert np.isnan(jitter(np.array([0.9, 0.8, 0.9])))


def test_the_target_is_reached_at_the_first_such_epoch_or_one_past_the_last() -> None:
    values = np.array([0.9, 0.97, 0.96, 0.98])
    assert epochs_to(values, 0.97, 4) == 2
    assert epochs_to(values, 0.975, 4) == 4
    assert epochs_to(values, 0.99, 4) == 5
    assert epochs_to(values[:1], 0.97, 20) == 21  # diverged early, which is not fast


def test_tidy_rows_hold_what_was_read_out(whole_ablation: History) -> None:
    record = AblationRecord(whole_ablation)
    table = tidy_table(record.all_runs, record.target)
    rows = list(csv.DictReader(io.StringIO(table)))
    readouts = [r for run in record.all_runs for r in run.result.readouts]
    tuning = [row for row in rows if row["part"] == "tuning"]
    assert len(rows) == len(readouts) + len(tuning)
    assert {row["part"] for row in rows} == set(PARTS)
    for row, readout in zip((r for r in rows if r["readout"]), readouts, strict=True):
        assert float(row["test_accuracy"]) == readout.test_accuracy
        gap = readout.train_accuracy - readout.test_accuracy
        assert float(row["overfitting_gap"]) == gap
        assert float(row["kernel_norm_4"]) == readout.kernel_norms[3]
        assert (row["val_accuracy"] == "") == (row["arm"] == "all rows")
        is_plotted = row["arm"] != "all rows" and row["readout"] != "averaged"
        assert (row["plotted_gap"] != "") == is_plotted
        if is_plotted:
            assert readout.point.startswith(row["readout"])
    assert {row["diverged"] for row in tuning} == {""}
    first = rows[0]
    epoch = record.runs["documented"][0].result.epochs[-1]
    assert float(first["plotted_gap"]) == epoch.train_accuracy - epoch.val_accuracy
    assert [first[c] for c in ("execution", "replicate", "readout")] == ["0", "0", "last"]
    # A plot of a run that early stopping ends goes on for the patience.
    at, run = next(
        (index, run)
        for index, run in enumerate(record.runs["documented"])
        if run.result.readouts[1].epochs_trained > run.result.readouts[1].epoch
    )
    ended = run.result.epochs[run.result.readouts[1].epochs_trained - 1]
    shown = float(rows[4 * at + 1]["plotted_gap"])
    assert shown == ended.train_accuracy - ended.val_accuracy
    reached = [row["epochs_to_target"] for row in rows if row["part"] == "activations"]
    assert set(reached) == {"1.0"}
