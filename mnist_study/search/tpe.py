"""Optuna's TPE on arrays that grow with the study, instead of on trials read again each time.

Optuna's sampler turns every parameter of every trial into a number at each proposal, one call each.
With 10,000 trials these calls take longer than the densities that TPE computes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import default_gamma
from optuna.trial import FrozenTrial

from mnist_study.core.trials import TrialResult, TrialState
from mnist_study.search.parzen import ParzenEstimator
from mnist_study.search.pruner import intermediate_values

_IN_FLIGHT, _COMPLETE, _PRUNED, _FAILED = range(4)
_STATES = {
    TrialState.COMPLETE: _COMPLETE,
    TrialState.PRUNED: _PRUNED,
    TrialState.FAILED: _FAILED,
}


class ObservedTrials:
    """What TPE reads of a study that is maximized, by trial number.

    Args:
        space: what is searched.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self._space = dict(space)
        self._n_trials = 0
        self._params = np.empty((len(self._space), 64))
        self._states = np.empty(64, dtype=np.int8)
        # How TPE ranks trials, the best first: COMPLETE ones by the second number alone, pruned
        # ones by both.
        self._ranks = np.empty((2, 64))
        self.n_learnt_from = 0

    @property
    def n_trials(self) -> int:
        """How many trials there are, those in flight included."""
        return self._n_trials

    def add(self, params: Mapping[str, Any]) -> None:
        """Add the next trial, as in flight."""
        number = self._n_trials
        if number == len(self._states):
            self._params = np.concatenate([self._params, np.empty_like(self._params)], axis=1)
            self._states = np.concatenate([self._states, np.empty_like(self._states)])
            self._ranks = np.concatenate([self._ranks, np.empty_like(self._ranks)], axis=1)
        for row, (name, distribution) in enumerate(self._space.items()):
            self._params[row, number] = distribution.to_internal_repr(params[name])
        self._states[number] = _IN_FLIGHT
        self._n_trials += 1

    def finish(self, result: TrialResult) -> None:
        """Note how a trial in flight ended."""
        self._states[result.number] = _STATES[result.state]
        if result.state is TrialState.FAILED:
            return
        self.n_learnt_from += 1
        if result.state is TrialState.COMPLETE:
            assert result.value is not None
            self._ranks[:, result.number] = 0.0, -result.value
            return
        reported = intermediate_values(result)
        if reported:
            step, value = max(reported.items())
            self._ranks[:, result.number] = -step, math.inf if math.isnan(value) else -value
        else:
            self._ranks[:, result.number] = 1.0, 0.0

    def split(self, n_below: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the best trials and of all others but the FAILED, both ascending.

        Ties are decided by trial number. Pruned trials follow the COMPLETE ones, the later pruned
        the better.
        """
        states = self._states[: self._n_trials]
        chosen = [
            numbers[np.lexsort(self._ranks[::-1, numbers])]
            for numbers in (np.flatnonzero(states == state) for state in (_COMPLETE, _PRUNED))
        ]
        is_below = np.zeros(self._n_trials, dtype=bool)
        is_below[np.concatenate(chosen)[:n_below]] = True
        return np.flatnonzero(is_below), np.flatnonzero(~is_below & (states != _FAILED))

    def columns(self, names: Mapping[str, object], numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Return parameters of some trials in the sampler's representation, by name."""
        rows = {name: row for row, name in enumerate(self._space)}
        return {name: self._params[rows[name], numbers] for name in names}


class ObservingTPESampler(TPESampler):
    """Proposes what Optuna's own `TPESampler` does, to rounding, from a study's observed trials.

    A pruner that shows the sampler only a part of the trials, as Hyperband does, gets Optuna's own.

    Args:
        observed: all trials of the study before the one that is asked for.
        study: the one that they are of.
        seed: of all draws.
        n_startup_trials: how many trials have to be finished before it learns.
    """

    def __init__(
        self, observed: ObservedTrials, study: optuna.Study, *, seed: int, n_startup_trials: int
    ) -> None:
        super().__init__(seed=seed, n_startup_trials=n_startup_trials)
        self._parzen_estimator_cls = ParzenEstimator
        self._observed = observed
        self._study = study

    def _sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if study is not self._study:
            return super()._sample_relative(study, trial, search_space)
        if not search_space or self._observed.n_learnt_from < self._n_startup_trials:
            return {}
        return self._sample(study, trial, search_space)

    def _sample(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if study is not self._study:
            return super()._sample(study, trial, search_space)
        if trial.number != self._observed.n_trials:
            raise AssertionError(f"trial {trial.number} after {self._observed.n_trials} observed")
        below, above = (
            ParzenEstimator(
                self._observed.columns(search_space, numbers),
                search_space,
                self._parzen_estimator_parameters,
            )
            for numbers in self._observed.split(default_gamma(self._observed.n_learnt_from))
        )
        samples = below.sample(self._rng.rng, self._n_ei_candidates)
        gains = below.log_pdf(samples) - above.log_pdf(samples)
        chosen = TPESampler._compare(samples, gains)
        return {
            name: distribution.to_external_repr(chosen[name])
            for name, distribution in search_space.items()
        }
