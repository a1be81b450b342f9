"""Pruning in the study loop: replicas of a study in memory, for any Optuna pruner to read."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.trial import TrialState as OptunaState

from mnist_study.core.config import PrunerConfig
from mnist_study.core.errors import UserFacingError
from mnist_study.core.trials import PruneTrial, PruneView, TrialResult, TrialState

optuna.logging.set_verbosity(optuna.logging.WARNING)

OPTUNA_STATES = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
    None: OptunaState.RUNNING,
}

_PRUNERS: dict[str, type[optuna.pruners.BasePruner]] = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "percentile": optuna.pruners.PercentilePruner,
    "threshold": optuna.pruners.ThresholdPruner,
    "successive_halving": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "wilcoxon": optuna.pruners.WilcoxonPruner,
}


def make_pruner(config: PrunerConfig) -> optuna.pruners.BasePruner:
    """Build the Optuna pruner of a configuration.

    Raises:
        UserFacingError: the options do not fit the pruner.
    """
    try:
        return _PRUNERS[config.kind](**config.options)
    except (TypeError, ValueError) as error:
        raise _unfit(config, error) from error


def check_pruner(config: PrunerConfig) -> None:
    """Let a pruner decide once, because some options fail only then.

    Raises:
        UserFacingError: the options do not fit the pruner.
    """
    earlier = PruneTrial(TrialState.COMPLETE, intermediate_values={1: 0.5}, value=0.5)
    try:
        PruneDecider(PruneView("trial run", config, (earlier,))).should_prune(1, 0.5)
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise _unfit(config, error) from error


def _unfit(config: PrunerConfig, error: Exception) -> UserFacingError:
    return UserFacingError(
        f"study.pruner: options {config.options} do not fit the {config.kind!r} pruner: {error}; "
        f"expected what Optuna's {_PRUNERS[config.kind].__name__} takes; correct them or take "
        "kind = 'none'"
    )


def new_replica(
    study_name: str, pruner: PrunerConfig, sampler: optuna.samplers.BaseSampler | None = None
) -> optuna.Study:
    """Create an empty in-memory study with the real one's name (Hyperband hashes it) and pruner.

    Args:
        study_name: the real study's name.
        pruner: the real study's pruner.
        sampler: proposes trials; None where nothing is proposed.
    """
    return optuna.create_study(
        study_name=study_name, direction="maximize", pruner=make_pruner(pruner),
        sampler=sampler or optuna.samplers.RandomSampler(seed=0),
    )  # fmt: skip


class PruneDecider:
    """Decides after each epoch whether to prune a trial, from a `PruneView` alone.

    The replica holds every earlier trial, those in flight as RUNNING, so that this trial has its
    true number, and the notes that pruners left on finished ones.
    """

    def __init__(self, view: PruneView) -> None:
        self._study = new_replica(view.study_name, view.pruner)
        for trial in view.trials:
            self._study.add_trial(_frozen(trial))
        self._trial = self._study.ask()
        if self._trial.number != len(view.trials):
            raise AssertionError(f"replica gave number {self._trial.number}")

    def should_prune(self, epoch: int, value: float) -> bool:
        """Report the objective after an epoch and ask the pruner."""
        self._trial.report(value, epoch)
        return bool(self._trial.should_prune())

    @property
    def system_attrs(self) -> dict[str, Any]:
        """What the pruner noted about this trial."""
        return dict(self._study.get_trials(deepcopy=False)[-1].system_attrs)


def _frozen(trial: PruneTrial) -> optuna.trial.FrozenTrial:
    return optuna.trial.create_trial(
        state=OPTUNA_STATES[trial.state],
        value=trial.value,
        intermediate_values=dict(trial.intermediate_values),
        system_attrs=dict(trial.system_attrs),
    )


def prune_trial(result: TrialResult) -> PruneTrial:
    """Return what later trials' pruners may read of a finished trial."""
    return PruneTrial(
        state=result.state,
        intermediate_values=intermediate_values(result),
        value=result.value,
        system_attrs=result.system_attrs,
    )


def intermediate_values(result: TrialResult) -> dict[int, float]:
    """Return what a finished trial reported to its pruner: validation accuracy by epoch."""
    return {metrics.epoch: metrics.val_accuracy for metrics in result.epochs}
