"""Audit of the stores: each finished trial has one run, one model and one set of values.

Compares Optuna's storage, MLflow and the ledger; nothing is taken from a driver's memory.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mnist_study.core.home import Home
from mnist_study.core.ledger import readings_made
from mnist_study.core.trials import TrialResult, TrialState
from mnist_study.execution.stores import open_histories
from mnist_study.search.history import History
from mnist_study.tracking.checked_models import WEIGHTS_TAG
from mnist_study.tracking.connection import is_missing
from mnist_study.tracking.models import read_keras_file
from mnist_study.tracking.reconcile import SUPERSEDED, StudyRecord, is_live
from mnist_study.tracking.registry import Registry
from mnist_study.tracking.store import (
    BEST_ACCURACY,
    FORMER_BEST_ACCURACY,
    STATE_TAG,
    TRIAL_TAG,
    ArtifactError,
    TrackingStore,
)
from mnist_study.tracking.trial_run import STATUS, best_accuracy

if TYPE_CHECKING:
    from mnist_study.tracking.reconcile import LoggedModel, Run


_COUNTS = (
    "finished_trials", "trials_with_one_live_run", "runs_left_running", "interrupted_runs",
    "models", "models_with_checked_files", "models_without_a_live_run",
    "metric_points", "metric_points_logged_twice", "test_set_readings",
    "test_set_readings_not_in_the_ledger",
)  # fmt: skip


@dataclass(slots=True)
class StudyAudit:
    """The result of the audit of one study.

    Attributes:
        study: its name.
        kind: "study", "baseline", "screen", "confirm", "ablation", or "registered model".
        in_use: a command is writing to the home; unfinished trials are not judged.
        findings: violations of an invariant, a line each; none means proven.
        repaired: repairs, a line each.
        counts: how much was checked and how much was wrong, by name.
    """

    study: str
    kind: str
    in_use: bool
    findings: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))

    def as_document(self) -> dict[str, Any]:
        """Return everything under the names above."""
        return {name: getattr(self, name) for name in StudyAudit.__slots__}


def audit_home(home: Home, *, repair: bool = False) -> list[StudyAudit]:
    """Audit every study of a home.

    Args:
        home: where the stores are.
        repair: repair first what the next command on the study would repair.

    Raises:
        UserFacingError: there is no study, a store cannot be read, or, with `repair`, the home is
            in use.
    """
    if repair:
        open_histories(home)  # where there is no study, no home is created either
        with home.locked("mnist-study audit --repair"):
            return _audit_all(home, repair=True)
    in_use = home.is_in_use()
    audits = _audit_all(home, in_use=in_use)
    if not in_use and home.is_in_use():  # a command began meanwhile
        audits = _audit_all(home, in_use=True)
    return audits


def audit_lines(audit: StudyAudit) -> list[str]:
    """Return an audit as lines of text."""
    counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in audit.counts.items())
    n_found = len(audit.findings)
    verdict = f"{n_found} inconsistencies" if n_found else "proven"
    used = "; in use, so only finished trials were checked" if audit.in_use else ""
    return [
        f"{audit.study} ({audit.kind}): {verdict}{used}",
        f"  {counts}",
        *(f"  repaired: {line}" for line in audit.repaired),
        *(f"  broken: {line}" for line in audit.findings),
    ]


def _audit_all(home: Home, *, in_use: bool = False, repair: bool = False) -> list[StudyAudit]:
    # History first: every trial in it was in MLflow before.
    histories = open_histories(home)
    ledger = {_entry(line.weights_sha256, line.result) for line in home.ledger.readings()}
    store = None if is_missing(home.tracking_uri) else TrackingStore.open(home)
    audits = []
    for history in histories:
        audit = StudyAudit(history.name, history.kind, in_use)
        audits.append(audit)
        if store is None:
            if history.results:
                audit.findings.append(
                    f"{home.tracking_uri}: there is no MLflow store, expected the runs of "
                    f"{len(history.results)} trials"
                )
            continue
        with store:
            record = _read(store, history)
            if repair:
                audit.repaired = _repair(store, record, history)
                record = _read(store, history)
            _Auditor(store, history, record, ledger, audit).run()
    if store is not None:
        with store:
            audits += _audit_registry(
                store, {history.identity.data.dataset for history in histories}, in_use
            )
    return audits


def _audit_registry(store: TrackingStore, datasets: Set[str], in_use: bool) -> list[StudyAudit]:
    """Check the files of every registered version of these data sets' models."""
    audits = []
    for dataset in sorted(datasets):
        registry = Registry(store, dataset)
        versions = registry.versions()
        if versions:
            audit = StudyAudit(registry.name, "registered model", in_use)
            audit.counts = {"versions_with_checked_files": len(versions)}
            audit.findings = [text for version in versions for text in registry.check(version)]
            audits.append(audit)
    return audits


def _read(store: TrackingStore, history: History) -> StudyRecord:
    return StudyRecord(store, store.active_experiments(), history.mlflow_identity)


def _repair(store: TrackingStore, record: StudyRecord, history: History) -> list[str]:
    parent = record.parent
    finished = dict(enumerate(history.run_ids))
    lines = record.reconcile(finished, parent.info.run_id if parent else None)
    if parent is not None and parent.info.status == "RUNNING":
        store.interrupt(parent.info.run_id)
        lines.append(f"the study's own run {parent.info.run_id} was left running: ended")
    # A run that MLflow has lost is no repair; the audit reports it.
    return [line for line in lines if "is missing from MLflow" not in line]


class _Auditor:
    """The checks of one study."""

    def __init__(
        self,
        store: TrackingStore,
        history: History,
        record: StudyRecord,
        ledger: Set[tuple[str, str]],
        audit: StudyAudit,
    ) -> None:
        self._store = store
        self._history = history
        self._record = record
        self._ledger = ledger
        self._audit = audit
        self._live = {run.info.run_id: run for run in record.children if is_live(run)}
        self._models: dict[str | None, list[LoggedModel]] = defaultdict(list)
        for model in record.models:
            self._models[model.source_run_id].append(model)
        self._counts = audit.counts

    def run(self) -> None:
        """Fill the audit."""
        findings = self._audit.findings
        findings += self._check_parent()
        for result, run_id in zip(self._history.results, self._history.run_ids, strict=True):
            findings += [f"trial {result.number}: {text}" for text in self._check(result, run_id)]
        if not self._audit.in_use:
            findings += self._check_unfinished()
        findings += self._check_models()

    def _check_parent(self) -> Iterator[str]:
        parents = [run for run in self._record.parents if is_live(run)]
        if len(parents) != 1 and self._history.results:
            yield f"{len(parents)} live runs of the study itself, expected 1"
        for run in parents:
            yield from self._check_points(run)
            if run.info.status == "RUNNING" and not self._audit.in_use:
                self._counts["runs_left_running"] += 1
                yield f"the study's own run {run.info.run_id} is RUNNING, but nobody holds the home"

    def _check(self, result: TrialResult, run_id: str) -> Iterator[str]:
        """Check a finished trial against its run and its model."""
        self._counts["finished_trials"] += 1
        yield from self._check_readings(result)
        number = str(result.number)
        live = [i for i, run in self._live.items() if run.data.tags[TRIAL_TAG] == number]
        if run_id not in live:
            yield f"its run {run_id} is not in MLflow, or deleted"
            return
        others = [i for i in live if i != run_id and self._state(i) != SUPERSEDED]
        if others:
            yield f"{len(live)} live runs, expected 1; history holds {run_id}, not {others}"
        else:
            self._counts["trials_with_one_live_run"] += 1
        run = self._live[run_id]
        yield from self._check_run(result, run)
        yield from self._check_model(result, run_id)

    def _check_readings(self, result: TrialResult) -> Iterator[str]:
        """Check that the ledger has the trial's readings of the test set."""
        for weights_sha256, learned in readings_made(result):
            self._counts["test_set_readings"] += 1
            if _entry(weights_sha256, learned) not in self._ledger:
                self._counts["test_set_readings_not_in_the_ledger"] += 1
                yield (
                    f"it read the test set with weights {weights_sha256[:12]}…, and the ledger of "
                    "this home has no such line"
                )

    def _check_run(self, result: TrialResult, run: Run) -> Iterator[str]:
        if run.info.status != STATUS[result.state] or self._state(run.info.run_id) != result.state:
            yield (
                f"its run is {run.info.status}, tagged {self._state(run.info.run_id)}; "
                f"history says {result.state}"
            )
        if (run.data.tags.get(WEIGHTS_TAG) or None) != result.weights_sha256:
            yield "its run is tagged with another hash of the weights than history's"
        params = {name: str(value) for name, value in result.params.model_dump().items()}
        if run.data.params != params:
            yield f"its run has the parameters {run.data.params}, history {params}"
        for name, expected in _expected_points(result, run).items():
            points = self._points(run, name)
            if dict(points) != expected:
                yield f"its run has {name} {dict(points)} by epoch, history {expected}"
        yield from self._check_points(run)

    def _check_points(self, run: Run) -> Iterator[str]:
        """Check that no metric of a run has two points at one step."""
        for name in sorted(run.data.metrics):
            steps = Counter(step for step, _ in self._points(run, name))
            self._counts["metric_points"] += len(steps)
            twice = sum(n - 1 for n in steps.values())
            if twice:
                self._counts["metric_points_logged_twice"] += twice
                yield f"{name}: {twice} points logged more than once at a step"

    def _check_model(self, result: TrialResult, run_id: str) -> Iterator[str]:
        models = self._models[run_id]
        keeps_models = self._history.identity.keeps_models
        if result.state is TrialState.FAILED or not keeps_models:
            if models:
                why = "FAILED" if keeps_models else "is of a study without models"
                yield f"it {why} and has {len(models)} models, expected none"
            return
        if len(models) != 1 or str(models[0].status) != "READY":
            described = [f"{model.model_id} {model.status!s}" for model in models]
            yield f"it has the models {described}, expected one that is READY"
            return
        (model,) = models
        if model.tags.get(WEIGHTS_TAG) != result.weights_sha256:
            yield f"its model {model.model_id} has another hash of the weights than history's"
        if dict(model.params or {}) != dict(self._live[run_id].data.params):
            yield f"its model {model.model_id} has other parameters than its run"
        self._counts["models_with_checked_files"] += 1
        try:
            read_keras_file(self._store, model)
        except ArtifactError as error:
            yield str(error)

    def _check_unfinished(self) -> Iterator[str]:
        """Check the live runs that are not in history; those marked INTERRUPTED may stay."""
        known = set(self._history.run_ids)
        for run_id, run in self._live.items():
            state = self._state(run_id)
            if run.info.status == "RUNNING":
                self._counts["runs_left_running"] += 1
            if run_id in known or state == SUPERSEDED:
                continue
            if state == "INTERRUPTED" and run.info.status != "RUNNING":
                self._counts["interrupted_runs"] += 1
                continue
            yield (
                f"trial {run.data.tags['trial']}: run {run_id} is {run.info.status}, but history "
                "does not hold it and nobody holds the home"
            )

    def _check_models(self) -> Iterator[str]:
        for model in self._record.models:
            self._counts["models"] += 1
            if model.source_run_id not in self._live:
                self._counts["models_without_a_live_run"] += 1
                yield f"model {model.model_id} ({model.status!s}) has no live run"

    def _state(self, run_id: str) -> str | None:
        state: str | None = self._live[run_id].data.tags.get(STATE_TAG)
        return state

    def _points(self, run: Run, name: str) -> list[tuple[int, float]]:
        history = self._store.client.get_metric_history(run.info.run_id, name)
        return sorted((metric.step, metric.value) for metric in history)


def _entry(weights_sha256: str, learned: Mapping[str, float]) -> tuple[str, str]:
    """Return a reading in a form in which NaN equals NaN."""
    return weights_sha256, repr(sorted(learned.items()))


def _expected_points(result: TrialResult, run: Run) -> dict[str, dict[int, float]]:
    """Return the finite values of a result, by metric and epoch, under the names of its run."""
    values = [
        (name, epoch.epoch, value)
        for epoch in result.epochs
        for name, value in epoch.as_metrics().items()
    ]
    if result.value is not None and FORMER_BEST_ACCURACY in run.data.metrics:
        values.append((FORMER_BEST_ACCURACY, len(result.epochs), result.value))
    best = best_accuracy(result)
    # Absent from runs of earlier versions that no command has gone on with since.
    is_former = FORMER_BEST_ACCURACY in run.data.metrics and BEST_ACCURACY not in run.data.metrics
    if best is not None and not is_former:
        values.append((BEST_ACCURACY, len(result.epochs), best))
    points: dict[str, dict[int, float]] = {name: {} for name, _, _ in values}
    for name, step, value in values:
        if math.isfinite(value):
            points[name][step] = value
    return points
