"""The append-only record of every reading of the test set."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mnist_study.errors import UserFacingError
from mnist_study.records import TrialResult


class LedgerError(UserFacingError):
    """A ledger that cannot be trusted."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of the test set.

    Attributes:
        when: local time, ISO 8601.
        command: which command read it.
        dataset: "mnist" or "digits".
        weights_sha256: identity of the model that was measured.
        result: what was learned.
    """

    when: str
    command: str
    dataset: str
    weights_sha256: str
    result: Mapping[str, float]


class Ledger:
    """The readings under one home, a JSON document per line; lines are only ever added."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, reading: Reading) -> None:
        """Write a reading, on disk when this returns."""
        line = json.dumps(asdict(reading), sort_keys=True) + "\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        with os.fdopen(descriptor, "ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def record(self, command: str, dataset: str, result: TrialResult) -> None:
        """Write the readings that a trial made, if it made any."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S")
        if result.test_metrics:
            weights = result.weights_sha256 or ""
            self.append(Reading(now, command, dataset, weights, dict(result.test_metrics)))
        for readout in result.readouts:
            learned = {k: v for k, v in readout.as_metrics().items() if k.startswith("test/")}
            self.append(Reading(now, command, dataset, readout.weights_sha256, learned))

    def readings(self) -> list[Reading]:
        """Return all readings, oldest first.

        Raises:
            LedgerError: a line is not a reading.
        """
        if not self._path.exists():
            return []
        found = []
        for number, line in enumerate(self._path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                found.append(Reading(**json.loads(line)))
            except (TypeError, ValueError) as error:
                raise LedgerError(
                    f"{self._path}, line {number}: not a reading ({error}); the ledger is only "
                    "ever appended to, so restore the line from a copy of the home"
                ) from error
        return found
