"""Where a model card is shown and how its model is loaded: what differs from place to place."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

from mnist_study.core.home import Home, sqlite_url
from mnist_study.deployment.stored_answers import PROMOTION_FOLDER
from mnist_study.tracking.store import TrackingStore


def picture_address(run_id: str, name: str) -> str:
    """Return where MLflow's server shows a picture of a run's promotion, from any of its pages.

    MLflow leaves out pictures that are part of a text (`data:`).
    """
    return "get-artifact?" + urlencode({"path": f"{PROMOTION_FOLDER}/{name}", "run_uuid": run_id})


def connection_code(home: Home) -> list[str]:
    """Return the lines of Python that connect MLflow with a home's store.

    A home in the present folder is named from there, so that the lines hold wherever it is copied.
    An address from the environment may hold a password and is not written down.
    """
    if home.artifact_root is None:
        return ["import os", "", 'mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])']
    path = home.path / "mlflow.db"
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    address = json.dumps(sqlite_url(path), ensure_ascii=False)
    return [f"mlflow.set_tracking_uri({address})  # the home that holds it"]


def loading_code(connection: list[str], model_id: str) -> list[str]:
    """Return lines of Python that load this very model, whatever is champion, and ask it."""
    return [
        "import mlflow",
        "import numpy as np",
        "",
        *connection,
        f'model = mlflow.pyfunc.load_model("models:/{model_id}")',
        'images = np.zeros((1, 28, 28), "uint8")  # yours: white on black, centred as MNIST\'s are',
        'probabilities = np.asarray(model.predict(images.astype("float32") / 255))  # (n, 10)',
        "print(probabilities.argmax(axis=1))",
    ]


def write_card(home: Home, name: str, files: Mapping[str, bytes]) -> Path:
    """Write the card of the champion, with its pictures, into the folder of reports.

    Args:
        home: whose champion it is.
        name: of the registered model.
        files: of `card_files`, or of `stored_card`.

    Returns:
        The folder.
    """
    folder = home.path / "reports" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file_name, content in files.items():
        (folder / file_name).write_bytes(content)
    return folder


def stored_card(store: TrackingStore, run_id: str) -> dict[str, bytes]:
    """Return the files of a version's card, as its promotion left them with its run.

    Raises:
        ArtifactError: they are not there.
    """
    location = store.client.get_run(run_id).info.artifact_uri
    with tempfile.TemporaryDirectory(prefix="mnist-study-") as folder:
        copy = store.fetch(location, Path(folder), PROMOTION_FOLDER)
        return {path.name: path.read_bytes() for path in sorted(copy.iterdir()) if path.is_file()}
