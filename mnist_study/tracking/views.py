"""Saved views of MLflow's table of runs: which columns, which runs, in which order.

MLflow keeps a view in a tag of the experiment, the same that its button "Share view" writes.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnist_study.core.config import NetworkParams
from mnist_study.tracking.store import (
    BEST_ACCURACY,
    FORMER_BEST_ACCURACY,
    STATE_TAG,
    TRIAL_TAG,
    TrackingStore,
)

if TYPE_CHECKING:
    from mlflow.entities import Experiment

_TAG = "mlflow.sharedViewState."
_TITLES = {
    "study": "All trials, the best first",
    "baseline": "The documented network over seeds",
    "screen": "Screening: runs with fresh seeds",
    "confirm": "Confirmation: runs with fresh seeds",
    "ablation": "All runs of the ablation",
}
_ALSO = {
    "baseline": ("test/accuracy",),
    "ablation": ("test/accuracy_last", "test/accuracy_restored"),
}


@dataclass(frozen=True, slots=True)
class View:
    """A saved view.

    Attributes:
        key: in the address and in the tag.
        name: as MLflow lists it.
        state: what MLflow's interface loads.
    """

    key: str
    name: str
    state: dict[str, Any]

    def as_tag(self, experiment: Experiment) -> tuple[str, str]:
        """Return name and content of the experiment's tag; the same view gives the same."""
        packed = base64.b64encode(zlib.compress(json.dumps(self.state, sort_keys=True).encode()))
        content = {
            "name": self.name,
            "createdAt": experiment.creation_time,
            "updatedAt": experiment.creation_time,
            "state": f"deflate;{packed.decode()}",
        }
        return _TAG + self.key, json.dumps(content, sort_keys=True)


def view_of(kind: str, *, best_accuracy: str = BEST_ACCURACY) -> View:
    """Return the view of a kind of record: its trials without their parents, the best first.

    Args:
        kind: "study", "baseline", "screen", "confirm" or "ablation".
        best_accuracy: metric that sorts them.
    """
    metrics = (best_accuracy, *_ALSO.get(kind, ()), "overfitting_gap", "n_parameters")
    columns = [
        _column("tags", STATE_TAG),
        *(_column("metrics", name) for name in metrics),
        *(_column("params", name) for name in NetworkParams.model_fields),
    ]
    state = {
        "selectedColumns": columns,
        "columnOrder": columns,
        # Its trials have a number; with any order but by time, MLflow unfolds nothing.
        "searchFilter": f"tags.kind = '{kind}' AND tags.{TRIAL_TAG} LIKE '%'",
        "orderByKey": _column("metrics", best_accuracy),
        "orderByAsc": False,
    }
    return View(kind, _TITLES[kind], state)


def save_views(store: TrackingStore, experiment: Experiment, kinds: Sequence[str]) -> None:
    """Save the views of these kinds of records; those that are there are not written again."""
    for kind in kinds:
        name = BEST_ACCURACY
        if _has(store, experiment, kind, FORMER_BEST_ACCURACY) and not _has(
            store, experiment, kind, BEST_ACCURACY
        ):
            name = FORMER_BEST_ACCURACY
        key, value = view_of(kind, best_accuracy=name).as_tag(experiment)
        if experiment.tags.get(key) != value:
            store.client.set_experiment_tag(experiment.experiment_id, key, value)


def _has(store: TrackingStore, experiment: Experiment, kind: str, metric: str) -> bool:
    condition = f"tags.kind = '{kind}' AND metrics.`{metric}` >= 0"
    return bool(store.client.search_runs([experiment.experiment_id], condition, max_results=1))


def _column(group: str, name: str) -> str:
    return f"{group}.`{name}`"
