"""The final training: the confirmed winner on all training rows, for a fixed number of epochs."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from mnist_study.core.config import NetworkParams, TrainingConfig
from mnist_study.core.environment import environment_identity
from mnist_study.core.errors import UserFacingError
from mnist_study.core.identity import ConfirmationIdentity
from mnist_study.core.interrupts import undisturbed
from mnist_study.core.provenance import collect_provenance
from mnist_study.core.trials import EpochMetrics, Seeds, SeedStream, derive_seeds, digest
from mnist_study.data.dataset import Splits, TrainingSet, load_training_set_by_hash
from mnist_study.deployment.challenger import Confirmation
from mnist_study.experiments.confirmation_results import Confirmed
from mnist_study.search.history import History
from mnist_study.tracking.checked_models import WEIGHTS_TAG
from mnist_study.tracking.entities import as_metrics, as_params
from mnist_study.tracking.models import log_model
from mnist_study.tracking.runs import RunContext
from mnist_study.tracking.store import STATE_TAG, TrackingStore, tag_filter
from mnist_study.training.process import prepare_tensorflow

KIND = "final"
_KEY_TAG = "final_key"


class FinalTrainingError(UserFacingError):
    """The winner could not be trained on all rows."""


@dataclass(frozen=True, slots=True)
class FinalTraining:
    """Everything that the final network is a function of, besides the training rows.

    Attributes:
        study: that found the configuration; also the MLflow experiment.
        trial: of that study.
        confirmation: name of the record that confirmed it.
        confirmation_digest: of that record.
        params: the network.
        training: as in the study, with the same schedule.
        n_epochs: number of epochs: the median best epoch of the confirmation.
        seeds: of initial weights, dropout and order of rows.
        content_hash: of the training set.
        dataset: its name, which only serves to find a user's own data.
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
    dataset: str

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
            dataset=identity.data.dataset,
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
    """A final network that is not yet logged; its metrics are of the training rows alone."""

    epochs: list[EpochMetrics]
    keras_file: bytes
    weights_sha256: str
    n_parameters: int
    restored_train_accuracy: float
    train_seconds: float


def final_run(
    store: TrackingStore,
    confirmation: Confirmation,
    data_dir: Path | None,
    say: Callable[[str], None],
) -> str:
    """Return the run of a confirmation's winner on all rows, trained and logged unless it was.

    Whatever a killed driver left unfinished is deleted. A confirmation gives the same weights each
    time.

    Args:
        store: that records the run.
        confirmation: finished.
        data_dir: as for `load_training_set_by_hash`.
        say: shows progress, a line each.

    Raises:
        UserFacingError: the training set is out of reach, or the loss was not finite.
    """
    plan = FinalTraining.of(confirmation.history, confirmation.winner)
    experiment_id = store.experiment_id(plan.study)
    # Only the confirmation's own final runs are considered, because another home may be training
    # the same network at the same time.
    identity = {**confirmation.history.mlflow_identity, "study": plan.study, "kind": KIND}
    # By what it confirms and not by the seeds, of which earlier versions took others.
    of_winner = {"confirmation_digest": plan.confirmation_digest, "study_trial": str(plan.trial)}
    runs = store.client.search_runs([experiment_id], tag_filter({**identity, **of_winner}))
    done = [run for run in runs if run.info.status == "FINISHED"]
    for run in runs:
        if run not in done:
            store.delete_with_models(run)
            say(f"an unfinished final training was removed (run {run.info.run_id})")
    if done:
        run_id = str(done[0].info.run_id)
        say(f"trial {plan.trial} was trained on all rows before: run {run_id}")
        return run_id
    training_set = load_training_set_by_hash(plan.content_hash, data_dir, dataset=plan.dataset)
    n_rows = len(training_set.labels)
    epochs = "1 epoch" if plan.n_epochs == 1 else f"{plan.n_epochs} epochs"
    say(f"training trial {plan.trial} on all {n_rows:,} rows for {epochs}…")
    trained = _train(plan, training_set, say)
    context = RunContext(
        store,
        experiment_id,
        identity,
        training_set.record(n_validation=0, split_seed=0),
        collect_provenance(fingerprint=plan.key, experiment_file=""),
    )
    with undisturbed():
        run_id = _log(context, plan, trained)
    say(f"trained in {trained.train_seconds:.0f} s, logged as run {run_id}")
    return run_id


def _train(plan: FinalTraining, training_set: TrainingSet, say: Callable[[str], None]) -> _Trained:
    prepare_tensorflow()
    from mnist_study.training import model, trainer

    # No row is left to validate on, and without early stopping nothing depends on validation. The
    # one row given instead is also trained on, and what is measured on it is kept nowhere.
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
    result = trainer.train(plan.params, plan.seeds, config, splits, on_epoch=after_epoch)
    if result.diverged:
        raise FinalTrainingError(
            f"trial {plan.trial} on all rows: loss {result.epochs[-1].train_loss} at epoch "
            f"{len(result.epochs)}, expected a finite one; promote another run with --run"
        )
    network = model.build_model(plan.params, plan.seeds)
    network.set_weights(list(result.weights))
    return _Trained(
        epochs=list(result.epochs),
        keras_file=model.model_to_bytes(network),
        weights_sha256=model.weights_sha256(result.weights),
        n_parameters=network.count_params(),
        restored_train_accuracy=result.restored_train_accuracy,
        train_seconds=result.train_seconds,
    )


def _log(context: RunContext, plan: FinalTraining, trained: _Trained) -> str:
    """Write the run and its model; the run is FINISHED only when it is complete."""
    client, provenance = context.store.client, context.provenance
    name = f"final-t{plan.trial:03d}"
    tags = {
        _KEY_TAG: plan.key,
        "study_trial": str(plan.trial),
        "confirmation": plan.confirmation,
        "confirmation_digest": plan.confirmation_digest,
        "cpu": provenance.cpu,
        "git_dirty": str(provenance.dirty).lower(),
        WEIGHTS_TAG: trained.weights_sha256,
        **{name: str(value) for name, value in asdict(plan.seeds).items()},
    }
    run = context.create_run(name, tags)
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
    client.log_batch(run_id, metrics=metrics, params=as_params(settings))
    context.log_dataset(run_id)
    files = {"provenance/provenance.json": provenance.as_json().encode()}
    if provenance.diff:
        files["provenance/uncommitted.diff"] = provenance.diff.encode()
    context.store.upload(run.info.artifact_uri, files)
    log_model(
        context,
        trained.keras_file,
        name=name,
        run_id=run_id,
        weights_sha256=trained.weights_sha256,
        params=plan.params.model_dump(),
        tags={STATE_TAG: "COMPLETE"},
        step=plan.n_epochs,
    )
    client.set_tag(run_id, STATE_TAG, "COMPLETE")
    client.set_terminated(run_id, "FINISHED")
    return run_id


def _training_only(epoch: EpochMetrics) -> dict[str, float]:
    return {k: v for k, v in epoch.as_metrics().items() if k.startswith("train/")}
