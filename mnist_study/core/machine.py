"""How many cores and how much memory this process may use; a container may limit both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
WORKER_BYTES = 1_000_000_000
"""Memory of a worker with TensorFlow, data and a network, in bytes."""


def available_cores(root: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Return how many cores this process may use, at least one.

    Args:
        root: of the control groups.
        membership: file that says in which of them this process is.
    """
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    n_cores = n_cores or os.cpu_count() or 1
    for folder in _control_groups(root, membership):
        quota = _cpu_quota(folder)
        if quota is not None:
            n_cores = min(n_cores, int(quota))
    return max(1, n_cores)


def memory_limit(root: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int | None:
    """Return the memory limit of this process's control groups, in bytes; None for no limit."""
    limits = [
        int(text)
        for folder in _control_groups(root, membership)
        for name in ("memory.max", "memory.limit_in_bytes")
        if (text := _read(folder / name)).isdigit()
    ]
    # Version 1 of control groups writes an impossibly large number for "no limit".
    return min((limit for limit in limits if limit < 1 << 60), default=None)


def default_workers(root: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Return how many workers fit the available cores and memory, at least one."""
    n_workers, limit = available_cores(root, membership), memory_limit(root, membership)
    return n_workers if limit is None else max(1, min(n_workers, limit // WORKER_BYTES))


def _control_groups(root: Path, membership: Path) -> Iterator[Path]:
    """Yield the folders of this process's control groups and of their parents."""
    yield root
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in [""] if not controllers else controllers.split(","):
            folder = root / controller
            yield folder
            for part in Path(path).parts[1:]:
                folder /= part
                yield folder


def _cpu_quota(folder: Path) -> float | None:
    """Return the cores that a control group may use, None for no limit."""
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        return int(quota) / int(period)
    return None


def _read(path: Path) -> str:
    """Return the content of a small file, "" where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
