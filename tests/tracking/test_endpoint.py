"""Servers listen on this machine alone unless asked, and end with the program that starts them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import Home
from mnist_study.tracking.endpoint import Endpoint
from mnist_study.tracking.ui import _environment


def test_by_default_nobody_else_is_let_in_and_nothing_is_warned_of() -> None:
    endpoint = Endpoint.parse(0, "127.0.0.1", None)
    assert endpoint.is_loopback
    assert endpoint.warning("read all runs") is None
    assert endpoint.names() == ["localhost", "127.0.0.1", "[::1]"]
    assert endpoint.url(5000) == "http://127.0.0.1:5000"


def test_beyond_loopback_the_user_is_warned_and_names_are_those_of_this_machine() -> None:
    endpoint = Endpoint.parse(0, "0.0.0.0", "studies.example, proxy")
    assert not endpoint.is_loopback
    warning = endpoint.warning("read all runs") or ""
    assert warning.startswith("WARNING: listening on 0.0.0.0: whoever reaches this machine can rea")
    names = endpoint.names()
    assert {"localhost", socket.gethostname(), "studies.example", "proxy"} <= set(names)
    assert not [name for name in names if "*" in name]
    assert endpoint.url(80) == f"http://{socket.gethostname()}:80"
    assert endpoint.url(80, local=True) == "http://127.0.0.1:80"
    assert endpoint.free_port() > 0


@pytest.mark.parametrize("host", ["203.0.113.7", "no such name", ""])
def test_a_host_that_is_not_this_machine_is_refused(host: str) -> None:
    with pytest.raises(UserFacingError, match=r"--host .*expected"):
        Endpoint(0, host or "::ffff:203.0.113.7").free_port()


def test_a_password_of_the_store_is_not_among_the_servers_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@host/name")
    environment = _environment(Home(tmp_path), Endpoint(5000))
    address = environment["MLFLOW_BACKEND_STORE_URI"]
    assert address.startswith("postgresql")
    assert "//me:secret@host/name" in address
    assert "localhost:*" in environment["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert "10.*" not in environment["MLFLOW_SERVER_ALLOWED_HOSTS"]


# Stands for the program: starts a server whose own child does the serving, then waits.
PARENT = """
import subprocess, sys, time
command = [sys.executable, "-m", "mnist_study.tracking.ending_with_parent", "sh", "-c",
           "sleep 600 & trap '' TERM HUP; echo $! $$; wait; sleep 600"]
server = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
time.sleep(600)
"""


@pytest.mark.parametrize("request_", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_a_server_and_its_children_end_when_the_program_is_killed(request_: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(psutil.pid_exists(pid) for pid in pids)
        os.kill(parent.pid, request_)
        parent.wait(10)
        deadline = time.monotonic() + 15
        while any(_is_running(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(_is_running(pid) for pid in pids)


def _is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_the_end_of_the_server_itself_is_reported_with_its_status() -> None:
    command = [sys.executable, "-m", "mnist_study.tracking.ending_with_parent", "sh", "-c"]
    ended = subprocess.Popen([*command, "exit 7"], stdin=subprocess.PIPE, start_new_session=True)
    assert ended.wait(20) == 7
