"""The runs of an ablation as arrays and as tidy rows."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from ablation_simulation import draw_ablation, small_ablation

from mnist_study.core.trials import TrialState
from mnist_study.data.dataset import TestSet, TrainingSet
from mnist_study.experiments.ablation.design import DOCUMENTED
from mnist_study.experiments.ablation.job import ablation_job
from mnist_study.experiments.ablation.runs import (
    cell_index,
    deviations,
    factorial,
    runs_of,
    tidy_table,
)


def test_every_run_stands_at_the_seed_split_and_cell_of_its_specification(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    """All comparisons are paired by these places."""
    ablation = small_ablation(tmp_path, n_seeds=3)
    history = draw_ablation(tmp_path, ablation, digits, digits_test, {}, ("factorial",))
    job = ablation_job(ablation, "factorial", digits, digits_test)
    assert job is not None
    specs = [job.make_plan().suggest(number, [], []) for number in range(job.n_trials)]
    seeds = list(dict.fromkeys(spec.seeds for spec in specs))
    runs = runs_of(history)
    assert len(runs) == len(specs)
    for run, spec in zip(runs, specs, strict=True):
        assert seeds[run.seed] == spec.seeds
        assert ablation.split_seeds[run.split] == spec.data.split_seed
        assert run.cell is not None
        assert ablation.params(run.cell) == spec.params == run.result.params


def test_a_seed_that_lacks_a_run_is_left_out_of_every_cell(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    history = draw_ablation(
        tmp_path, small_ablation(tmp_path, n_seeds=4), digits, digits_test, {}, ("factorial",)
    )
    runs = runs_of(history)
    broken = next(r for r in runs if r.seed == 2 and r.cell == ("l2",))
    runs[runs.index(broken)] = replace(
        broken, result=replace(broken.result, state=TrialState.FAILED, readouts=())
    )
    data = factorial(runs, 360)
    assert data is not None
    assert data.seeds == (0, 1, 3)
    assert data.n_dropped == 1
    kept = data.values["test_accuracy", "last"][cell_index(DOCUMENTED)]
    wanted = [
        [
            next(r for r in runs if (r.cell, r.split, r.seed) == (DOCUMENTED, i, j))
            .readout("last")
            .test_accuracy
            for j in data.seeds
        ]
        for i in (0, 1)
    ]
    assert kept.tolist() == wanted


def test_deviations_are_those_of_brown_and_forsythes_test() -> None:
    first, second = np.random.default_rng(1).normal(0, [[1.0], [1.5]], (2, 20))
    of_first, of_second = deviations(np.stack([first, second]))
    oracle = scipy.stats.levene(first, second, center="median")
    found = scipy.stats.ttest_ind(of_first, of_second)
    assert found.statistic**2 == pytest.approx(oracle.statistic, rel=1e-8)
    assert found.pvalue == pytest.approx(oracle.pvalue, rel=1e-8)


def test_tidy_rows_hold_what_was_read_out(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    history = draw_ablation(
        tmp_path, small_ablation(tmp_path), digits, digits_test, {}, ("factorial",)
    )
    run = runs_of(history)[0]
    header, first, *_ = (line.split(",") for line in tidy_table([run]).splitlines())
    row = dict(zip(header, first, strict=True))
    readout = asdict(run.readout("last"))
    for name in ("test_accuracy", "test_loss", "calibration_error", "train_accuracy"):
        assert float(row[name]) == readout[name]
    assert float(row["overfitting_gap"]) == readout["train_accuracy"] - readout["test_accuracy"]
    assert (row["part"], row["readout"], row["seed"], row["split"]) == (
        "factorial", "last", "0", "0",
    )  # fmt: skip
