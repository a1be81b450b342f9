"""What all runs of one study have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from mnist_study.core.provenance import DatasetRecord, Provenance
from mnist_study.tracking.store import STATE_TAG, TrackingStore, pages

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
        """Create a run together with its tags, so that no run is ever without them.

        Args:
            name: of the run; followed by -2, -3… where another run of the experiment has it.
            tags: beside the common ones.
        """
        return self.store.client.create_run(
            self.experiment_id, tags={**self.common_tags(), **tags}, run_name=self._unused(name)
        )

    def _unused(self, name: str) -> str:
        """Return the name, numbered if the experiment has it: from another home, or a design."""
        runs = pages(
            self.store.client.search_runs,
            experiment_ids=[self.experiment_id],
            filter_string=f"attributes.run_name LIKE '{name}%'",
            max_results=1000,
        )
        taken = {run.info.run_name for run in runs}
        names = (name if n == 1 else f"{name}-{n}" for n in count(1))
        return next(free for free in names if free not in taken)

    def log_dataset(self, run_id: str, dataset: DatasetRecord | None = None) -> None:
        """Name the data set of a run, for MLflow's table of data sets.

        Args:
            run_id: of the run.
            dataset: with the run's own split; None takes the study's.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = dataset or self.dataset
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
