"""An MLflow model directory around a `.keras` file, assembled without importing Keras.

The layout is what `mlflow.keras.save_model` of MLflow 3.17 writes: `mlflow.keras.load_model` and
pyfunc read it. Requirements are pinned from what is installed, because inferring them takes 10 s.
"""

from __future__ import annotations

import functools
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

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
