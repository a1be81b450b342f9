"""Execution of trials on Dask workers, each exactly once as far as anyone can see."""

from __future__ import annotations

import logging
import os
import queue
import signal
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import dask
from distributed import Client, Future, LocalCluster
from distributed.scheduler import KilledWorker

from mnist_study.data import TrainingSet
from mnist_study.errors import UserFacingError
from mnist_study.records import EpochMetrics, TrialResult, TrialSpec, TrialState
from mnist_study.worker import TOPIC, DataPlugin, WorkerRefusedError, run_on_worker

# A trial that kills its worker this often before its first epoch is given up.
MAX_DEATHS_BEFORE_AN_EPOCH = 3
# A trial that gets through an epoch and still dies this often will hardly end either.
MAX_DEATHS = 50
CONNECT_SECONDS = 10


class ClusterError(UserFacingError):
    """Workers that cannot be had."""


@dataclass(frozen=True, slots=True)
class EpochEvent:
    """A worker has finished an epoch; may come twice, late, or not at all."""

    number: int
    metrics: EpochMetrics


@dataclass(frozen=True, slots=True)
class ResultEvent:
    """A trial has ended."""

    result: TrialResult


@dataclass(frozen=True, slots=True)
class NoticeEvent:
    """Something that the user should know about the workers."""

    text: str


Event = EpochEvent | ResultEvent | NoticeEvent


class TrialCluster:
    """Runs trials on local worker processes, or on a running Dask cluster.

    Args:
        training_set: the rows that every worker gets.
        identity: what each worker has to match; None admits any.
        n_workers: local worker processes, one thread each.
        address: scheduler of a running cluster, used instead of local workers.
        log_path: where local workers write their error output.
    """

    def __init__(
        self,
        training_set: TrainingSet,
        *,
        identity: Mapping[str, Any] | None,
        n_workers: int,
        address: str | None,
        log_path: Path,
    ) -> None:
        self._local: LocalCluster | None = None
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._specs: dict[int, TrialSpec] = {}
        self._futures: dict[int, Future] = {}
        self._attempts: Counter[int] = Counter()
        self._deaths: Counter[int] = Counter()
        self._deaths_before_an_epoch: Counter[int] = Counter()
        self._started: dict[int, str] = {}
        self._had_epoch: set[int] = set()
        self._refused: set[str] = set()
        try:
            if address is None:
                self._local = _local_cluster(n_workers)
            self._client = Client(
                self._local or address, timeout=CONNECT_SECONDS, set_as_default=False
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(
                f"--cluster {address}: no Dask scheduler answered within {CONNECT_SECONDS} s "
                f"({str(error).splitlines()[0]}); expected an address such as tcp://host:8786, "
                "where `dask scheduler` runs"
            ) from error
        self._client.subscribe_topic("all", lambda event: self._events.put(("all", event[1])))
        self._client.subscribe_topic(TOPIC, lambda event: self._events.put((TOPIC, event[1])))
        plugin = DataPlugin(training_set, identity, str(log_path) if address is None else None)
        self._client.register_plugin(plugin)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        self.stop()

    @property
    def n_slots(self) -> int:
        """How many trials can train at once now; 0 while all workers are being replaced."""
        threads: Mapping[str, int] = self._client.nthreads()
        return sum(n for address, n in threads.items() if address not in self._refused)

    @property
    def n_running(self) -> int:
        """How many trials were submitted and have not ended."""
        return len(self._futures)

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the local workers."""
        nannies = self._local.workers.values() if self._local else ()
        return [nanny.pid for nanny in nannies if nanny.pid is not None]

    def submit(self, spec: TrialSpec) -> None:
        """Hand a trial to the workers."""
        self._specs[spec.number] = spec
        self._submit(spec.number)

    def events(self, timeout_seconds: float) -> Iterator[Event]:
        """Wait for something to happen, then yield all that has.

        Raises:
            ClusterError: no worker is left that may train for this study.
        """
        try:
            first = self._events.get(timeout=timeout_seconds)
        except queue.Empty:
            return
        pending = [first]
        while not self._events.empty():
            pending.append(self._events.get())
        for kind, content in pending:
            if kind == TOPIC:
                yield from self._on_message(content)
            elif kind == "done":
                yield from self._on_done(*content)
            elif content.get("action") == "remove-worker":
                yield from self._on_lost(content["worker"], content["processing-tasks"])

    def stop(self) -> None:
        """Stop at once: local workers are killed, of a running cluster only our trials end."""
        if self._local is None:
            self._client.cancel(list(self._futures.values()), force=True)
            self._client.close()
            return
        # Dask reports each broken connection of the workers that are killed here.
        logging.disable(logging.CRITICAL)
        try:
            for nanny in self._local.workers.values():
                nanny.auto_restart = False
            for pid in self.worker_pids:
                os.kill(pid, signal.SIGKILL)
            self._client.close()
            self._local.close(timeout=5)
        finally:
            logging.disable(logging.NOTSET)

    def _submit(self, number: int) -> None:
        attempt = self._attempts[number]
        self._attempts[number] += 1
        self._started.pop(number, None)
        self._had_epoch.discard(number)
        allowed = None
        if self._refused:
            allowed = [a for a in self._client.nthreads() if a not in self._refused]
        future = self._client.submit(
            run_on_worker, self._specs[number], pure=False, workers=allowed,
            key=f"trial-{number}-attempt-{attempt}-{time.time_ns()}",
        )  # fmt: skip
        self._futures[number] = future
        future.add_done_callback(lambda done: self._events.put(("done", (number, done))))

    def _on_message(self, content: Mapping[str, Any]) -> Iterator[Event]:
        number = content["number"]
        if number not in self._futures:
            return
        if "epoch" in content:
            self._had_epoch.add(number)
            yield EpochEvent(number, EpochMetrics(*content["epoch"]))
        else:
            self._started[number] = content["worker"]

    def _on_done(self, number: int, future: Future) -> Iterator[Event]:
        current = self._futures.get(number)
        if current is None or current is not future or future.cancelled():
            return  # an attempt that was replaced
        try:
            result: TrialResult = future.result()
        except WorkerRefusedError as refusal:
            self._refused.add(refusal.address)
            yield NoticeEvent(
                f"worker {refusal.address} is refused, it would give other bits: {refusal.changed}"
            )
            if not self.n_slots:
                raise ClusterError(
                    "no worker of the cluster matches this study's driver; the last differs in "
                    f"{refusal.changed}; expected the same packages and CPU type, or --allow-mixed"
                ) from refusal
            self._submit(number)
            return
        except KilledWorker:
            # A running cluster's own limit; ours is the one that counts.
            self._submit(number)
            return
        del self._futures[number], self._specs[number]
        yield ResultEvent(result)

    def _on_lost(self, worker: str, keys: Collection[str]) -> Iterator[Event]:
        """Run the trials of a dead worker again, and blame the one that was training."""
        lost = sorted(n for n, future in self._futures.items() if future.key in set(keys))
        if not lost:
            return
        training = [n for n in lost if self._started.get(n) == worker] or lost[:1]
        for number in lost:
            if number in training:
                self._deaths[number] += 1
                self._deaths_before_an_epoch[number] += number not in self._had_epoch
            early, deaths = self._deaths_before_an_epoch[number], self._deaths[number]
            self._futures[number].cancel()
            if early >= MAX_DEATHS_BEFORE_AN_EPOCH or deaths >= MAX_DEATHS:
                del self._futures[number]
                yield ResultEvent(_worker_lost(self._specs.pop(number), deaths, early))
            else:
                yield NoticeEvent(f"worker {worker} died; trial {number} is run again")
                self._submit(number)


def _local_cluster(n_workers: int) -> LocalCluster:
    dask.config.set(
        {
            # Deaths are counted here: Dask's count blames tasks that only waited.
            "distributed.scheduler.allowed-failures": 1_000_000,
            "distributed.scheduler.worker-saturation": 1.0,
            "distributed.admin.log-format": "%(asctime)s %(name)s %(levelname)s %(message)s",
        }
    )
    return LocalCluster(
        n_workers=n_workers, threads_per_worker=1, processes=True, memory_limit=0,
        dashboard_address=None, silence_logs="CRITICAL",
    )  # fmt: skip


def _worker_lost(spec: TrialSpec, deaths: int, early: int) -> TrialResult:
    return TrialResult(
        number=spec.number,
        params=spec.params,
        state=TrialState.FAILED,
        reason=f"worker-lost: its worker died {deaths} times, {early} of them before an epoch",
        lost_worker=True,
    )
