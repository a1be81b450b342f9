"""Models in MLflow: how a network is logged, found again by its run, and fetched.

Every logged model carries two hashes from the moment it is made: of its weights, which are its
identity, and of its file, which tells whether that was changed since.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_study.errors import UserFacingError
from mnist_study.model_files import KERAS_FILE, write_model_directory

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

    from mnist_study.run_store import RunStore

WEIGHTS_TAG = "weights_sha256"
FILE_TAG = "file_sha256"
DATASET_TAG = "dataset_sha256"


class ModelError(UserFacingError):
    """A model that is missing or is not what was trained."""


def log_model(
    store: RunStore,
    keras_file: bytes,
    *,
    name: str,
    run_id: str,
    weights_sha256: str,
    params: Mapping[str, object],
    tags: Mapping[str, str],
    step: int,
) -> str:
    """Log a network as an MLflow model, linked to its run.

    Args:
        store: of the study.
        keras_file: the content of the `.keras` file.
        name: of the logged model.
        run_id: of the run that made it.
        weights_sha256: identity of the weights.
        params: of the network.
        tags: beside the hashes and what the study's models have in common.
        step: number of epochs trained.

    Returns:
        The model's id; the model is READY.
    """
    from mlflow.entities import LoggedModelOutput

    client = store.client
    model = client.create_logged_model(
        store.experiment_id,
        name=name,
        source_run_id=run_id,
        tags={
            **store.identity,
            **tags,
            WEIGHTS_TAG: weights_sha256,
            FILE_TAG: hashlib.sha256(keras_file).hexdigest(),
            DATASET_TAG: store.dataset.content_hash,
        },
        params={name: str(value) for name, value in params.items()},
        model_type="classifier",
    )
    with tempfile.TemporaryDirectory(prefix="mnist-study-") as directory:
        write_model_directory(
            Path(directory),
            keras_file,
            model_id=model.model_id,
            run_id=run_id,
            artifact_location=model.artifact_location,
        )
        store.upload_directory(model.artifact_location, directory)
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=step)])
    return str(model.model_id)


def models_of_run(client: MlflowClient, experiment_id: str, run_id: str) -> list[LoggedModel]:
    """Return the logged models that a run made, PENDING ones too."""
    found = client.search_logged_models(
        experiment_ids=[experiment_id], filter_string=f"source_run_id = '{run_id}'"
    )
    return list(found)


def fetch_directory(location: str, tracking_uri: str, target: Path, path: str = "") -> Path:
    """Copy files from an artifact location into a folder.

    Args:
        location: of a logged model, a run or a registered version.
        tracking_uri: of the store.
        target: an existing folder.
        path: of one file or folder in there; "" takes everything.

    Returns:
        Where the copy is.

    Raises:
        ModelError: it is not there.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(location, tracking_uri=tracking_uri)
    try:
        copy = repository.download_artifacts(path, str(target))  # type: ignore[no-untyped-call]
    except (OSError, MlflowException) as error:
        raise ModelError(
            f"{location}/{path}: cannot be fetched ({str(error).strip().splitlines()[0]}); "
            "expected what was logged there; restore it from a copy of the store"
        ) from error
    return Path(copy)


def fetch_keras_file(model: LoggedModel, tracking_uri: str) -> bytes:
    """Return the `.keras` file of a logged model, checked against the hash recorded with it.

    Raises:
        ModelError: it is missing, or differs from what was logged by as much as a byte.
    """
    with tempfile.TemporaryDirectory(prefix="mnist-study-") as folder:
        content = fetch_directory(
            model.artifact_location, tracking_uri, Path(folder), KERAS_FILE
        ).read_bytes()
    check_file(content, model.tags.get(FILE_TAG), f"model {model.model_id}")
    return content


def check_file(content: bytes, expected: str | None, name: str) -> None:
    """Raise ModelError unless a model's file has the hash that was recorded."""
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ModelError(
            f"{name}: its file has SHA-256 {found[:12]}…, expected {(expected or 'none')[:12]}… as "
            "recorded when it was made: the file was changed since; restore it from a copy of the "
            "store, or promote another model"
        )
