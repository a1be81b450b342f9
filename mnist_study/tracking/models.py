"""Models in MLflow: how a network is logged, found again by its run, and fetched.

Every logged model carries two hashes from the moment it is made: of its weights, which are its
identity, and of its file, which tells whether that was changed since.
"""

from __future__ import annotations

import functools
import hashlib
import platform
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_study.core.errors import UserFacingError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

    from mnist_study.tracking.store import RunStore


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


KERAS_FILE = "data/model.keras"
"""Where the network lies in a model's directory."""

_REQUIRED = ("mlflow", "keras", "tensorflow", "numpy")
_BUILD = ("pip", "setuptools", "wheel")


def write_model_directory(
    directory: Path, keras_file: bytes, *, model_id: str, run_id: str, artifact_location: str
) -> None:
    """Write everything that an MLflow model of the Keras flavor consists of.

    Args:
        directory: exists and is empty.
        keras_file: the content of a `.keras` file of a classifier of 28x28 images.
        model_id: of the logged model that this becomes.
        run_id: of the run that made it.
        artifact_location: where the logged model keeps its files.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    (directory / "data").mkdir()
    (directory / KERAS_FILE).write_bytes(keras_file)
    (directory / "data" / "keras_module.txt").write_text("keras", encoding="utf-8")
    for name, text in _environment_files().items():
        (directory / name).write_text(text, encoding="utf-8")
    model = Model(
        artifact_path=artifact_location,
        run_id=run_id,
        signature=_signature(),
        model_uuid=model_id,
        model_size_bytes=len(keras_file),
        model_id=model_id,
    )
    model.add_flavor(
        "keras",
        data="data",
        keras_version=_version("keras"),
        keras_backend="tensorflow",
        save_exported_model=False,
    )
    mlflow.pyfunc.add_to_model(
        model, loader_module="mlflow.keras", conda_env="conda.yaml", python_env="python_env.yaml"
    )
    model.save(directory / "MLmodel")


# Looking it up anew would be a twentieth of the driver's time for a trial.
_version = functools.cache(metadata.version)


@functools.cache
def _signature() -> ModelSignature:
    """Return the signature: images as float32 in, ten probabilities out, any number of rows."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    float32 = np.dtype(np.float32)
    return ModelSignature(
        inputs=Schema([TensorSpec(float32, (-1, 28, 28))]),
        outputs=Schema([TensorSpec(float32, (-1, 10))]),
    )


@functools.cache
def _environment_files() -> dict[str, str]:
    """Return the files that say what the model needs, by name."""
    python = platform.python_version()
    required = [f"{name}=={_version(name)}" for name in _REQUIRED]
    build = [_pinned(name) for name in _BUILD]
    conda = ["name: mlflow-env", "channels:", "- conda-forge", "dependencies:"]
    conda += [f"- python={python}", f"- {build[0].replace('==', '<=')}", "- pip:"]
    conda += [f"  - {item}" for item in required]
    python_env = [f"python: {python}", "build_dependencies:", *(f"- {item}" for item in build)]
    python_env += ["dependencies:", "- -r requirements.txt"]
    lines = {"requirements.txt": required, "conda.yaml": conda, "python_env.yaml": python_env}
    return {name: "\n".join(content) + "\n" for name, content in lines.items()}


def _pinned(name: str) -> str:
    """Return `name==version`, or the name alone where it is not installed, as wheel may be."""
    try:
        return f"{name}=={_version(name)}"
    except metadata.PackageNotFoundError:
        return name
