"""TPE on arrays proposes what Optuna's own sampler proposes from its trials."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from optuna.distributions import IntDistribution
from synthetic_study import MEDIAN, fold, make_experiment, stock_sampler, study_of

from mnist_study.bench.driver import draw_params, synthetic_result
from mnist_study.core.config import NetworkParams
from mnist_study.core.trials import TrialResult, TrialState, digest
from mnist_study.search import sampler
from mnist_study.search.sampler import Proposer


def past(n_trials: int) -> list[TrialResult]:
    """Trials of all states, many of equal value."""
    experiment = make_experiment()
    rng = np.random.default_rng(0)
    results = []
    for number in range(n_trials):
        params = draw_params(study_of(experiment).space, experiment.baseline, rng)
        result = synthetic_result(number, params, int(rng.integers(1, 5)), None)
        result = replace(result, value=round(result.value or 0.0, 2))
        if number % 3 == 1:
            epochs = result.epochs
            if number % 2:  # the last of its step
                epochs = (*epochs[:-1], replace(epochs[-1], val_accuracy=math.nan))
            result = replace(result, state=TrialState.PRUNED, epochs=epochs)
        elif number % 7 == 0:
            result = replace(result, state=TrialState.FAILED, value=None)
        elif number % 11 == 0:
            result = replace(result, state=TrialState.PRUNED, epochs=(), value=None)
        results.append(result)
    return results


@pytest.mark.parametrize("in_flight", [1, 40])
def test_proposals_are_those_of_optunas_own_sampler(
    in_flight: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = make_experiment(in_flight=in_flight)
    results = past(160)
    params = [result.params for result in results]

    def proposals() -> list[NetworkParams]:
        proposer = Proposer(experiment.name, study_of(experiment), experiment.baseline)
        proposed = []
        for number in (in_flight, in_flight + 8, 50, 51, 52, 80, 110, 159):
            n_seen = number - in_flight + 1
            proposed.append(proposer.propose(number, results[:n_seen], params[n_seen:number]))
            params[number] = proposed[-1]
            results[number] = replace(results[number], params=proposed[-1])
        return proposed

    ours = proposals()
    monkeypatch.setattr(sampler, "_make_sampler", stock_sampler)
    assert ours == proposals()


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_whole_studies_are_those_of_optunas_own_sampler(
    pruner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = MEDIAN if pruner == "median" else None
    experiment = make_experiment(pruner=pruner, options=options, in_flight=4)
    ours = digest(fold(experiment, 40)[1])
    monkeypatch.setattr(sampler, "_make_sampler", stock_sampler)
    assert ours == digest(fold(experiment, 40)[1])


def test_trial_is_read_once_however_many_are_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = make_experiment(in_flight=1)
    results = past(119)
    proposer = Proposer(experiment.name, study_of(experiment), experiment.baseline)
    n_read = 0
    to_number = IntDistribution.to_internal_repr

    def counted(distribution: IntDistribution, value: int) -> float:
        nonlocal n_read
        n_read += 1
        return to_number(distribution, value)

    proposer.propose(20, results[:20], [])
    monkeypatch.setattr(IntDistribution, "to_internal_repr", counted)
    per_trial = []
    for number in (21, 40, 90, 118):
        proposer.propose(number, results[:number], [])
        n_read = 0
        proposer.propose(number + 1, results[: number + 1], [])
        per_trial.append(n_read)
    assert per_trial[0] > 0
    assert max(per_trial) == per_trial[0]
