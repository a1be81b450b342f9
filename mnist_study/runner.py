"""One command's worth of work: open the stores, run what is planned, write what it found."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mnist_study.cluster import TrialCluster, check_scheduler
from mnist_study.config import DataConfig, fingerprint
from mnist_study.data import TestSet, TrainingSet, check_split
from mnist_study.history import History, HistoryError
from mnist_study.home import Home
from mnist_study.mlflow_connection import check_store
from mnist_study.provenance import DatasetRecord, Provenance, collect_provenance
from mnist_study.records import TrialResult
from mnist_study.study import DriverTimes, Observer, Plan, run_plan
from mnist_study.tracking import Tracker

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line decides about a run, none of which may change its results.

    Attributes:
        home: where the stores are.
        command: as typed, for the record.
        n_workers: local worker processes.
        cluster_address: a running Dask cluster instead.
        allow_mixed: go on with a study of another identity.
    """

    home: Home
    command: str
    n_workers: int
    cluster_address: str | None = None
    allow_mixed: bool = False

    @property
    def workers(self) -> str:
        """The workers in words."""
        if self.cluster_address is not None:
            return f"the workers of {self.cluster_address}"
        return "1 worker" if self.n_workers == 1 else f"{self.n_workers} workers"


@dataclass(frozen=True, slots=True)
class Findings:
    """What a job's record says.

    Attributes:
        lines: what was found, in words.
        figures: by name without ending.
        tables: texts by file name; README.md is the report.
        metrics: of the parent run.
    """

    lines: list[str]
    figures: Mapping[str, Figure]
    tables: Mapping[str, str]
    metrics: Mapping[str, float]

    def write(self, folder: Path) -> None:
        """Write the tables and figures into a folder."""
        from mnist_study import plots

        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.tables.items():
            (folder / name).write_text(text, encoding="utf-8")
        for name, figure in self.figures.items():
            (folder / f"{name}.png").write_bytes(plots.to_png(figure))


@dataclass(frozen=True, slots=True)
class Job:
    """A set of trials to be run and recorded under one name, and how to read them.

    Attributes:
        name: of the record in Optuna's storage and of the parent run.
        experiment: name of the MLflow experiment.
        make_plan: what is to be run.
        n_trials: how many trials that is.
        identity: everything that the results are a function of, with `kind` and `environment`, and
            with `logs_models` false where no trial is to keep its model.
        source_text: the experiment file, for the record.
        data: the split, or the first of several.
        params: of the parent run: what is the same for all trials, under few stable names.
        read: turns the finished record into findings.
        test_set: for jobs that read it; each reading goes to the ledger.
    """

    name: str
    experiment: str
    make_plan: Callable[[], Plan]
    n_trials: int
    identity: Mapping[str, Any]
    source_text: str
    data: DataConfig
    params: Mapping[str, Any]
    read: Callable[[History], Findings]
    test_set: TestSet | None = None

    @property
    def logs_models(self) -> bool:
        """Whether each finished trial gets a model in MLflow."""
        return bool(self.identity.get("logs_models", True))


@dataclass(frozen=True, slots=True)
class Outcome:
    """A job as it stands when its command ends."""

    history: History
    findings: Findings
    times: DriverTimes
    tracking_seconds: float
    report_folder: Path


class View(Observer, Protocol):
    """What shows a job to its user."""

    def phase(self, text: str) -> None:
        """Something begins that takes its time."""


def conduct(
    job: Job,
    training_set: TrainingSet,
    options: RunOptions,
    observe: Callable[[list[TrialResult]], AbstractContextManager[View]],
) -> Outcome:
    """Run or resume a job in a home, from opening the stores to the report.

    Args:
        job: what is to be run.
        training_set: the rows that the workers get.
        options: where and with which workers.
        observe: opens the view on a record with these trials finished.

    Raises:
        UserFacingError: something that the user can put right; finished trials are kept.
    """
    home = options.home
    provenance = collect_provenance(
        fingerprint=fingerprint(job.identity), experiment_file=job.source_text
    )
    validation_size, split_seed = job.data.validation_size, job.data.split_seed
    check_split(training_set, validation_size=validation_size, split_seed=split_seed)
    dataset = DatasetRecord.of(training_set, n_validation=validation_size, split_seed=split_seed)
    if options.cluster_address is not None:
        check_scheduler(options.cluster_address)
    with home.locked(options.command):
        check_store(home.tracking_uri)
        history = History.open(home.storage_url, job.name)
        history.check_identity(job.identity, allow_mixed=options.allow_mixed)
        tracker = Tracker(
            tracking_uri=home.tracking_uri,
            artifact_root=home.artifact_root,
            experiment=job.experiment,
            identity=history.mlflow_identity,
            dataset=dataset,
            provenance=provenance,
            params=job.params,
        )
        session = _Session(history, options, provenance)
        with observe(history.results) as view:
            try:
                view.phase("opening the record in MLflow")
                for line in tracker.open(dict(enumerate(history.run_ids))):
                    view.notice(line)
                history.n_trials = max(job.n_trials, len(history.results))
                times = DriverTimes()
                if len(history.results) < job.n_trials:
                    view.phase(f"starting {options.workers}, TensorFlow in each")
                    with (
                        session.noted(),
                        TrialCluster(
                            training_set,
                            identity=None if options.allow_mixed else job.identity["environment"],
                            n_workers=options.n_workers,
                            address=options.cluster_address,
                            log_path=home.worker_log,
                            test_set=job.test_set,
                        ) as cluster,
                    ):
                        times = run_plan(
                            job.make_plan(),
                            history,
                            cluster,
                            tracker,
                            view,
                            on_result=lambda result: home.ledger.record(
                                options.command, training_set.dataset, result
                            ),
                            keeps_models=job.logs_models,
                        )
                view.phase("drawing the figures and writing the report")
                found = job.read(history)
                folder = home.path / "reports" / job.name
                found.write(folder)
                tracker.finish_parent(
                    figures=found.figures,
                    tables=found.tables,
                    metrics=found.metrics,
                    tags={"finding": " ".join(found.lines)},
                )
                tracker.close()
            except BaseException:
                for line in tracker.abort():
                    view.notice(line)
                raise
    return Outcome(history, found, times, tracker.busy_seconds, folder)


class _Session:
    """This driver's part in a study, for the report; begins when it is created."""

    def __init__(self, history: History, options: RunOptions, provenance: Provenance) -> None:
        self._history = history
        self._options = options
        self._provenance = provenance
        self._begun = time.strftime("%Y-%m-%dT%H:%M:%S")
        self._start = time.perf_counter()
        self._n_before = len(history.results)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Store it at the beginning, so that a driver that is killed leaves it, and at the end."""
        self._note(is_over=False)
        try:
            yield
        except BaseException:
            with suppress(HistoryError):  # the first error is the one to tell
                self._note(is_over=True)
            raise
        self._note(is_over=True)

    def _note(self, *, is_over: bool) -> None:
        self._history.note_session(
            f"{self._begun}-{os.getpid()}",
            {
                "begun": self._begun,
                "command": self._options.command,
                "commit": self._provenance.commit,
                "dirty": self._provenance.dirty,
                "seconds": time.perf_counter() - self._start if is_over else None,
                "n_trials": len(self._history.results) - self._n_before if is_over else None,
                "workers": self._options.cluster_address or self._options.n_workers,
                "hardware": f"{self._provenance.cpu}, {os.cpu_count()} cores",
            },
        )
