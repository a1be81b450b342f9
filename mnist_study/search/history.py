"""The append-only record of finished trials in Optuna's storage: stored means finished."""

from __future__ import annotations

import json
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

import optuna

from mnist_study.core.config import ExperimentConfig, Frozen, Range
from mnist_study.core.databases import DatabaseFile
from mnist_study.core.identity import Identity, StudyIdentity, differences, parse_identity
from mnist_study.core.safe_text import shown_address
from mnist_study.core.text import first_line
from mnist_study.core.trials import TrialResult, TrialState
from mnist_study.search.pruner import OPTUNA_STATES, intermediate_values
from mnist_study.search.record import read_record, write_record
from mnist_study.search.sampler import distributions, searched
from mnist_study.search.storage import (
    HistoryError,
    NoStudyError,
    ask,
    drop_trials,
    insert_trial,
    is_missing,
    open_storage,
    parse_url,
)

_Kind = TypeVar("_Kind", bound=Frozen)

_RECORD = "record"
_OBJECTIVE = "validation accuracy"
_RUN_ID = "mlflow_run_id"
_IDENTITY = "identity"
_RECORD_ID = "record_id"
_N_TRIALS = "n_trials"
_MIXED = "mixed_identities"
_SESSION = "session-"


class History:
    """The finished trials of one study, in order; each is stored in one insert.

    Attributes:
        results: all finished trials, in trial order, without their model files.
        run_ids, begun_at, finished_at: the MLflow run of each; when it ran, local, for people.
    """

    def __init__(self, url: str, study: optuna.Study) -> None:
        self._url = url
        self._study = study
        self.results: list[TrialResult] = []
        self.run_ids: list[str] = []
        self.begun_at: list[datetime] = []
        self.finished_at: list[datetime] = []
        self._file = DatabaseFile.at(url)
        trials = ask(url, lambda: study.get_trials(deepcopy=False))
        for position, trial in enumerate(trials):
            if trial.number != position or _RECORD not in trial.user_attrs:
                raise HistoryError(
                    f"{study.study_name}: trial {trial.number} was not written by mnist-study; "
                    "expected its own trials only, so use another home or storage"
                )
            self.results.append(_from_frozen(trial))
            self.run_ids.append(trial.user_attrs[_RUN_ID])
            self.begun_at.append(trial.datetime_start or datetime.min)
            self.finished_at.append(trial.datetime_complete or datetime.min)

    @classmethod
    def open(cls, url: str, study_name: str) -> History:
        """Open the record of a study, creating it where there is none yet.

        Raises:
            HistoryError: the storage cannot be used.
        """
        parse_url(url)
        study = ask(
            url,
            lambda: optuna.create_study(
                study_name=study_name, storage=open_storage(url), direction="maximize",
                load_if_exists=True,
            ),
        )  # fmt: skip
        return cls(url, study)

    @classmethod
    def open_all(cls, url: str) -> list[History]:
        """Open every study of a storage to read it, by name; creates nothing.

        Raises:
            NoStudyError: there is none.
            HistoryError: the storage cannot be read.
        """
        parse_url(url)
        none_yet = NoStudyError(
            f"{shown_address(url)}: no study here yet; run `mnist-study study` first, or give the "
            "--home of an existing one"
        )
        if is_missing(url):
            raise none_yet
        studies = ask(url, lambda: _stored_studies(url))
        histories = [cls(url, study) for study in studies if _IDENTITY in study.user_attrs]
        if not histories:
            raise none_yet
        return histories

    def sibling(self, name: str) -> History | None:
        """Open another record of the same storage to read it; None where there is none."""
        found = [study for study in self._other_studies() if study.study_name == name]
        return History(self._url, found[0]) if found and _IDENTITY in found[0].user_attrs else None

    def siblings(self, kind: str) -> list[History]:
        """Open the other records of the same storage that are of a kind, by name, to read them."""
        # Read without its model: a record of another kind need not be readable here.
        return [
            History(self._url, study)
            for study in self._other_studies()
            if _kind_of(study.user_attrs.get(_IDENTITY, "null")) == kind
        ]

    def _other_studies(self) -> list[optuna.Study]:
        studies = ask(self._url, lambda: _stored_studies(self._url))
        return [study for study in studies if study.study_name != self.name]

    @property
    def name(self) -> str:
        """Name of the study."""
        return self._study.study_name

    @property
    def identity(self) -> Identity:
        """What decided the results so far.

        Raises:
            HistoryError: the record has none that this version can read.
        """
        try:
            return parse_identity(self._study.user_attrs[_IDENTITY])
        except (KeyError, ValueError) as error:
            raise HistoryError(
                f"{self.name}: its identity cannot be read ({first_line(error)}); "
                "expected a record of this version of mnist-study or an earlier one"
            ) from error

    def identity_as(self, kind: type[_Kind]) -> _Kind:
        """Return the identity of a record whose kind is known."""
        identity = self.identity
        if not isinstance(identity, kind):
            raise TypeError(f"{self.name} is a record of kind {identity.kind}")
        return identity

    @property
    def kind(self) -> str:
        """What was run: "study", "baseline", "screen", "confirm" or "ablation"."""
        return self.identity.kind

    @property
    def content_hash(self) -> str:
        """Of the training set."""
        return self.identity.data.content_hash

    @property
    def mlflow_identity(self) -> dict[str, str]:
        """Tags that identify this record's runs and models in MLflow.

        Homes that share an MLflow store may have studies of the same name; only the record's own
        id tells their runs apart. Records that were begun before there were ids have none.
        """
        identity = {"study": self.name, "kind": self.kind}
        record = self._study.user_attrs.get(_RECORD_ID)
        return identity if record is None else {**identity, "record": str(record)}

    @property
    def n_trials(self) -> int:
        """How many trials the study was last asked for."""
        return int(self._study.user_attrs.get(_N_TRIALS, len(self.results)))

    @n_trials.setter
    def n_trials(self, n_trials: int) -> None:
        self._set(_N_TRIALS, n_trials)

    @property
    def experiment(self) -> ExperimentConfig:
        """The settings that a study runs with, put together from the storage."""
        return self.identity_as(StudyIdentity).experiment(self.name, max(1, self.n_trials))

    @cached_property
    def _space(self) -> dict[str, Range]:
        """The search space as Optuna stores it; it never changes once a trial is stored."""
        return _space(self.identity)

    @property
    def is_mixed(self) -> bool:
        """Whether trials of another identity were ever allowed in."""
        return bool(self._study.user_attrs.get(_MIXED, False))

    def check_identity(self, identity: Identity, *, allow_mixed: bool) -> None:
        """Store the identity of a study without trials, or compare it with the stored one.

        Raises:
            HistoryError: it differs and that is not allowed; nothing was changed.
        """
        is_new = _IDENTITY not in self._study.user_attrs
        if is_new:
            self._set(_RECORD_ID, uuid.uuid4().hex)
            # Optuna stores these names for dashboards alone.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                ask(self._url, lambda: self._study.set_metric_names([_OBJECTIVE]))
        if is_new or not self.results:
            self._set(_IDENTITY, json.dumps(identity.as_document(), sort_keys=True))
            return
        stored = self.identity
        changed = differences(identity, stored)
        if not changed:
            return
        if not allow_mixed:
            raise HistoryError(
                f"study {self._study.study_name!r} was started with other settings: "
                f"{'; '.join(changed)}; take the old ones, choose another --home, or give up "
                "bit-identity with --allow-mixed"
            )
        if _space(identity) != _space(stored):
            raise HistoryError(
                f"study {self._study.study_name!r} was begun with another search space: "
                f"{'; '.join(changed)}; a record has one space, with --allow-mixed too, so "
                "take the old one or choose another --home"
            )
        self._set(_MIXED, True)

    def check_in_place(self) -> None:
        """Check that the storage's file, if it is one, is still the one that was opened.

        Raises:
            DatabaseError: it was deleted, moved or replaced.
        """
        if self._file is not None:
            self._file.check()

    def _set(self, key: str, value: object) -> None:
        self.check_in_place()
        ask(self._url, lambda: self._study.set_user_attr(key, value), is_known=True)

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """The session of each driver that worked on this study, in order of starting."""
        attrs = self._study.user_attrs
        return [json.loads(attrs[key]) for key in sorted(attrs) if key.startswith(_SESSION)]

    def note_session(self, key: str, session: Mapping[str, Any]) -> None:
        """Store, or replace, a driver's session.

        Args:
            key: sorts sessions by their start.
            session: JSON-serializable.
        """
        self._set(_SESSION + key, json.dumps(session, sort_keys=True))

    def append(
        self, result: TrialResult, run_id: str, times: tuple[datetime, datetime] | None = None
    ) -> None:
        """Store one finished trial; from then on it counts.

        Args:
            result: of the trial.
            run_id: of its MLflow run.
            times: when it was begun and ended, local; None takes its duration until now.

        Raises:
            HistoryError: it is not the next trial, another driver has stored trials meanwhile, or
                the storage refuses; nothing was stored.
        """
        if result.number != len(self.results):
            raise HistoryError(
                f"expected trial {len(self.results)} to be stored next, got {result.number}"
            )
        self.check_in_place()
        now = datetime.now()
        times = times or (now - timedelta(seconds=result.total_seconds), now)
        ask(self._url, lambda: self._insert(result, run_id, times), is_known=True)
        self.results.append(replace(result, model_keras=None, curves_png=None))  # in MLflow
        self.run_ids.append(run_id)
        self.begun_at.append(times[0])
        self.finished_at.append(times[1])

    def _insert(self, result: TrialResult, run_id: str, times: tuple[datetime, datetime]) -> None:
        space = self._space
        trial = optuna.trial.create_trial(
            state=OPTUNA_STATES[result.state],
            value=result.value,
            params=searched(result.params, space),
            distributions=distributions(space),
            intermediate_values=intermediate_values(result),
            system_attrs=dict(result.system_attrs),
            user_attrs={**_shown(result), _RECORD: write_record(result), _RUN_ID: run_id},
        )
        # For timelines; create_trial takes none.
        trial.datetime_start, trial.datetime_complete = times
        n_stored = self._store(trial)
        if n_stored == len(self.results) + 1 and self._is_stored_as(run_id):
            return  # it was inserted, and the server's answer was lost
        # The lock is the home's, but a storage on a server can be that of several homes.
        if n_stored != len(self.results):
            raise HistoryError(
                f"{self.name}: found {n_stored} trials stored, expected {len(self.results)}: "
                "another command, with another --home, stores trials of the same study; stop "
                "it, then start again"
            )

    def _store(self, trial: optuna.trial.FrozenTrial) -> int:
        """Store the next trial, if it still is; return how many were stored before."""
        return insert_trial(self._study, trial, len(self.results))

    def _is_stored_as(self, run_id: str) -> bool:
        """Whether the last trial in the storage is that of an MLflow run."""
        last = self._study.get_trials(deepcopy=False)[-1]
        return bool(last.user_attrs.get(_RUN_ID) == run_id)

    def cut_back(self, n_kept: int) -> None:
        """Keep the first trials of the record alone, as if the others had never been run.

        Args:
            n_kept: how many stay.
        """
        self.check_in_place()
        ask(self._url, lambda: drop_trials(self._study, n_kept))
        # Optuna keeps finished trials in memory.
        (self._study,) = [s for s in _stored_studies(self._url) if s.study_name == self.name]
        for kept in (self.results, self.run_ids, self.begun_at, self.finished_at):
            del kept[n_kept:]


def _stored_studies(url: str) -> list[optuna.Study]:
    """Return all studies of a storage, by name."""
    storage = open_storage(url)
    names = sorted(optuna.get_all_study_names(storage))
    return [optuna.load_study(study_name=name, storage=storage) for name in names]


def _kind_of(document: str) -> str | None:
    """Return the kind in a stored identity."""
    content = json.loads(document)
    return content.get("kind") if isinstance(content, dict) else None


def _space(identity: Identity) -> dict[str, Range]:
    """Return what Optuna is told of the search; only a study searches."""
    return identity.study.space if isinstance(identity, StudyIdentity) else {}


def _shown(result: TrialResult) -> dict[str, Any]:
    """Return what a dashboard is to show of a trial, apart; what is read back is the record."""
    return {
        name: getattr(result, name)
        for name in (
            "best_epoch", "restored_train_accuracy", "overfitting_gap", "n_parameters",
            "train_seconds", "worker", "weights_sha256",
        )
        if getattr(result, name) not in (None, "")
    }  # fmt: skip


def _from_frozen(trial: optuna.trial.FrozenTrial) -> TrialResult:
    states = {optuna_state: state for state, optuna_state in OPTUNA_STATES.items()}
    state = states[trial.state]
    assert isinstance(state, TrialState)
    return read_record(
        trial.user_attrs[_RECORD],
        number=trial.number,
        state=state,
        # A FAILED trial has no value; Optuna keeps none for a PRUNED one without reports.
        value=trial.value,
        system_attrs=trial.system_attrs,
    )
