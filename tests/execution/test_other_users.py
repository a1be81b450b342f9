"""Other users of the machine: they run no code in a study, and read nothing of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from command_line import written
from distributed import Client, LocalCluster
from study_process import Driver, StudyHome, wait_until

from mnist_study.execution.local_workers import LocalWorkers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may become `nobody`"),
]
AS_NOBODY = Path(__file__).parents[1] / "as_nobody.py"
CREDENTIALS = ("tls_ca_file", "tls_client_cert", "tls_client_key")


def tried(
    ports: Sequence[int] = (),
    folders: Sequence[Path] = (),
    credentials: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Return what the account `nobody` got into."""
    task = {"ports": ports, "folders": [str(f) for f in folders], "credentials": credentials}
    ended = subprocess.run(
        [sys.executable, AS_NOBODY], input=json.dumps(task), capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    assert found["user"] == [65534] * 3
    return found


def ports_of(*processes: psutil.Process) -> list[int]:
    """Return the ports that processes listen at."""
    return sorted(
        {
            connection.laddr.port
            for process in processes
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
    )


def test_nobody_is_let_in_by_scheduler_and_workers_without_their_credentials() -> None:
    local = LocalWorkers(1)
    client = Client(local.cluster, set_as_default=False)
    security = local.cluster.security
    ports = ports_of(psutil.Process(), *map(psutil.Process, local.pids))
    with LocalCluster(
        n_workers=0, protocol="tcp", processes=False, dashboard_address=":0"
    ) as careless:  # fmt: skip
        control = int(careless.scheduler_address.rpartition(":")[2])
        pages = int(careless.scheduler.services["dashboard"].port)
        try:
            known = {name: getattr(security, name) for name in CREDENTIALS}
            found = tried([*ports, control, pages], credentials=known)
        finally:
            local.stop(client)
    # One that asks for nothing lets it in, and these do with the driver's credentials.
    assert found["entered"]["none"] == [control]
    assert found["entered"]["stranger"] == []
    assert len(found["entered"]["known"]) >= 3  # scheduler, nanny, worker
    assert found["pages"] != []
    assert {urlsplit(page).port for page in found["pages"]} == {pages}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Driver, Path]]:
    """A study that trains, and the folder of its home and its temporary files, open to all."""
    folder = Path(tempfile.mkdtemp(prefix="test-other-users-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o1777)
    file = written(tmp_path, n_trials=1000, epochs=3)
    home = StudyHome(folder / "home", file, {"TMPDIR": str(folder / "tmp")})
    driver = home.start("--workers", "2")
    try:
        assert wait_until(lambda: "trial   1 COMPLETE" in driver.text(), 300), driver.text()
        yield driver, folder
    finally:
        driver.interrupt()
        driver.wait()
        shutil.rmtree(folder)


def test_nobody_enters_or_reads_a_study_that_runs(running: tuple[Driver, Path]) -> None:
    driver, folder = running
    ports = ports_of(driver.process, *driver.process.children(recursive=True))
    assert len(ports) >= 5  # scheduler, two nannies, two workers
    (temporary,) = (folder / "tmp").glob("mnist-study-run-*")
    found = tried(ports, [folder / "home", temporary])
    assert found["entered"] == {"none": [], "stranger": []}
    assert found["pages"] == []
    assert found["n_known_paths"] >= 3
    # The test itself made the home, as somebody may before the first study.
    assert found["readable"] == [str(folder / "home"), str(folder / "home" / "driver.log")]
