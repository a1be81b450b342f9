"""Plans: which trials to run, as a fixed list or as a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from mnist_study.core.config import ExperimentConfig, NetworkParams
from mnist_study.core.trials import (
    PruneTrial,
    PruneView,
    TrialResult,
    TrialSpec,
    derive_seeds,
)
from mnist_study.search.pruner import check_pruner, prune_trial
from mnist_study.search.sampler import Proposer


class Plan(Protocol):
    """What is to be run: a fixed list of trials, or a search.

    Attributes:
        n_trials: how many in all.
        in_flight: trial k may depend on the results of trials 0..k-in_flight.
    """

    @property
    def n_trials(self) -> int: ...  # noqa: D102

    @property
    def in_flight(self) -> int: ...  # noqa: D102

    def suggest(
        self, number: int, completed: Sequence[TrialResult], active: Sequence[NetworkParams]
    ) -> TrialSpec:
        """Specify a trial from what it may see.

        Args:
            number: of the trial; asked for in order.
            completed: the results of trials 0..number-in_flight.
            active: the parameters of the trials between those and this one.
        """


class SearchPlan:
    """The trials of a study: the baseline first, then what the sampler proposes.

    Args:
        experiment: with a [study] table.

    Raises:
        UserFacingError: there is no such table, or the options do not fit the pruner.
    """

    def __init__(self, experiment: ExperimentConfig) -> None:
        self._experiment = experiment
        self._study = experiment.search
        self._proposer = Proposer(experiment.name, self._study, experiment.baseline)
        check_pruner(self._study.pruner)
        self._prunable: list[PruneTrial] = []

    @property
    def n_trials(self) -> int:
        """As many as the experiment file asks for."""
        return self._study.n_trials

    @property
    def in_flight(self) -> int:
        """The study's L."""
        return self._study.in_flight

    def suggest(
        self, number: int, completed: Sequence[TrialResult], active: Sequence[NetworkParams]
    ) -> TrialSpec:
        """Propose the trial and put together what its pruner may see."""
        view = None
        if self._study.pruner.kind != "none":
            running = (PruneTrial(state=None),) * len(active)
            # Finished trials never change, so each is read once.
            self._prunable += map(prune_trial, completed[len(self._prunable) :])
            seen = (*self._prunable, *running)
            view = PruneView(self._experiment.name, self._study.pruner, seen)
        return TrialSpec(
            number=number,
            params=self._proposer.propose(number, completed, active),
            seeds=derive_seeds(self._study.seed, number),
            training=self._experiment.training,
            data=self._experiment.data,
            prune_view=view,
        )


class FixedPlan:
    """Trials that depend on nothing but their number.

    Args:
        n_trials: how many.
        make: specifies the trial of a number.
    """

    def __init__(self, n_trials: int, make: Callable[[int], TrialSpec]) -> None:
        self._n_trials = n_trials
        self._make = make

    @property
    def n_trials(self) -> int:
        """How many trials."""
        return self._n_trials

    @property
    def in_flight(self) -> int:
        """All of them: none waits for another."""
        return self._n_trials

    def suggest(
        self, number: int, completed: Sequence[TrialResult], active: Sequence[NetworkParams]
    ) -> TrialSpec:
        """Specify the trial of a number."""
        return self._make(number)
