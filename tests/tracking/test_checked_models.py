"""A network's file is looked through before Keras opens it."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest

from mnist_study.tracking.checked_models import ModelError, check_layers


def layer(kind: str, module: str | None = "keras.layers", **config: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


def keras_file(*layers: dict[str, Any], extra: str | None = None) -> bytes:
    network = layer("Sequential", "keras", layers=[layer("InputLayer"), *layers])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", json.dumps(network))
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", b"weights")
        if extra is not None:
            archive.writestr(extra, b"more")
    return buffer.getvalue()


def test_what_training_writes_is_let_through() -> None:
    initializer = layer("GlorotUniform", "keras.initializers")
    regularizer = layer("L2", "keras.regularizers")
    dense = layer("Dense", kernel_initializer=initializer, kernel_regularizer=regularizer)
    check_layers(keras_file(layer("Flatten"), dense, layer("Dropout")), "a model")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (keras_file(layer("Lambda", function={"class_name": "__lambda__"})), "keras.layers.Lambda"),
        (keras_file(layer("TorchModuleWrapper")), "keras.layers.TorchModuleWrapper"),
        (keras_file(layer("Dense", "os.path")), "os.path.Dense"),
        (keras_file(layer("Dense", None)), "holds Dense"),
        (
            keras_file(layer("Dense", activation=layer("function", "builtins"))),
            "builtins.function",
        ),
        (keras_file(layer("Flatten"), extra="assets/../../loader.py"), "loader.py"),
        (b"not a zip file", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_anything_else_is_refused_in_one_line_before_it_is_loaded(
    content: bytes, found: str
) -> None:
    with pytest.raises(ModelError) as refused:
        check_layers(content, "model m-1")
    message = str(refused.value)
    assert message.startswith("model m-1: its network")
    assert found in message
    assert "\n" not in message
