"""MLflow's web interface on the study's stores."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable

from mnist_study.errors import UserFacingError
from mnist_study.home import Home


def serve_ui(home: Home, port: int, on_start: Callable[[str], None]) -> None:
    """Run `mlflow server` on 127.0.0.1 until it ends.

    Args:
        home: whose stores are shown.
        port: 0 takes a free one.
        on_start: gets the address.

    Raises:
        UserFacingError: there is nothing to show, the port is taken, or the server failed.
    """
    if home.artifact_root is not None and not (home.path / "mlflow.db").exists():
        raise UserFacingError(
            f"{home.path}: no MLflow store here; run `mnist-study study` first, or give --home"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserFacingError(
                f"port {port} is taken ({error.strerror}); choose another with --port, 0 for any"
            ) from error
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", home.tracking_uri, "--workers", "1",
    ]  # fmt: skip
    if home.artifact_root is not None:
        command += ["--default-artifact-root", home.artifact_root]
    environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"} | dict(os.environ)
    on_start(f"http://127.0.0.1:{port}")
    status = subprocess.run(command, env=environment, check=False).returncode
    if status not in (0, -2, 130):
        raise UserFacingError(f"MLflow's server ended with status {status}; see its output above")
