"""A training process: its settings decide no result, whatever surrounds it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from mnist_study.training.process import keep_to_cpu, set_environment


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, str]]:
    """Let TensorFlow see two GPUs, which the machine has not; return what is made visible."""
    made_visible: list[tuple[object, str]] = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["0", "1"])
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda devices, kind: made_visible.append((devices, kind))
    )
    return made_visible


def test_a_process_that_sees_gpus_trains_on_its_cpu(two_gpus: list[tuple[object, str]]) -> None:
    assert keep_to_cpu() is None
    assert two_gpus == [([], "GPU")]


@pytest.mark.usefixtures("two_gpus")
def test_a_process_that_has_used_a_gpu_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def too_late(devices: object, kind: str) -> None:
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", too_late)
    refusal = keep_to_cpu()
    assert refusal is not None
    assert "already uses 2 GPUs in this process, expected the CPU" in refusal


def test_a_machine_without_a_gpu_trains_as_it_is() -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    assert keep_to_cpu() is None


@pytest.mark.parametrize("home", [None, "/a/user's/keras"])
def test_keras_is_imported_without_a_users_settings(tmp_path: Path, home: str | None) -> None:
    # Stands for Keras, which takes ten seconds: its settings are read while it is imported.
    (tmp_path / "keras.py").write_text("import os; print(os.environ['KERAS_HOME'])")
    (tmp_path / "tensorflow.py").write_text("")
    code = (
        "import os; from mnist_study.training.process import import_tensorflow as go; go();"
        "print(os.environ.get('KERAS_HOME'), os.environ.get('KERAS_MAX_EPOCHS'))"
    )
    environment = {**os.environ, "KERAS_MAX_EPOCHS": "many"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    environment.pop("KERAS_HOME", None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment if home is None else {**environment, "KERAS_HOME": home},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [os.devnull, f"{home} None"]


def test_cuda_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    set_environment()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"
