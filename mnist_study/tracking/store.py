"""The few calls on an MLflow store that all runs share."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_study.core.provenance import DatasetRecord, Provenance
from mnist_study.tracking.connection import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, RunTag

STATE_TAG = "state"
TRIAL_TAG = "trial"
# MLflow takes 8,000 characters per tag; nobody reads as many in a table.
_LONGEST_TAG = 1000


@dataclass(frozen=True, slots=True)
class RunStore:
    """An experiment in an MLflow store, and what all runs of one study have in common.

    Attributes:
        client: of the store.
        tracking_uri: of the store.
        experiment_id: of the experiment.
        identity: tags by which runs and models of the study are found.
        dataset: what the trials are trained on.
        provenance: of this process.
    """

    client: MlflowClient
    tracking_uri: str
    experiment_id: str
    identity: Mapping[str, str]
    dataset: DatasetRecord
    provenance: Provenance

    def common_tags(self) -> dict[str, str]:
        """Return the tags that every new run of the study gets."""
        tags = {
            **self.identity,
            STATE_TAG: "RUNNING",
            "dataset_sha256": self.dataset.content_hash,
            # The names by which MLflow's own table shows source and version.
            "mlflow.source.name": "mnist-study",
            "mlflow.source.type": "LOCAL",
        }
        if self.provenance.commit is not None:
            tags["mlflow.source.git.commit"] = self.provenance.commit
        return tags

    def log_dataset(self, run_id: str) -> None:
        """Name what a run was trained on, for MLflow's table of data sets."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = self.dataset
        n_rows = dataset.n_train + dataset.n_validation
        entry = Dataset(
            name=dataset.name,
            digest=dataset.digest,
            source_type="local",
            source=json.dumps({"description": dataset.source}),
            profile=json.dumps({"content_sha256": dataset.content_hash, "n_rows": n_rows}),
        )
        # Of one content MLflow keeps one entry for all runs; what a run made of it stands in tags.
        about = {
            "mlflow.data.context": "training",
            "n_train": dataset.n_train,
            "n_validation": dataset.n_validation,
            "split_seed": dataset.split_seed,
        }
        tags = [InputTag(name, str(value)) for name, value in about.items()]
        self.client.log_inputs(run_id, datasets=[DatasetInput(entry, tags)])

    def upload(self, artifact_uri: str, files: Mapping[str, bytes]) -> None:
        """Write files to an artifact location, by their relative paths."""
        with tempfile.TemporaryDirectory(prefix="mnist-study-") as directory:
            for name, content in files.items():
                path = Path(directory, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.upload_directory(artifact_uri, directory)

    def upload_directory(self, artifact_uri: str, directory: str) -> None:
        """Write a directory's files to an artifact location."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        # What the client's log_artifacts does after asking the store for the location, which costs
        # as much as the writing.
        repository = get_artifact_repository(artifact_uri, tracking_uri=self.tracking_uri)
        repository.log_artifacts(directory)  # type: ignore[no-untyped-call]

    def interrupt(self, run_id: str) -> None:
        """End a run that its program gave up."""
        interrupt(self.client, run_id)


def interrupt(client: MlflowClient, run_id: str) -> None:
    """End a run that its program gave up."""
    client.set_terminated(run_id, "KILLED")
    client.set_tag(run_id, STATE_TAG, "INTERRUPTED")


# Opens the experiment on training runs; MLflow's interface would begin with its pages on agents.
_MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}


def open_experiment(client: MlflowClient, name: str, artifact_root: str | None) -> str:
    """Return the id of an experiment, created if it is missing.

    Args:
        client: of the store.
        name: of the experiment.
        artifact_root: folder for the files of all experiments, for the store under the home; None
            leaves the place to the server.

    Raises:
        TrackingError: the experiment is deleted, or keeps its files elsewhere.
    """
    location = None if artifact_root is None else (Path(artifact_root).resolve() / name).as_uri()
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name, artifact_location=location, tags=_MODEL_TRAINING))
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"MLflow: experiment {name!r} was deleted; restore it with `mlflow experiments restore "
            f"--experiment-id {found.experiment_id}` or give the experiment file another name"
        )
    if location is not None and found.artifact_location != location:
        raise TrackingError(
            f"MLflow: experiment {name!r} keeps its files at {found.artifact_location}, expected "
            f"{location}; MLflow stores places in full, so move the home back or choose another"
        )
    return str(found.experiment_id)


def tag_filter(tags: Mapping[str, str]) -> str:
    """Return the condition of a search in MLflow for what has all these tags."""
    return " AND ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())


def nonfinite_tag(values: Iterable[tuple[str, float]]) -> dict[str, str]:
    """Name in one tag the values that MLflow cannot store: it makes of infinity 1.8e308."""
    found = ", ".join(f"{name}: {value}" for name, value in values if not math.isfinite(value))
    return {"nonfinite": found} if found else {}


def as_metrics(
    values: Mapping[str, float],
    *,
    step: int,
    model_id: str | None = None,
    dataset: DatasetRecord | None = None,
) -> list[Metric]:
    """Return the finite values as metrics, of a model too if its id is given."""
    from mlflow.entities import Metric

    now = time.time_ns() // 1_000_000
    about = {}
    if model_id is not None and dataset is not None:
        about = {
            "model_id": model_id,
            "dataset_name": dataset.name,
            "dataset_digest": dataset.digest,
        }
    return [
        Metric(name, value, now, step, **about)
        for name, value in values.items()
        if math.isfinite(value)
    ]


def as_tags(tags: Mapping[str, str]) -> list[RunTag]:
    """Return tags of a length that MLflow takes."""
    from mlflow.entities import RunTag

    return [RunTag(name, value[:_LONGEST_TAG]) for name, value in tags.items()]
