"""The challenger: the model that is to be promoted, verified against its recorded hashes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_study.core.config import NetworkParams
from mnist_study.core.datasets import MNIST, described, is_mnist
from mnist_study.core.errors import UserFacingError
from mnist_study.data.dataset import TrainingSet, load_training_set_by_hash
from mnist_study.experiments.confirmation_results import Confirmed, confirmed, winner
from mnist_study.search.history import History
from mnist_study.search.storage import NoStudyError
from mnist_study.tracking.checked_models import WEIGHTS_TAG, ModelError, check_layers
from mnist_study.tracking.connection import shown
from mnist_study.tracking.models import DATASET_TAG, read_keras_file
from mnist_study.tracking.store import TrackingStore
from mnist_study.training.process import prepare_tensorflow

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run


class ChallengerError(UserFacingError):
    """A run or confirmation that nothing can be promoted from."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A finished confirmation.

    Attributes:
        history: its record.
        configurations: all that were confirmed.
        winner: the one to be promoted.
    """

    history: History
    configurations: list[Confirmed]
    winner: Confirmed

    def of_params(self, params: NetworkParams) -> Confirmed | None:
        """Return the configuration with these parameters, None if it was not confirmed."""
        return next((c for c in self.configurations if c.candidate.params == params), None)

    def in_favour_of(self, trial: int) -> Confirmation:
        """Return it with another configuration in the winner's place.

        Raises:
            ChallengerError: that one was not confirmed.
        """
        chosen = next((c for c in self.configurations if c.candidate.trial == trial), None)
        if chosen is None:
            known = ", ".join(str(c.candidate.trial) for c in self.configurations)
            raise ChallengerError(
                f"--trial {trial}: not among the configurations of {self.history.name} ({known}); "
                "name one of them, or the model of any run with --run"
            )
        return replace(self, winner=chosen)

    @property
    def content_hash(self) -> str:
        """Of the training set that it was made on."""
        return self.history.content_hash


@dataclass(frozen=True, slots=True)
class Challenger:
    """A model that is a candidate for champion, verified against the hashes of its training.

    Attributes:
        run: of MLflow, that trained the model.
        model: as MLflow logged it.
        params: of the network.
        provenance: commit, packages and machine that trained it, as `Provenance.as_json`.
        training_set: that it was trained on.
        network: the Keras model.
    """

    run: Run
    model: LoggedModel
    params: NetworkParams
    provenance: Mapping[str, Any]
    training_set: TrainingSet
    network: Any

    @property
    def weights_sha256(self) -> str:
        """Identity of the weights, as recorded when they were trained."""
        return str(self.model.tags[WEIGHTS_TAG])


def finished_confirmation(storage_url: str) -> Confirmation | None:
    """Return the finished confirmation that ended last, None if there is none.

    Raises:
        HistoryError: the storage cannot be read.
    """
    try:
        histories = [h for h in History.open_all(storage_url) if h.kind == "confirm"]
    except NoStudyError:
        return None
    finished = [h for h in histories if h.results and len(h.results) >= h.n_trials]
    if not finished:
        return None
    history = max(finished, key=lambda h: h.finished_at[-1])
    configurations = confirmed(history)
    return Confirmation(history, configurations, winner(configurations))


def load_challenger(
    store: TrackingStore, run_id: str, data_dir: Path | None, say: Callable[[str], None]
) -> Challenger:
    """Read the model of a run, with its training set and provenance, and verify it.

    Args:
        store: that holds the run.
        run_id: of a run that made one model.
        data_dir: as for `load_training_set_by_hash`.
        say: shows progress, a line each.

    Raises:
        UserFacingError: there is no such run, it has no finished model, its training set is out of
            reach, or its file or its weights are not those that were recorded.
    """
    run, model = _trained_model(store, run_id)
    # Of a trial, the study's run keeps data set and provenance.
    parent_id = run.data.tags.get("mlflow.parentRunId")
    owner = store.client.get_run(parent_id) if parent_id else run
    inputs = owner.inputs.dataset_inputs if owner.inputs else []
    dataset = str(inputs[0].dataset.name) if inputs else MNIST
    training_set = load_training_set_by_hash(
        str(model.tags[DATASET_TAG]), data_dir, dataset=dataset
    )
    if not is_mnist(training_set.dataset):
        say(f"WARNING: a model of {described(training_set.dataset)}; it gets a name of its own")
    provenance = json.loads(store.read(owner.info.artifact_uri, "provenance/provenance.json"))
    say(f"checking model {model.model_id} against the hashes of its training…")
    return Challenger(
        run=run,
        model=model,
        params=_params(model),
        provenance=provenance | {"commit": run.data.tags.get("mlflow.source.git.commit")},
        training_set=training_set,
        network=_verified_network(store, model),
    )


def network_of_run(store: TrackingStore, run_id: str) -> Any:  # noqa: ANN401
    """Return the Keras model that a run made, verified against the hashes of its training.

    Raises:
        UserFacingError: there is no such run, it has no finished model, or the model was changed.
    """
    return _verified_network(store, _trained_model(store, run_id)[1])


def _trained_model(store: TrackingStore, run_id: str) -> tuple[Run, LoggedModel]:
    from mlflow.exceptions import MlflowException

    try:
        run = store.client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise ChallengerError(
            f"--run {run_id}: no such run in {shown(store.uri)}, expected the id of one "
            "with a model; `mnist-study ui` shows them"
        ) from error
    models = [model for model in store.models_of_run(run) if str(model.status) == "READY"]
    if run.info.lifecycle_stage != "active" or len(models) != 1 or WEIGHTS_TAG not in run.data.tags:
        raise ChallengerError(
            f"--run {run_id}: the run ({run.info.lifecycle_stage}) has {len(models)} finished "
            "models, expected an active run with one; take a trial that completed"
        )
    (model,) = models
    if model.tags.get(WEIGHTS_TAG) != run.data.tags[WEIGHTS_TAG]:
        raise ModelError(
            f"model {model.model_id}: its record names weights {model.tags.get(WEIGHTS_TAG)}, "
            f"its run {run.data.tags[WEIGHTS_TAG]}, expected the same; one of them was changed, so "
            "train another model"
        )
    return run, model


def _params(model: LoggedModel) -> NetworkParams:
    kinds = {name: field.annotation for name, field in NetworkParams.model_fields.items()}
    params = {
        name: int(model.params[name]) if kind is int else float(model.params[name])
        for name, kind in kinds.items()
    }
    return NetworkParams.model_validate(params)


def _verified_network(store: TrackingStore, logged: LoggedModel) -> Any:  # noqa: ANN401
    """Return the Keras model in a model's file, if file and weights have the recorded hashes."""
    content = read_keras_file(store, logged)
    check_layers(content, f"model {logged.model_id}")
    prepare_tensorflow()
    from mnist_study.training import model

    network = model.model_from_bytes(content)
    actual, expected = model.weights_sha256(network.get_weights()), logged.tags[WEIGHTS_TAG]
    if actual != expected:
        raise ModelError(
            f"model {logged.model_id}: its weights have SHA-256 {actual[:12]}…, expected "
            f"{expected[:12]}… as recorded when they were trained; restore the file from a copy of "
            "the store, or train another model"
        )
    return network
