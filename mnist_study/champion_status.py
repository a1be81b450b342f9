"""Who is champion, who was, and how often the test set was read, from the stores alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

from mnist_study.home import Home


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


def _champions(home: Home) -> list[dict[str, Any]]:
    # MLflow takes seconds to import, and a home that nothing was promoted from holds no champion.
    is_local = home.artifact_root is not None
    if not home.has_mlflow_store or (is_local and not home.readouts.exists()):
        return []
    from mnist_study.registry import CHAMPION, MODEL_NAMES, Registry

    found = []
    for dataset in MODEL_NAMES:
        registry = Registry(home.tracking_uri, dataset)
        version = registry.aliases().get(CHAMPION)
        if version is None:
            continue
        tags = registry.version(version).tags
        history = registry.history()
        found.append(
            {
                "model": registry.name,
                "version": version,
                "test_accuracy": float(tags["test_accuracy"]) if "test_accuracy" in tags else None,
                "run_id": tags.get("run_id"),
                "history": [move.as_document() for move in history],
            }
        )
    return found


def champion_lines(document: dict[str, Any]) -> list[str]:
    """Write a champion document for people."""
    counts = ", ".join(f"{n} by {k}" for k, n in document["test_set_readings_by_command"].items())
    lines = [
        f"readings of the test set: {document['test_set_readings']}"
        + (f" ({counts})" if counts else "")
    ]
    for champion in document["champions"]:
        accuracy = champion["test_accuracy"]
        measured = "" if accuracy is None else f", test accuracy {accuracy:.2%}"
        lines.append(f"champion: {champion['model']} version {champion['version']}{measured}")
        for move in champion["history"]:
            why = f" (gate overridden: {move['reason']})" if move["reason"] else ""
            lines.append(f"  {move['when']}  {move['event']:<8} version {move['version']}{why}")
    return lines
