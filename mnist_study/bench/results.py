"""What was measured, part by part: benchmark.json, and README.md with the same tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnist_study.bench.measurements import Table
from mnist_study.core.errors import UserFacingError

JSON_NAME = "benchmark.json"

Part = Mapping[str, Any]
"""The `machine` on which a part was measured, and its `tables`."""


def measured_part(machine: Mapping[str, Any], tables: Sequence[Table]) -> Part:
    """Return a part with every sample, as benchmark.json holds it."""
    return {"machine": dict(machine), "tables": [table.as_json() for table in tables]}


def as_document(parts: Mapping[str, Part]) -> str:
    """Return the text of benchmark.json."""
    return json.dumps({"parts": {name: parts[name] for name in sorted(parts)}}, indent=2) + "\n"


def read_parts(folder: Path) -> dict[str, Part]:
    """Return the parts that were measured before, by letter.

    Raises:
        UserFacingError: benchmark.json is something else.
    """
    path = folder / JSON_NAME
    if not path.exists():
        return {}
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))["parts"]
        return {
            name: {key: part[key] for key in ("machine", "tables")} for name, part in parts.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserFacingError(
            f"found {path} without measured parts, expected what this benchmark writes; "
            "move it away, or give another folder with --output"
        ) from error


def write_parts(folder: Path, parts: Mapping[str, Part]) -> None:
    """Write both files, for people and for programs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON_NAME).write_text(as_document(parts), encoding="utf-8")
    lines = ["# Speed and memory", ""]
    for name in sorted(parts):
        lines += ["```", *heading(parts[name]["machine"]), "```", ""]
        for table in parts[name]["tables"]:
            lines += ["```", *Table.from_json(table).lines(), "```", ""]
    lines += [f"Every measurement is in {JSON_NAME}.", ""]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def heading(machine: Mapping[str, Any]) -> list[str]:
    """Say with which command, on what and from which commit a part was measured."""
    dirty = ", with changes" if machine["dirty"] else ""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return [
        f"command   {machine['command']}",
        f"hardware  {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB; "
        f"load before {machine['load_before']}",
        f"software  Python {machine['python']}, {packages}",
        f"commit    {machine['commit']}{dirty}",
        f"data      {machine['data']}",
    ]
