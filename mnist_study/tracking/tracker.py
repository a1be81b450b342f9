"""The MLflow record of a study: a parent run, a child run per trial, one ordered writer thread.

All writes go through one thread in the order of the calls, so that live epochs cost the driver's
own thread nothing and no two writes ever race. What the writer could not do is raised by the next
call. MLflow itself is imported when the record is opened.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from mnist_study.core.errors import UserFacingError
from mnist_study.core.provenance import DatasetRecord, Provenance
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialSpec
from mnist_study.tracking.connection import TrackingError, connect, explain
from mnist_study.tracking.writer_thread import WriterThread

if TYPE_CHECKING:
    from mlflow.entities import Run

    from mnist_study.tracking.store import RunStore
    from mnist_study.tracking.trial_run import ChildRun, TrialWriter

__all__ = ["Tracker", "TrackingError"]

_ABORT_SECONDS = 3.0


class Tracker:
    """Records one study in MLflow.

    Call `open`, then for each trial `start`, any number of `log_epoch` and `finish`, and at the end
    `finish_parent` and `close`; or `abort` instead, at any moment. One thread calls all of them but
    `log_epoch`, which any thread may call.
    """

    def __init__(
        self,
        *,
        tracking_uri: str,
        artifact_root: str | None,
        experiment: str,
        identity: Mapping[str, str],
        dataset: DatasetRecord,
        provenance: Provenance,
        draw_trial: Callable[[TrialResult], bytes],
        params: Mapping[str, object] | None = None,
        flush_seconds: float = 1.0,
    ) -> None:
        """Take note of what to record; nothing is written before `open`.

        Args:
            tracking_uri: of the MLflow store.
            artifact_root: folder for files, for the store under the home; None leaves the place to
                the server.
            experiment: name of the MLflow experiment.
            identity: tags by which the study's runs and models are found, `study` among them,
                which also names the parent run (see `History.mlflow_identity`).
            dataset: what the trials are trained on.
            provenance: of this process.
            draw_trial: draws the curves of a finished trial as PNG.
            params: parameters of the parent run: what is the same for all trials.
            flush_seconds: how long a live epoch may wait until it is written.
        """
        self._tracking_uri = tracking_uri
        self._artifact_root = artifact_root
        self._experiment = experiment
        self._identity = dict(identity)
        self._dataset = dataset
        self._provenance = provenance
        self._params = dict(params or {})
        self._draw_trial = draw_trial
        self._flush_seconds = flush_seconds
        self._open_seconds = 0.0
        self._is_aborted = False
        self._may_write = threading.Lock()
        # From here on the writer thread's own.
        self._store: RunStore | None = None
        self._trials: TrialWriter | None = None
        self._parent_id = ""
        self._children: dict[int, ChildRun] = {}
        self._n_finished = 0
        self._writer = WriterThread(timed_work=self._flush, as_known=self._as_known)

    @property
    def busy_seconds(self) -> float:
        """Time spent on writing trials and summary: on everything but `open`."""
        return self._writer.busy_seconds - self._open_seconds

    def open(self, finished: Mapping[int, str]) -> list[str]:
        """Open the study's record and remove what a killed driver left half-written.

        Doing it twice changes nothing.

        Args:
            finished: run id by trial number, as history holds them. All other runs of this study
                are superseded: deleted with their models, but for those with a registered version.

        Returns:
            What was repaired, a line each.

        Raises:
            TrackingError: the store cannot be used.
        """
        before = self._writer.busy_seconds
        try:
            return self._writer.wait(lambda: self._open(dict(finished)))
        finally:
            self._open_seconds += self._writer.busy_seconds - before

    def start(self, spec: TrialSpec) -> None:
        """Create the run of a trial; its parameters follow with the next flush."""
        self._writer.submit(lambda: self._start(spec))

    def log_epoch(self, number: int, metrics: EpochMetrics) -> None:
        """Take note of a live epoch of a running trial.

        It is a hint and never raises: each epoch is written once and in order, whether it comes
        twice, late or not at all; `finish` fills the gaps.
        """
        self._writer.hint(lambda: self._note_epoch(number, metrics))

    def finish(self, result: TrialResult) -> str:
        """Write all of a trial, its figure and its model, and end its run.

        Returns:
            The run id for history, once everything is written.

        Raises:
            TrackingError: the store cannot be written.
        """
        return self._writer.wait(lambda: self._finish(result))

    def finish_parent(
        self,
        figures: Mapping[str, bytes] | None = None,
        tables: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write the summary of the study and end its run.

        Args:
            figures: PNG files by name without ending; written as `summary/NAME.png`.
            tables: texts by file name; written as `summary/NAME`.
            metrics: numbers about the study as a whole; those that did not change are not repeated.
            tags: further words about it.
        """
        self._writer.wait(
            lambda: self._finish_parent(figures or {}, tables or {}, metrics or {}, tags or {})
        )

    def abort(self) -> list[str]:
        """End all runs as KILLED; work that has not begun is dropped. Never raises.

        Takes three seconds at most, whether the store answers or not: what is left running is
        superseded by the next `open`.

        Returns:
            What could not be ended, a line each.
        """
        with self._may_write:
            self._is_aborted = True
            may_have_runs = self._store is not None
        lines = self._writer.abort(self._end_all, _ABORT_SECONDS if may_have_runs else 0.0)
        if lines is None and not may_have_runs:
            return []
        if lines is None:
            return ["MLflow: runs may be left running; the same command cleans them up and goes on"]
        return lines

    def close(self) -> None:
        """End the writer thread after its last work; after `abort` there is nothing left to do.

        Raises:
            TrackingError: something that no other call has waited for could not be written.
        """
        self._writer.close()

    # Everything below runs in the writer thread.

    def _as_known(self, error: Exception) -> Exception:
        if isinstance(error, UserFacingError):
            return error
        return explain(error, self._tracking_uri) or error

    def _opened(self) -> tuple[RunStore, TrialWriter]:
        if self._store is None or self._trials is None:
            raise RuntimeError("Tracker.open has to be called first")
        return self._store, self._trials

    def _open(self, finished: dict[int, str]) -> list[str]:
        client = connect(self._tracking_uri)
        # After `connect`, which decides about telemetry: these import MLflow.
        from mnist_study.tracking.reconcile import StudyRecord
        from mnist_study.tracking.store import RunStore, open_experiment
        from mnist_study.tracking.study_run import open_parent
        from mnist_study.tracking.trial_run import TrialWriter

        store = RunStore(
            client,
            self._tracking_uri,
            open_experiment(client, self._experiment, self._artifact_root),
            self._identity,
            self._dataset,
            self._provenance,
        )
        record = StudyRecord(client, [store.experiment_id], self._identity)
        existing = record.parent.info.run_id if record.parent else None
        with self._may_write:  # from here on there may be runs to end
            if self._is_aborted:
                raise TrackingError("MLflow: the record was given up while it was being opened")
            self._store = store
        if record.parent and not finished and self._is_outdated(record.parent):
            client.delete_run(record.parent.info.run_id)
            existing = None
        self._parent_id = open_parent(store, existing, self._params)
        lines = record.reconcile(finished, self._parent_id)
        self._n_finished = len(finished)
        self._trials = TrialWriter(store, parent_id=self._parent_id, draw=self._draw_trial)
        return lines

    def _is_outdated(self, parent: Run) -> bool:
        """Whether a parent run says other things than it would now; MLflow changes no parameter."""
        known = parent.data.params
        return any(known.get(key, str(now)) != str(now) for key, now in self._params.items())

    def _start(self, spec: TrialSpec) -> None:
        _, trials = self._opened()
        if spec.number in self._children:
            raise ValueError(f"trial {spec.number} is started twice")
        self._children[spec.number] = trials.create_child(spec)
        self._writer.do_within(self._flush_seconds)

    def _note_epoch(self, number: int, metrics: EpochMetrics) -> None:
        child = self._children.get(number)
        # Events of a trial that has ended arrive late; those written already arrive twice.
        if child is not None and metrics.epoch > len(child.written):
            child.arrived.setdefault(metrics.epoch, metrics)
            self._writer.do_within(self._flush_seconds)

    def _flush(self) -> None:
        _, trials = self._opened()
        for child in self._children.values():
            trials.flush(child)

    def _finish(self, result: TrialResult) -> str:
        _, trials = self._opened()
        if result.number not in self._children:
            raise ValueError(f"trial {result.number} is finished but was not started")
        # It stays among the running ones until its run has ended, so that an abort ends it.
        run_id = trials.finish(self._children[result.number], result)
        del self._children[result.number]
        self._n_finished += 1
        return run_id

    def _finish_parent(
        self,
        figures: Mapping[str, bytes],
        tables: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> None:
        from mnist_study.tracking.study_run import finish_parent

        store, _ = self._opened()
        if self._children:
            raise ValueError(f"trials {sorted(self._children)} are still running")
        finish_parent(
            store,
            self._parent_id,
            figures=figures,
            tables=tables,
            metrics=metrics,
            tags=tags,
            step=self._n_finished,
        )
        self._parent_id = ""

    def _end_all(self) -> list[str]:
        if self._store is None:
            return []
        lines = []
        run_ids = [*(child.run_id for child in self._children.values()), self._parent_id]
        for run_id in filter(None, run_ids):
            try:
                self._store.interrupt(run_id)
            except Exception as error:  # the others have to be ended all the same
                known = explain(error, self._tracking_uri) or error
                lines.append(f"run {run_id} could not be ended: {known}")
        return lines
