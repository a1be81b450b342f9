"""MLflow's own user interface, as a server that ends with this program."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import Home
from mnist_study.tracking.connection import is_server, shown
from mnist_study.tracking.ending_with_parent import end_group
from mnist_study.tracking.endpoint import Endpoint
from mnist_study.tracking.relocation import relocate

_Prepared = TypeVar("_Prepared")
POLL_SECONDS = 0.2


def serve_ui(
    home: Home,
    endpoint: Endpoint,
    say: Callable[[str], None],
    prepare: Callable[[], _Prepared],
    on_start: Callable[[str, _Prepared], None],
) -> None:
    """Run `mlflow server` until this process is asked to end, or is killed.

    If the store is behind a server, only that server's address is shown.

    Args:
        home: whose store is shown.
        endpoint: where to listen.
        say: shows a message, a line each.
        prepare: work that can be done while the server starts.
        on_start: called with the address, once the server answers there, and what was prepared.

    Raises:
        UserFacingError: there is nothing to show, the port is taken, or the server failed.
    """
    if not home.has_mlflow_store:
        raise UserFacingError(
            f"{home.path}: no MLflow store here; run `mnist-study study` first, or give --home"
        )
    if is_server(home.tracking_uri):
        on_start(shown(home.tracking_uri).rstrip("/"), prepare())
        return
    port = endpoint.free_port()
    warning = endpoint.warning("read, change and delete all runs and models")
    if warning is not None:
        say(warning)
    if home.artifact_root is not None:
        relocate(home.mlflow_database, Path(home.artifact_root))
    command = [
        sys.executable, "-m", "mnist_study.tracking.ending_with_parent",
        sys.executable, "-m", "mlflow", "server", "--host", endpoint.host, "--port", str(port),
        "--workers", "1",
    ]  # fmt: skip
    if home.artifact_root is not None:
        command += ["--default-artifact-root", home.artifact_root]
    # A session of its own: the signals of a terminal reach this program alone, which then ends it.
    say(f"starting MLflow's server; its output goes to {home.server_log} …")
    with (
        home.server_log.open("ab") as log,
        subprocess.Popen(
            command,
            env=_environment(home, endpoint),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as server,
    ):
        try:
            prepared = prepare()
            if _wait_for_answer(endpoint.url(port, local=True), server):
                on_start(endpoint.url(port), prepared)
            status = server.wait()
        finally:
            end_group(server.pid, server)
    raise UserFacingError(
        f"MLflow's server ended by itself with status {status}, expected it to serve until Ctrl-C; "
        f"its output is in {home.server_log}"
    )


def _wait_for_answer(url: str, server: subprocess.Popen[bytes]) -> bool:
    """Wait until a server answers; return False if it ends before."""
    # Not through a proxy that the user may have set.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while server.poll() is None:
        try:
            direct.open(f"{url}/health", timeout=POLL_SECONDS).close()
        except OSError:
            time.sleep(POLL_SECONDS)
        else:
            return True
    return False


def _environment(home: Home, endpoint: Endpoint) -> dict[str, str]:
    """Return the environment of MLflow's server, whose other settings are the user's."""
    names = endpoint.names()
    defaults = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        # Its background jobs serve agents, and would be eight more processes.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # MLflow's own defaults let in every name that begins with 10. or 192.168.
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(h for name in names for h in (name, f"{name}:*")),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(
            f"{scheme}://{name}{port}"
            for name in names
            for scheme in ("http", "https")
            for port in ("", ":*")
        ),
    }
    # Not among the arguments, which every user of the machine can read: it may hold a password.
    return defaults | dict(os.environ) | {"MLFLOW_BACKEND_STORE_URI": home.tracking_uri}
