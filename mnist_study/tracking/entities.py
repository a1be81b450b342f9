"""Values of this program as MLflow's metrics, parameters and tags."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mnist_study.core.provenance import DatasetRecord

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param, RunTag

# MLflow takes 8,000 characters per tag, too many to read in a table.
_LONGEST_TAG = 1000
NOTE_TAG = "mlflow.note.content"


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


def as_params(values: Mapping[str, object]) -> list[Param]:
    """Return values as parameters."""
    from mlflow.entities import Param

    return [Param(name, str(value)) for name, value in values.items()]


def as_tags(tags: Mapping[str, str]) -> list[RunTag]:
    """Return tags, cut to a length that MLflow takes."""
    from mlflow.entities import RunTag

    return [RunTag(name, value[:_LONGEST_TAG]) for name, value in tags.items()]


def as_note(text: str | None) -> list[RunTag]:
    """Return the tag that MLflow shows as a run's description, none without a text."""
    from mlflow.entities import RunTag

    return [] if text is None else [RunTag(NOTE_TAG, text)]


def nonfinite_tag(values: Iterable[tuple[str, float]]) -> dict[str, str]:
    """Name in one tag the values that MLflow cannot store: it turns infinity into 1.8e308."""
    found = ", ".join(f"{name}: {value}" for name, value in values if not math.isfinite(value))
    return {"nonfinite": found} if found else {}
