"""One command's worth of work: open the stores, run the study, write what it found."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_study.cluster import TrialCluster
from mnist_study.config import ConfigError, ExperimentConfig, fingerprint
from mnist_study.data import DatasetChoice, TrainingSet, load_training_set, split
from mnist_study.history import History
from mnist_study.home import Home
from mnist_study.identity import study_identity
from mnist_study.provenance import DatasetRecord, Provenance, collect_provenance
from mnist_study.pruning import make_pruner
from mnist_study.records import TrialResult
from mnist_study.report import (
    best_trial,
    findings,
    state_counts,
    study_figures,
    study_markdown,
    write_report,
)
from mnist_study.study import DriverTimes, Observer, run_study
from mnist_study.tables import trial_table_csv
from mnist_study.tracking import Tracker


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


@dataclass(frozen=True, slots=True)
class StudyOutcome:
    """A study as it stands when its command ends."""

    history: History
    times: DriverTimes
    tracking_seconds: float
    report_folder: Path


def load_data(dataset: DatasetChoice, data_dir: Path | None) -> TrainingSet:
    """Load the training rows; see `mnist_study.data`."""
    return load_training_set(dataset, data_dir)


def conduct_study(
    experiment: ExperimentConfig,
    experiment_text: str,
    training_set: TrainingSet,
    options: RunOptions,
    observe: Callable[[list[TrialResult]], AbstractContextManager[Observer]],
) -> StudyOutcome:
    """Run or resume a study in a home, from opening the stores to the report.

    Args:
        experiment: with a `study` table; a digits study gets `-digits` behind its name.
        experiment_text: the experiment file, for the record.
        training_set: the rows.
        options: where and with which workers.
        observe: opens the view on a study with these trials finished.

    Raises:
        UserFacingError: something that the user can put right; finished trials are kept.
    """
    search = experiment.study
    if search is None:
        raise ConfigError(
            f"{experiment.name}: the experiment file has no [study] table, so there is nothing to "
            "search; take one that has, such as experiments/study.toml"
        )
    if training_set.dataset == "digits":
        experiment = experiment.model_copy(update={"name": f"{experiment.name}-digits"})
    make_pruner(search.pruner)
    splits = split(
        training_set,
        validation_size=experiment.data.validation_size,
        split_seed=experiment.data.split_seed,
    )
    identity = study_identity(experiment, training_set.dataset, training_set.content_hash)
    provenance = collect_provenance(
        fingerprint=fingerprint(identity), experiment_file=experiment_text
    )
    begun, start = time.strftime("%Y-%m-%dT%H:%M:%S"), time.perf_counter()
    home = options.home
    with home.locked(options.command):
        history = History.open(home.storage_url, experiment.name)
        history.check_identity(identity, allow_mixed=options.allow_mixed)
        history.n_trials = max(search.n_trials, len(history.results))
        n_before = len(history.results)
        tracker = Tracker(
            tracking_uri=home.tracking_uri,
            artifact_root=home.artifact_root,
            experiment=experiment.name,
            study=experiment.name,
            kind="study",
            dataset=DatasetRecord(
                name=training_set.dataset,
                source=training_set.source,
                content_hash=training_set.content_hash,
                n_train=len(splits.train_labels),
                n_validation=len(splits.validation_labels),
                split_seed=experiment.data.split_seed,
            ),
            provenance=provenance,
            params=_parent_params(experiment),
        )

        def note_session() -> None:
            history.note_session(
                begun + f"-{os.getpid()}",
                _session(options, provenance, begun, start, len(history.results) - n_before),
            )

        with observe(history.results) as observer:
            try:
                for line in tracker.open(dict(enumerate(history.run_ids))):
                    observer.notice(line)
                times = DriverTimes()
                if len(history.results) < search.n_trials:
                    with TrialCluster(
                        splits,
                        identity=None if options.allow_mixed else identity["environment"],
                        n_workers=options.n_workers,
                        address=options.cluster_address,
                        log_path=home.worker_log,
                    ) as cluster:
                        times = run_study(experiment, history, cluster, tracker, observer)
                    note_session()
                folder = home.path / "reports" / experiment.name
                _write_findings(history, folder, tracker)
                tracker.close()
            except BaseException:
                for line in tracker.abort():
                    observer.notice(line)
                note_session()
                raise
    return StudyOutcome(history, times, tracker.busy_seconds, folder)


def _write_findings(history: History, folder: Path, tracker: Tracker) -> None:
    """Write the study's report into its folder and its parent run."""
    figures = study_figures(history)
    write_report(history, folder, figures)
    tracker.finish_parent(
        figures=figures,
        tables={
            "report.md": study_markdown(history),
            "trials.csv": trial_table_csv(history.results),
        },
        metrics=_parent_metrics(history),
        tags={"finding": " ".join(findings(history))},
    )


def _parent_params(experiment: ExperimentConfig) -> dict[str, Any]:
    """Return what is the same for all trials, under few stable names."""
    study, training = experiment.study, experiment.training
    assert study is not None
    stopping = training.early_stopping
    return {
        "batch_size": training.batch_size,
        "epochs": training.epochs,
        "schedule": training.schedule,
        "early_stopping": f"{stopping.monitor}, patience {stopping.patience}" if stopping else "no",
        "sampler": study.sampler.kind,
        "pruner": study.pruner.kind,
        "seed": study.seed,
        "in_flight": study.in_flight,
        "validation_size": experiment.data.validation_size,
        "split_seed": experiment.data.split_seed,
    }


def _parent_metrics(history: History) -> dict[str, float]:
    best = best_trial(history.results)
    metrics: dict[str, float] = {
        f"n_{state.lower()}": n for state, n in state_counts(history.results).items()
    }
    if best is not None and best.value is not None:
        metrics["val/accuracy"] = best.value
        metrics["best_trial"] = best.number
    return metrics


def _session(
    options: RunOptions, provenance: Provenance, begun: str, start: float, n_trials: int
) -> dict[str, Any]:
    """Describe this driver's part in the study."""
    return {
        "begun": begun,
        "command": options.command,
        "commit": provenance.commit,
        "dirty": provenance.dirty,
        "seconds": time.perf_counter() - start,
        "n_trials": n_trials,
        "workers": options.cluster_address or options.n_workers,
        "hardware": f"{provenance.cpu}, {os.cpu_count()} cores",
    }
