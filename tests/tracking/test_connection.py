"""Connecting to an MLflow store: what the user can correct is one line."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tracked_home import KillError, TrackedHome

from mnist_study.core.home import Home
from mnist_study.tracking.connection import TrackingError, connect
from mnist_study.tracking.store import TrackingStore


def test_a_file_that_is_no_database_is_refused_in_one_line_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"my diary " * 100)
    started = time.perf_counter()
    with pytest.raises(TrackingError, match="no SQLite database") as caught:
        TrackingStore.open(Home(tmp_path))
    assert time.perf_counter() - started < 5
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"my diary " * 100
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("x")
    with pytest.raises(TrackingError, match="expected"):
        TrackingStore.open(Home(tmp_path / "home"))


def test_a_server_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(TrackingError, match=f"{uri} does not answer"):
            TrackingStore.open(Home(tmp_path))


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """Serve the same bytes to whoever connects; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):  # closed at the end
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(1)
                        with suppress(OSError):
                            connection.recv(65536)
                            connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def denied(status: str) -> bytes:
    """Return the answer of a server to somebody it does not let in."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n"
    return f"{head}WWW-Authenticate: Basic\r\n\r\nno".encode()


def test_a_server_of_something_else_or_for_others_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer, words in (
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not answer"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno", "refused"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", "refused"),
        (denied("401 UNAUTHORIZED"), "name and password of one of its users"),
        (denied("403 FORBIDDEN"), "expected a user who may write there"),
    ):
        with answering(answer) as port:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
            with pytest.raises(TrackingError, match=words) as caught:
                TrackedHome(Home(tmp_path)).tracker().open({})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", ["http://localhost:50x", "http://name:secret@127.0.0.1:1"])
def test_an_address_that_cannot_be_asked_is_refused_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError, match="does not answer") as caught:
        TrackingStore.open(Home(tmp_path))
    assert "secret" not in str(caught.value)


def test_a_moved_home_is_refused_instead_of_writing_to_the_old_place(
    tracked: TrackedHome, tmp_path: Path
) -> None:
    tracked.recorded()
    (tmp_path / "elsewhere").mkdir()
    for file in tmp_path.glob("mlflow.db*"):  # with its write-ahead log
        shutil.copy(file, tmp_path / "elsewhere")
    with pytest.raises(TrackingError, match="keeps its files at"):
        TrackedHome(Home(tmp_path / "elsewhere")).tracker().open({})


def test_a_database_is_created_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mlflow.db"

    def killed(self: Path, target: Path) -> None:
        raise KillError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KillError):
            connect(f"sqlite:///{path}")
    assert not path.exists()
    assert connect(f"sqlite:///{path}").search_experiments() != []
    assert sorted(file.name for file in tmp_path.iterdir() if "-" not in file.name) == ["mlflow.db"]
