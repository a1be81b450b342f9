"""What all runs of one study have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnist_study.core.provenance import DatasetRecord, Provenance
from mnist_study.tracking.store import STATE_TAG, TrackingStore

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True, slots=True)
class RunContext:
    """Where the runs of one study are written, and their common tags.

    Attributes:
        store: that holds them.
        experiment_id: of their experiment.
        identity: tags by which runs and models of the study are found.
        dataset: that the trials are trained on.
        provenance: of this process.
    """

    store: TrackingStore
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

    def create_run(self, name: str, tags: Mapping[str, str]) -> Run:
        """Create a run together with its tags, so that no run is ever without them."""
        return self.store.client.create_run(
            self.experiment_id, tags={**self.common_tags(), **tags}, run_name=name
        )

    def log_dataset(self, run_id: str) -> None:
        """Name the data set of a run, for MLflow's table of data sets."""
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
        # Of one content MLflow keeps one entry for all runs; a run's own split is in its tags.
        about = {
            "mlflow.data.context": "training",
            "n_train": dataset.n_train,
            "n_validation": dataset.n_validation,
            "split_seed": dataset.split_seed,
        }
        tags = [InputTag(name, str(value)) for name, value in about.items()]
        self.store.client.log_inputs(run_id, datasets=[DatasetInput(entry, tags)])
