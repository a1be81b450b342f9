"""Small samples are called that, and rows name their runs."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from synthetic_study import make_experiment

from mnist_study.core.identity import Candidate
from mnist_study.core.trials import SeedStream, TrialResult, TrialState
from mnist_study.experiments.baseline import verdicts
from mnist_study.experiments.replicates import Replicates
from mnist_study.experiments.tables import trial_table_csv
from mnist_study.stats import run_distribution

EXPERIMENT = make_experiment()


@pytest.mark.parametrize(("n_seeds", "is_judged"), [(2, False), (3, False), (9, False), (10, True)])
def test_few_seeds_give_no_verdict(n_seeds: int, is_judged: bool) -> None:
    runs = run_distribution(list(0.972 + np.linspace(-0.001, 0.001, n_seeds)))
    text = " ".join(verdicts(runs, runs))
    assert ("it reproduces" in text) is is_judged
    assert (f"{n_seeds} seeds: too few for a verdict" in text) is not is_judged


def test_rows_of_the_table_name_their_own_runs() -> None:
    results = [
        TrialResult(number, EXPERIMENT.baseline, TrialState.PRUNED, value=value)
        for number, value in enumerate((0.1, 0.3, 0.2))
    ]
    rows = csv.DictReader(io.StringIO(trial_table_csv(results, ["a", "b", "c"])))
    assert [(row["number"], row["run_id"]) for row in rows] == [("1", "b"), ("2", "c"), ("0", "a")]


def test_runs_of_a_confirmation_are_told_apart_by_trial_and_seed() -> None:
    candidates = tuple(
        Candidate(trial=trial, params=EXPERIMENT.baseline, search_value=0.9) for trial in (0, 4)
    )
    replicates = Replicates(candidates, 0, SeedStream.CONFIRMATION, EXPERIMENT.training, 10)
    assert [replicates.name(replicates.specify(number)) for number in range(4)] == [
        "confirm-t000-s0", "confirm-t004-s0", "confirm-t000-s1", "confirm-t004-s1",
    ]  # fmt: skip
    assert replicates.described(3) == "trial 4, seed 1"
