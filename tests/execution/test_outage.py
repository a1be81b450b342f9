"""A real MLflow server that goes away while a study runs, and comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
from kills_study import N_TRIALS, check
from real_servers import free_port
from study_process import StudyHome, wait_until

from mnist_study.search.history import History

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


class Server:
    """An MLflow server on one port and store, any number of times."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1",
            "--port", str(self._port), "--backend-store-uri", f"sqlite:///{self._folder}/server.db",
            "--artifacts-destination", str(self._folder / "served"), "--serve-artifacts",
        ]  # fmt: skip
        variables = {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **variables},
            )  # fmt: skip
        assert wait_until(self._answers, 300), (self._folder / "server.log").read_text()

    def _answers(self) -> bool:
        with suppress(OSError):
            urllib.request.urlopen(f"{self.address}/health", timeout=5).close()
            return True
        return False

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture
def mlflow_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


def n_waiting(home: StudyHome) -> int:
    return len(list(home.path.glob("unrecorded-*/*.result")))


def finished_at(home: StudyHome) -> list[datetime]:
    (history,) = History.open_all(f"sqlite:///{home.path / 'optuna.db'}")
    return history.finished_at


@pytest.mark.parametrize("is_killed", [False, True])
def test_what_is_trained_while_the_server_is_away_is_recorded_when_it_is_back(
    tmp_path: Path, kills_file: Path, uninterrupted: str, mlflow_server: Server, is_killed: bool
) -> None:
    environment = {"MLFLOW_TRACKING_URI": mlflow_server.address}
    home = StudyHome(tmp_path / "home", kills_file, environment)
    driver = home.start("--workers", "2")
    assert wait_until(lambda: "trial   1 " in driver.text(), 600), driver.text()
    mlflow_server.stop()
    # More than the workers had begun: they go on.
    assert wait_until(lambda: n_waiting(home) >= 3, 240), driver.text()
    waited, known = n_waiting(home), finished_at(home)
    assert len(known) < N_TRIALS - 2
    assert "does not answer" in driver.text()
    away_until = datetime.now()
    if is_killed:
        driver.kill()
        assert driver.wait() == -signal.SIGKILL
    mlflow_server.start()
    if is_killed:
        driver = home.start("--workers", "2")
    assert driver.wait(900) == 0, driver.text()
    assert (f"{waited} trials that were trained while MLflow did not answer" in driver.text()) == (
        is_killed
    )
    # Training again would have ended later.
    assert sum(each < away_until for each in finished_at(home)) >= len(known) + waited
    assert list(home.path.glob("unrecorded-*")) == []
    check(home, uninterrupted)
