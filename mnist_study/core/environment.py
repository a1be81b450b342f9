"""What may change the bits of a training run: packages, instruction sets, oneDNN settings."""

from __future__ import annotations

import functools
import os
import platform
from importlib import metadata
from pathlib import Path

from mnist_study.core.config import Frozen

RESULTS_VERSION = "0.1.0"
"""Raised when the same settings give other results; a release alone does not raise it.

Records store it among their packages as `mnist-study`, where earlier ones stored the release.
"""

_PACKAGES = ("tensorflow", "keras", "numpy", "scipy", "optuna")
# Those of a CPU's flags that select kernels in TensorFlow and oneDNN.
_INSTRUCTION_SETS = ("sse4_1", "sse4_2", "avx", "avx2", "avx_vnni", "fma", "f16c")
_ONEDNN_PREFIXES = ("TF_ENABLE_ONEDNN", "ONEDNN_", "DNNL_")


class EnvironmentIdentity(Frozen):
    """What may change the bits of a training run in one process on one machine.

    Attributes:
        packages: version by name, the results version as `mnist-study`.
        instruction_sets: those that select kernels, separated by spaces.
        onednn: the environment variables that decide which oneDNN kernels run.
    """

    packages: dict[str, str]
    instruction_sets: str
    onednn: dict[str, str]


def environment_identity() -> EnvironmentIdentity:
    """Return what may change the bits of a training run in this process.

    Reads package metadata, the CPU's flags and the environment; imports no TensorFlow.
    """
    versions = {name: package_version(name) for name in _PACKAGES}
    return EnvironmentIdentity(
        packages={"mnist-study": RESULTS_VERSION, **versions},
        instruction_sets=" ".join(instruction_sets()),
        onednn=onednn_settings(),
    )


def package_version(name: str) -> str:
    """Return the installed version of a package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def cpu_name() -> str:
    """Return the processor's name."""
    return _cpu_info().get("model name") or platform.processor() or platform.machine()


def instruction_sets() -> tuple[str, ...]:
    """Return which instruction sets the processor has, sorted; the machine's name off Linux."""
    flags = _cpu_info().get("flags", "").split()
    relevant = sorted(flag for flag in flags if _matters(flag))
    return tuple(relevant) if relevant else (platform.machine(),)


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
