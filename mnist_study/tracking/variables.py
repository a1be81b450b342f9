"""MLflow's own environment variables that would lead runs or models elsewhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mnist_study.core.safe_text import shown_address
from mnist_study.tracking.connection import TrackingError, check_store, explain, is_missing

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Names and places that the experiment file, the home and the tracking store decide here.
_WITHOUT_EFFECT = (
    "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID", "MLFLOW_RUN_NAME",
    "MLFLOW_ACTIVE_MODEL_ID", "MLFLOW_REGISTRY_URI", "MLFLOW_DEFAULT_ARTIFACT_ROOT",
    "MLFLOW_ARTIFACTS_DESTINATION", "MLFLOW_BACKEND_STORE_URI", "MLFLOW_REGISTRY_STORE_URI",
)  # fmt: skip


def variables_without_effect() -> list[str]:
    """Say in a line which of MLflow's variables are set and decide nothing here."""
    found = [name for name in _WITHOUT_EFFECT if os.environ.get(name)]
    if not found:
        return []
    return [
        f"{', '.join(found)}: without effect here; the experiment file names the experiment, and "
        "models are registered in the tracking store"
    ]


def other_registry(tracking_uri: str) -> MlflowClient | None:
    """Return a client of the registry that the environment names beside the tracking store.

    Models of this store may be registered there, by other programs.

    Raises:
        TrackingError: it cannot be read.
    """
    address = os.environ.get("MLFLOW_REGISTRY_URI")
    if not address or address == tracking_uri or is_missing(address):
        return None
    from mlflow import MlflowClient

    try:
        check_store(address)
        client = MlflowClient(tracking_uri, registry_uri=address)
        client.search_registered_models(max_results=1)
    # MLflow, SQLAlchemy and database drivers raise all kinds of errors about an address.
    except Exception as error:
        reason = explain(error, address) or error
        raise TrackingError(
            f"MLFLOW_REGISTRY_URI: the registry at {shown_address(address)} cannot be read "
            f"({reason}); expected it to tell which models are registered, as no such model is "
            "ever deleted; start it, or unset the variable"
        ) from error
    return client
