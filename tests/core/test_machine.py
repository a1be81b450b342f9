"""Cores and memory of a container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnist_study.core.machine import available_cores, default_workers, memory_limit


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def control_groups(folder: Path, membership: str, **files: str) -> tuple[Path, Path]:
    for name, content in files.items():
        path = folder / "cgroup" / name.replace("__", "/").replace("_max", ".max")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    (folder / "membership").write_text(membership)
    return folder / "cgroup", folder / "membership"


@pytest.mark.parametrize(
    ("quota", "n_cores"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("6400000 100000", 8),
        ("nonsense", 8),
        ("", 8),
    ],
)
def test_quota_of_a_container_limits_the_cores(tmp_path: Path, quota: str, n_cores: int) -> None:
    assert available_cores(*control_groups(tmp_path, "0::/\n", cpu_max=quota)) == n_cores


def test_narrowest_of_the_groups_around_a_process_counts(tmp_path: Path) -> None:
    place = control_groups(
        tmp_path, "0::/a/b\n", a__cpu_max="300000 100000", a__b__cpu_max="max 100000"
    )
    assert available_cores(*place) == 3


def test_first_version_of_control_groups_is_read_too(tmp_path: Path) -> None:
    place = control_groups(tmp_path, "4:cpu,cpuacct:/job\n2:memory:/job\n")
    job = place[0] / "cpu" / "job"
    job.mkdir(parents=True)
    (job / "cpu.cfs_quota_us").write_text("400000\n")
    (job / "cpu.cfs_period_us").write_text("100000\n")
    (place[0] / "memory").mkdir()
    (place[0] / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert available_cores(*place) == 4
    assert memory_limit(*place) is None


def test_memory_of_a_container_limits_the_workers(tmp_path: Path) -> None:
    place = control_groups(tmp_path, "0::/\n", memory_max="3200000000", cpu_max="max 100000")
    assert memory_limit(*place) == 3_200_000_000
    assert default_workers(*place) == 3
    (place[0] / "memory.max").write_text("100000000\n")
    assert default_workers(*place) == 1


def test_machine_without_control_groups_has_its_cores(tmp_path: Path) -> None:
    assert default_workers(tmp_path / "none", tmp_path / "neither") == 8
