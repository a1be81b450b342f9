"""Models in MLflow: a network is logged, found by its run, and read back.

Every logged model is tagged with hashes: of its weights, which are its identity, and of its files,
which show whether one of them was changed since.
"""

from __future__ import annotations

import functools
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING

from mnist_study.tracking.checked_models import (
    KERAS_FILE,
    WEIGHTS_TAG,
    file_tags,
    read_network,
)
from mnist_study.tracking.runs import RunContext
from mnist_study.tracking.store import TrackingStore

if TYPE_CHECKING:
    import numpy as np
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

DATASET_TAG = "dataset_sha256"


def log_model(
    context: RunContext,
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
        context: of the study.
        keras_file: the content of the `.keras` file.
        name: of the logged model.
        run_id: of the run that made it.
        weights_sha256: identity of the weights.
        params: of the network.
        tags: beside the hashes and those that the study is found by.
        step: number of epochs trained.

    Returns:
        The model's id; the model is READY.
    """
    from mlflow.entities import LoggedModelOutput

    client = context.store.client
    model = client.create_logged_model(
        context.experiment_id,
        name=name,
        source_run_id=run_id,
        tags={
            **context.identity,
            **tags,
            WEIGHTS_TAG: weights_sha256,
            DATASET_TAG: context.dataset.content_hash,
        },
        params={name: str(value) for name, value in params.items()},
        model_type="classifier",
    )
    location, model_id = model.artifact_location, str(model.model_id)
    files = model_files(keras_file, location, model_id, run_id)
    # The files name the model's id, so that their hashes are known only now.
    client.set_logged_model_tags(model_id, file_tags(files))
    context.store.upload(location, files)
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=step)])
    return str(model.model_id)


def read_keras_file(store: TrackingStore, model: LoggedModel) -> bytes:
    """Return the `.keras` file of a logged model whose files are those that were logged.

    Raises:
        ArtifactError: one is missing, was added, or differs by as much as a byte.
    """
    name = f"model {model.model_id}"
    return read_network(store, model.artifact_location, model.tags, name)


_REQUIRED = ("mlflow", "keras", "tensorflow", "numpy")
_BUILD = ("pip", "setuptools", "wheel")
_EXAMPLE, _SERVING_EXAMPLE = "input_example.json", "serving_input_example.json"


def model_files(
    keras_file: bytes, location: str, model_id: str, run_id: str | None
) -> dict[str, bytes]:
    """Return the files of an MLflow model of the Keras flavor, by their relative paths.

    Args:
        keras_file: the content of a `.keras` file of a classifier of 28x28 images.
        location: where they are kept.
        model_id: of the logged model.
        run_id: of the run that made it.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    model = Model(
        artifact_path=location,
        run_id=run_id,
        signature=_signature(),
        model_uuid=model_id,
        model_size_bytes=len(keras_file),
        model_id=model_id,
        # As mlflow.models.Model.load_input_example and get_serving_input read it.
        saved_input_example_info={
            "artifact_path": _EXAMPLE,
            "type": "ndarray",
            "serving_input_path": _SERVING_EXAMPLE,
        },
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
    texts = {
        "data/keras_module.txt": "keras",
        "MLmodel": model.to_yaml(),
        **_environment_files(),
        **_example_files(),
    }
    return {KERAS_FILE: keras_file} | {name: text.encode() for name, text in texts.items()}


# Cached: each look-up would cost a twentieth of the driver's time for a trial.
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


def example_image() -> np.ndarray:
    """Return a seven for a client's first request, float64 (28, 28), 0 paper to 1 ink."""
    import numpy as np

    image = np.zeros((28, 28))
    image[5:8, 8:20] = 1
    for row in range(8, 24):
        right = 19 - (row - 8) * 8 // 15
        image[row, right - 2 : right + 1] = 1
    return image


@functools.cache
def _example_files() -> dict[str, str]:
    """Return the example as an array and as the body of a request, by file name."""
    pixels = [example_image().tolist()]
    return {_EXAMPLE: json.dumps(pixels), _SERVING_EXAMPLE: json.dumps({"inputs": pixels})}


@functools.cache
def _environment_files() -> dict[str, str]:
    """Return the files that list the packages of the model, by name."""
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
