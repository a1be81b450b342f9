"""The confirmed winner trained once more, on every training row, for a number of epochs."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from mnist_study.core.config import NetworkParams, TrainingConfig
from mnist_study.core.errors import UserFacingError
from mnist_study.core.identity import ConfirmationIdentity, environment_identity
from mnist_study.core.interrupts import undisturbed
from mnist_study.core.provenance import collect_provenance
from mnist_study.core.trials import EpochMetrics, Seeds, SeedStream, derive_seeds, digest
from mnist_study.data.dataset import Splits, TrainingSet
from mnist_study.experiments.confirmation_results import Confirmed
from mnist_study.search.history import History
from mnist_study.tracking.models import log_model, models_of_run
from mnist_study.tracking.store import (
    STATE_TAG,
    RunStore,
    as_metrics,
    as_tags,
    open_experiment,
    tag_filter,
)
from mnist_study.training.process import prepare_tensorflow

if TYPE_CHECKING:
    from mlflow import MlflowClient

KIND = "final"
_KEY_TAG = "final_key"


class FinalTrainingError(UserFacingError):
    """The winner could not be trained on all rows."""


@dataclass(frozen=True, slots=True)
class FinalTraining:
    """Everything that the final network is a function of, beside the training rows.

    Attributes:
        study: where the configuration was found; also the MLflow experiment.
        trial: of that study.
        confirmation: name of the record that confirmed it.
        confirmation_digest: of that record.
        params: the network.
        training: as in the study; the schedule runs as it did there.
        n_epochs: after so many the training ends: the median best epoch of the confirmation.
        seeds: of initial weights, dropout and order of rows.
        content_hash: of the training set.
    """

    study: str
    trial: int
    confirmation: str
    confirmation_digest: str
    params: NetworkParams
    training: TrainingConfig
    n_epochs: int
    seeds: Seeds
    content_hash: str

    @classmethod
    def of(cls, confirmation: History, winner: Confirmed) -> FinalTraining:
        """Describe the final training of a confirmation's winner."""
        identity = confirmation.identity_as(ConfirmationIdentity)
        trial = winner.candidate.trial
        return cls(
            study=identity.study,
            trial=trial,
            confirmation=confirmation.name,
            confirmation_digest=digest(confirmation.results),
            params=winner.candidate.params,
            training=identity.training,
            n_epochs=winner.median_best_epoch,
            seeds=derive_seeds(identity.seed, trial, SeedStream.FINAL_TRAINING),
            content_hash=confirmation.content_hash,
        )

    @property
    def key(self) -> str:
        """Fingerprint of the training: the same key gives the same network."""
        content = asdict(self) | {
            "params": self.params.model_dump(),
            "training": self.training.model_dump(mode="json"),
            "environment": environment_identity().model_dump(),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Trained:
    """A final network that is not logged yet; metrics are of the training rows alone."""

    epochs: list[EpochMetrics]
    keras_file: bytes
    weights_sha256: str
    n_parameters: int
    restored_train_accuracy: float
    train_seconds: float


def final_run(
    client: MlflowClient,
    tracking_uri: str,
    artifact_root: str | None,
    plan: FinalTraining,
    confirmed_by: Mapping[str, str],
    training_set: TrainingSet,
    say: Callable[[str], None],
) -> str:
    """Return the run of the final network, trained and logged now unless it was before.

    Whatever a killed driver left unfinished is deleted. The same plan gives the same weights.

    Args:
        client: of the store.
        tracking_uri: of the store.
        artifact_root: as for `open_experiment`.
        plan: what to train.
        confirmed_by: the confirmation's tags in MLflow; only its own final runs are looked at,
            because another home may be training the same network just now.
        training_set: all of its rows are trained on.
        say: told what happens, a line each.

    Raises:
        FinalTrainingError: the loss was not finite.
    """
    experiment_id = open_experiment(client, plan.study, artifact_root)
    identity = {**confirmed_by, "study": plan.study, "kind": KIND}
    # By what it confirms and not by the seeds, of which earlier versions took others.
    of_winner = {"confirmation_digest": plan.confirmation_digest, "study_trial": str(plan.trial)}
    runs = client.search_runs([experiment_id], tag_filter({**identity, **of_winner}))
    done = [run for run in runs if run.info.status == "FINISHED"]
    for run in runs:
        if run not in done:
            for model in models_of_run(client, experiment_id, run.info.run_id):
                client.delete_logged_model(model.model_id)
            client.delete_run(run.info.run_id)
            say(f"an unfinished final training was removed (run {run.info.run_id})")
    if done:
        run_id = str(done[0].info.run_id)
        say(f"trial {plan.trial} was trained on all rows before: run {run_id}")
        return run_id
    n_rows = len(training_set.labels)
    epochs = "1 epoch" if plan.n_epochs == 1 else f"{plan.n_epochs} epochs"
    say(f"training trial {plan.trial} on all {n_rows:,} rows for {epochs}…")
    trained = _train(plan, training_set, say)
    store = RunStore(
        client,
        tracking_uri,
        experiment_id,
        identity,
        training_set.record(n_validation=0, split_seed=0),
        collect_provenance(fingerprint=plan.key, experiment_file=""),
    )
    with undisturbed():
        run_id = _log(store, plan, trained)
    say(f"trained in {trained.train_seconds:.0f} s, logged as run {run_id}")
    return run_id


def _train(plan: FinalTraining, training_set: TrainingSet, say: Callable[[str], None]) -> _Trained:
    prepare_tensorflow()
    from mnist_study.training import model, trainer

    # No row is left to validate with, and without early stopping nothing depends on any: the one
    # row given instead is one that is trained on, and what is measured on it is kept nowhere.
    splits = Splits(
        train_images=training_set.images,
        train_labels=training_set.labels,
        validation_images=training_set.images[:1],
        validation_labels=training_set.labels[:1],
        dataset=training_set.dataset,
        content_hash=training_set.content_hash,
    )
    said = time.monotonic()

    def after_epoch(metrics: EpochMetrics) -> bool:
        nonlocal said
        if time.monotonic() - said > 5:
            said = time.monotonic()
            say(f"  epoch {metrics.epoch} of {plan.n_epochs}: loss {metrics.train_loss:.4f}")
        return metrics.epoch >= plan.n_epochs

    config = plan.training.model_copy(update={"early_stopping": None})
    found = trainer.train(plan.params, plan.seeds, config, splits, on_epoch=after_epoch)
    if found.diverged:
        raise FinalTrainingError(
            f"trial {plan.trial} on all rows: loss {found.epochs[-1].train_loss} at epoch "
            f"{len(found.epochs)}, expected a finite one; promote another run with --run"
        )
    network = model.build_model(plan.params, plan.seeds)
    network.set_weights(list(found.weights))
    return _Trained(
        epochs=list(found.epochs),
        keras_file=model.model_to_bytes(network),
        weights_sha256=model.weights_sha256(found.weights),
        n_parameters=network.count_params(),
        restored_train_accuracy=found.restored_train_accuracy,
        train_seconds=found.train_seconds,
    )


def _log(store: RunStore, plan: FinalTraining, trained: _Trained) -> str:
    """Write the run and its model; it is FINISHED only when all of it is there."""
    from mlflow.entities import Param

    client, provenance = store.client, store.provenance
    tags = {
        **store.common_tags(),
        _KEY_TAG: plan.key,
        "study_trial": str(plan.trial),
        "confirmation": plan.confirmation,
        "confirmation_digest": plan.confirmation_digest,
        "cpu": provenance.cpu,
        "git_dirty": str(provenance.dirty).lower(),
        "weights_sha256": trained.weights_sha256,
        **{name: str(value) for name, value in asdict(plan.seeds).items()},
    }
    run = client.create_run(
        store.experiment_id, tags=tags, run_name=f"final-of-trial-{plan.trial:03d}"
    )
    run_id = str(run.info.run_id)
    metrics = [
        metric
        for epoch in trained.epochs
        for metric in as_metrics(_training_only(epoch), step=epoch.epoch)
    ]
    numbers = {
        "n_parameters": trained.n_parameters,
        "restored_train_accuracy": trained.restored_train_accuracy,
        "train_seconds": trained.train_seconds,
    }
    metrics += as_metrics(numbers, step=plan.n_epochs)
    settings = {**plan.params.model_dump(), "n_epochs": plan.n_epochs}
    settings |= {
        name: getattr(plan.training, name) for name in ("batch_size", "epochs", "schedule")
    }
    params = [Param(name, str(value)) for name, value in settings.items()]
    client.log_batch(run_id, metrics=metrics, params=params)
    store.log_dataset(run_id)
    files = {"provenance/provenance.json": provenance.as_json().encode()}
    if provenance.diff:
        files["provenance/uncommitted.diff"] = provenance.diff.encode()
    store.upload(run.info.artifact_uri, files)
    log_model(
        store,
        trained.keras_file,
        name=f"final-of-trial-{plan.trial:03d}",
        run_id=run_id,
        weights_sha256=trained.weights_sha256,
        params=plan.params.model_dump(),
        tags={STATE_TAG: "COMPLETE"},
        step=plan.n_epochs,
    )
    client.log_batch(run_id, tags=as_tags({STATE_TAG: "COMPLETE"}))
    client.set_terminated(run_id, "FINISHED")
    return run_id


def _training_only(epoch: EpochMetrics) -> dict[str, float]:
    return {k: v for k, v in epoch.as_metrics().items() if k.startswith("train/")}
