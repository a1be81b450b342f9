"""A study over several hosts, each a network namespace of its own with one link to the others.

What an operating system does with packets that get no answer is real here; the hosts share
processor and disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import written
from study_process import StudyHome, wait_until

SCHEDULER_PORT = 8786
N_TRIALS = 16
CUT_SECONDS = 10


def has_namespaces() -> bool:
    """Whether this user may make network namespaces."""
    name = f"probe{os.getpid()}"
    try:
        made = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
    except OSError:
        return False
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return made


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not has_namespaces(), reason="needs `ip netns`, as root has it"),
]


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@dataclass(frozen=True)
class Host:
    """A host; its processes end with the test."""

    name: str
    address: str
    hub: str
    folder: Path
    stack: ExitStack

    def start(self, program: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a program of Dask's there."""
        log = self.stack.enter_context((self.folder / f"{self.name}.log").open("ab"))
        command = [sys.executable, "-m", f"distributed.cli.{program}", "--no-dashboard", *options]
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command], stdout=log, stderr=log, cwd=self.folder
        )
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def link(self, state: str) -> None:
        """Cut or heal its link, at the far end, so that the host itself does not see it."""
        ip("-n", self.hub, "link", "set", f"to-{self.name}", state)


@contextmanager
def hosts(folder: Path, *names: str) -> Iterator[list[Host]]:
    """Make hosts that reach each other."""
    prefix = f"s{os.getpid()}"
    hub = f"{prefix}hub"
    with ExitStack() as stack:

        def namespace(name: str) -> None:
            ip("netns", "add", name)
            stack.callback(ip, "netns", "del", name)
            ip("-n", name, "link", "set", "lo", "up")

        namespace(hub)
        ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        ip("-n", hub, "link", "set", "bridge", "up")
        made = []
        for number, short in enumerate(names, start=1):
            host = Host(f"{prefix}{short}", f"10.77.0.{number}", hub, folder, stack)
            namespace(host.name)
            ip("-n", hub, "link", "add", f"to-{host.name}", "type", "veth", "peer", "name", "eth0",
               "netns", host.name)  # fmt: skip
            ip("-n", hub, "link", "set", f"to-{host.name}", "master", "bridge", "up")
            ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            ip("-n", host.name, "link", "set", "eth0", "up")
            made.append(host)
        yield made


def on_host(host: Host, home: StudyHome, *options: str) -> subprocess.Popen[bytes]:
    """Start a driver on a host."""
    home.path.mkdir(parents=True, exist_ok=True)
    log = host.stack.enter_context((home.path / "driver.log").open("ab"))
    driver = subprocess.Popen(
        [
            "ip", "netns", "exec", host.name, sys.executable, "-m", "mnist_study", "study",
            str(home.file), "--home", str(home.path), "--dataset", "digits", *options,
        ],
        stdout=log, stderr=log,
    )  # fmt: skip
    host.stack.callback(driver.wait)
    host.stack.callback(driver.kill)
    return driver


def n_finished(home: StudyHome) -> int:
    log = home.path / "driver.log"
    return log.read_text().count(f"/{N_TRIALS}, ") if log.exists() else 0


def study_file(folder: Path, name: str, seed: int) -> Path:
    folder.mkdir()
    file = written(folder, n_trials=N_TRIALS, epochs=12)
    text = (
        file.read_text()
        .replace('"tiny"', f'"{name}"')
        .replace("seed = 0\nin", f"seed = {seed}\nin")
    )
    file.write_text(text)
    return file


def test_two_studies_survive_a_cut_link_a_lost_host_and_a_late_one_and_are_those_of_one_machine(
    tmp_path: Path,
) -> None:
    files = [study_file(tmp_path / name, name, seed) for seed, name in enumerate(("one", "two"))]
    alone = [
        StudyHome(file.parent / "alone", file).finish("--workers", "2", timeout=1800)["digest"]
        for file in files
    ]
    homes = [StudyHome(file.parent / "home", file) for file in files]
    with hosts(tmp_path, "driver", "cut", "lost", "late") as (first, cut, lost, late):
        first.start("dask_scheduler", "--host", first.address, "--port", str(SCHEDULER_PORT))
        scheduler = f"tcp://{first.address}:{SCHEDULER_PORT}"

        def worker(host: Host) -> subprocess.Popen[bytes]:
            options = ("--host", host.address, "--nthreads", "1", "--no-nanny")
            return host.start("dask_worker", scheduler, *options)

        worker(cut)
        gone = worker(lost)
        drivers = [on_host(first, home, "--cluster", scheduler) for home in homes]
        assert wait_until(lambda: all(n_finished(home) for home in homes), 1500), texts(homes)

        cut.link("down")
        time.sleep(CUT_SECONDS)
        cut.link("up")
        lost.link("down")
        gone.kill()
        worker(late)
        for driver in drivers:
            assert driver.wait(1800) == 0, texts(homes)
    for home, digest in zip(homes, alone, strict=True):
        assert home.digest()["digest"] == digest
        audit = home.audit()
        assert audit["findings"] == []
        assert audit["counts"]["finished_trials"] == N_TRIALS
    assert "nothing on the way is encrypted" in texts(homes)
    assert "died; trial" in texts(homes)


def texts(homes: list[StudyHome]) -> str:
    return "\n".join((home.path / "driver.log").read_text() for home in homes)
