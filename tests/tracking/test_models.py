"""A logged model is an ordinary MLflow model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tracked_home import TrackedHome, complete, spec


@pytest.mark.usefixtures("one_thread")
def test_the_model_loads_as_keras_and_as_pyfunc_and_predicts_the_same(
    tracked: TrackedHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras
    import mlflow.keras
    import numpy as np
    from mlflow.models.utils import load_serving_example

    network = keras.Sequential([
        keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax"),
    ])  # fmt: skip
    network.save(tmp_path / "model.keras")
    content = (tmp_path / "model.keras").read_bytes()
    tracker = tracked.tracker()
    tracker.open({})
    tracker.start(spec(0))
    run_id = tracker.finish(replace(complete(0), model_keras=content))

    (model,) = tracked.models()
    assert model.source_run_id == run_id
    assert str(model.status) == "READY"
    assert model.params["units_1"] == "128"
    assert model.tags["weights_sha256"] == "e" * 64
    outputs = tracked.client.get_run(run_id).outputs
    assert outputs is not None
    (output,) = outputs.model_outputs
    assert output.model_id == model.model_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracked.home.tracking_uri)
    images = np.random.default_rng(0).random((3, 28, 28), np.float32)
    expected = network.predict(images, verbose=0)
    uri = f"models:/{model.model_id}"
    assert np.array_equal(mlflow.keras.load_model(uri).predict(images, verbose=0), expected)
    pyfunc = mlflow.pyfunc.load_model(uri)
    assert np.array_equal(pyfunc.predict(images), expected)
    (column,) = pyfunc.metadata.signature.inputs.to_dict()
    assert column["tensor-spec"] == {"dtype": "float32", "shape": (-1, 28, 28)}
    example = pyfunc.metadata.load_input_example(uri)
    assert example.dtype == np.float32
    assert np.array_equal(pyfunc.predict(example), network.predict(example, verbose=0))
    body = load_serving_example(uri)
    assert np.array_equal(np.array(json.loads(body)["inputs"], np.float32), example)
    requirements = Path(model.artifact_location.removeprefix("file://"), "requirements.txt")
    assert f"keras=={keras.__version__}" in requirements.read_text().split()
