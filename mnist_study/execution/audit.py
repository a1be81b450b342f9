"""Proof from the stores that each finished trial has one run, one model and one set of values.

Reads Optuna's storage, MLflow and the ledger and compares; it believes nothing that the driver
remembers.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from mnist_study.core.home import Home
from mnist_study.core.ledger import readings_made
from mnist_study.core.trials import TrialResult, TrialState
from mnist_study.search.history import History
from mnist_study.tracking.connection import connect, readable_errors

if TYPE_CHECKING:
    from mnist_study.tracking.reconcile import LoggedModel, MlflowClient, Run, StudyRecord


@dataclass(slots=True)
class StudyAudit:
    """What an audit found out about one study.

    Attributes:
        study: its name.
        kind: "study", "baseline", "screen", "confirm" or "ablation".
        in_use: a command is writing to the home; what it has not finished is not judged.
        findings: what breaks an invariant, a line each; none means proven.
        repaired: what was put right, a line each.
        counts: how much was looked at and how much was wrong, by name.
    """

    study: str
    kind: str
    in_use: bool
    findings: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def as_document(self) -> dict[str, Any]:
        """Return everything under the names above."""
        return {name: getattr(self, name) for name in StudyAudit.__slots__}


def audit_home(home: Home, *, repair: bool = False) -> list[StudyAudit]:
    """Audit every study of a home.

    Args:
        home: where the stores are.
        repair: put right first what the next command on the study would put right.

    Raises:
        UserFacingError: there is no study, a store cannot be read, or, with `repair`, the home is
            in use.
    """
    if repair:
        History.open_all(home.storage_url)  # where nothing is, the lock's folder is not made either
        with home.locked("mnist-study audit --repair"):
            return _audit_all(home, repair=True)
    in_use = home.is_in_use()
    audits = _audit_all(home, in_use=in_use)
    if not in_use and home.is_in_use():  # a command began meanwhile
        audits = _audit_all(home, in_use=True)
    return audits


def audit_lines(audit: StudyAudit) -> list[str]:
    """Write an audit for people."""
    counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in audit.counts.items())
    verdict = "proven" if not audit.findings else f"{len(audit.findings)} findings"
    used = "; in use, only finished trials were judged" if audit.in_use else ""
    return [
        f"{audit.study} ({audit.kind}): {verdict}{used}",
        f"  {counts}",
        *(f"  repaired: {line}" for line in audit.repaired),
        *(f"  broken: {line}" for line in audit.findings),
    ]


def _audit_all(home: Home, *, in_use: bool = False, repair: bool = False) -> list[StudyAudit]:
    # History first: what it holds was in MLflow before.
    histories = History.open_all(home.storage_url)
    ledger = {_entry(line.weights_sha256, line.result) for line in home.ledger.readings()}
    client = None
    if not _is_missing(home.tracking_uri):
        client = connect(home.tracking_uri)
    audits = []
    for history in histories:
        audit = StudyAudit(history.name, history.kind, in_use)
        audits.append(audit)
        if client is None:
            if history.results:
                audit.findings.append(
                    f"{home.tracking_uri}: there is no MLflow store, expected the runs of "
                    f"{len(history.results)} trials"
                )
            continue
        with readable_errors(home.tracking_uri):
            record = _read(client, history)
            if repair:
                audit.repaired = _repair(record, history)
                record = _read(client, history)
            _Auditor(client, history, record, ledger, audit).run()
    return audits


def _is_missing(tracking_uri: str) -> bool:
    """Whether it is a SQLite file that does not exist; connecting would create it."""
    path = tracking_uri.removeprefix("sqlite:///")
    return path != tracking_uri and not Path(unquote(path)).exists()


def _read(client: MlflowClient, history: History) -> StudyRecord:
    from mnist_study.tracking.reconcile import StudyRecord, active_experiments

    return StudyRecord(client, active_experiments(client), history.mlflow_identity)


def _repair(record: StudyRecord, history: History) -> list[str]:
    parent = record.parent
    finished = dict(enumerate(history.run_ids))
    lines = record.reconcile(finished, parent.info.run_id if parent else None)
    if parent is not None and parent.info.status == "RUNNING":
        record.interrupt(parent.info.run_id)
        lines.append(f"the study's own run {parent.info.run_id} was left running: ended")
    # What MLflow has lost stays a finding; reconcile says so too.
    return [line for line in lines if "is missing from MLflow" not in line]


class _Auditor:
    """The checks of one study."""

    def __init__(
        self,
        client: MlflowClient,
        history: History,
        record: StudyRecord,
        ledger: Set[tuple[str, str]],
        audit: StudyAudit,
    ) -> None:
        self._client = client
        self._history = history
        self._record = record
        self._ledger = ledger
        self._audit = audit
        self._live = {run.info.run_id: run for run in record.children if _is_live(run)}
        self._models: dict[str | None, list[LoggedModel]] = defaultdict(list)
        for model in record.models:
            self._models[model.source_run_id].append(model)
        self._counts: Counter[str] = Counter(
            dict.fromkeys(
                (
                    "finished_trials", "trials_with_one_live_run", "runs_left_running",
                    "interrupted_runs", "models", "models_without_a_live_run",
                    "metric_points", "metric_points_logged_twice",
                    "test_set_readings", "test_set_readings_not_in_the_ledger",
                ), 0,
            )
        )  # fmt: skip

    def run(self) -> None:
        """Fill the audit."""
        findings = self._audit.findings
        findings += self._check_parent()
        for result, run_id in zip(self._history.results, self._history.run_ids, strict=True):
            findings += [f"trial {result.number}: {text}" for text in self._check(result, run_id)]
        if not self._audit.in_use:
            findings += self._check_unfinished()
        findings += self._check_models()
        self._audit.counts = dict(self._counts)

    def _check_parent(self) -> Iterator[str]:
        parents = [run for run in self._record.parents if _is_live(run)]
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
        live = [i for i, run in self._live.items() if run.data.tags["trial"] == number]
        superseded = [i for i in live if self._state(i) == "SUPERSEDED" and i != run_id]
        if run_id not in live:
            yield f"its run {run_id} is not in MLflow, or deleted"
            return
        others = [i for i in live if i != run_id and i not in superseded]
        if others:
            yield f"{len(live)} live runs, expected 1; history holds {run_id}, not {others}"
        else:
            self._counts["trials_with_one_live_run"] += 1
        run = self._live[run_id]
        yield from self._check_run(result, run)
        yield from self._check_model(result, run_id)

    def _check_readings(self, result: TrialResult) -> Iterator[str]:
        """Check that the ledger holds what the trial saw of the test set."""
        for weights_sha256, learned in readings_made(result):
            self._counts["test_set_readings"] += 1
            if _entry(weights_sha256, learned) not in self._ledger:
                self._counts["test_set_readings_not_in_the_ledger"] += 1
                yield (
                    f"it read the test set with weights {weights_sha256[:12]}…, and the ledger of "
                    "this home has no such line"
                )

    def _check_run(self, result: TrialResult, run: Run) -> Iterator[str]:
        from mnist_study.tracking.trial_run import STATUS

        if run.info.status != STATUS[result.state] or self._state(run.info.run_id) != result.state:
            yield (
                f"its run is {run.info.status}, tagged {self._state(run.info.run_id)}; "
                f"history says {result.state}"
            )
        if (run.data.tags.get("weights_sha256") or None) != result.weights_sha256:
            yield "its run is tagged with another hash of the weights than history's"
        params = {name: str(value) for name, value in result.params.model_dump().items()}
        if run.data.params != params:
            yield f"its run has the parameters {run.data.params}, history {params}"
        for name, expected in _expected_points(result).items():
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
        if result.state is TrialState.FAILED or not self._history.identity.keeps_models:
            if models:
                why = "FAILED" if self._history.identity.keeps_models else "was to keep no model"
                yield f"it {why} and has {len(models)} models, expected none"
            return
        if len(models) != 1 or str(models[0].status) != "READY":
            found = [f"{model.model_id} {model.status!s}" for model in models]
            yield f"it has the models {found}, expected one that is READY"
            return
        (model,) = models
        if model.tags.get("weights_sha256") != result.weights_sha256:
            yield f"its model {model.model_id} has another hash of the weights than history's"
        if dict(model.params or {}) != dict(self._live[run_id].data.params):
            yield f"its model {model.model_id} has other parameters than its run"
        yield from _check_file(model)

    def _check_unfinished(self) -> Iterator[str]:
        """Check the live runs that history does not hold; those that are marked are truthful."""
        known = set(self._history.run_ids)
        for run_id, run in self._live.items():
            state = self._state(run_id)
            if run.info.status == "RUNNING":
                self._counts["runs_left_running"] += 1
            if run_id in known or state == "SUPERSEDED":
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
        state: str | None = self._live[run_id].data.tags.get("state")
        return state

    def _points(self, run: Run, name: str) -> list[tuple[int, float]]:
        history = self._client.get_metric_history(run.info.run_id, name)
        return sorted((metric.step, metric.value) for metric in history)


def _entry(weights_sha256: str, learned: Mapping[str, float]) -> tuple[str, str]:
    """Return a reading in a form in which NaN equals NaN."""
    return weights_sha256, repr(sorted(learned.items()))


def _expected_points(result: TrialResult) -> dict[str, dict[int, float]]:
    """Return the values that MLflow can hold, by metric and epoch."""
    points: dict[str, dict[int, float]] = defaultdict(dict)
    for epoch in result.epochs:
        for name, value in epoch.as_metrics().items():
            points[name].update(_finite({epoch.epoch: value}))
    if result.value is not None:
        points["value"] = _finite({len(result.epochs): result.value})
    return points


def _finite(values: Mapping[int, float]) -> dict[int, float]:
    return {key: value for key, value in values.items() if math.isfinite(value)}


def _check_file(model: LoggedModel) -> Iterable[str]:
    """Compare a model's file with its hash, where the file is on this machine."""
    place = urlparse(model.artifact_location)
    if place.scheme not in ("", "file"):
        return
    path = Path(unquote(place.path), "data", "model.keras")
    if not path.exists():
        yield f"its model {model.model_id} has no file at {path}"
    elif hashlib.sha256(path.read_bytes()).hexdigest() != model.tags.get("file_sha256"):
        yield f"its model {model.model_id} has another file at {path} than was logged"


def _is_live(run: Run) -> bool:
    return bool(run.info.lifecycle_stage == "active")
