"""Replayed pruners decide as they would have during the study."""

from __future__ import annotations

from dataclasses import replace

import pytest
from synthetic_study import MEDIAN, fold, make_experiment

from mnist_study.core.trials import EpochMetrics, TrialResult, TrialState
from mnist_study.search.pruner import prune_trial
from mnist_study.search.survival import pruned_epoch, pruned_history, saved_share

PRUNERS: dict[str, dict[str, int | float | str | bool]] = {
    "none": {},
    "median": MEDIAN,
    "percentile": {"percentile": 40.0, "n_startup_trials": 3},
    "successive_halving": {"min_resource": 2, "reduction_factor": 2},
    "hyperband": {"min_resource": 1, "max_resource": 12, "reduction_factor": 2},
}


@pytest.mark.parametrize("kind", PRUNERS)
@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_random_study_pruned_afterwards_is_the_one_pruned_on_its_way(
    kind: str, in_flight: int
) -> None:
    pruned = make_experiment(
        sampler="random", pruner=kind, options=PRUNERS[kind], in_flight=in_flight
    )
    whole = make_experiment(sampler="random", in_flight=in_flight)
    _, expected = fold(pruned, 40)
    _, results = fold(whole, 40)
    replayed = pruned_history(pruned.name, pruned.study.pruner, results, in_flight)  # type: ignore[union-attr]
    assert replayed == [prune_trial(result) for result in expected]
    n_pruned = sum(trial.state is TrialState.PRUNED for trial in replayed)
    assert (n_pruned > 0) == (kind != "none")
    if kind == "none":
        assert saved_share(with_seconds(results), replayed) == 0.0
    else:
        assert 0.0 < saved_share(with_seconds(results), replayed) < 1.0


def with_seconds(results: list[TrialResult]) -> list[TrialResult]:
    return [replace(result, train_seconds=2.0 * len(result.epochs)) for result in results]


def test_saved_share_weighs_slow_networks_more() -> None:
    _, results = fold(make_experiment(sampler="random"), 2)
    slow, fast = results
    seconds = [replace(slow, train_seconds=90.0), replace(fast, train_seconds=10.0)]
    history = [prune_trial(result) for result in results]
    half = dict(list(history[0].intermediate_values.items())[: len(slow.epochs) // 2])
    cut = [replace(history[0], intermediate_values=half), history[1]]
    expected = 0.9 * (1 - len(half) / len(slow.epochs))
    assert saved_share(seconds, cut) == pytest.approx(expected)


def test_a_run_below_the_median_of_the_study_is_given_up_and_one_above_is_not() -> None:
    experiment = make_experiment(sampler="random", pruner="median", options=MEDIAN)
    assert experiment.study is not None
    _, results = fold(make_experiment(sampler="random"), 30)
    history = pruned_history(experiment.name, experiment.study.pruner, results, 4)

    def run(accuracy: float) -> TrialResult:
        epochs = tuple(EpochMetrics(e, 0.1, accuracy, 0.1, accuracy) for e in range(1, 9))
        return replace(results[0], epochs=epochs, state=TrialState.COMPLETE, value=accuracy)

    # Epoch 2 is the first that the warm-up leaves to the pruner.
    assert pruned_epoch(experiment.name, experiment.study.pruner, history, run(0.1)) == 2
    assert pruned_epoch(experiment.name, experiment.study.pruner, history, run(0.99)) is None


def test_a_study_that_was_pruned_is_refused() -> None:
    experiment = make_experiment(sampler="random", pruner="median", options=MEDIAN)
    assert experiment.study is not None
    _, results = fold(experiment, 30)
    number = next(r.number for r in results if r.state is TrialState.PRUNED)
    with pytest.raises(ValueError, match=f"trial {number} pruned"):
        pruned_history(experiment.name, experiment.study.pruner, results, 4)
