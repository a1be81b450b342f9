"""Local workers do what their driver asks, and nobody else."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from distributed import Client
from distributed.security import Security

from mnist_study.execution.local_workers import LocalWorkers


@pytest.fixture(scope="module")
def workers() -> Iterator[LocalWorkers]:
    local = LocalWorkers(1)
    client = Client(local.cluster, set_as_default=False)
    yield local
    local.stop(client)


def connects(address: str, security: Security | None) -> bool:
    client = None
    try:
        client = Client(address, security=security, timeout=3, set_as_default=False)
        client.close()
    except (OSError, TypeError):
        pass
    # A client that failed closes itself when it is collected. While another one starts, that would
    # wait for a lock which its own thread holds.
    gc.collect()
    return client is not None


def test_only_the_drivers_credentials_open_the_scheduler(workers: LocalWorkers) -> None:
    address = workers.cluster.scheduler_address
    assert connects(address, workers.cluster.security)
    assert not connects(address, None)
    assert not connects(address, Security.temporary())
    assert not connects("tcp://" + address.partition("://")[2], None)


def test_only_the_drivers_credentials_open_a_worker(workers: LocalWorkers) -> None:
    (worker,) = workers.cluster.scheduler.workers
    assert worker.startswith("tls://")


@pytest.mark.parametrize("page", ["info/main/workers.html", "json/identity.json", "metrics"])
def test_pages_about_trials_and_workers_are_shown_to_nobody(
    workers: LocalWorkers, page: str
) -> None:
    scheduler = workers.cluster.scheduler
    (worker,) = scheduler.workers.values()
    for port in (scheduler.services["dashboard"].port, worker.services["dashboard"]):
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"http://127.0.0.1:{port}/{page}", timeout=60)
