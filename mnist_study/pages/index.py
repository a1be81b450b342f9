"""The index of a home: every report that lies in its folder, with question and answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mnist_study.pages.html import render_index
from mnist_study.pages.model import REPORT

INDEX = "index.html"
_ORDER = ("study", "confirm", "champion", "baseline", "ablation")
_HEAD = re.compile(rb'<script type="application/json" id="head">(.*?)</script>', re.DOTALL)
# The head of a report is near its beginning, and its figures need not be read.
_HEAD_BYTES = 65536


def write_index(home: Path) -> Path | None:
    """Write the index of the reports under `reports`, from what each says of itself.

    Args:
        home: the home's folder.

    Returns:
        The index; None where there is no report.
    """
    entries = [
        {**head, "href": quote(path.relative_to(home).as_posix())}
        for path in sorted((home / "reports").glob(f"*/{REPORT}"))
        if (head := _head_of(path)) is not None
    ]
    if not entries:
        return None
    entries.sort(key=lambda entry: (_rank(entry["kind"]), entry["title"]))
    index = home / INDEX
    index.write_text(render_index(entries), encoding="utf-8")
    return index


def _rank(kind: str) -> int:
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)


def _head_of(path: Path) -> dict[str, Any] | None:
    """Return what a report says of itself; None for a file that is no report of this program."""
    with path.open("rb") as file:
        found = _HEAD.search(file.read(_HEAD_BYTES))
    return None if found is None else dict(json.loads(found[1]))
