"""The estimator of densities: Optuna's own, but for rounding."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.samplers._tpe import _truncnorm
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from synthetic_study import make_experiment, stock_sampler, study_of

from mnist_study.bench.driver import draw_params, synthetic_result
from mnist_study.core.config import NetworkParams
from mnist_study.search import sampler
from mnist_study.search.parzen import ParzenEstimator
from mnist_study.search.sampler import Proposer


def test_proposals_after_many_trials_are_those_of_optunas_own_estimator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    experiment = make_experiment(in_flight=1)
    rng = np.random.default_rng(0)
    past = []
    for number in range(250):
        params = draw_params(study_of(experiment).space, experiment.baseline, rng)
        past.append(synthetic_result(number, params, 3, None))

    def proposals() -> list[NetworkParams]:
        proposer = Proposer(experiment.name, study_of(experiment), experiment.baseline)
        return [proposer.propose(number, past[:number], []) for number in range(200, 250, 5)]

    ours = proposals()
    monkeypatch.setattr(sampler, "_make_sampler", stock_sampler)
    assert ours == proposals()


def test_densities_are_optunas_own_to_rounding_far_into_the_tails() -> None:
    limits = study_of(make_experiment()).space
    space = sampler.distributions(limits)
    rng = np.random.default_rng(1)
    # All observed in a corner, so that the other end of the space lies far in the kernels' tails.
    observed = {
        name: np.round(rng.uniform(r.low, r.low * 1.05 + 0.01, 300), 0 if r.low > 1 else 9)
        for name, r in limits.items()
    }
    asked = {
        name: np.round(np.linspace(r.low, r.high, 50), 0 if r.low > 1 else 9)
        for name, r in limits.items()
    }
    parameters = optuna.samplers.TPESampler(seed=0)._parzen_estimator_parameters
    theirs = _ParzenEstimator(observed, space, parameters).log_pdf(asked)
    ours = ParzenEstimator(observed, space, parameters).log_pdf(asked)
    assert theirs.min() < -20
    np.testing.assert_allclose(ours, theirs, rtol=1e-11)


def test_optunas_own_function_is_back_in_its_place_whatever_happens() -> None:
    space = sampler.distributions(study_of(make_experiment()).space)
    parameters = optuna.samplers.TPESampler(seed=0)._parzen_estimator_parameters
    estimator = ParzenEstimator({name: np.array([]) for name in space}, space, parameters)
    own = _truncnorm._log_ndtr
    with pytest.raises(KeyError):
        estimator.log_pdf({})
    assert _truncnorm._log_ndtr is own
