"""The commands that handle a home as a whole: repair, export, import."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from mnist_study.cli.output import print_result
from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import Home
from mnist_study.core.paths import expanded
from mnist_study.execution.archive import export_home, import_home, repair_home
from mnist_study.execution.audit import audit_home, audit_lines


def repair(home_path: Path | None, as_json: bool) -> None:
    """Correct the paths stored in a moved or copied home."""
    home = Home.at(home_path)
    lines = repair_home(home)
    shown = lines or [f"{home.path}: every location points into it; nothing to repair"]
    print_result({"home": str(home.path), "repaired": lines}, shown, as_json)


def export(file: Path, home_path: Path | None, as_json: bool) -> None:
    """Pack a home into one archive."""
    home, file = Home.at(home_path), expanded(file)
    digests = export_home(home, file)
    lines = [
        *_digest_lines(digests),
        f"{file}: {file.stat().st_size / 1e6:.1f} MB, the whole of {home.path}",
        f"Next: `mnist-study home import {shlex.quote(str(file))} --home DIR` elsewhere.",
    ]
    print_result({"archive": str(file), "digests": digests}, lines, as_json)


def bring_back(file: Path, home_path: Path | None, as_json: bool) -> None:
    """Bring an archive back as a home, and audit it.

    Raises:
        UserFacingError: the home was brought back, and its stores do not agree.
    """
    home, file = Home.at(home_path), expanded(file)
    digests = import_home(file, home)
    audits = audit_home(home)
    lines = [*_digest_lines(digests), *(line for audit in audits for line in audit_lines(audit))]
    document = {
        "home": str(home.path),
        "digests": digests,
        "audit": [audit.as_document() for audit in audits],
    }
    print_result(document, [*lines, f"{home.path}: the home of {file}"], as_json)
    if any(audit.findings for audit in audits):
        raise UserFacingError(
            f"{home.path}: what {file} holds is inconsistent; expected what its audit finds proven "
            "where it was packed; `mnist-study audit --repair` says what can be mended"
        )


def _digest_lines(digests: Mapping[str, str]) -> list[str]:
    return [f"{name}: digest {value[:16]}…" for name, value in digests.items()]
