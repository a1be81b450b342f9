"""Execution of trials on Dask workers with effectively-once semantics."""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from distributed import Future
from distributed.scheduler import KilledWorker

from mnist_study.core.environment import EnvironmentIdentity
from mnist_study.core.text import first_line
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialSpec, TrialState
from mnist_study.data.dataset import TestSet, TrainingSet
from mnist_study.execution.local_workers import LocalWorkers
from mnist_study.execution.losses import LossesInVain, TrialLosses
from mnist_study.execution.scheduler import ClusterError, advice_on, connect
from mnist_study.execution.worker import DataPlugin, WorkerRefusedError, run_on_worker

PATIENCE_SECONDS = 15
MAX_STARTS = 3


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
        losses: the workers that it has lost.
    """

    spec: TrialSpec
    future: Future | None = None
    worker: str | None = None
    had_epoch: bool = False
    losses: TrialLosses = field(default_factory=TrialLosses)


class TrialCluster:
    """Runs trials on local worker processes, or on a running Dask cluster.

    Args:
        training_set: the rows that every worker gets.
        identity: what each worker has to match; None admits any.
        n_workers: local worker processes, one thread each.
        address: scheduler of a running cluster, used instead of local workers.
        log_path: where local workers write their error output.
        test_set: only for jobs that read it.
        draw_trial: a function of a module, by which workers draw the curves of their trials; None
            leaves it to the driver.
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
        draw_trial: Callable[[TrialResult], bytes] | None = None,
    ) -> None:
        self._draw_trial = draw_trial
        self._name = "the local workers" if address is None else f"--cluster {address}"
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._trials: dict[int, _Submitted] = {}
        self._refused: set[str] = set()
        self._has_trained = False
        self._without_worker_since: float | None = None
        self._in_vain = LossesInVain(n_workers)
        # Its own, because drivers of other studies may use the same cluster.
        self._topic = f"mnist-study-{uuid.uuid4().hex}"
        stderr_path = str(log_path) if address is None else None
        plugin = DataPlugin(training_set, test_set, identity, stderr_path)
        self._plugin_name = plugin.name
        self._local: LocalWorkers | None = None
        if address is not None:
            self._client = connect(address)
            self._prepare(plugin)
        else:
            self._start(n_workers, plugin)

    def _start(self, n_workers: int, plugin: DataPlugin) -> None:
        """Start local workers; where one dies meanwhile, all are started again, a few times."""
        for is_last in (False,) * (MAX_STARTS - 1) + (True,):
            try:
                self._local = _start_local_workers(n_workers)
                self._client = connect(self._local.cluster)
                self._prepare(plugin)
            except ClusterError:
                if self._local is not None:
                    self._local.stop(self._client)
                    self._local = None
                if is_last:
                    raise
            else:
                return

    def _prepare(self, plugin: DataPlugin) -> None:
        """Listen to the workers, and give each the data."""
        for topic, kind in (("all", "all"), (self._topic, "message")):
            self._client.subscribe_topic(
                topic, lambda event, kind=kind: self._events.put((kind, event[1]))
            )
        try:
            self._client.register_plugin(plugin)
        # An error of a worker arrives as itself or as its text alone.
        except Exception as error:
            raise ClusterError(
                f"{self._name}: a worker cannot be prepared for training ({first_line(error)}); "
                f"{advice_on(error)}"
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
            ClusterError: no worker is left that may train for this study, or they keep dying.
        """
        if self._local is not None:
            self._local.replace_lost()
            self._in_vain.see(self.worker_pids)
        if self._in_vain.is_too_many:
            raise ClusterError(f"{self._name}: {self._in_vain}")
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
                    content["worker"],
                    content["processing-tasks"],
                    content["lost-computed-tasks"],
                    was_closed=bool(content.get("expected")),
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
            run_on_worker, trial.spec, self._plugin_name, self._topic, key, self._draw_trial,
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
            self._in_vain.progress()
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
            raise ClusterError(
                f"{self._name}: trial {number} cannot be run ({type(outcome).__name__}: "
                f"{first_line(outcome)}); {advice_on(outcome)}"
            ) from outcome
        else:
            self._in_vain.progress()
            del self._trials[number]
            yield ResultEvent(outcome)

    def _on_lost(
        self, worker: str, processing: Collection[str], computed: Collection[str], *,
        was_closed: bool,
    ) -> Iterator[Event]:  # fmt: skip
        """Run the trials of a lost worker again; one that keeps killing its workers is given up.

        Args:
            worker: its address.
            processing: keys of the trials that it was given.
            computed: keys of those that had ended, and whose results died with it.
            was_closed: it did not die but was closed in order.

        Raises:
            ClusterError: a trial loses one worker after the other and will hardly ever end.
        """
        trials = [self._trials[number] for number in sorted(self._trials)]
        by_key = {trial.future.key: trial for trial in trials if trial.future is not None}
        lost = [trial for key, trial in by_key.items() if key in processing]
        for trial in lost:
            trial.losses.add(
                has_begun=trial.worker == worker,
                had_epoch=trial.had_epoch,
                was_closed=was_closed,
            )
        lost += [trial for key, trial in by_key.items() if key in computed]
        if lost and self._local is None:
            self._in_vain.lost()
        for trial in lost:
            number, losses = trial.spec.number, trial.losses
            self._client.cancel([trial.future])
            if losses.is_deadly:
                del self._trials[number]
                yield ResultEvent(_worker_lost(trial))
            elif losses.why_hopeless is not None:
                raise ClusterError(f"{self._name}: trial {number}: {losses.why_hopeless}")
            else:
                ended = "was closed" if was_closed else "died"
                yield NoticeEvent(f"worker {worker} {ended}; trial {number} is run again")
                self._submit(number)


def _start_local_workers(n_workers: int) -> LocalWorkers:
    try:
        return LocalWorkers(n_workers)
    except RuntimeError as error:  # Dask's error for a process that did not start
        raise ClusterError(
            f"{n_workers} local workers: they cannot be started ({error}); expected memory, "
            "processes and open files for as many; take fewer with --workers"
        ) from error


def _worker_lost(trial: _Submitted) -> TrialResult:
    return TrialResult(
        number=trial.spec.number,
        params=trial.spec.params,
        state=TrialState.FAILED,
        reason=f"worker-lost: it lost {trial.losses.n_all} workers, "
        f"{trial.losses.n_early_deaths} of them died while they trained it and before an epoch",
        lost_worker=True,
    )
