"""A study on a running Dask cluster: the same study, whatever happens to the cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from kills_study import EXPERIMENT, check, is_training
from study_process import StudyHome, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


class RunningCluster:
    """A Dask scheduler and workers, started as anyone would start them."""

    def __init__(self, folder: Path, stack: ExitStack, environment: dict[str, str]) -> None:
        self._folder = folder
        self._stack = stack
        self._file = folder / "scheduler.json"
        options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self._start("dask_scheduler", *options, **environment)
        assert wait_until(self._file.exists)
        address = self._file.read_text().partition('"address": "')[2]
        self.address = address.partition('"')[0]

    def add_worker(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker of one thread, without a nanny, so that this is its own process."""
        return self._start(
            "dask_worker",
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            *options,
            **environment,
        )

    def _start(self, program: str, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        log = self._stack.enter_context((self._folder / f"{program}.log").open("ab"))
        process = subprocess.Popen(
            [
                sys.executable, "-m", f"distributed.cli.{program}",
                "--scheduler-file", str(self._file), *options,
            ],
            stdout=log, stderr=log, cwd=self._folder, env={**os.environ, **environment},
        )  # fmt: skip
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process


@contextmanager
def running_cluster(folder: Path, **environment: str) -> Iterator[RunningCluster]:
    folder.mkdir()
    with ExitStack() as stack:
        yield RunningCluster(folder, stack, environment)


def test_a_running_cluster_gives_the_same_study_whatever_happens_to_it(
    tmp_path: Path, kills_file: Path, uninterrupted: str
) -> None:
    home = StudyHome(tmp_path / "home", kills_file)
    with running_cluster(tmp_path / "cluster") as cluster:
        first = cluster.add_worker()
        other = cluster.add_worker(TF_ENABLE_ONEDNN_OPTS="0")

        driver = home.start("--cluster", cluster.address)
        assert is_training(home, driver)
        driver.interrupt()
        assert driver.wait(10) == 130, driver.text()
        assert "Traceback" not in driver.text()
        assert first.poll() is None
        assert other.poll() is None
        assert home.audit()["counts"]["runs_left_running"] == 0

        driver = home.start("--cluster", cluster.address)
        assert is_training(home, driver)
        late = cluster.add_worker()
        time.sleep(2)
        first.kill()
        assert driver.wait() == 0, driver.text()
        assert "is refused" in driver.text()
        assert late.poll() is None
        assert other.poll() is None
    check(home, uninterrupted)


def test_a_cluster_of_other_machines_only_is_one_clear_error(
    tmp_path: Path, kills_file: Path
) -> None:
    home = StudyHome(tmp_path / "home", kills_file)
    with running_cluster(tmp_path / "cluster") as cluster:
        for _ in range(2):
            cluster.add_worker(TF_ENABLE_ONEDNN_OPTS="0")
        driver = home.start("--cluster", cluster.address)
        assert driver.wait(90) == 1, driver.text()
        errors = [line for line in driver.text().splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert "no worker of the cluster matches" in errors[0]
        assert "Traceback" not in driver.text()
    assert home.audit()["counts"]["runs_left_running"] == 0


def test_a_frozen_worker_of_a_cluster_that_comes_back_changes_nothing(
    tmp_path: Path, kills_file: Path, uninterrupted: str
) -> None:
    """Dask takes it for dead, its trial runs twice at once, and one outcome is taken."""
    home = StudyHome(tmp_path / "home", kills_file)
    impatience = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "15s"}
    with running_cluster(tmp_path / "cluster", **impatience) as cluster:
        frozen, _ = cluster.add_worker(), cluster.add_worker()
        driver = home.start("--cluster", cluster.address)
        assert is_training(home, driver)
        frozen.send_signal(signal.SIGSTOP)
        assert wait_until(lambda: "is run again" in driver.text())
        frozen.send_signal(signal.SIGCONT)
        assert driver.wait() == 0, driver.text()
    check(home, uninterrupted)


def test_two_studies_share_a_cluster_and_do_not_mix(
    tmp_path: Path, kills_file: Path, uninterrupted: str
) -> None:
    other_file = tmp_path / "other.toml"
    other_file.write_text(EXPERIMENT.replace("split_seed = 0", "split_seed = 5"))
    alone = StudyHome(tmp_path / "alone", other_file).finish("--workers", "2")
    assert alone["digest"] != uninterrupted
    one = StudyHome(tmp_path / "one", kills_file)
    other = StudyHome(tmp_path / "other", other_file)
    with running_cluster(tmp_path / "cluster") as cluster:
        cluster.add_worker("--nthreads", "2")  # both studies at once in one process
        drivers = [home.start("--cluster", cluster.address) for home in (one, other)]
        for driver in drivers:
            assert driver.wait() == 0, driver.text()
    check(one, uninterrupted)
    check(other, str(alone["digest"]))
