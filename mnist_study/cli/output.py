"""Output of the commands: results on stdout, messages on stderr."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console


def stderr_console() -> Console:
    """Return the console for messages; stdout carries nothing but results."""
    return Console(stderr=True)


def say(console: Console, text: str) -> None:
    """Print a line as it is: no markup, no colours, no line breaks of its own."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_result(document: dict[str, Any] | list[Any], lines: list[str], as_json: bool) -> None:
    """Print the result of a command: its document with --json, else its lines."""
    print(json.dumps(document, indent=2) if as_json else "\n".join(lines), flush=True)
