"""Dask worker processes on this machine: their start, and their end without Dask's patience."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker

import dask
from distributed import Client, LocalCluster, Status
from distributed.security import Security
from distributed.utils import LoopRunner

LOOK_SECONDS = 3


class LocalWorkers:
    """Worker processes of one thread each, with a scheduler of their own.

    Attributes:
        cluster: Dask's, to connect a client to.

    Raises:
        RuntimeError: a process did not start.
    """

    def __init__(self, n_workers: int) -> None:
        self._n_workers = n_workers
        self._next_look = 0.0
        self._loop = LoopRunner()
        _forget_users_settings()
        _start_quiet_resource_tracker()
        # Worker processes inherit the signal mask of the thread that starts here.
        with _terminal_signals_blocked():
            self._loop.start()
        dask.config.set(
            {
                # `TrialCluster` counts deaths: Dask's count blames tasks that only waited.
                "distributed.scheduler.allowed-failures": 1_000_000,
                "distributed.scheduler.worker-saturation": 1.0,
                # A process that ended is noticed at once; a silent one may be building a network,
                # or the machine was asleep, and goes on.
                "distributed.scheduler.worker-ttl": None,
                # Pages about tasks and workers ask for no credentials.
                "distributed.scheduler.http.routes": [],
                "distributed.worker.http.routes": [],
                "distributed.admin.log-format": "%(asctime)s %(name)s %(levelname)s %(message)s",
            }
        )
        self.cluster = LocalCluster(
            n_workers=n_workers, threads_per_worker=1, processes=True, memory_limit=0,
            dashboard_address=None, silence_logs="CRITICAL", loop=self._loop.loop,
            # Whoever reaches a scheduler runs code in its workers, and 127.0.0.1 is open to every
            # user of the machine: only holders of these credentials, kept in memory, are let in.
            protocol="tls://", security=Security.temporary(),
            # The dashboard's server starts even without one: at any free port of this machine.
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        )  # fmt: skip

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [nanny.pid for nanny in self.cluster.workers.values() if nanny.pid is not None]

    def replace_lost(self) -> None:
        """Start the workers that Dask has given up: those that died while they were starting.

        It replaces by itself the workers that had started, and forgets the others silently.
        """
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        if len(self.cluster.workers) < self._n_workers:
            self.cluster.scale(self._n_workers)

    def stop(self, client: Client) -> None:
        """Kill the workers at once, and close the client and the scheduler."""
        # Dask reports each broken connection of the workers that are killed here.
        logging.disable(logging.CRITICAL)
        try:
            for nanny in self.cluster.workers.values():
                nanny.status = Status.failed  # so that it does not replace its dead worker
            self._kill()
            client.close()
            try:
                self.cluster.close(timeout=5)
            except TimeoutError:
                # It waits for a worker that is being started in place of a dead one.
                self._kill()
            self._loop.stop()
        finally:
            logging.disable(logging.NOTSET)

    def _kill(self) -> None:
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _forget_users_settings() -> None:
    """Take Dask as it comes, here and in the workers that are started from here on.

    A user's settings are about his own clusters; a worker's lifetime or a short patience of theirs
    would end trials here.
    """
    for name in [name for name in os.environ if name.startswith("DASK_")]:
        del os.environ[name]
    dask.config.refresh(paths=[], env={})


def _start_quiet_resource_tracker() -> None:
    """Start Python's resource tracker without its warning that it had to clean up."""
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    try:
        with _terminal_signals_blocked():
            resource_tracker.ensure_running()
    finally:
        sys.warnoptions.pop()


@contextmanager
def _terminal_signals_blocked() -> Iterator[None]:
    """Block SIGINT and SIGHUP in whatever is started in the block.

    Ctrl-C and the end of a terminal reach every process that belongs to it, but stopping the
    workers is the driver's decision.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
