"""Execution of trials on Dask workers with effectively-once semantics."""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from distributed import Client, Future, LocalCluster
from distributed.scheduler import KilledWorker

from mnist_study.core.errors import UserFacingError
from mnist_study.core.identity import EnvironmentIdentity
from mnist_study.core.text import first_line
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialSpec, TrialState
from mnist_study.data.dataset import TestSet, TrainingSet
from mnist_study.execution.local_workers import LocalWorkers
from mnist_study.execution.worker import DataPlugin, WorkerRefusedError, run_on_worker

# A trial that kills its worker this often before its first epoch is given up.
MAX_DEATHS_BEFORE_AN_EPOCH = 3
# A trial that gets through an epoch and still dies this often will hardly end either.
MAX_DEATHS = 50
CONNECT_SECONDS = 6
PATIENCE_SECONDS = 15


class ClusterError(UserFacingError):
    """Workers that cannot be started or reached."""


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
    """A message about the workers for the user."""

    text: str


Event = EpochEvent | ResultEvent | NoticeEvent


@dataclass(slots=True, eq=False)
class _Submitted:
    """A trial that has not ended, and what became of its attempts.

    Attributes:
        spec: the trial.
        future: of the latest attempt; None while no worker may train it.
        worker: address at which the latest attempt has begun.
        had_epoch: whether the latest attempt has finished an epoch.
        n_deaths: workers that died while they trained it.
        n_early_deaths: those of them that died before an epoch.
    """

    spec: TrialSpec
    future: Future | None = None
    worker: str | None = None
    had_epoch: bool = False
    n_deaths: int = 0
    n_early_deaths: int = 0


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
        self._name = "the local workers" if address is None else f"--cluster {address}"
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._trials: dict[int, _Submitted] = {}
        self._refused: set[str] = set()
        self._has_trained = False
        self._without_worker_since: float | None = None
        self._local = _start_local_workers(n_workers) if address is None else None
        self._client = _connect(self._local.cluster if self._local else address)
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
        # An error of a worker arrives as itself or as its text alone.
        except Exception as error:
            raise ClusterError(
                f"{self._name}: a worker cannot be prepared for training ({first_line(error)}); "
                "expected mnist-study, of the driver's version and with its packages, in every "
                "worker's environment; install it there and start the worker again"
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
                f"{self._name}: its scheduler does not answer any more ({error}); what is "
                "finished is stored; start it again, then the same command resumes"
            ) from error
        return threads

    @property
    def n_running(self) -> int:
        """How many trials were submitted and have not ended."""
        return len(self._trials)

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the local workers."""
        return self._local.pids if self._local else []

    def submit(self, spec: TrialSpec) -> None:
        """Hand a trial to the workers."""
        self._trials[spec.number] = _Submitted(spec)
        self._submit(spec.number)

    def events(self, timeout_seconds: float) -> Iterator[Event]:
        """Wait for an event, then yield all that have arrived.

        Raises:
            ClusterError: no worker is left that may train for this study.
        """
        if self._local is not None:
            self._local.replace_lost()
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
        if self._local is not None:
            self._local.stop(self._client)
        else:
            futures = [trial.future for trial in self._trials.values()]
            self._client.cancel([future for future in futures if future is not None], force=True)
            self._client.close()

    def _on_silence(self) -> Iterator[Event]:
        """Submit the trials that no worker might train; give notice if that lasts long."""
        if self.n_slots:
            self._without_worker_since = None
            for number in sorted(self._trials):
                if self._trials[number].future is None:
                    self._submit(number)
        elif self._without_worker_since is None:
            self._without_worker_since = time.monotonic()
        elif time.monotonic() - self._without_worker_since > PATIENCE_SECONDS:
            self._without_worker_since = float("inf")
            yield NoticeEvent("there is no worker that may train; waiting until one joins")

    def _submit(self, number: int) -> None:
        trial = self._trials[number]
        trial.future, trial.worker, trial.had_epoch = None, None, False
        allowed = None
        if self._refused:
            allowed = [a for a in self._threads() if a not in self._refused]
            if not allowed:  # which Dask would read as any worker
                return
        key = f"trial-{number}-attempt-{time.time_ns()}"
        trial.future = self._client.submit(
            run_on_worker, trial.spec, self._plugin_name, self._topic, key,
            key=key, pure=False, workers=allowed,
        )  # fmt: skip
        trial.future.add_done_callback(lambda done: self._fetch(number, done))

    def _fetch(self, number: int, future: Future) -> None:
        """Get the outcome from its worker, in a thread that waits if the worker dies meanwhile.

        Dask would run the trial again by itself; `_on_lost` does so, and ends the waiting.
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
        trial = self._trials.get(number)
        if trial is None or trial.future is None or trial.future.key != content["attempt"]:
            return  # of an attempt that was replaced, on a worker that was taken for dead
        if "epoch" in content:
            trial.had_epoch = True
            yield EpochEvent(number, EpochMetrics(*content["epoch"]))
        else:
            trial.worker = content["worker"]
            self._has_trained = True

    def _on_done(
        self, number: int, future: Future, outcome: TrialResult | Exception
    ) -> Iterator[Event]:
        if number not in self._trials or self._trials[number].future is not future:
            return  # an attempt that was replaced
        if isinstance(outcome, WorkerRefusedError):
            self._refused.add(outcome.address)
            yield NoticeEvent(
                f"worker {outcome.address} is refused, its results would differ in their bits: "
                f"{outcome.changed}"
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
            del self._trials[number]
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
        trials = [self._trials[number] for number in sorted(self._trials)]
        by_key = {trial.future.key: trial for trial in trials if trial.future is not None}
        lost = [trial for key, trial in by_key.items() if key in processing]
        blamed = [trial for trial in lost if trial.worker == worker] or lost[:1]
        lost += [trial for key, trial in by_key.items() if key in computed]
        for trial in lost:
            number = trial.spec.number
            if trial in blamed:
                trial.n_deaths += 1
                trial.n_early_deaths += not trial.had_epoch
            self._client.cancel([trial.future])
            if trial.n_early_deaths >= MAX_DEATHS_BEFORE_AN_EPOCH or trial.n_deaths >= MAX_DEATHS:
                del self._trials[number]
                yield ResultEvent(_worker_lost(trial))
            else:
                yield NoticeEvent(f"worker {worker} died; trial {number} is run again")
                self._submit(number)


def _start_local_workers(n_workers: int) -> LocalWorkers:
    try:
        return LocalWorkers(n_workers)
    except RuntimeError as error:  # Dask's error for a process that did not start
        raise ClusterError(
            f"{n_workers} local workers: they cannot be started ({error}); expected memory, "
            "processes and open files for as many; take fewer with --workers"
        ) from error


def check_scheduler(address: str) -> None:
    """Check that a Dask scheduler answers at an address.

    Raises:
        ClusterError: it does not.
    """
    _connect(address).close()


def _connect(cluster: LocalCluster | str) -> Client:
    # Dask gives the second logger a level of its own.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return Client(cluster, timeout=CONNECT_SECONDS, set_as_default=False)
    # TypeError: a protocol that is not set up, such as tls without a certificate.
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        place = f"--cluster {cluster}" if isinstance(cluster, str) else "the local workers"
        reason = first_line(error) or type(error).__name__
        raise ClusterError(
            f"{place}: no Dask scheduler answered within {CONNECT_SECONDS} s ({reason}); expected "
            "an address such as tcp://host:8786, where `dask scheduler` runs; start it there, or "
            "leave --cluster out to use local workers"
        ) from error


def _worker_lost(trial: _Submitted) -> TrialResult:
    return TrialResult(
        number=trial.spec.number,
        params=trial.spec.params,
        state=TrialState.FAILED,
        reason=f"worker-lost: its worker died {trial.n_deaths} times, {trial.n_early_deaths} of "
        "them before an epoch",
        lost_worker=True,
    )
