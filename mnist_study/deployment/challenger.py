"""What is to be promoted: a run, its model as it was trained, and what is known about it."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_study.core.config import NetworkParams
from mnist_study.core.errors import UserFacingError
from mnist_study.data.dataset import TrainingSet, load_training_set
from mnist_study.experiments.confirmation_results import Confirmed, confirmed, winner
from mnist_study.search.history import History, NoStudyError
from mnist_study.tracking.connection import shown
from mnist_study.tracking.models import (
    DATASET_TAG,
    WEIGHTS_TAG,
    ModelError,
    fetch_directory,
    fetch_keras_file,
    models_of_run,
)
from mnist_study.training.process import prepare_tensorflow

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run


class ChallengerError(UserFacingError):
    """A run or confirmation that nothing can be promoted from."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A finished confirmation.

    Attributes:
        history: its record.
        found: every configuration of it.
        winner: the one to be promoted.
    """

    history: History
    found: list[Confirmed]
    winner: Confirmed

    def of_params(self, params: NetworkParams) -> Confirmed | None:
        """Return the configuration with these parameters, None if it was not confirmed."""
        return next((c for c in self.found if c.candidate.params == params), None)

    @property
    def content_hash(self) -> str:
        """Of the training set that it was made on."""
        return self.history.content_hash


@dataclass(frozen=True, slots=True)
class Challenger:
    """A run whose model is a candidate for champion.

    Attributes:
        run: of MLflow.
        model: that the run made.
        params: the network.
        provenance: commit, packages and machine that trained it, as `Provenance.as_json`.
    """

    run: Run
    model: LoggedModel
    params: NetworkParams
    provenance: dict[str, Any]

    @property
    def weights_sha256(self) -> str:
        """Identity of the weights, as recorded when they were trained."""
        return str(self.model.tags[WEIGHTS_TAG])

    @property
    def content_hash(self) -> str:
        """Of the training set that the model was trained on, as recorded then."""
        return str(self.model.tags[DATASET_TAG])


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
    found = confirmed(history)
    return Confirmation(history, found, winner(found))


def challenger_of_run(client: MlflowClient, tracking_uri: str, run_id: str) -> Challenger:
    """Return what a run made.

    Raises:
        ChallengerError: there is no such run, or it has no finished model.
    """
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise ChallengerError(
            f"--run {run_id}: no such run in {shown(tracking_uri)}, expected the id of one "
            "with a model; `mnist-study ui` shows them"
        ) from error
    models = [
        model
        for model in models_of_run(client, run.info.experiment_id, run_id)
        if str(model.status) == "READY"
    ]
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
    kinds = {name: field.annotation for name, field in NetworkParams.model_fields.items()}
    params = {
        name: int(model.params[name]) if kind is int else float(model.params[name])
        for name, kind in kinds.items()
    }
    provenance = _provenance(client, tracking_uri, run)
    return Challenger(run, model, NetworkParams.model_validate(params), provenance)


def verified_model(challenger: Challenger, tracking_uri: str) -> Any:  # noqa: ANN401
    """Return the Keras model of a challenger, once its file and weights are what was recorded.

    Raises:
        ModelError: they are not.
    """
    content = fetch_keras_file(challenger.model, tracking_uri)
    prepare_tensorflow()
    from mnist_study.training import model

    network = model.model_from_bytes(content)
    found = model.weights_sha256(network.get_weights())
    if found != challenger.weights_sha256:
        raise ModelError(
            f"model {challenger.model.model_id}: its weights have SHA-256 {found[:12]}…, expected "
            f"{challenger.weights_sha256[:12]}… as recorded when they were trained; restore the "
            "file from a copy of the store, or train another model"
        )
    return network


def training_set_of(content_hash: str, data_dir: Path | None) -> TrainingSet:
    """Return the training set with a content hash; the hash alone decides which it is.

    So no tag can pass the digits off as MNIST.

    Raises:
        UserFacingError: neither MNIST in reach nor the stand-in has it.
    """
    digits = load_training_set("digits")
    if digits.content_hash == content_hash:
        return digits
    mnist = load_training_set("mnist", data_dir)
    if mnist.content_hash == content_hash:
        return mnist
    raise ChallengerError(
        f"the model was trained on data with hash {content_hash[:12]}…, found "
        f"{mnist.content_hash[:12]}… ({mnist.source}); give the model's own data with --data"
    )


def _provenance(client: MlflowClient, tracking_uri: str, run: Run) -> dict[str, Any]:
    """Read who trained a run: it is kept with the run, or with the parent of a trial's run."""
    parent_id = run.data.tags.get("mlflow.parentRunId")
    owner = client.get_run(parent_id) if parent_id else run
    with tempfile.TemporaryDirectory(prefix="mnist-study-") as folder:
        path = fetch_directory(
            owner.info.artifact_uri, tracking_uri, Path(folder), "provenance/provenance.json"
        )
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    commit = run.data.tags.get("mlflow.source.git.commit")
    return content | {"commit": commit}
