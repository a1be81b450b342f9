"""What the sampler proposes: a function of the trials that it may see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from synthetic_study import MEDIAN, fold, make_experiment, study_of

from mnist_study.core.config import ExperimentConfig, NetworkParams
from mnist_study.core.trials import TrialState, digest
from mnist_study.search.sampler import Proposer, searched

# Hyperband is here because Optuna's samplers then see only a part of the trials.
STUDIES = [
    make_experiment(sampler="tpe", pruner="median", options=MEDIAN),
    make_experiment(sampler="random", pruner="median", options=MEDIAN),
    make_experiment(sampler="tpe", pruner="hyperband", in_flight=3),
    make_experiment(sampler="tpe", in_flight=1),
]
STUDY_IDS = ["tpe", "random", "tpe-hyperband", "tpe-one-in-flight"]


@pytest.mark.parametrize("experiment", STUDIES, ids=STUDY_IDS)
def test_proposal_is_the_same_for_one_who_was_there_from_the_start_and_one_who_resumes(
    experiment: ExperimentConfig,
) -> None:
    study = study_of(experiment)
    _, results = fold(experiment, 40)
    params = [result.params for result in results]
    if study.pruner.kind != "none":
        assert {result.state for result in results} == set(TrialState)
    for number in range(40):
        fresh = Proposer(experiment.name, study, experiment.baseline)
        n_completed = max(0, number - study.in_flight + 1)
        proposed = fresh.propose(number, results[:n_completed], params[n_completed:number])
        assert proposed == params[number], f"trial {number}"


def test_resumed_proposer_goes_on_as_the_first_would_have() -> None:
    experiment = STUDIES[0]
    study = study_of(experiment)
    _, results = fold(experiment, 24)
    params = [result.params for result in results]
    resumed = Proposer(experiment.name, study, experiment.baseline)
    for number in range(13, 24):
        n_completed = number - study.in_flight + 1
        proposed = resumed.propose(number, results[:n_completed], params[n_completed:number])
        assert proposed == params[number]


@pytest.mark.parametrize("experiment", STUDIES, ids=STUDY_IDS)
def test_first_trial_is_the_baseline_and_all_others_lie_inside_the_space(
    experiment: ExperimentConfig,
) -> None:
    _, results = fold(experiment, 30)
    assert results[0].params == experiment.baseline
    space = study_of(experiment).space
    for result in results:
        NetworkParams.model_validate(result.params.model_dump())  # strict: ints are ints
        for name, value in searched(result.params, space).items():
            assert space[name].low <= value <= space[name].high
    assert len({result.params.model_dump_json() for result in results}) == 30


def test_parameter_that_is_not_searched_keeps_the_value_of_the_baseline() -> None:
    experiment = make_experiment()
    study = study_of(experiment)
    narrow = study.model_copy(update={"space": {"units_1": study.space["units_1"]}})
    _, results = fold(experiment.model_copy(update={"study": narrow}), 10)
    others = {"units_1": experiment.baseline.units_1}
    assert {result.params.model_copy(update=others) for result in results} == {experiment.baseline}
    assert len({result.params.units_1 for result in results}) > 5


@pytest.mark.parametrize("in_flight", [1, 3, 5])
@pytest.mark.parametrize("pruner", ["none", "median"])
def test_trial_sees_the_results_up_to_in_flight_before_it_and_no_later_one(
    in_flight: int, pruner: str
) -> None:
    options = MEDIAN if pruner == "median" else None
    experiment = make_experiment(in_flight=in_flight, pruner=pruner, options=options)
    specs, _ = fold(experiment, 22)
    changed = 8
    # Far above all others, so that TPE has to take notice.
    other, _ = fold(experiment, 22, shift=lambda number: 5.0 if number == changed else 0.0)
    first_to_see = changed + in_flight
    assert other[:first_to_see] == specs[:first_to_see]
    assert other[first_to_see].params != specs[first_to_see].params
    if pruner == "median":
        assert other[first_to_see].prune_view != specs[first_to_see].prune_view


def test_trial_sees_the_parameters_of_those_in_flight() -> None:
    """Without them the sampler would propose nearly the same again and again."""
    experiment = make_experiment(in_flight=4)
    _, results = fold(experiment, 24)

    def propose(number: int, active: Sequence[NetworkParams]) -> NetworkParams:
        fresh = Proposer(experiment.name, study_of(experiment), experiment.baseline)
        return fresh.propose(number, results[: number - 3], active)

    n_changed = 0
    for number in range(12, 24):
        proposed = propose(number, [result.params for result in results[number - 3 : number]])
        assert proposed == results[number].params
        # Were just this point in flight already, another one should look better.
        n_changed += propose(number, [proposed] * 3) != proposed
    assert n_changed >= 3


def test_proposals_are_a_function_of_the_seed() -> None:
    def proposed(seed: int) -> list[NetworkParams]:
        return [result.params for result in fold(make_experiment(seed=seed), 12)[1]]

    assert proposed(3) == proposed(3)
    assert all(a != b for a, b in zip(proposed(3)[1:], proposed(4)[1:], strict=True))


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_proposals_do_not_depend_on_the_order_in_which_the_space_is_written(sampler: str) -> None:
    """The fingerprint does not tell the orders apart, so a resumed study would go on otherwise."""
    experiment = make_experiment(sampler=sampler)
    written = experiment.model_dump()
    written["study"]["space"] = dict(reversed(written["study"]["space"].items()))
    backwards = ExperimentConfig.model_validate(written)
    assert digest(fold(backwards, 12)[1]) == digest(fold(experiment, 12)[1])


def test_global_random_state_is_not_read_by_the_sampler() -> None:
    outcomes = []
    for seed in (0, 1):
        np.random.seed(seed)
        outcomes.append(digest(fold(make_experiment(), 12)[1]))
    assert outcomes[0] == outcomes[1]


def test_past_that_does_not_add_up_is_refused() -> None:
    experiment = make_experiment()
    _, results = fold(experiment, 8)
    params = [result.params for result in results]
    proposer = Proposer(experiment.name, study_of(experiment), experiment.baseline)
    for finished, active in [(5, 2), (5, 4), (0, 0), (8, 1)]:
        found = f"trial 8 needs the 8 trials before it, got {finished} finished and {active} in "
        with pytest.raises(ValueError, match=found):
            proposer.propose(8, results[:finished], params[:active])
    proposer.propose(8, results[:5], params[5:8])
    # Those that were finished once cannot be in flight again.
    with pytest.raises(ValueError, match="got 4 finished and 5 in flight"):
        proposer.propose(9, results[:4], [*params[4:8], experiment.baseline])
