"""Execution of trials on Dask workers, each exactly once as far as anyone can see."""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Self

import dask
from distributed import Client, Future, LocalCluster, Status
from distributed.scheduler import KilledWorker
from distributed.utils import LoopRunner

from mnist_study.core.errors import UserFacingError
from mnist_study.core.identity import EnvironmentIdentity
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialSpec, TrialState
from mnist_study.data.dataset import TestSet, TrainingSet
from mnist_study.execution.worker import DataPlugin, WorkerRefusedError, run_on_worker

# A trial that kills its worker this often before its first epoch is given up.
MAX_DEATHS_BEFORE_AN_EPOCH = 3
# A trial that gets through an epoch and still dies this often will hardly end either.
MAX_DEATHS = 50
CONNECT_SECONDS = 6
PATIENCE_SECONDS = 15
LOOK_SECONDS = 3


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
        test_set: only for jobs that read it.
    """

    def __init__(
        self,
        training_set: TrainingSet,
        *,
        identity: EnvironmentIdentity | None,
        n_workers: int,
        address: str | None,
        log_path: Path,
        test_set: TestSet | None = None,
    ) -> None:
        self._local: LocalCluster | None = None
        self._n_workers = n_workers
        self._place = "the local workers" if address is None else f"--cluster {address}"
        self._next_look = 0.0
        self._loop = LoopRunner()
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._specs: dict[int, TrialSpec] = {}
        self._futures: dict[int, Future] = {}
        self._attempts: Counter[int] = Counter()
        self._deaths: Counter[int] = Counter()
        self._deaths_before_an_epoch: Counter[int] = Counter()
        self._started: dict[int, str] = {}
        self._had_epoch: set[int] = set()
        self._refused: set[str] = set()
        self._waiting: set[int] = set()
        self._has_trained = False
        self._without_worker_since: float | None = None
        if address is None:
            _start_quiet_resource_tracker()
            _start_deaf_to_ctrl_c(self._loop)
            try:
                self._local = _local_cluster(n_workers, self._loop)
            except RuntimeError as error:  # how Dask says that a process did not come up
                raise ClusterError(
                    f"{n_workers} local workers: they cannot be started ({error}); expected "
                    "memory, processes and open files for as many; take fewer with --workers"
                ) from error
        self._client = _connect(self._local or address)
        # Its own, because drivers of other studies may use the same cluster.
        self._topic = f"mnist-study-{uuid.uuid4().hex}"
        for topic, kind in (("all", "all"), (self._topic, "message")):
            self._client.subscribe_topic(
                topic, lambda event, kind=kind: self._events.put((kind, event[1]))
            )
        stderr_path = str(log_path) if address is None else None
        plugin = DataPlugin(training_set, test_set, identity, stderr_path)
        self._plugin_name = plugin.name
        try:
            self._client.register_plugin(plugin)
        # Whatever a worker raised comes here, as that or as its text alone.
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise ClusterError(
                f"{self._place}: a worker cannot be prepared for training ({reason}); expected "
                "mnist-study, of the driver's version and with its packages, in every worker's "
                "environment; install it there and start the worker again"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        self.stop()

    @property
    def n_slots(self) -> int:
        """How many trials can train at once now; 0 while all workers are being replaced."""
        return sum(n for address, n in self._threads().items() if address not in self._refused)

    def _threads(self) -> Mapping[str, int]:
        """Return the number of threads of each worker, by its address."""
        try:
            threads: Mapping[str, int] = self._client.nthreads()
        except OSError as error:
            raise ClusterError(
                f"{self._place}: its scheduler does not answer any more ({error}); what is "
                "finished is stored; start it again, then the same command resumes"
            ) from error
        return threads

    @property
    def n_running(self) -> int:
        """How many trials were submitted and have not ended."""
        return len(self._specs)

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
        self._replace_lost_workers()
        try:
            first = self._events.get(timeout=timeout_seconds)
        except queue.Empty:
            yield from self._on_silence()
            return
        pending = [first]
        while not self._events.empty():
            pending.append(self._events.get())
        for kind, content in pending:
            if kind == "message":
                yield from self._on_message(content)
            elif kind == "done":
                yield from self._on_done(*content)
            elif content.get("action") == "remove-worker":
                yield from self._on_lost(
                    content["worker"], content["processing-tasks"], content["lost-computed-tasks"]
                )

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
                nanny.status = (
                    Status.failed
                )  # so that it starts no other in the place of a dead one
            self._kill_workers()
            self._client.close()
            try:
                self._local.close(timeout=5)
            except TimeoutError:
                # It waits for a worker that is being started in place of a dead one.
                self._kill_workers()
            self._loop.stop()
        finally:
            logging.disable(logging.NOTSET)

    def _kill_workers(self) -> None:
        for pid in self.worker_pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _replace_lost_workers(self) -> None:
        """Start local workers anew where Dask has given up, as it does if one dies while it starts.

        It replaces by itself those that had started, and forgets the others without a word.
        """
        if self._local is None or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        if len(self._local.workers) < self._n_workers:
            self._local.scale(self._n_workers)

    def _on_silence(self) -> Iterator[Event]:
        """Hand out what waits for a worker that may train, and say so if there is none for long."""
        if self.n_slots:
            self._without_worker_since = None
            for number in sorted(self._waiting):
                self._submit(number)
        elif self._without_worker_since is None:
            self._without_worker_since = time.monotonic()
        elif time.monotonic() - self._without_worker_since > PATIENCE_SECONDS:
            self._without_worker_since = float("inf")
            yield NoticeEvent("there is no worker that may train; waiting until one joins")

    def _submit(self, number: int) -> None:
        attempt = self._attempts[number]
        self._attempts[number] += 1
        self._started.pop(number, None)
        self._had_epoch.discard(number)
        self._waiting.discard(number)
        allowed = None
        if self._refused:
            allowed = [a for a in self._threads() if a not in self._refused]
            if not allowed:  # which Dask would read as any worker
                self._futures.pop(number, None)
                self._waiting.add(number)
                return
        key = f"trial-{number}-attempt-{attempt}-{time.time_ns()}"
        future = self._client.submit(
            run_on_worker, self._specs[number], self._plugin_name, self._topic, key,
            key=key, pure=False, workers=allowed,
        )  # fmt: skip
        self._futures[number] = future
        future.add_done_callback(lambda done: self._fetch(number, done))

    def _fetch(self, number: int, future: Future) -> None:
        """Get the outcome from its worker in a thread: it can die with it, and is then waited for.

        Dask would run the trial again by itself; `_on_lost` does so, and ends this waiting.
        """

        def fetch() -> None:
            try:
                outcome: TrialResult | Exception = future.result()
            except Exception as error:
                outcome = error
            self._events.put(("done", (number, future, outcome)))

        threading.Thread(target=fetch, name=f"fetch-{number}", daemon=True).start()

    def _on_message(self, content: Mapping[str, Any]) -> Iterator[Event]:
        number = content["number"]
        future = self._futures.get(number)
        if future is None or future.key != content["attempt"]:
            return  # of an attempt that was replaced, on a worker that was taken for dead
        if "epoch" in content:
            self._had_epoch.add(number)
            yield EpochEvent(number, EpochMetrics(*content["epoch"]))
        else:
            self._started[number] = content["worker"]
            self._has_trained = True

    def _on_done(
        self, number: int, future: Future, outcome: TrialResult | Exception
    ) -> Iterator[Event]:
        if number not in self._futures or self._futures[number] is not future:
            return  # an attempt that was replaced
        if isinstance(outcome, WorkerRefusedError):
            self._refused.add(outcome.address)
            yield NoticeEvent(
                f"worker {outcome.address} is refused, it would give other bits: {outcome.changed}"
            )
            if not self.n_slots and not self._has_trained:
                raise ClusterError(
                    "no worker of the cluster matches this study's driver; the last differs in "
                    f"{outcome.changed}; expected the same packages and CPU type, or --allow-mixed"
                ) from outcome
            self._submit(number)
        elif isinstance(outcome, (KilledWorker, CancelledError)):
            # A running cluster's own limit, where ours is the one that counts; or somebody else
            # has restarted the cluster.
            self._submit(number)
        elif isinstance(outcome, Exception):
            raise outcome
        else:
            del self._futures[number], self._specs[number]
            yield ResultEvent(outcome)

    def _on_lost(
        self, worker: str, processing: Collection[str], computed: Collection[str]
    ) -> Iterator[Event]:
        """Run the trials of a dead worker again, and blame the one that was training.

        Args:
            worker: its address.
            processing: keys of the trials that it was given.
            computed: keys of those that had ended, and whose results died with it.
        """
        lost = sorted(n for n, future in self._futures.items() if future.key in set(processing))
        training = [n for n in lost if self._started.get(n) == worker] or lost[:1]
        lost += sorted(n for n, future in self._futures.items() if future.key in set(computed))
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


def check_scheduler(address: str) -> None:
    """Look whether a Dask scheduler answers at an address.

    Raises:
        ClusterError: it does not.
    """
    _connect(address).close()


def _connect(cluster: LocalCluster | str) -> Client:
    # Dask gives the second a level of its own.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return Client(cluster, timeout=CONNECT_SECONDS, set_as_default=False)
    # TypeError: a protocol that is not set up, such as tls without a certificate.
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        place = f"--cluster {cluster}" if isinstance(cluster, str) else "the local workers"
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ClusterError(
            f"{place}: no Dask scheduler answered within {CONNECT_SECONDS} s ({reason}); expected "
            "an address such as tcp://host:8786, where `dask scheduler` runs; start it there, or "
            "leave --cluster out to use local workers"
        ) from error


def _start_quiet_resource_tracker() -> None:
    """Start the process that clears up after this one; it would warn that there was need to."""
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.pop()


def _start_deaf_to_ctrl_c(loop: LoopRunner) -> None:
    """Start Dask's event loop in a thread whose worker processes inherit a blocked SIGINT.

    Ctrl-C reaches every process of a terminal, but stopping the workers is the driver's decision.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        loop.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _local_cluster(n_workers: int, loop: LoopRunner) -> LocalCluster:
    dask.config.set(
        {
            # Deaths are counted here: Dask's count blames tasks that only waited.
            "distributed.scheduler.allowed-failures": 1_000_000,
            "distributed.scheduler.worker-saturation": 1.0,
            # A process that ended is noticed at once; a silent one may be building a network, or
            # the machine was asleep, and goes on.
            "distributed.scheduler.worker-ttl": None,
            "distributed.admin.log-format": "%(asctime)s %(name)s %(levelname)s %(message)s",
        }
    )
    return LocalCluster(
        n_workers=n_workers, threads_per_worker=1, processes=True, memory_limit=0,
        dashboard_address=None, silence_logs="CRITICAL", loop=loop.loop,
        # No dashboard, but its server starts all the same: at any free port of this machine alone.
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
    )  # fmt: skip


def _worker_lost(spec: TrialSpec, deaths: int, early: int) -> TrialResult:
    return TrialResult(
        number=spec.number,
        params=spec.params,
        state=TrialState.FAILED,
        reason=f"worker-lost: its worker died {deaths} times, {early} of them before an epoch",
        lost_worker=True,
    )
