"""Which trials of a study were drawn at random."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_study.core.config import SamplerConfig, StudyConfig, load_experiment
from mnist_study.core.trials import TrialResult, TrialState
from mnist_study.search.sampler import Proposer, drawn_at_random

EXPERIMENT = load_experiment(Path(__file__).parents[2] / "experiments" / "smoke.toml")


def run(config: StudyConfig, states: dict[int, TrialState], n_trials: int) -> list[TrialResult]:
    """Propose trials in order, each from what it may see, with made-up values."""
    proposer = Proposer("study", config, EXPERIMENT.baseline)
    results: list[TrialResult] = []
    for number in range(n_trials):
        n_completed = max(0, number - config.in_flight + 1)
        active = [result.params for result in results[n_completed:]]
        params = proposer.propose(number, results[:n_completed], active)
        state = states.get(number, TrialState.COMPLETE)
        value = None if state is TrialState.FAILED else 0.97 + 0.001 * (number % 7)
        results.append(TrialResult(number, params, state, value=value))
    return results


@pytest.mark.parametrize("in_flight", [1, 4])
def test_trials_drawn_at_random_are_those_that_random_search_would_have_drawn(
    in_flight: int,
) -> None:
    assert EXPERIMENT.study is not None
    tpe = EXPERIMENT.study.model_copy(
        update={
            "in_flight": in_flight,
            "sampler": SamplerConfig(kind="tpe", n_startup_trials=6),
        }
    )
    at_random = tpe.model_copy(update={"sampler": SamplerConfig(kind="random")})
    states = {2: TrialState.FAILED, 3: TrialState.PRUNED}
    learnt, random = (run(config, states, 16) for config in (tpe, at_random))
    same = [one.number for one, other in zip(learnt, random, strict=True)
            if one.params == other.params and one.number > 0]  # fmt: skip
    assert [result.number for result in drawn_at_random(learnt, tpe)] == same
    assert 5 < len(same) < 15


def test_all_trials_of_a_random_search_but_the_baseline_are_drawn_at_random() -> None:
    assert EXPERIMENT.study is not None
    config = EXPERIMENT.study.model_copy(update={"sampler": SamplerConfig(kind="random")})
    results = run(config, {}, 5)
    assert [result.number for result in drawn_at_random(results, config)] == [1, 2, 3, 4]
