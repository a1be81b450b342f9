"""Sampling in the study loop: suggest the next trial from the results that it may see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from mnist_study.core.config import (
    IntRange,
    NetworkParams,
    Range,
    SamplerConfig,
    SearchConfig,
    StudyConfig,
)
from mnist_study.core.trials import BASELINE_NUMBER, TrialResult, TrialState, derive_seed
from mnist_study.search.pruner import OPTUNA_STATES, intermediate_values, new_replica

if TYPE_CHECKING:
    from mnist_study.search.tpe import ObservedTrials


def distributions(space: Mapping[str, Range]) -> dict[str, BaseDistribution]:
    """Return the search space in Optuna's terms."""
    return {
        name: IntDistribution(int(limits.low), int(limits.high), log=limits.log)
        if isinstance(limits, IntRange)
        else FloatDistribution(limits.low, limits.high, log=limits.log)
        for name, limits in space.items()
    }


def searched(params: NetworkParams, space: Mapping[str, Range]) -> dict[str, Any]:
    """Return those parameters that the study varies, by name."""
    return {name: getattr(params, name) for name in space}


def drawn_at_random(results: Sequence[TrialResult], config: SearchConfig) -> list[TrialResult]:
    """Return the trials of a study whose parameters the sampler drew without regard to results.

    They are independent draws from the search space: all of a random search, and those of TPE that
    saw fewer than `n_startup_trials` finished trials. The baseline was not drawn at all.

    Args:
        results: the first trials of the study, in order.
        config: sampler and in_flight.
    """
    if config.sampler.kind == "random":
        return [result for result in results if result.number != BASELINE_NUMBER]
    n_learnt_from = 0
    chosen = []
    for result in results:
        newest = result.number - config.in_flight
        # TPE counts neither what failed nor what is in flight.
        if newest >= 0 and results[newest].state is not TrialState.FAILED:
            n_learnt_from += 1
        if n_learnt_from < config.sampler.n_startup_trials and result.number != BASELINE_NUMBER:
            chosen.append(result)
    return chosen


class Proposer:
    """Proposes trials in order, each a function of what that trial may see.

    Trial k sees the results of trials 0..k-L and the parameters of the L-1 trials before it, as
    RUNNING. Between two proposals only what is new enters the replica, so the cost of a proposal
    is the sampler's own; a new `Proposer` that is given the same past proposes the same.

    Args:
        study_name: the study's name.
        config: space, sampler, pruner, seed and in_flight.
        baseline: trial 0, and the value of every parameter that is not searched.
    """

    def __init__(self, study_name: str, config: StudyConfig, baseline: NetworkParams) -> None:
        self._config = config
        self._baseline = baseline
        self._distributions = distributions(config.space)
        self._replica = new_replica(study_name, config.pruner)
        self._study_id = self._replica._study_id
        self._trial_ids: list[int] = []
        self._n_finished = 0
        # Imported here: it needs SciPy, and commands that only read stores do not.
        from mnist_study.search.tpe import ObservedTrials

        self._observed = ObservedTrials(self._distributions)
        # Handed from sampler to sampler, so that each looks only at the trials that are new to it.
        self._search_space = optuna.search_space.IntersectionSearchSpace(include_pruned=True)

    def propose(
        self,
        number: int,
        finished: Sequence[TrialResult],
        in_flight: Sequence[NetworkParams],
    ) -> NetworkParams:
        """Propose the parameters of trial `number`.

        Args:
            number: of the trial, from 0; may not fall below that of an earlier call.
            finished: the results of trials 0..number-L, in order.
            in_flight: the parameters of the trials between those and `number`, in order.

        Raises:
            ValueError: the past given does not add up to `number` trials.
        """
        if len(finished) + len(in_flight) != number or len(finished) < self._n_finished:
            raise ValueError(
                f"trial {number} needs the {number} trials before it, "
                f"got {len(finished)} finished and {len(in_flight)} in flight"
            )
        params = [result.params for result in finished[len(self._trial_ids) :]]
        params += in_flight[max(0, len(self._trial_ids) - len(finished)) :]
        for known in params:
            self._add_running(known)
        for result in finished[self._n_finished :]:
            self._finish(result)
        if number == 0:
            return self._baseline
        sampler = _make_sampler(self._config, number, self._observed, self._replica)
        if isinstance(sampler, optuna.samplers.TPESampler):
            sampler._search_space = self._search_space
        self._replica.sampler = sampler
        # The asked trial gets its own replica slot, which the real one then takes over.
        trial = self._replica.ask(self._distributions)
        proposed = self._baseline.model_copy(update=dict(trial.params))
        self._trial_ids.append(trial._trial_id)
        self._observed.add(trial.params)
        return proposed

    def _add_running(self, params: NetworkParams) -> None:
        known = searched(params, self._config.space)
        self._observed.add(known)
        template = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            params=known,
            distributions=self._distributions,
        )
        storage = self._replica._storage
        self._trial_ids.append(storage.create_new_trial(self._study_id, template))

    def _finish(self, result: TrialResult) -> None:
        storage, trial_id = self._replica._storage, self._trial_ids[self._n_finished]
        for epoch, value in intermediate_values(result).items():
            storage.set_trial_intermediate_value(trial_id, epoch, value)
        for key, note in result.system_attrs.items():
            storage.set_trial_system_attr(trial_id, key, note)
        values = None if result.value is None else [result.value]
        storage.set_trial_state_values(trial_id, OPTUNA_STATES[result.state], values)
        self._observed.finish(result)
        self._n_finished += 1


_SAMPLER_WORD = 1
"""Tells the seed of a trial's sampler from those of its training."""


def _make_sampler(
    config: StudyConfig, number: int, observed: ObservedTrials, study: optuna.Study
) -> optuna.samplers.BaseSampler:
    """Return a fresh sampler whose every draw comes from study seed and trial number."""
    seed = derive_seed(config.seed, number, _SAMPLER_WORD)
    sampler: SamplerConfig = config.sampler
    if sampler.kind == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    from mnist_study.search.tpe import ObservingTPESampler

    return ObservingTPESampler(
        observed, study, seed=seed, n_startup_trials=sampler.n_startup_trials
    )
