"""The reports of finished records, put again beside their runs in MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mnist_study.core.home import Home
from mnist_study.tracking.reconcile import StudyRecord
from mnist_study.tracking.store import TrackingStore

Summary = tuple[Mapping[str, str], Mapping[str, bytes]]
"""Tags by which a record's runs are found, and the files of its report by name."""


def log_summaries(home: Home, summaries: Sequence[Summary]) -> int:
    """Write reports as `summary/NAME` of the runs of their records; nothing else is changed.

    Args:
        home: whose MLflow store holds the runs.
        summaries: of each record.

    Returns:
        How many records have a run there.

    Raises:
        TrackingError: the store does not answer or cannot be written.
    """
    n_logged = 0
    with TrackingStore.open(home) as store:
        experiments = store.active_experiments()
        for identity, files in summaries:
            parent = StudyRecord(store, experiments, identity).parent
            if parent is not None:
                named = {f"summary/{name}": content for name, content in files.items()}
                store.upload(parent.info.artifact_uri, named)
                n_logged += 1
    return n_logged
