"""A home with a finished study and confirmation of tiny networks, recorded in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mnist_study.core.config import DataConfig, ExperimentConfig, NetworkParams
from mnist_study.core.home import Home
from mnist_study.core.identity import Identity, StudyIdentity, fingerprint
from mnist_study.core.provenance import DatasetRecord, collect_provenance
from mnist_study.core.trials import TrialSpec, derive_seeds
from mnist_study.data.dataset import load_training_set, split
from mnist_study.experiments.confirmation import ConfirmationDesign, confirm_job
from mnist_study.plots import trial_png
from mnist_study.search.history import History
from mnist_study.tracking.tracker import Tracker
from mnist_study.training.process import prepare_tensorflow

EXPERIMENT = {
    "name": "tiny-digits",
    "data": {"validation_size": 287, "split_seed": 0},
    "training": {
        "batch_size": 32,
        "epochs": 4,
        "schedule": "cosine",
        "early_stopping": {"monitor": "val/accuracy", "patience": 4},
    },
    "baseline": {
        "units_1": 32, "units_2": 24, "units_3": 16,
        "dropout_1": 0.0, "dropout_2": 0.0, "l2": 0.0, "learning_rate": 0.003,
    },
    "study": {
        "n_trials": 3,
        "seed": 0,
        "in_flight": 1,
        "sampler": {"kind": "random"},
        "pruner": {"kind": "none"},
        "space": {"learning_rate": {"type": "float", "low": 1e-6, "high": 1e-2, "log": True}},
    },
}  # fmt: skip
GOOD, UNTRAINED = 1, 2
"""Trials of the study: one like the baseline, and one that hardly learned."""


def build_home(path: Path) -> Home:
    """Record a study of three trials, and a confirmation of the better two over two seeds each."""
    prepare_tensorflow()
    home = Home(path)
    path.mkdir(parents=True, exist_ok=True)
    experiment = ExperimentConfig.model_validate(EXPERIMENT)
    training_set = load_training_set("digits")
    base = experiment.baseline
    networks = [
        base,
        base.model_copy(update={"learning_rate": 0.005}),
        base.model_copy(update={"learning_rate": 1e-6}),
    ]
    identity = StudyIdentity.of(experiment, "digits", training_set.content_hash)
    study = _record(
        home,
        "tiny-digits",
        identity,
        [_spec(experiment, n, params) for n, params in enumerate(networks)],
    )
    design = ConfirmationDesign(top=1, screening_seeds=1, n_finalists=1, n_seeds=10)
    job = confirm_job(study, training_set, design)
    plan = job.make_plan()
    # Two of the replicates, so that it takes less time; the record is finished with these.
    specs = [plan.suggest(number, [], []) for number in range(4)]
    _record(home, job.name, job.identity, specs)
    return home


def _spec(experiment: ExperimentConfig, number: int, params: NetworkParams) -> TrialSpec:
    return TrialSpec(
        number=number,
        params=params,
        seeds=derive_seeds(0, number),
        training=experiment.training,
        data=experiment.data,
    )


def _record(home: Home, name: str, identity: Identity, specs: Sequence[TrialSpec]) -> History:
    """Train and store trials as a driver does, one after the other."""
    from mnist_study.execution.run_trial import run_trial

    training_set = load_training_set("digits")
    history = History.open(home.storage_url, name)
    history.check_identity(identity, allow_mixed=False)
    tracker = Tracker(
        home,
        experiment="tiny-digits",
        identity=history.mlflow_identity,
        dataset=DatasetRecord(
            "digits", training_set.source, training_set.content_hash, 1150, 287, 0
        ),
        provenance=collect_provenance(fingerprint=fingerprint(identity), experiment_file=""),
        draw_trial=trial_png,
    )
    tracker.open({})
    for spec in specs:
        tracker.start(spec)
        result = run_trial(spec, _splits(spec.data))
        history.append(result, tracker.finish(result))
    history.n_trials = len(specs)
    tracker.finish_parent()
    tracker.close()
    return history


def _splits(data: DataConfig):  # type: ignore[no-untyped-def]  # noqa: ANN202
    training_set = load_training_set("digits")
    return split(training_set, validation_size=data.validation_size, split_seed=data.split_seed)


def run_of_trial(home: Home, number: int) -> str:
    """Return the run id of a trial of the study."""
    return History.open(home.storage_url, "tiny-digits").run_ids[number]
