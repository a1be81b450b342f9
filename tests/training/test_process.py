"""A training process: its settings decide no result, whatever surrounds it."""

from __future__ import annotations

import os

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
    assert "2 GPU in this process already; expected the CPU" in refusal


def test_a_machine_without_a_gpu_trains_as_it_is() -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    assert keep_to_cpu() is None


def test_cuda_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    set_environment()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"
