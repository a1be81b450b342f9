"""PostgreSQL and MLflow's server as real processes on this machine, each with a password."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from command_line import ENVIRONMENT

PASSWORD = "p/w@1:#-twelve"
"""Of PostgreSQL's and of MLflow's user: in an address it has to be escaped."""
ESCAPED = quote(PASSWORD, safe="")


def postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, of which Debian puts none into PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    needed = ("initdb", "pg_ctl", "createdb")
    return next((f for f in folders if all((f / name).exists() for name in needed)), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def postgres(programs: Path) -> Iterator[str]:
    """Run PostgreSQL with two empty databases; yield its address up to their name."""
    # It refuses to run as root, and a folder of pytest is closed to its own user.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="mnist-study-postgres-", dir="/tmp"))
    port = free_port()
    try:
        (folder / "password").write_text(PASSWORD + "\n")
        if as_user:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres")

        def run(program: str, *arguments: str) -> None:
            command = [*as_user, str(programs / program), *arguments]
            subprocess.run(command, check=True, capture_output=True, timeout=300, cwd="/")

        data = str(folder / "data")
        run("initdb", "-D", data, "-U", "study", "-A", "scram-sha-256", "--no-sync",
            "--pwfile", str(folder / "password"), "-E", "UTF8")  # fmt: skip
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        run("pg_ctl", "-D", data, "-w", "-t", "200", "-o", options, "-l", f"{folder}/log", "start")
        try:
            environment = {**os.environ, "PGPASSWORD": PASSWORD}
            for name in ("mlflow", "optuna", "other"):
                subprocess.run(
                    [
                        str(programs / "createdb"), "-h", "127.0.0.1", "-p", str(port),
                        "-U", "study", name,
                    ],
                    check=True, env=environment, timeout=60,
                )  # fmt: skip
            yield f"postgresql://study:{ESCAPED}@127.0.0.1:{port}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@contextmanager
def mlflow_server(folder: Path, store: str, *options: str, **environment: str) -> Iterator[str]:
    """Run MLflow's server with artifacts in a folder; yield its address."""
    port = free_port()
    log = folder / "server.log"
    address = f"http://127.0.0.1:{port}"
    variables = {
        "MLFLOW_BACKEND_STORE_URI": store,
        "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [
        sys.executable, "-m", "mnist_study.tracking.ending_with_parent",
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", *options,
    ]  # fmt: skip
    with log.open("wb") as output, subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True,
        env={**ENVIRONMENT, **variables, **environment},
    ) as server:  # fmt: skip
        try:
            deadline = time.monotonic() + 300
            while True:
                with suppress(OSError):
                    urllib.request.urlopen(f"{address}/health", timeout=5).close()
                    break
                assert time.monotonic() < deadline, log.read_text()
                assert server.poll() is None, log.read_text()
                time.sleep(0.5)
            yield address
        finally:
            assert server.stdin is not None
            server.stdin.close()
            server.wait(20)
