"""The champion in use: served, asked about image files, and shown in the status."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_study.core.datasets import AUTO, DIGITS, MNIST, described, is_mnist, is_own
from mnist_study.core.home import Home
from mnist_study.deployment.answering import ANSWERING, ANSWERING_TAG, Answering
from mnist_study.deployment.client_example import curl_lines
from mnist_study.deployment.serving import ServingError, scoring_server
from mnist_study.deployment.stored_answers import PROMOTION_FOLDER
from mnist_study.tracking.checked_models import check_file
from mnist_study.tracking.connection import shown
from mnist_study.tracking.endpoint import Endpoint
from mnist_study.tracking.registry import CHAMPION, Registry, RegistryError, model_name
from mnist_study.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


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


def read_answering(
    registry: Registry, version: ModelVersion, say: Callable[[str], None]
) -> Answering:
    """Return the temperature and levels of a version, checked against the hash of its promotion.

    Args:
        registry: of the version.
        version: with the tags of its promotion; those of earlier versions have no levels.
        say: shows progress, a line each.

    Raises:
        UserFacingError: the file is missing or was changed.
    """
    expected = version.tags.get(ANSWERING_TAG)
    if expected is None:
        say(
            "this champion was promoted without levels: temperature 1, and a digit is answered "
            "whatever it is shown; promote it again for levels"
        )
        return Answering()
    name = f"the levels of {registry.name} version {version.version}"
    run = registry.client.get_run(str(version.run_id))
    content = registry.store.read(run.info.artifact_uri, f"{PROMOTION_FOLDER}/{ANSWERING}")
    check_file(content, expected, name)
    return Answering.from_bytes(content, name)


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
    registry, version = champion_of(home, dataset, say)
    with tempfile.TemporaryDirectory(prefix="mnist-study-") as folder:
        with registry.store:
            directory = registry.fetch(version, Path(folder))
            levels = read_answering(registry, version, say)
        (directory / ANSWERING).write_bytes(levels.to_bytes())
        warning = endpoint.warning("ask the champion")
        if warning is not None:
            say(warning)
        say("starting MLflow's scoring server…")
        with scoring_server(directory, endpoint) as server:
            url = f"{endpoint.url(server.port)}/invocations"
            example, own_file = curl_lines(url)
            on_start(
                {
                    "model": registry.name,
                    "version": str(version.version),
                    "url": url,
                    "curl": example,
                    "curl_file": own_file,
                },
                [
                    f"{registry.name} version {version.version}: {url}",
                    f"an example: {example}",
                    f"a file of yours: {own_file}",
                    'Also {"inputs": [28x28 numbers, light ink on dark paper, …]}: whole ones 0 to '
                    "255, or fractions 0 to 1. Ctrl-C ends it.",
                ],
            )
            status = server.process.wait()
    raise ServingError(
        f"the scoring server ended by itself with status {status}, expected it to serve until "
        "Ctrl-C; start it again"
    )


def champion_of(
    home: Home, dataset: str, say: Callable[[str], None]
) -> tuple[Registry, ModelVersion]:
    """Return the registry of a data set and its champion; arguments as for `registry_of`."""
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
