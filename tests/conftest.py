"""Fixtures that several test files share."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mnist_study.data.dataset import TrainingSet, load_training_set

if TYPE_CHECKING:
    from tracked_home import TrackedHome

# A shell's background job ignores SIGINT, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Read at import: some tests hide the variable from the code under test.
REAL_MNIST = os.environ.get("MNIST_STUDY_DATA")


@pytest.fixture(scope="session")
def mnist_training_set() -> TrainingSet:
    """The training images of real MNIST, named by the environment; nothing is downloaded."""
    if not REAL_MNIST:
        pytest.skip("MNIST is not in reach: MNIST_STUDY_DATA names no folder or file with it")
    return load_training_set("mnist", Path(REAL_MNIST))


@pytest.fixture(scope="session")
def digits() -> TrainingSet:
    """The training images of the stand-in, which is always there."""
    return load_training_set("digits")


@pytest.fixture(scope="session")
def one_thread() -> None:
    """TensorFlow limited to one thread, as in every worker; to be asked for before it is used."""
    from mnist_study.training.process import limit_threads

    limit_threads()


@pytest.fixture(scope="session")
def empty_mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's SQLite file before any study; creating it takes seconds."""
    from mnist_study.tracking.connection import connect

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def tracked(
    tmp_path: Path, empty_mlflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TrackedHome]:
    """An empty home to record a study of made-up trials in."""
    from tracked_home import TrackedHome

    from mnist_study.core.home import Home

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_mlflow_database, tmp_path / "mlflow.db")
    tracked = TrackedHome(Home(tmp_path))
    yield tracked
    for tracker in tracked.trackers:
        tracker.abort()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a real MLflow server with proxied artifacts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination", str(tmp_path / "served"), "--serve-artifacts",
    ]  # fmt: skip
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    uri = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(uri + "/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail((tmp_path / "server.log").read_text())
        yield uri
    finally:
        process.terminate()
        process.wait(30)
