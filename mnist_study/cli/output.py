"""Output of the commands: results on stdout, messages on stderr."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

from mnist_study.cli.invocation import as_typed_here
from mnist_study.cli.quiet import is_quiet
from mnist_study.core.safe_text import safe, without_passwords


def stderr_console() -> Console:
    """Return the console for messages; stdout is for results alone."""
    return Console(stderr=True, quiet=is_quiet())


def say(console: Console, text: str) -> None:
    """Print a line without markup, colours or escape sequences."""
    if console.quiet and text.startswith("WARNING"):
        console = Console(stderr=True)
    console.print(safe(as_typed_here(text)), markup=False, highlight=False, soft_wrap=True)


def print_result(document: dict[str, Any] | list[Any], lines: list[str], as_json: bool) -> None:
    """Print the result of a command: its document with --json, else its lines."""
    if as_json:
        print(json.dumps(_safe_document(document), indent=2), flush=True)
    else:
        rows = [row for line in lines for row in line.split("\n")]
        print("\n".join(safe(as_typed_here(row)) for row in rows), flush=True)


def _safe_document(value: Any) -> Any:  # noqa: ANN401
    """Return a document without passwords; JSON itself escapes control characters."""
    if isinstance(value, dict):
        return {name: _safe_document(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_safe_document(item) for item in value]
    return without_passwords(value) if isinstance(value, str) else value
