"""MLflow's own user interface on 127.0.0.1, and the ports there."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import Home
from mnist_study.tracking.connection import is_server, shown
from mnist_study.tracking.relocation import relocate

END_SECONDS = 2.0


def free_port(port: int) -> int:
    """Return the port if it is free; for 0, any free port.

    Raises:
        UserFacingError: it is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserFacingError(
                f"port {port} is taken ({error.strerror}); choose another with --port, 0 for any"
            ) from error
        return int(probe.getsockname()[1])


def serve_ui(home: Home, port: int, on_start: Callable[[str], None]) -> None:
    """Run `mlflow server` on 127.0.0.1 until this process is asked to end.

    If the store is behind a server, only that server's address is shown.

    Args:
        home: whose store is shown.
        port: 0 takes any free port.
        on_start: called with the address.

    Raises:
        UserFacingError: there is nothing to show, the port is taken, or the server failed.
    """
    if not home.has_mlflow_store:
        raise UserFacingError(
            f"{home.path}: no MLflow store here; run `mnist-study study` first, or give --home"
        )
    if is_server(home.tracking_uri):
        on_start(shown(home.tracking_uri))
        return
    port = free_port(port)
    if home.artifact_root is not None:
        relocate(home.path / "mlflow.db", Path(home.artifact_root))
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", home.tracking_uri, "--workers", "1",
    ]  # fmt: skip
    if home.artifact_root is not None:
        command += ["--default-artifact-root", home.artifact_root]
    # Its background jobs serve agents, and would be eight more processes.
    defaults = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    environment = defaults | dict(os.environ)
    # In a process group of its own, so that none of its processes outlives this one.
    with subprocess.Popen(
        command, env=environment, stdout=sys.stderr.fileno(), start_new_session=True
    ) as server:
        try:
            on_start(f"http://127.0.0.1:{port}")
            status = server.wait()
        finally:
            _end_group(server)
    raise UserFacingError(
        f"MLflow's server ended by itself with status {status}, expected it to serve until Ctrl-C; "
        "see its output above"
    )


def _end_group(leader: subprocess.Popen[bytes]) -> None:
    """End a process and its group."""
    for request in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(leader.pid, request)
            leader.wait(END_SECONDS)
