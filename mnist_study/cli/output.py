"""What a command says: results to stdout, messages to stderr."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def stderr_console() -> Console:
    """Return the console of messages: stderr, so that stdout carries results alone."""
    from rich.console import Console

    return Console(stderr=True)


def print_result(document: dict[str, Any] | list[Any], lines: list[str], as_json: bool) -> None:
    """Print what a command found: its document with --json, else its lines."""
    print(json.dumps(document, indent=2) if as_json else "\n".join(lines), flush=True)
