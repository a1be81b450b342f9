"""Addresses of MLflow's own pages, relative to where its interface is served.

Each begins with `#/`, so that it works in a note of the interface itself and, after the server's
address, anywhere else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote

# Without it a browser that has never been here opens MLflow's pages on agents.
_MODE = "workflowType=machine_learning"


def runs_table(experiment_id: str, view: str) -> str:
    """Return the address of an experiment's runs in a saved view.

    Args:
        experiment_id: of MLflow.
        view: key of the saved view, see `views`.
    """
    return f"#/experiments/{experiment_id}/runs?{_MODE}&viewStateShareKey={quote(view, safe='')}"


def run_page(experiment_id: str, run_id: str) -> str:
    """Return the address of a run."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?{_MODE}"


def artifact_page(experiment_id: str, run_id: str, path: str) -> str:
    """Return the address of a file of a run, shown in MLflow."""
    return f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/{quote(path)}?{_MODE}"


def comparison(experiment_id: str, run_ids: Sequence[str]) -> str:
    """Return the address of the comparison of runs, in this order."""
    runs, experiments = (
        quote(json.dumps(ids, separators=(",", ":")), safe="")
        for ids in (list(run_ids), [experiment_id])
    )
    return f"#/compare-runs?runs={runs}&experiments={experiments}&{_MODE}"


def version_page(model: str, version: str) -> str:
    """Return the address of a version of a registered model."""
    return f"#/models/{quote(model, safe='')}/versions/{version}?{_MODE}"
