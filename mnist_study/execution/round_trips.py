"""The way of a trial to a worker process and back without the training, to measure its cost."""

from __future__ import annotations

import os
import time
from typing import Self

from distributed import Client, LocalCluster, get_worker
from distributed.security import Security


class RoundTrips:
    """A scheduler and one worker process on this machine, with or without encryption."""

    def __init__(self, *, encrypted: bool) -> None:
        """Start them.

        Args:
            encrypted: TLS with credentials of their own, as for local workers; else plain TCP.
        """
        self._cluster = LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, memory_limit=0,
            dashboard_address=None, silence_logs="CRITICAL",
            protocol="tls://" if encrypted else "tcp://",
            security=Security.temporary() if encrypted else None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        )  # fmt: skip
        self._client = Client(self._cluster, set_as_default=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._cluster.close()

    def lap(self, n_bytes: int, n_events: int) -> float:
        """Send a trial, its live epochs and its model; return the seconds.

        Args:
            n_bytes: of the model.
            n_events: as many as epochs.
        """
        start = time.perf_counter()
        self._client.submit(_pretend, n_bytes, n_events, pure=False).result()
        return time.perf_counter() - start


def _pretend(n_bytes: int, n_events: int) -> bytes:
    worker = get_worker()
    for number in range(n_events):
        worker.log_event("round-trips", {"number": number})
    return os.urandom(n_bytes)
