"""The MLflow record of a study: its own run, a run per trial, one ordered writer thread.

All writes go through one thread in the order of the calls, so that live epochs cost the driver's
own thread nothing and no two writes ever race. An error of the writer thread is raised by the next
call. MLflow itself is imported when the record is opened.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent import futures
from contextlib import suppress
from typing import TYPE_CHECKING

from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import Home
from mnist_study.core.provenance import DatasetRecord, Provenance
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialSpec
from mnist_study.tracking.connection import TrackingError, explain, shown
from mnist_study.tracking.notes import NO_HIGHLIGHTS, Highlights
from mnist_study.tracking.reconcile import StudyRecord, is_live
from mnist_study.tracking.runs import RunContext
from mnist_study.tracking.store import TrackingStore
from mnist_study.tracking.study_run import StudyRun
from mnist_study.tracking.trial_run import TrialRun
from mnist_study.tracking.writer_thread import WriterThread

if TYPE_CHECKING:
    from mlflow.entities import Run

__all__ = ["Tracker", "TrackingError"]

_ABORT_SECONDS = 3.0
# Of the writer thread's time, for what is not yet the end of a trial.
_LIVE_SHARE = 0.1
# As a multiple of the usual one.
_LONGEST_PAUSE = 10.0


def default_name(spec: TrialSpec) -> str:
    """Name the run of a study's trial."""
    return f"trial-{spec.number:03d}"


class Tracker:
    """Records one study in MLflow.

    Call `open`, then for each trial `start`, any number of `log_epoch` and `finish`, and at the end
    `finish_parent` and `close`; or `abort` instead, at any moment. One thread calls all of them but
    `log_epoch`, which any thread may call.
    """

    def __init__(
        self,
        home: Home,
        *,
        experiment: str,
        identity: Mapping[str, str],
        dataset: DatasetRecord,
        provenance: Provenance,
        draw_trial: Callable[[TrialResult], bytes],
        params: Mapping[str, object] | None = None,
        name_trial: Callable[[TrialSpec], str] = default_name,
        flush_seconds: float = 1.0,
    ) -> None:
        """Start the writer thread; nothing is written before `open`.

        Args:
            home: whose MLflow store records the study.
            experiment: name of the MLflow experiment.
            identity: tags by which the study's runs and models are found, `study` among them,
                which also names the study's run (see `History.mlflow_identity`).
            dataset: that the trials are trained on.
            provenance: of this process.
            draw_trial: draws the learning curves of a finished trial as PNG, where its worker did
                not.
            params: parameters of the study's run: what is the same for all trials.
            name_trial: names a trial's run and model.
            flush_seconds: how long a live epoch waits until it is written, while there is time.
        """
        self._home = home
        self._experiment = experiment
        self._identity = dict(identity)
        self._dataset = dataset
        self._provenance = provenance
        self._params = dict(params or {})
        self._draw_trial = draw_trial
        self._name_trial = name_trial
        self._flush_seconds = self._pause = flush_seconds
        self._open_seconds = 0.0
        self._is_aborted = False
        self._may_write = threading.Lock()
        self._finishing: futures.Future[str] | None = None
        # From here on the writer thread's own.
        self._context: RunContext | None = None
        self._study: StudyRun | None = None
        self._trials: dict[int, TrialRun] = {}  # those that have not ended
        self._finished: dict[int, str] = {}
        self._writer = WriterThread(timed_work=self._flush, as_known=self._as_known)

    @property
    def busy_seconds(self) -> float:
        """Time spent on writing trials and summary: on everything but `open`."""
        return self._writer.busy_seconds - self._open_seconds

    def open(self, finished: Mapping[int, str], *, is_complete: bool = False) -> list[str]:
        """Open the study's record and remove what a killed driver left half-written.

        It is idempotent.

        Args:
            finished: run id by trial number, as history holds them. All other runs of this study
                are superseded: deleted with their models, but for those with a registered version.
            is_complete: no trial is to follow, so a study's run that has ended stays as it is.

        Returns:
            The repairs, a line each.

        Raises:
            TrackingError: the store cannot be used.
        """
        before = self._writer.busy_seconds
        try:
            return self._writer.wait(lambda: self._open(dict(finished), is_complete))
        finally:
            self._open_seconds += self._writer.busy_seconds - before

    def start(self, spec: TrialSpec) -> None:
        """Create the run of a trial; its parameters follow with the next flush."""

        def write() -> None:
            context, study = self._opened()
            if spec.number in self._trials:
                raise ValueError(f"trial {spec.number} is started twice")
            self._trials[spec.number] = TrialRun(
                context, study.run_id, spec, self._name_trial(spec)
            )
            self._writer.do_within(self._pause)

        self._writer.submit(write)

    def log_epoch(self, number: int, metrics: EpochMetrics) -> None:
        """Log a live epoch of a running trial.

        It is a hint and never raises: each epoch is written once and in order, whether it comes
        twice, late or not at all; `finish` fills the gaps.
        """

        def note() -> None:
            run = self._trials.get(number)
            if run is not None:  # events of a trial that has ended arrive late
                run.note_epoch(metrics)
                self._writer.do_within(self._pause)

        self._writer.hint(note)

    def finish(self, result: TrialResult) -> str:
        """Write all of a trial, its figure and its model, and end its run.

        Returns:
            The run id for history, once everything is written.

        Raises:
            TrackingError: the store cannot be written.
        """
        return self._writer.wait(lambda: self._finish(result))

    def finish_within(self, result: TrialResult, seconds: float) -> str | None:
        """Do what `finish` does, and wait for it no longer than so many seconds.

        Returns:
            The run id; None if it is not written yet: call again with the same result, until
            then no other trial can be finished.

        Raises:
            TrackingError: the store cannot be written.
        """
        if self._finishing is None:
            self._finishing = self._writer.begin(lambda: self._finish(result))
        # Not by the future's own timeout: the error of the work can be a TimeoutError too.
        if not futures.wait([self._finishing], seconds).done:
            return None
        finishing, self._finishing = self._finishing, None
        return self._writer.outcome(finishing)

    def finish_parent(
        self,
        figures: Mapping[str, bytes] | None = None,
        tables: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        lines: Sequence[str] = (),
        highlights: Highlights = NO_HIGHLIGHTS,
    ) -> list[str]:
        """Reconcile the record once more, write the summary of the study and end its run.

        A run or model whose creation was answered, but whose answer was lost on the way, was
        created again: one of the two goes.

        Args:
            figures: PNG files by name without ending; written as `summary/NAME.png`.
            tables: texts by file name; written as `summary/NAME`.
            metrics: numbers about the study as a whole; those that did not change are not repeated.
            tags: further words about it.
            lines: the findings in sentences, for the notes.
            highlights: trials that the notes lead to.

        Returns:
            The repairs, a line each.
        """

        def write() -> list[str]:
            _, study = self._opened()
            if self._trials:
                raise ValueError(f"trials {sorted(self._trials)} are still running")
            repairs = self._record().reconcile(self._finished, study.run_id)
            study.finish(
                figures or {},
                tables or {},
                metrics or {},
                tags or {},
                step=len(self._finished),
                lines=lines,
                highlights=highlights,
            )
            self._study = None
            # What is missing was told when the record was opened.
            return [line for line in repairs if "is missing from MLflow" not in line]

        return self._writer.wait(write)

    def abort(self) -> list[str]:
        """End all runs as KILLED; work that has not begun is dropped. Never raises.

        Takes three seconds at most, whether the store answers or not: runs that are left running
        are superseded by the next `open`.

        Returns:
            What could not be ended, a line each.
        """
        with self._may_write:
            self._is_aborted = True
            may_have_runs = self._context is not None
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
        return explain(error, self._home.tracking_uri) or error

    def _opened(self) -> tuple[RunContext, StudyRun]:
        if self._context is None or self._study is None:
            raise RuntimeError("Tracker.open has to be called first")
        return self._context, self._study

    def _open(self, finished: dict[int, str], is_complete: bool) -> list[str]:
        store = TrackingStore.open(self._home)
        experiment_id = store.experiment_id(self._experiment)
        context = RunContext(store, experiment_id, self._identity, self._dataset, self._provenance)
        with self._may_write:  # from here on there may be runs to end
            if self._is_aborted:
                raise TrackingError("MLflow: the record was given up while it was being opened")
            self._context = context
        record = self._record()
        if finished and not {run.info.run_id for run in record.children} & set(finished.values()):
            raise TrackingError(
                f"MLflow: {shown(store.uri)} holds no run of {self._identity['study']!r}, expected "
                f"those of the {len(finished)} trials that Optuna's storage holds; restore a copy "
                "of the store, correct MLFLOW_TRACKING_URI, or choose another --home to begin again"
            )
        existing = None
        if record.parent is not None:
            existing = record.parent.info.run_id
            known = record.parent.data.params
            # MLflow never changes a parameter and never takes back a point, so a run with other
            # parameters is replaced, and one that summarizes trials that are to be run again.
            has_others = not finished and any(
                known.get(k, str(v)) != str(v) for k, v in self._params.items()
            )
            if has_others or _last_step(store, record.parent) > len(finished):
                store.client.delete_run(existing)
                existing = None
        self._study = StudyRun(context, existing, self._params, is_complete=is_complete)
        self._finished = dict(finished)
        return [*store.notices, *record.reconcile(finished, self._study.run_id)]

    def _record(self) -> StudyRecord:
        """Read all of the study's runs and models."""
        assert self._context is not None
        return StudyRecord(
            self._context.store, [self._context.experiment_id], self._context.identity
        )

    def _finish(self, result: TrialResult) -> str:
        run = self._trials.get(result.number)
        if run is None:
            raise ValueError(f"trial {result.number} is finished but was not started")
        png = result.curves_png
        if png is None and result.epochs:  # of a result that was kept on disk
            png = self._draw_trial(result)
        run_id = run.finish(result, png)
        # Not before its run has ended, so that an abort ends it.
        del self._trials[result.number]
        self._finished[result.number] = run_id
        return run_id

    def _flush(self) -> None:
        """Write live epochs for a share of the time, the longest waiting ones first.

        Each call costs as much for one epoch as for a whole trial. So with many workers, or a slow
        store, live epochs come later and several at once, instead of holding up what has ended.
        """
        started, spent = time.perf_counter(), 0.0
        for number in list(self._trials):
            if spent > _LIVE_SHARE * self._flush_seconds:
                self._writer.do_within(self._pause)
                break
            run = self._trials.pop(number)
            self._trials[number] = run  # the last in turn
            run.flush()
            spent = time.perf_counter() - started
            self._pause = self._flush_seconds * min(
                max(1.0, spent / _LIVE_SHARE / self._flush_seconds), _LONGEST_PAUSE
            )

    def _end_all(self) -> list[str]:
        if self._context is None:
            return []
        lines = []
        run_ids = [run.run_id for run in self._trials.values()]
        if self._study is not None and self._study.is_running:
            run_ids.append(self._study.run_id)
        for run_id in run_ids:
            try:
                self._context.store.interrupt(run_id)
            except Exception as error:  # the others have to be ended all the same
                lines.append(f"run {run_id} could not be ended: {self._as_known(error)}")
        if not lines:
            self._delete_unknown({*run_ids, *self._finished.values()})
        return lines

    def _delete_unknown(self, known: Set[str]) -> None:
        """Delete the runs of this study that were created without an answer."""
        assert self._context is not None
        with suppress(Exception):  # the next command reconciles the record
            for run in self._record().children:
                if run.info.status == "RUNNING" and is_live(run) and run.info.run_id not in known:
                    self._context.store.client.delete_run(run.info.run_id)


def _last_step(store: TrackingStore, run: Run) -> int:
    """Return how many trials a study's run summarizes; 0 where it has no summary yet."""
    name = next(iter(run.data.metrics), None)
    if name is None:
        return 0
    return max(int(m.step) for m in store.client.get_metric_history(run.info.run_id, name))
