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


def test_a_failed_run_is_missing_from_its_arm_and_counts_as_diverged(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    history = draw_ablation(
        tmp_path, small_ablation(tmp_path, n_seeds=4), digits, digits_test, {}, ("documented",)
    )
    runs = runs_of(history)
    broken = next(r for r in runs if (r.execution, r.replicate) == (1, 2) and r.arm.label == "l2")
    failed = replace(broken.result, state=TrialState.FAILED, readouts=())
    runs[runs.index(broken)] = replace(broken, result=failed)
    values = values_of(runs, 360, None)
    key = ("documented", "l2", "last")
    accuracy = values.of(key, "test_accuracy")
    assert np.argwhere(np.isnan(accuracy)).tolist() == [[1, 2]]
    assert np.argwhere(values.of(key, "diverged") == 1).tolist() == [[1, 2]]
    complete = [r for r in runs if r.arm.label == "l2" and r.result.readouts]
    wanted = [r.result.readouts[0].test_accuracy for r in complete]
    assert sorted(accuracy[np.isfinite(accuracy)]) == sorted(wanted)
    images = values.per_image({key: 1.0})
    assert images.shape == (7, 360)
    assert images.mean(axis=1) == pytest.approx(accuracy[np.isfinite(accuracy)], abs=1e-12)


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
    assert epochs_to(values, 0.97) == 2
    assert epochs_to(values, 0.975) == 4
    assert epochs_to(values, 0.99) == 5


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
        assert (row["plotted_gap"] == "") == (row["arm"] == "all rows")
    first = rows[0]
    epoch = record.runs["documented"][0].result.epochs[-1]
    assert float(first["plotted_gap"]) == epoch.train_accuracy - epoch.val_accuracy
    assert [first[c] for c in ("execution", "replicate", "readout")] == ["0", "0", "last"]
    reached = [row["epochs_to_target"] for row in rows if row["part"] == "activations"]
    assert set(reached) == {"1.0"}
