"""Fixtures of the tests about data; a plugin, to be named in `pytest_plugins`."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mnist_forms import Answer, Arrays, Server, install_table, npz_bytes, synthetic_arrays

from mnist_study.data import download


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep a test from this user's data and from other machines."""
    for name in ("MNIST_STUDY_DATA", "MNIST_STUDY_URL", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setattr(download, "DOWNLOAD_URL", f"http://127.0.0.1:{port}/mnist.npz")


@pytest.fixture
def arrays(monkeypatch: pytest.MonkeyPatch) -> Arrays:
    made = synthetic_arrays()
    install_table(monkeypatch, made)
    monkeypatch.setattr(download, "DOWNLOAD_SHA256", hashlib.sha256(npz_bytes(made)).hexdigest())
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mnist"
    made.mkdir()
    return made


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    servers = []

    def start(answer: Answer) -> str:
        servers.append(Server(answer))
        monkeypatch.setattr(download, "DOWNLOAD_URL", servers[-1].url)
        return servers[-1].url

    yield start
    for server in servers:
        server.close()
