"""Made-up studies: an experiment, its trials, and the study loop as it is defined."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna

from mnist_study.core.config import (
    ExperimentConfig,
    NetworkParams,
    PrunerConfig,
    SamplerConfig,
    StudyConfig,
    load_experiment,
)
from mnist_study.core.trials import (
    EpochMetrics,
    TrialResult,
    TrialSpec,
    TrialState,
    derive_seed,
)
from mnist_study.search import sampler as sampler_module
from mnist_study.search.plan import SearchPlan
from mnist_study.search.pruner import PruneDecider

STUDY_FILE = Path(__file__).parents[1] / "experiments" / "study.toml"
MAX_EPOCHS = 12
NAN, INF = math.nan, math.inf


def make_experiment(
    *,
    sampler: str = "tpe",
    pruner: str = "none",
    options: dict[str, int | float | str | bool] | None = None,
    in_flight: int = 4,
    n_trials: int = 16,
    seed: int = 3,
) -> ExperimentConfig:
    experiment = load_experiment(STUDY_FILE)
    assert experiment.study is not None
    study = StudyConfig(
        n_trials=n_trials,
        seed=seed,
        in_flight=in_flight,
        sampler=SamplerConfig(kind=sampler, n_startup_trials=4),
        pruner=PrunerConfig(kind=pruner, options=options or {}),  # type: ignore[arg-type]
        space=experiment.study.space,
    )
    return experiment.model_copy(update={"study": study})


def study_of(experiment: ExperimentConfig) -> StudyConfig:
    assert experiment.study is not None
    return experiment.study


MEDIAN: dict[str, int | float | str | bool] = {"n_startup_trials": 2, "n_warmup_steps": 2}


def curve(params: NetworkParams, number: int, n_epochs: int) -> list[float]:
    """A learning curve that depends on the parameters and looks like one."""
    rng = np.random.default_rng((number, params.units_1, params.units_3))
    best = 0.9 + 0.02 * math.log10(params.units_1 / 64) - 0.05 * params.dropout_1
    best -= 0.01 * abs(math.log10(params.learning_rate / 2e-3))
    noise = rng.normal(0, 0.01, n_epochs)
    values = best * (1 - np.exp(-0.5 * np.arange(1, n_epochs + 1))) + noise
    return [float(value) for value in values]


def epochs_of(params: NetworkParams, number: int, *, early_end: bool = True) -> int:
    return MAX_EPOCHS - (params.units_2 % 5 if early_end else 0)


def fails(number: int) -> bool:
    return number % 7 == 5


Shift = Callable[[int], float]


def fake_trial(
    spec: TrialSpec, *, early_end: bool = True, shift: Shift = lambda number: 0.0
) -> TrialResult:
    """What `run_trial` does, without the training; the pruner is the real one."""
    params, number = spec.params, spec.number
    decider = PruneDecider(spec.prune_view) if spec.prune_view else None
    values = curve(params, number, epochs_of(params, number, early_end=early_end))
    epochs: list[EpochMetrics] = []
    state, value, reason = TrialState.COMPLETE, None, None
    for epoch, accuracy in enumerate(values, 1):
        accuracy += shift(number)
        if fails(number) and epoch == 2:
            epochs.append(EpochMetrics(epoch, NAN, 0.1, INF, 0.1))
            state, reason = TrialState.FAILED, f"diverged at epoch {epoch}"
            break
        epochs.append(EpochMetrics(epoch, 1 / epoch, accuracy - 0.01, 1.1 / epoch, accuracy))
        if decider and decider.should_prune(epoch, accuracy):
            state, reason = TrialState.PRUNED, f"pruned at epoch {epoch}"
            break
    if state is TrialState.COMPLETE:
        value = max(metrics.val_accuracy for metrics in epochs)
    elif state is TrialState.PRUNED:
        value = epochs[-1].val_accuracy
    return TrialResult(
        number=number,
        params=params,
        state=state,
        epochs=tuple(epochs),
        value=value,
        best_epoch=None if state is TrialState.FAILED else len(epochs),
        weights_sha256=None if state is TrialState.FAILED else f"{spec.seeds.init_seed:064x}",
        reason=reason,
        system_attrs=decider.system_attrs if decider else {},
    )


def fold(
    experiment: ExperimentConfig,
    n_trials: int,
    *,
    early_end: bool = True,
    shift: Shift = lambda number: 0.0,
) -> tuple[list[TrialSpec], list[TrialResult]]:
    """The fold as its definition reads, one trial after the other."""
    plan, in_flight = SearchPlan(experiment), study_of(experiment).in_flight
    specs: list[TrialSpec] = []
    results: list[TrialResult] = []
    for number in range(n_trials):
        n_completed = max(0, number - in_flight + 1)
        active = [result.params for result in results[n_completed:]]
        specs.append(plan.suggest(number, results[:n_completed], active))
        results.append(fake_trial(specs[-1], early_end=early_end, shift=shift))
    return specs, results


def stock_sampler(config: StudyConfig, number: int, *_: object) -> optuna.samplers.BaseSampler:
    """Optuna's own sampler, with the seed of a trial of the study."""
    seed = derive_seed(config.seed, number, sampler_module._SAMPLER_WORD)
    if config.sampler.kind == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=config.sampler.n_startup_trials)


SEARCH = make_experiment(pruner="median", options=MEDIAN, in_flight=5, n_trials=14)
PARAMS = SEARCH.baseline
GOOD = TrialResult(
    number=0,
    params=PARAMS,
    state=TrialState.COMPLETE,
    epochs=(EpochMetrics(1, 0.3, 0.9, 0.2, 0.91), EpochMetrics(2, 0.1, 0.95, 0.15, 0.93)),
    value=0.93,
    best_epoch=2,
    restored_train_accuracy=0.97,
    restored_train_loss=0.08,
    n_parameters=1234,
    weights_sha256="cd" * 32,
    system_attrs={"completed_rung_0": 0.1 + 0.2},
    train_seconds=1.5,
    total_seconds=2.5,
    worker="somewhere",
)
PRUNED = replace(
    GOOD, number=1, state=TrialState.PRUNED, reason="pruned at epoch 2", best_epoch=1, value=0.93
)
FAILED = TrialResult(
    number=2,
    params=PARAMS,
    state=TrialState.FAILED,
    epochs=(EpochMetrics(1, NAN, 0.1, INF, 0.1), EpochMetrics(2, -INF, 0.0, NAN, 1e-300)),
    reason='Traceback:\n  "quoted" \u2013 line',
    lost_worker=True,
)
