"""One job of a command: open the stores, run its trials, write its report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mnist_study.core.home import Home
from mnist_study.core.identity import fingerprint
from mnist_study.core.provenance import Provenance, collect_provenance, git_problem
from mnist_study.core.temporary import check_temporary_folder
from mnist_study.core.text import error_line
from mnist_study.core.trials import TrialResult
from mnist_study.data.dataset import TrainingSet, check_split
from mnist_study.execution.cluster import TrialCluster
from mnist_study.execution.job import Findings, Job
from mnist_study.execution.kept_results import KeptResults
from mnist_study.execution.loop import DriverTimes, Observer, run_plan
from mnist_study.execution.scheduler import check_scheduler, warnings_about
from mnist_study.execution.stores import check_agreement
from mnist_study.search.history import History
from mnist_study.search.storage import HistoryError
from mnist_study.tracking.connection import check_store
from mnist_study.tracking.notes import FINDING_TAG, NO_HIGHLIGHTS, highlights_of
from mnist_study.tracking.tracker import Tracker


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The settings of a run that may not change its results.

    Attributes:
        home: where the stores are.
        command: as typed, for the record.
        n_workers: local worker processes.
        cluster_address: a running Dask cluster instead.
        allow_mixed: go on with a study of another identity.
        retry_failed: run the trials again that FAILED of something else than a diverged loss.
    """

    home: Home
    command: str
    n_workers: int
    cluster_address: str | None = None
    allow_mixed: bool = False
    retry_failed: bool = False

    @property
    def workers(self) -> str:
        """The workers, for a message."""
        if self.cluster_address is not None:
            return f"the workers of {self.cluster_address}"
        return "1 worker" if self.n_workers == 1 else f"{self.n_workers} workers"


@dataclass(frozen=True, slots=True)
class JobResult:
    """A job as it stands when its command ends."""

    history: History
    findings: Findings
    times: DriverTimes
    tracking_seconds: float
    report_folder: Path


class View(Observer, Protocol):
    """Shows a job to the user."""

    def phase(self, text: str) -> None:
        """A step begins that takes a while."""


def run_job(
    job: Job,
    training_set: TrainingSet,
    options: RunOptions,
    observe: Callable[[list[TrialResult]], AbstractContextManager[View]],
) -> JobResult:
    """Run or resume a job in a home, from opening the stores to the report.

    Args:
        job: what is to be run.
        training_set: the rows that the workers get.
        options: where and with which workers.
        observe: opens the view on a record with these trials finished.

    Raises:
        UserFacingError: an error that the user can correct; finished trials are kept.
    """
    home = options.home
    provenance = collect_provenance(
        fingerprint=fingerprint(job.identity), experiment_file=job.source_text
    )
    validation_size, split_seed = job.data.validation_size, job.data.split_seed
    check_split(training_set, validation_size=validation_size, split_seed=split_seed)
    if options.cluster_address is not None:
        check_scheduler(options.cluster_address)
    check_temporary_folder()
    with home.locked(options.command):
        check_agreement(home, job.name)
        check_store(home.tracking_uri)
        history = History.open(home.storage_url, job.name)
        history.check_identity(job.identity, allow_mixed=options.allow_mixed)
        notices = cut_back_to_faults(history) if options.retry_failed else []
        if provenance.commit is None:
            notices += filter(None, [git_problem(Path(__file__).parent)])
        if options.cluster_address is not None:
            notices += warnings_about(options.cluster_address)
        begun = time.time()
        tracker = Tracker(
            home,
            experiment=job.experiment,
            identity=history.mlflow_identity,
            dataset=training_set.record(n_validation=validation_size, split_seed=split_seed),
            provenance=provenance,
            draw_trial=job.draw_trial,
            params=job.params,
            name_trial=job.trial_name,
        )
        folder = home.path / "reports" / job.name
        with observe(history.results) as view, _aborted_on_error(tracker, view):
            view.phase("opening the record in MLflow")
            is_complete = len(history.results) >= job.n_trials
            run_ids = dict(enumerate(history.run_ids))
            for line in [*notices, *tracker.open(run_ids, is_complete=is_complete)]:
                view.notice(line)
            history.n_trials = max(job.n_trials, len(history.results))
            times = DriverTimes()
            if not is_complete:
                view.phase(f"starting {options.workers}, TensorFlow in each")
                with _noted_session(history, options, provenance, begun):
                    times = _train(job, training_set, options, history, tracker, view)
            history.check_in_place()
            view.phase("drawing the figures and writing the report")
            findings, repairs = _report(job, history, tracker, folder)
            for line in repairs:
                view.notice(line)
            tracker.close()
    return JobResult(history, findings, times, tracker.busy_seconds, folder)


def cut_back_to_faults(history: History) -> list[str]:
    """Cut a record back to before its first fault; return what was done, in a line.

    Later trials were proposed, or pruned, in view of the fault. So they are run again too, and the
    study becomes the one that it would be without it.
    """
    first = next((result for result in history.results if result.is_fault), None)
    if first is None:
        return ["--retry-failed: no trial failed of anything but a diverged loss; nothing to retry"]
    n_dropped = len(history.results) - first.number
    history.cut_back(first.number)
    return [
        f"--retry-failed: trial {first.number} ({error_line(first.reason or '')}) and the "
        f"{n_dropped - 1} trials after it, which may depend on it, are run again"
    ]


@contextmanager
def _aborted_on_error(tracker: Tracker, view: View) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for line in tracker.abort():
            view.notice(line)
        raise


def _train(
    job: Job,
    training_set: TrainingSet,
    options: RunOptions,
    history: History,
    tracker: Tracker,
    view: View,
) -> DriverTimes:
    """Run the trials that the history lacks, on workers that live as long as that takes."""
    home = options.home
    kept = KeptResults(home.unrecorded(job.name), job.identity, len(history.results))
    if kept:
        view.notice(
            f"{len(kept)} trials that were trained while MLflow did not answer are kept in "
            f"{kept.folder}; they are recorded without being trained again"
        )
    with TrialCluster(
        training_set,
        identity=None if options.allow_mixed else job.identity.environment,
        n_workers=options.n_workers,
        address=options.cluster_address,
        log_path=home.worker_log,
        test_set=job.test_set,
        draw_trial=job.draw_trial,
    ) as cluster:
        return run_plan(
            job.make_plan(),
            history,
            cluster,
            tracker,
            view,
            on_result=lambda result: home.ledger.record(
                options.command, training_set.dataset, result
            ),
            kept=kept,
        )


def _report(
    job: Job, history: History, tracker: Tracker, folder: Path
) -> tuple[Findings, list[str]]:
    """Write the findings of the record into a folder and into the study's run, and end the run.

    Returns:
        The findings, and what was repaired in MLflow, a line each.
    """
    findings = job.read(history)
    findings.write(folder)
    repairs = tracker.finish_parent(
        figures=findings.figures,
        tables=findings.tables,
        metrics=findings.metrics,
        tags={FINDING_TAG: " ".join(findings.lines)},
        lines=findings.lines,
        highlights=(
            highlights_of(history.results, history.run_ids)
            if history.kind == "study"
            else NO_HIGHLIGHTS
        ),
    )
    return findings, repairs


@contextmanager
def _noted_session(
    history: History, options: RunOptions, provenance: Provenance, begun: float
) -> Iterator[None]:
    """Store this driver's session for the report, in its beginning and at its end.

    A driver that is killed leaves what was stored in the beginning.
    """
    begun_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(begun))
    n_before = len(history.results)

    def note(*, is_over: bool) -> None:
        session = {
            "begun": begun_text,
            "command": options.command,
            "commit": provenance.commit,
            "dirty": provenance.dirty,
            "seconds": time.time() - begun if is_over else None,
            "n_trials": len(history.results) - n_before if is_over else None,
            "workers": options.cluster_address or options.n_workers,
            "hardware": f"{provenance.cpu}, {os.cpu_count()} cores",
        }
        history.note_session(f"{begun_text}-{os.getpid()}", session)

    note(is_over=False)
    try:
        yield
    except BaseException:
        with suppress(HistoryError):  # the first error is the one to tell
            note(is_over=True)
        raise
    note(is_over=True)
