"""What decides a study's bits: its own settings, the data, and the machine's arithmetic."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from mnist_study.core.config import ExperimentConfig


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON-serializable description of everything that decides results."""
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """List the entries in which two identities differ, as `key: theirs -> ours`."""
    flat_ours, flat_theirs = _flatten(ours), _flatten(theirs)
    return [
        f"{key}: {flat_theirs.get(key, 'absent')} -> {flat_ours.get(key, 'absent')}"
        for key in sorted(flat_ours.keys() | flat_theirs.keys())
        if flat_ours.get(key) != flat_theirs.get(key)
    ]


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


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


# Of the many flags a CPU lists, those that choose another kernel in TensorFlow and oneDNN.
_INSTRUCTION_SETS = ("sse4_1", "sse4_2", "avx", "avx2", "avx_vnni", "fma", "f16c")


_ONEDNN_PREFIXES = ("TF_ENABLE_ONEDNN", "ONEDNN_", "DNNL_")


def package_versions() -> dict[str, str]:
    """Return the installed version of each package that can change results."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def cpu_name() -> str:
    """Return the processor's name."""
    return _cpu_info().get("model name") or platform.processor() or platform.machine()


def instruction_sets() -> tuple[str, ...]:
    """Return which instruction sets the processor has, sorted; the machine's name off Linux."""
    flags = _cpu_info().get("flags", "").split()
    found = sorted(flag for flag in flags if _matters(flag))
    return tuple(found) if found else (platform.machine(),)


def _matters(flag: str) -> bool:
    return flag in _INSTRUCTION_SETS or flag.startswith(("avx512", "amx"))


def onednn_settings() -> dict[str, str]:
    """Return the environment variables that decide which oneDNN kernels run."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(_ONEDNN_PREFIXES)
    }


@functools.cache
def _cpu_info() -> dict[str, str]:
    """Return the first processor's entries of /proc/cpuinfo, empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
