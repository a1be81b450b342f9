"""What a pruner decides: as in ordinary Optuna, from a view of the trials before."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import optuna
import pytest
from synthetic_study import (
    MEDIAN,
    curve,
    epochs_of,
    fails,
    fake_trial,
    fold,
    make_experiment,
    stock_sampler,
    study_of,
)

from mnist_study.core.config import ExperimentConfig, IntRange
from mnist_study.core.trials import PruneTrial, PruneView, TrialState
from mnist_study.search.pruner import PruneDecider, make_pruner
from mnist_study.search.sampler import searched

PRUNERS: dict[str, tuple[str, dict[str, int | float | str | bool]]] = {
    "none": ("none", {}),
    "median": ("median", MEDIAN),
    "median at every second epoch": ("median", {**MEDIAN, "interval_steps": 2}),
    "percentile": ("percentile", {"percentile": 40.0, "n_startup_trials": 3}),
    "threshold": ("threshold", {"lower": 0.75, "n_warmup_steps": 3}),
    "successive halving": ("successive_halving", {"min_resource": 2, "reduction_factor": 2}),
    "successive halving, auto": ("successive_halving", {"reduction_factor": 2}),
    "hyperband": ("hyperband", {"min_resource": 1, "max_resource": 12, "reduction_factor": 2}),
    "hyperband, auto": ("hyperband", {"reduction_factor": 2}),
    "wilcoxon": ("wilcoxon", {"p_threshold": 0.3}),
}


def ordinary_optuna(
    experiment: ExperimentConfig, n_trials: int, *, early_end: bool
) -> list[optuna.trial.FrozenTrial]:
    """The same study as everybody writes it: one process, one loop, `report`, `should_prune`."""
    config = study_of(experiment)
    study = optuna.create_study(
        study_name=experiment.name, direction="maximize", pruner=make_pruner(config.pruner)
    )
    study.enqueue_trial(searched(experiment.baseline, config.space))

    def objective(trial: optuna.Trial) -> float:
        drawn: dict[str, Any] = {}
        for name, limits in config.space.items():
            if isinstance(limits, IntRange):
                drawn[name] = trial.suggest_int(name, limits.low, limits.high, log=limits.log)
            else:
                drawn[name] = trial.suggest_float(name, limits.low, limits.high, log=limits.log)
        params = experiment.baseline.model_copy(update=drawn)
        values = curve(params, trial.number, epochs_of(params, trial.number, early_end=early_end))
        for epoch, value in enumerate(values, 1):
            if fails(trial.number) and epoch == 2:
                raise FloatingPointError("diverged")
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return max(values)

    for number in range(n_trials):
        study.sampler = stock_sampler(config, number)
        study.optimize(objective, n_trials=1, catch=FloatingPointError)
    return study.get_trials()


@pytest.mark.filterwarnings("ignore:WilcoxonPruner")
@pytest.mark.parametrize(
    ("name", "sampler"),
    # Under Hyperband ordinary Optuna hides the trials of other brackets from TPE; the fold shows
    # it all of them, so there only the pruner can be compared.
    [(n, s) for n in PRUNERS for s in ("tpe", "random") if "hyper" not in n or s == "random"],
)
def test_one_in_flight_proposes_and_prunes_exactly_as_ordinary_optuna(
    name: str, sampler: str
) -> None:
    kind, options = PRUNERS[name]
    # "auto" is fixed by whichever trial an ordinary process saw complete first, so it can only be
    # compared where all are of one length.
    early_end = "auto" not in name
    experiment = make_experiment(sampler=sampler, pruner=kind, options=options, in_flight=1)
    _, ours = fold(experiment, 32, early_end=early_end)
    theirs = ordinary_optuna(experiment, 32, early_end=early_end)
    for result, trial in zip(ours, theirs, strict=True):
        assert searched(result.params, study_of(experiment).space) == trial.params
        state = "FAIL" if result.state is TrialState.FAILED else str(result.state)
        assert state == trial.state.name, f"trial {result.number}"
        reported = [m.val_accuracy for m in result.epochs if math.isfinite(m.val_loss)]
        assert reported == list(trial.intermediate_values.values())
        rungs = {k: v for k, v in trial.system_attrs.items() if k.startswith("completed_rung")}
        assert rungs == result.system_attrs
    n_pruned = sum(result.state is TrialState.PRUNED for result in ours)
    assert (n_pruned == 0) if kind == "none" else (2 < n_pruned < 30)


def test_trial_has_its_true_number_while_others_are_in_flight() -> None:
    experiment = make_experiment(pruner="hyperband", in_flight=4)
    specs, results = fold(experiment, 12)
    for spec in specs:
        assert spec.prune_view is not None
        assert PruneDecider(spec.prune_view)._trial.number == spec.number
        states = [trial.state for trial in spec.prune_view.trials]
        n_hidden = min(spec.number, 3)
        assert states[spec.number - n_hidden :] == [None] * n_hidden
        assert states[: spec.number - n_hidden] == [
            result.state for result in results[: spec.number - n_hidden]
        ]
        assert spec.prune_view.study_name == experiment.name


def test_hyperband_decides_otherwise_where_number_name_or_notes_are_wrong() -> None:
    """Why fillers, the fixed name and the notes on earlier trials are in the view."""
    options: dict[str, int | float | str | bool] = {"max_resource": 12, "reduction_factor": 2}
    experiment = make_experiment(sampler="random", pruner="hyperband", options=options)
    specs, _ = fold(experiment, 40)

    def decisions(change: Callable[[PruneView], PruneView]) -> list[tuple[object, ...]]:
        changed: list[tuple[object, ...]] = []
        for spec in specs[8:]:
            assert spec.prune_view is not None
            result = fake_trial(replace(spec, prune_view=change(spec.prune_view)))
            changed.append((result.state, len(result.epochs)))
        return changed

    truth = decisions(lambda view: view)
    assert truth == decisions(lambda view: view)
    without_running = decisions(
        lambda view: replace(view, trials=tuple(t for t in view.trials if t.state is not None))
    )
    other_name = decisions(lambda view: replace(view, study_name="another"))
    without_notes = decisions(
        lambda view: replace(
            view, trials=tuple(replace(trial, system_attrs={}) for trial in view.trials)
        )
    )
    assert truth not in (without_running, other_name, without_notes)


def test_view_holds_nothing_that_pruners_do_not_read() -> None:
    specs, _ = fold(make_experiment(pruner="median", options=MEDIAN), 10)
    view = specs[-1].prune_view
    assert view is not None
    assert set(PruneTrial.__slots__) == {"state", "intermediate_values", "value", "system_attrs"}
    assert specs[-1].params not in [getattr(trial, "params", None) for trial in view.trials]
    plain, _ = fold(make_experiment(pruner="none"), 3)
    assert [spec.prune_view for spec in plain] == [None] * 3
