"""What decides a study's bits: its own settings, the data, and the machine's arithmetic."""

from __future__ import annotations

from typing import Any

from mnist_study.config import ExperimentConfig
from mnist_study.provenance import instruction_sets, onednn_settings, package_versions

_PACKAGES = ("mnist-study", "tensorflow", "keras", "numpy", "scipy", "optuna")


def environment_identity() -> dict[str, Any]:
    """Return what may change a training run's bits on this machine, in this process.

    Reads package metadata, the CPU's flags and the environment; imports no TensorFlow.
    """
    versions = package_versions()
    return {
        "packages": {name: versions[name] for name in _PACKAGES},
        "instruction_sets": " ".join(instruction_sets()),
        "onednn": dict(onednn_settings()),
    }


def study_identity(experiment: ExperimentConfig, dataset: str, content_hash: str) -> dict[str, Any]:
    """Return everything that a study's results are a function of, but the number of trials.

    Args:
        experiment: with a `study` table.
        dataset: which data set is used.
        content_hash: of its images and labels.
    """
    settings = experiment.model_dump(mode="json", exclude={"name", "n_seeds"})
    settings["study"].pop("n_trials")
    settings["data"] |= {"dataset": dataset, "content_hash": content_hash}
    return settings | {"kind": "study", "environment": environment_identity()}
