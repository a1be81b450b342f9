"""The champion in use: served, asked about image files, and shown in the status."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_study.core.datasets import AUTO, DIGITS, MNIST, described, is_mnist, is_own
from mnist_study.core.home import Home
from mnist_study.data.pictures import read_digit
from mnist_study.deployment.serving import ServingError, scoring_server
from mnist_study.tracking.checked_models import KERAS_FILE
from mnist_study.tracking.connection import shown
from mnist_study.tracking.endpoint import Endpoint
from mnist_study.tracking.registry import CHAMPION, Registry, RegistryError, model_name
from mnist_study.tracking.store import TrackingStore
from mnist_study.training.process import prepare_tensorflow

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True, slots=True)
class Answer:
    """The champion's prediction for an image; probabilities in [0, 1]."""

    image: str
    label: int
    probability: float
    runner_up: int
    runner_up_probability: float
    model: str
    version: str

    def __str__(self) -> str:
        return (
            f"{self.image}: {self.label} ({100 * self.probability:.2f} %), then {self.runner_up} "
            f"({100 * self.runner_up_probability:.2f} %)"
        )

    def as_document(self) -> dict[str, Any]:
        """Return everything under the names above."""
        return asdict(self)


def registry_of(home: Home, dataset: str) -> Registry:
    """Return the registry of a data set; "auto" prefers MNIST's, then the stand-in's.

    Raises:
        RegistryError: there is no store, or no champion in it.
    """
    names = _datasets(home) if dataset == AUTO else (dataset,)
    wanted = " or ".join(map(model_name, names))
    nobody = RegistryError(
        f"{shown(home.tracking_uri)}: no champion of {wanted} here; run `mnist-study promote` "
        "first, or give the --home that holds one"
    )
    if not home.has_mlflow_store:
        raise nobody
    store = TrackingStore.open(home)
    for name in names:
        registry = Registry(store, name)
        if registry.aliases().get(CHAMPION):
            return registry
    raise nobody


def predict_files(
    home: Home,
    dataset: str,
    paths: Sequence[Path],
    picture: Path | None,
    say: Callable[[str], None],
) -> list[Answer]:
    """Predict the digits in image files with the champion.

    Args:
        home: whose champion.
        dataset: as for `registry_of`.
        paths: PNG or JPEG files.
        picture: file for a figure of the network's input; None draws none.
        say: shows progress, a line each.

    Raises:
        UserFacingError: no champion, or a file that shows no digit; then nothing is predicted.
    """
    # All files first, so that a bad one is reported before TensorFlow's import.
    images = np.stack([read_digit(path) for path in paths])
    registry, version = _champion(home, dataset, say)
    with registry.store, tempfile.TemporaryDirectory() as folder:
        content = (registry.fetch(version, Path(folder)) / KERAS_FILE).read_bytes()
    prepare_tensorflow()
    from mnist_study.training import model

    probabilities = model.probabilities(model.model_from_bytes(content), images)
    answers = []
    for path, row in zip(paths, probabilities, strict=True):
        second, first = np.argsort(row, kind="stable")[-2:]
        answers.append(
            Answer(
                image=str(path),
                label=int(first),
                probability=float(row[first]),
                runner_up=int(second),
                runner_up_probability=float(row[second]),
                model=registry.name,
                version=str(version.version),
            )
        )
    if picture is not None:
        _draw(images, answers, picture)
    return answers


def _draw(images: np.ndarray, answers: Sequence[Answer], picture: Path) -> None:
    from mnist_study.plots import to_png
    from mnist_study.plots.answers import seen_images

    captions = [f"{a.label}: {100 * a.probability:.2f} %" for a in answers]
    picture.write_bytes(to_png(seen_images(images, captions)))


def serve_champion(
    home: Home,
    dataset: str,
    endpoint: Endpoint,
    say: Callable[[str], None],
    on_start: Callable[[dict[str, Any], list[str]], None],
) -> None:
    """Serve the champion until this process is asked to end.

    Args:
        home: whose champion.
        dataset: as for `registry_of`.
        endpoint: where to listen.
        say: shows progress, a line each.
        on_start: called with a document and lines once the server answers.

    Raises:
        UserFacingError: no champion, the port is taken, or the server ended by itself.
    """
    registry, version = _champion(home, dataset, say)
    with tempfile.TemporaryDirectory(prefix="mnist-study-") as folder:
        with registry.store:
            directory = registry.fetch(version, Path(folder))
        warning = endpoint.warning("ask the champion")
        if warning is not None:
            say(warning)
        say("starting MLflow's scoring server…")
        with scoring_server(directory, endpoint) as server:
            url = f"{endpoint.url(server.port)}/invocations"
            on_start(
                {"model": registry.name, "version": str(version.version), "url": url},
                [
                    f"{registry.name} version {version.version}: {url}",
                    'POST {"inputs": [28x28 numbers from 0 to 1, light ink on dark paper, …]} as '
                    "JSON; Ctrl-C ends it.",
                ],
            )
            status = server.process.wait()
    raise ServingError(
        f"the scoring server ended by itself with status {status}, expected it to serve until "
        "Ctrl-C; start it again"
    )


def _champion(
    home: Home, dataset: str, say: Callable[[str], None]
) -> tuple[Registry, ModelVersion]:
    registry = registry_of(home, dataset)
    version = registry.champion()
    assert version is not None
    trained_on = version.tags.get("dataset", MNIST)
    if not is_mnist(trained_on):
        say(f"WARNING: this champion was trained on {described(trained_on)}")
    return registry, version


def champion_document(home: Home) -> dict[str, Any]:
    """Return the readings of the test set and the champion of each registered model.

    Raises:
        UserFacingError: the ledger or the registry cannot be read.
    """
    readings = home.ledger.readings()
    by_command = Counter(_command_name(reading.command) for reading in readings)
    return {
        "test_set_readings": len(readings),
        "test_set_readings_by_command": dict(by_command),
        "champions": _champions(home),
    }


def _command_name(command: str) -> str:
    """Return `promote` of `mnist-study promote --home x`."""
    return next(iter(command.split()[1:2]), command)


def _datasets(home: Home) -> tuple[str, ...]:
    """Return the data sets whose models may be registered here, MNIST first."""
    # The ledger names the data of every model that was promoted here.
    own = {r.dataset for r in home.ledger.readings() if is_own(r.dataset)}
    return (MNIST, DIGITS, *sorted(own))


def _champions(home: Home) -> list[dict[str, Any]]:
    # Importing MLflow takes seconds, and a home without a promotion has no champion.
    is_local = home.artifact_root is not None
    if not home.has_mlflow_store or (is_local and not home.readouts.exists()):
        return []
    store = TrackingStore.open(home)
    champions = []
    for dataset in _datasets(home):
        registry = Registry(store, dataset)
        version = registry.aliases().get(CHAMPION)
        if version is None:
            continue
        found = registry.find_version(version)
        tags = {} if found is None else found.tags
        history = registry.history()
        champions.append(
            {
                "model": registry.name,
                "version": version,
                "is_there": found is not None,
                "test_accuracy": float(tags["test_accuracy"]) if "test_accuracy" in tags else None,
                "run_id": tags.get("run_id"),
                "history": [move.as_document() for move in history],
            }
        )
    return champions


def champion_lines(document: dict[str, Any]) -> list[str]:
    """Return a champion document as lines of text."""
    counts = ", ".join(f"{n} by {k}" for k, n in document["test_set_readings_by_command"].items())
    lines = [
        f"readings of the test set: {document['test_set_readings']}"
        + (f" ({counts})" if counts else "")
    ]
    for champion in document["champions"]:
        accuracy = champion["test_accuracy"]
        measured = "" if accuracy is None else f", test accuracy {accuracy:.2%}"
        if not champion["is_there"]:
            measured = (
                ", which is not there: it was deleted, or the alias was moved by hand; "
                "`mnist-study rollback` returns to the last champion"
            )
        lines.append(f"champion: {champion['model']} version {champion['version']}{measured}")
        for move in champion["history"]:
            why = f" (gate overridden: {move['reason']})" if move["reason"] else ""
            lines.append(f"  {move['when']}  {move['event']:<8} version {move['version']}{why}")
    return lines
