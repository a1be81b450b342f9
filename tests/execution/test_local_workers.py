"""Local workers do what their driver asks, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator

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
    try:
        client = Client(address, security=security, timeout=3, set_as_default=False)
    except (OSError, TypeError):
        return False
    client.close()
    return True


def test_only_the_drivers_credentials_open_the_scheduler(workers: LocalWorkers) -> None:
    address = workers.cluster.scheduler_address
    assert connects(address, workers.cluster.security)
    assert not connects(address, None)
    assert not connects(address, Security.temporary())
    assert not connects("tcp://" + address.partition("://")[2], None)


def test_only_the_drivers_credentials_open_a_worker(workers: LocalWorkers) -> None:
    (worker,) = workers.cluster.scheduler.workers
    assert worker.startswith("tls://")
