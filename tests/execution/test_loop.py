"""The fold: what a trial may see, what may not matter, and how the past is kept."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.samplers._tpe import _truncnorm
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator

from mnist_study.bench.driver import draw_params, synthetic_result
from mnist_study.core.config import (
    ConfigError,
    DataConfig,
    ExperimentConfig,
    IntRange,
    NetworkParams,
    PrunerConfig,
    SamplerConfig,
    StudyConfig,
    load_experiment,
    with_overrides,
)
from mnist_study.core.identity import Identity, StudyIdentity, parse_identity
from mnist_study.core.trials import (
    EpochMetrics,
    PruneTrial,
    PruneView,
    TrialResult,
    TrialSpec,
    TrialState,
    digest,
)
from mnist_study.data.dataset import TrainingSet
from mnist_study.execution import run_trial as trial_module
from mnist_study.execution.cluster import EpochEvent, Event, NoticeEvent, ResultEvent, TrialCluster
from mnist_study.execution.loop import run_plan
from mnist_study.experiments.study import study_job
from mnist_study.search import sampler
from mnist_study.search.history import History, HistoryError
from mnist_study.search.parzen import ParzenEstimator
from mnist_study.search.plan import SearchPlan
from mnist_study.search.pruner import PruneDecider, make_pruner
from mnist_study.search.sampler import Proposer, searched
from mnist_study.tracking.tracker import Tracker

ROOT = Path(__file__).parents[2]
STUDY_FILE = ROOT / "experiments" / "study.toml"
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


# --- a stand-in for training ----------------------------------------------------------------------


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


# --- proposing ------------------------------------------------------------------------------------

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


def test_resumed_proposer_goes_on_as_the_first_would_have(tmp_path: Path) -> None:
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


# --- pruning --------------------------------------------------------------------------------------

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


def stock_sampler(config: StudyConfig, number: int) -> optuna.samplers.BaseSampler:
    """The study's sampler, with Optuna's own estimator of densities."""
    sampler = make_sampler(config, number)
    if isinstance(sampler, optuna.samplers.TPESampler):
        assert sampler._parzen_estimator_cls is not _ParzenEstimator
        sampler._parzen_estimator_cls = _ParzenEstimator
    return sampler


make_sampler = sampler._make_sampler


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


# --- running --------------------------------------------------------------------------------------


class Interrupted(Exception):
    """The driver dies."""


@dataclass
class Fate:
    """Decides from drawn numbers who finishes next, how many slots there are and when it ends."""

    choices: Sequence[int] = ()
    dies_at: int | None = None
    n_moments: int = 0
    n_choices: int = 0

    def choose(self, n: int) -> int:
        """Pick one of n; when all drawn numbers are used, from the start again."""
        self.n_choices += 1
        return self.choices[(self.n_choices - 1) % len(self.choices)] % n if self.choices else 0

    def moment(self) -> None:
        """A point at which the driver may die."""
        self.n_moments += 1
        if self.dies_at is not None and self.n_moments >= self.dies_at:
            raise Interrupted


@dataclass
class FakeCluster:
    """Finishes what it was given in the order that fate chooses, some epochs twice or never."""

    fate: Fate
    max_slots: int
    running: dict[int, TrialSpec] = field(default_factory=dict)
    seen: dict[int, TrialSpec] = field(default_factory=dict)

    @property
    def n_slots(self) -> int:
        return 1 + self.fate.choose(self.max_slots)  # workers come and go

    @property
    def n_running(self) -> int:
        return len(self.running)

    def submit(self, spec: TrialSpec) -> None:
        self.fate.moment()
        assert spec.number not in self.running
        assert len(self.running) < self.max_slots
        self.running[spec.number] = self.seen[spec.number] = spec

    def events(self, timeout_seconds: float) -> Iterator[Event]:
        self.fate.moment()
        if not self.running:
            return
        number = sorted(self.running)[self.fate.choose(len(self.running))]
        result = fake_trial(self.running.pop(number))
        for metrics in result.epochs[: self.fate.choose(20)]:
            yield EpochEvent(number, metrics)
        yield NoticeEvent("a worker came or went")
        yield ResultEvent(replace(result, worker="w", train_seconds=self.fate.choose(9) / 7))
        if self.fate.choose(2):
            yield EpochEvent(number, result.epochs[0])


@dataclass
class FakeTracker:
    """Notes the order of what it is told."""

    fate: Fate
    calls: list[tuple[str, int]] = field(default_factory=list)

    def start(self, spec: TrialSpec) -> None:
        self.fate.moment()
        self.calls.append(("start", spec.number))

    def log_epoch(self, number: int, metrics: EpochMetrics) -> None:
        self.calls.append(("epoch", number))

    def finish(self, result: TrialResult) -> str:
        self.fate.moment()
        self.calls.append(("finish", result.number))
        return f"run-{result.number}"


class SilentObserver:
    def started(self, spec: TrialSpec) -> None: ...

    def epoch(self, number: int, metrics: EpochMetrics) -> None: ...

    def trained(self, number: int) -> None: ...

    def finished(self, result: TrialResult) -> None: ...

    def notice(self, text: str) -> None: ...


def run_session(
    experiment: ExperimentConfig,
    url: str,
    fate: Fate,
    max_slots: int,
    make_cluster: Callable[[Fate, int], FakeCluster] = FakeCluster,
    make_tracker: Callable[[Fate], FakeTracker] = FakeTracker,
) -> tuple[History, FakeCluster, FakeTracker]:
    """One driver from its start to its end or its death."""
    history = History.open(url, experiment.name)
    history.check_identity(StudyIdentity.of(experiment, "digits", "ab" * 32), allow_mixed=False)
    history.n_trials = study_of(experiment).n_trials
    cluster, tracker = make_cluster(fate, max_slots), make_tracker(fate)
    append = history.append

    def appending(result: TrialResult, run_id: str) -> None:
        fate.moment()
        append(result, run_id)
        fate.moment()

    history.append = appending  # type: ignore[method-assign]
    with suppress(Interrupted):
        run_plan(
            SearchPlan(experiment), history, cast(TrialCluster, cluster), cast(Tracker, tracker),
            SilentObserver(),
        )  # fmt: skip
    return history, cluster, tracker


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Hands out one fresh, empty store after the other."""
    folder = tmp_path_factory.mktemp("stores")
    template = folder / "template.db"
    optuna.storages.RDBStorage(f"sqlite:///{template}").engine.dispose()
    names = iter(range(10_000))

    def fresh() -> str:
        path = folder / f"{next(names)}.db"
        path.write_bytes(template.read_bytes())
        return f"sqlite:///{path}"

    return fresh


SEARCH = make_experiment(pruner="median", options=MEDIAN, in_flight=5, n_trials=14)


@pytest.fixture(scope="module")
def reference() -> tuple[list[TrialSpec], list[TrialResult]]:
    specs, results = fold(SEARCH, 14)
    assert {result.state for result in results} == set(TrialState)
    return specs, results


def test_single_worker_runs_the_fold_as_it_is_defined(
    stores: Callable[[], str], reference: tuple[list[TrialSpec], list[TrialResult]]
) -> None:
    history, cluster, tracker = run_session(SEARCH, stores(), Fate(), max_slots=1)
    specs, results = reference
    assert digest(history.results) == digest(results)
    assert [cluster.seen[number] for number in range(14)] == specs
    assert history.run_ids == [f"run-{number}" for number in range(14)]
    assert [number for call, number in tracker.calls if call == "finish"] == list(range(14))


CHOICES = st.lists(st.integers(0, 59), max_size=40)


@settings(
    deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(choices=CHOICES, max_slots=st.integers(1, 9))
def test_neither_number_of_workers_nor_order_of_finishing_changes_what_is_found(
    stores: Callable[[], str],
    reference: tuple[list[TrialSpec], list[TrialResult]],
    choices: list[int],
    max_slots: int,
) -> None:
    history, cluster, tracker = run_session(SEARCH, stores(), Fate(choices), max_slots)
    specs, results = reference
    assert digest(history.results) == digest(results)
    assert [cluster.seen[number] for number in range(14)] == specs
    finished = [number for call, number in tracker.calls if call == "finish"]
    assert finished == list(range(14))
    # Trial k is not specified before trial k - in_flight is stored.
    for number in range(SEARCH.study.in_flight if SEARCH.study else 0, 14):
        begun = tracker.calls.index(("start", number))
        assert begun > tracker.calls.index(("finish", number - study_of(SEARCH).in_flight))


@settings(
    deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    choices=CHOICES,
    max_slots=st.integers(1, 9),
    deaths=st.lists(st.integers(1, 60), min_size=1, max_size=3),
)
def test_interruption_at_any_moment_and_resumption_changes_nothing(
    stores: Callable[[], str],
    reference: tuple[list[TrialSpec], list[TrialResult]],
    choices: list[int],
    max_slots: int,
    deaths: list[int],
) -> None:
    url, (specs, results), n_before = stores(), reference, 0
    for dies_at in [*deaths, None]:
        history, cluster, _ = run_session(SEARCH, url, Fate(choices, dies_at), max_slots)
        # Nothing that was finished is lost or done again; what was in flight is specified again.
        assert all(number >= n_before for number in cluster.seen)
        assert all(spec == specs[number] for number, spec in cluster.seen.items())
        n_before = len(History.open(url, SEARCH.name).results)
        assert digest(history.results) == digest(results[: len(history.results)])
    stored = History.open(url, SEARCH.name)
    assert digest(stored.results) == digest(results)
    assert stored.run_ids == [f"run-{number}" for number in range(14)]


@pytest.mark.slow
def test_death_at_every_single_moment_changes_nothing(
    stores: Callable[[], str], reference: tuple[list[TrialSpec], list[TrialResult]]
) -> None:
    whole = Fate()
    run_session(SEARCH, stores(), whole, max_slots=3)
    assert whole.n_moments > 60
    for dies_at in range(1, whole.n_moments + 1):
        url = stores()
        run_session(SEARCH, url, Fate(dies_at=dies_at), max_slots=3)
        history, _, _ = run_session(SEARCH, url, Fate([2, 0, 1]), max_slots=3)
        assert digest(history.results) == digest(reference[1])


def test_no_worker_waits_for_a_record_or_a_proposal_that_could_be_made_before(
    stores: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    n_trials, in_flight, n_workers = 14, study_of(SEARCH).in_flight, 2
    specified: list[int] = []
    idle: list[int] = []
    specify = SearchPlan.suggest

    def specifying(plan: SearchPlan, number: int, *past: Any) -> TrialSpec:  # noqa: ANN401
        specified.append(number)
        return specify(plan, number, *past)

    class WatchingCluster(FakeCluster):
        @property
        def n_slots(self) -> int:
            return n_workers

        def events(self, timeout_seconds: float) -> Iterator[Event]:
            # A result is waited for, and the trial after those that run is known by then.
            allowed = min(n_trials, min(self.running) + in_flight)
            assert len(specified) == min(allowed, len(self.seen) + 1)
            return super().events(timeout_seconds)

    class WatchingTracker(FakeTracker):
        def finish(self, result: TrialResult) -> str:
            cluster = clusters[0]
            could_run = min(n_trials, result.number + in_flight) - len(cluster.seen)
            idle.append(min(could_run, n_workers - cluster.n_running))
            return super().finish(result)

    clusters: list[WatchingCluster] = []

    def make_cluster(fate: Fate, max_slots: int) -> WatchingCluster:
        clusters.append(WatchingCluster(fate, max_slots))
        return clusters[0]

    monkeypatch.setattr(SearchPlan, "suggest", specifying)
    run_session(SEARCH, stores(), Fate(), n_workers, make_cluster, WatchingTracker)
    assert idle == [0] * n_trials


def test_more_trials_go_on_where_fewer_ended(stores: Callable[[], str]) -> None:
    url, fewer = stores(), with_overrides(SEARCH, n_trials=6, seed=None)
    run_session(fewer, url, Fate(), max_slots=3)
    history, cluster, _ = run_session(SEARCH, url, Fate(), max_slots=2)
    assert min(cluster.seen) == 6
    assert digest(history.results) == digest(fold(SEARCH, 14)[1])


# --- history --------------------------------------------------------------------------------------

IDENTITY = StudyIdentity.of(SEARCH, "digits", "ab" * 32)
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


def open_history(url: str) -> History:
    history = History.open(url, SEARCH.name)
    history.check_identity(IDENTITY, allow_mixed=False)
    history.n_trials = study_of(SEARCH).n_trials
    return history


def test_every_field_of_every_state_survives_storing_exactly(stores: Callable[[], str]) -> None:
    url = stores()
    history = open_history(url)
    for result in (GOOD, PRUNED, FAILED):
        history.append(replace(result, model_keras=b"the model is in MLflow"), f"r{result.number}")
    read = History.open(url, SEARCH.name)
    # NaN is unequal to itself; a repr is exact.
    assert repr(read.results) == repr([GOOD, PRUNED, FAILED]) == repr(history.results)
    assert all(result.model_keras is None for result in (*read.results, *history.results))
    assert read.run_ids == ["r0", "r1", "r2"]
    assert digest(read.results) == digest([GOOD, PRUNED, FAILED])


FLOATS = st.floats(allow_nan=True, allow_infinity=True)
ACCURACIES = st.floats(0, 1).map(abs)  # -0.0 is the one number that the database does not keep


@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.tuples(FLOATS, ACCURACIES, FLOATS, ACCURACIES), min_size=1, max_size=5),
    value=ACCURACIES,
    l2=st.floats(study_of(SEARCH).space["l2"].low, study_of(SEARCH).space["l2"].high),
)
def test_any_floats_survive_storing_exactly(
    stores: Callable[[], str],
    rows: list[tuple[float, float, float, float]],
    value: float,
    l2: float,
) -> None:
    epochs = tuple(EpochMetrics(epoch, *row) for epoch, row in enumerate(rows, 1))
    params = PARAMS.model_copy(update={"l2": l2})
    result = replace(GOOD, epochs=epochs, value=value, params=params)
    url = stores()
    open_history(url).append(result, "r")
    assert repr(History.open(url, SEARCH.name).results) == repr([result])


@pytest.mark.parametrize("number", [0, 2, 7])
def test_trial_that_is_not_the_next_is_refused_and_nothing_stored(
    stores: Callable[[], str], number: int
) -> None:
    url = stores()
    history = open_history(url)
    history.append(GOOD, "r0")
    with pytest.raises(HistoryError, match=f"expected trial 1 to be stored next, got {number}"):
        history.append(replace(PRUNED, number=number), "r")
    assert len(history.results) == len(History.open(url, SEARCH.name).results) == 1


def test_second_driver_on_a_storage_is_refused_instead_of_storing_a_trial_twice(
    stores: Callable[[], str],
) -> None:
    """Two homes with one storage on a server have a lock each."""
    url = stores()
    first, second = open_history(url), open_history(url)
    first.append(GOOD, "r0")
    with pytest.raises(HistoryError, match="found 1 trials stored, expected 0: another command"):
        second.append(GOOD, "other")
    assert History.open(url, SEARCH.name).run_ids == ["r0"]


def test_trials_of_another_program_are_refused(stores: Callable[[], str]) -> None:
    url = stores()
    study = optuna.create_study(storage=url, study_name=SEARCH.name, direction="maximize")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(HistoryError, match="trial 0 was not written by mnist-study"):
        History.open(url, SEARCH.name)


def changed_identity(path: tuple[str, ...], value: object) -> Identity:
    def change(tree: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        key, *rest = path
        return {**tree, key: change(tree[key], tuple(rest)) if rest else value}

    return parse_identity(json.dumps(change(IDENTITY.as_document(), path)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("study", "seed"), 4),
        (("study", "in_flight"), 6),
        (("study", "sampler", "kind"), "random"),
        (("study", "pruner", "options", "n_warmup_steps"), 9),
        (("study", "space", "units_1", "high"), 513),
        (("training", "epochs"), 99),
        (("training", "early_stopping", "patience"), 3),
        (("baseline", "l2"), 0.002),
        (("data", "split_seed"), 1),
        (("data", "content_hash"), "00" * 32),
        (("environment", "packages", "numpy"), "0.0"),
        (("environment", "packages", "scipy"), "0.0"),
        (("environment", "instruction_sets"), "none"),
        (("environment", "onednn"), {"TF_ENABLE_ONEDNN_OPTS": "7"}),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else "",
)
def test_other_identity_is_refused_with_the_difference_shown_and_marked_when_allowed(
    stores: Callable[[], str], path: tuple[str, ...], value: object
) -> None:
    url, other = stores(), changed_identity(path, value)
    history = open_history(url)
    history.append(GOOD, "r0")
    shown = value["TF_ENABLE_ONEDNN_OPTS"] if isinstance(value, dict) else value
    with pytest.raises(HistoryError) as refused:
        History.open(url, SEARCH.name).check_identity(other, allow_mixed=False)
    assert ".".join(path) in str(refused.value)
    assert f" -> {shown}" in str(refused.value)
    unchanged = History.open(url, SEARCH.name)
    assert unchanged.identity == IDENTITY
    assert not unchanged.is_mixed
    unchanged.check_identity(IDENTITY, allow_mixed=True)
    assert not unchanged.is_mixed  # allowed, but there was nothing to allow
    if "space" in path:
        # What was tried may lie outside the new one, and what comes may lie outside the old one.
        with pytest.raises(HistoryError, match=r"units_1.* one space"):
            unchanged.check_identity(other, allow_mixed=True)
        assert not History.open(url, SEARCH.name).is_mixed
        return
    unchanged.check_identity(other, allow_mixed=True)
    marked = History.open(url, SEARCH.name)
    assert marked.is_mixed
    assert marked.identity == IDENTITY
    assert len(marked.results) == 1


def test_more_trials_are_no_difference(stores: Callable[[], str]) -> None:
    more = StudyIdentity.of(with_overrides(SEARCH, n_trials=99, seed=None), "digits", "ab" * 32)
    open_history(url := stores())
    History.open(url, SEARCH.name).check_identity(more, allow_mixed=False)


def test_each_record_has_an_identity_of_its_own_in_mlflow(stores: Callable[[], str]) -> None:
    one, other = stores(), stores()
    first = open_history(one).mlflow_identity
    assert History.open(one, SEARCH.name).mlflow_identity == first
    second = open_history(other).mlflow_identity
    assert first["study"] == second["study"]
    assert first != second


def test_a_trial_that_waits_for_another_of_its_process_has_not_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the process dies, the one that trained is to blame, and not those that waited."""
    first = SearchPlan(SEARCH).suggest(0, [], [])
    specs = [first, replace(first, number=1)]
    begun: list[int] = []
    training, go_on = threading.Event(), threading.Event()

    def slow(spec: TrialSpec, *_: object) -> None:
        training.set()
        go_on.wait(10)

    monkeypatch.setattr(trial_module, "_run_trial", slow)
    threads = [
        threading.Thread(
            target=lambda spec=spec: trial_module.run_trial(
                spec, cast("Any", None), on_start=lambda: begun.append(spec.number)
            )
        )
        for spec in specs
    ]
    threads[0].start()
    assert training.wait(10)
    threads[1].start()
    time.sleep(0.2)
    assert begun == [0]
    go_on.set()
    for thread in threads:
        thread.join()
    assert begun == [0, 1]


def test_a_name_too_long_for_the_stand_in_is_refused_before_any_work(digits: TrainingSet) -> None:
    data = DataConfig(validation_size=287, split_seed=0)
    long = SEARCH.model_copy(update={"name": "x" * 94, "data": data})
    with pytest.raises(ConfigError, match=r"found 94 characters, .* expected 93 or fewer"):
        study_job(long, "", digits)
    assert len(study_job(long.model_copy(update={"name": "x" * 93}), "", digits).name) == 100


def test_settings_are_read_back_from_the_storage_alone(stores: Callable[[], str]) -> None:
    url = stores()
    open_history(url).n_trials = 14
    (history,) = History.open_all(url)
    assert history.experiment == SEARCH
    assert list(study_of(history.experiment).space) == list(study_of(SEARCH).space)
    assert (history.name, history.kind, history.n_trials) == (SEARCH.name, "study", 14)


def up(value: float) -> float:
    return math.nextafter(value, INF)


def with_epoch(**changes: float) -> TrialResult:
    first = replace(GOOD.epochs[0], **changes)  # type: ignore[arg-type]
    return replace(GOOD, epochs=(first, *GOOD.epochs[1:]))


COVERED = {
    "number": replace(GOOD, number=1),
    "state": replace(GOOD, state=TrialState.PRUNED),
    "value by one bit": replace(GOOD, value=up(0.93)),
    "no value": replace(GOOD, value=None),
    "best_epoch": replace(GOOD, best_epoch=1),
    "weights": replace(GOOD, weights_sha256="cd" * 31 + "ce"),
    "one epoch less": replace(GOOD, epochs=GOOD.epochs[:1]),
    "epochs swapped": replace(GOOD, epochs=GOOD.epochs[::-1]),
    "epoch number": with_epoch(epoch=3),
    **{
        f"{name} by one bit": with_epoch(**{name: up(getattr(GOOD.epochs[0], name))})
        for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    },
    "NaN": with_epoch(train_loss=NAN),
    "infinity": with_epoch(train_loss=INF),
    **{
        f"{name} by one": replace(GOOD, params=PARAMS.model_copy(update={name: value + 1}))
        for name, value in PARAMS.model_dump().items()
        if isinstance(value, int)
    },
    **{
        f"{name} by one bit": replace(GOOD, params=PARAMS.model_copy(update={name: up(value)}))
        for name, value in PARAMS.model_dump().items()
        if isinstance(value, float)
    },
}


@pytest.mark.parametrize("name", COVERED)
def test_digest_changes_with_every_field_that_it_covers(name: str) -> None:
    assert digest([COVERED[name]]) != digest([GOOD])


def test_digests_of_all_changes_differ_from_each_other() -> None:
    assert len({digest([result]) for result in COVERED.values()}) == len(COVERED)


@pytest.mark.parametrize(
    "change",
    [{"train_seconds": 9.0}, {"total_seconds": 9.0}, {"worker": "other"}, {"model_keras": b"x"}],
    ids=lambda change: next(iter(change)),
)
def test_digest_does_not_change_with_time_or_machine(change: dict[str, Any]) -> None:
    assert digest([replace(GOOD, **change)]) == digest([GOOD])


def test_digest_covers_order_and_number_of_trials() -> None:
    other = replace(GOOD, value=0.5)
    digests = [digest(results) for results in ([], [GOOD], [GOOD, other], [other, GOOD])]
    assert len(set(digests)) == 4


KILL_WHILE_CREATING = textwrap.dedent("""
    import os, signal, sys, time
    from pathlib import Path
    from mnist_study.search.history import History

    folder = Path(sys.argv[1])

    def in_child(work):
        pid = os.fork()
        if pid == 0:
            try:
                work()
                os._exit(0)
            finally:
                os._exit(1)
        return pid

    def use(url):
        assert History.open(url, "study").results == []

    begun = time.perf_counter()
    assert os.waitpid(in_child(lambda: use(f"sqlite:///{folder}/whole.db")), 0)[1] == 0
    whole = time.perf_counter() - begun
    n_steps, n_killed, n_half = 10, 0, 0
    for step in range(n_steps):
        home = folder / str(step)
        home.mkdir()
        url = f"sqlite:///{home}/optuna.db"
        pid = in_child(lambda: use(url))
        time.sleep(whole * step / n_steps)
        os.kill(pid, signal.SIGKILL)
        n_killed += os.waitpid(pid, 0)[1] == signal.SIGKILL
        n_half += any(path.name.startswith(".optuna-") for path in home.iterdir())
        resumed = in_child(lambda: use(url))
        print(step, "opens" if os.waitpid(resumed, 0)[1] == 0 else "BROKEN")
    print("killed", n_killed, "half-written", n_half)
""")


def test_store_opens_after_a_kill_at_any_moment_of_its_creation(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", KILL_WHILE_CREATING, str(tmp_path)],
        capture_output=True, text=True, timeout=120, cwd=ROOT, env=dict(os.environ),
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    *steps, last = found.stdout.splitlines()
    assert steps == [f"{step} opens" for step in range(10)], found.stderr
    _, n_killed, _, n_half = last.split()
    assert int(n_killed) >= 5  # else the kills came too late to prove anything
    assert int(n_half) >= 1
