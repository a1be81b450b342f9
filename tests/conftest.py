"""Fixtures that several test files share."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnist_study.data.dataset import TrainingSet, load_training_set

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
