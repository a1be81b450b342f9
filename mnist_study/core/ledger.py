"""The append-only record of every reading of the test set."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mnist_study.core.errors import UserFacingError
from mnist_study.core.trials import TrialResult


class LedgerError(UserFacingError):
    """A ledger that cannot be read."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of the test set.

    Attributes:
        when: local time, ISO 8601.
        command: which command read it.
        dataset: "mnist", "digits", or the name of a user's own data.
        weights_sha256: identity of the model that was measured.
        result: the metrics that the reading gave.
    """

    when: str
    command: str
    dataset: str
    weights_sha256: str
    result: Mapping[str, float]


def readings_made(result: TrialResult) -> list[tuple[str, dict[str, float]]]:
    """List the readings of the test set that a trial made: hash of the weights, and metrics."""
    made = []
    if result.test_metrics:
        made.append((result.weights_sha256 or "", dict(result.test_metrics)))
    for readout in result.readouts:
        metrics = {k: v for k, v in readout.as_metrics().items() if k.startswith("test/")}
        made.append((readout.weights_sha256, metrics))
    return made


class Ledger:
    """The readings under one home, a JSON document per line; lines are only ever added."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, reading: Reading) -> None:
        """Write a reading, on disk when this returns.

        Raises:
            OSError: it cannot be written, for example on a full disk; no part of the line remains.
        """
        line = json.dumps(asdict(reading), sort_keys=True).encode() + b"\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        with os.fdopen(descriptor, "ab", buffering=0) as file:
            n_before = os.fstat(descriptor).st_size
            try:
                n_written = 0
                while n_written < len(line):  # a full disk may take a part of the line
                    n_written += file.write(line[n_written:])
                os.fsync(descriptor)
            except OSError as error:
                # Half a line would make the whole ledger unreadable.
                os.ftruncate(descriptor, n_before)
                raise OSError(error.errno, error.strerror, str(self._path)) from error

    def record(self, command: str, dataset: str, result: TrialResult) -> None:
        """Write the readings that a trial made, if it made any."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S")
        for weights_sha256, metrics in readings_made(result):
            self.append(Reading(now, command, dataset, weights_sha256, metrics))

    def readings(self) -> list[Reading]:
        """Return all readings, oldest first.

        Raises:
            LedgerError: a line is not a reading.
        """
        if not self._path.exists():
            return []
        readings = []
        for number, line in enumerate(self._path.read_bytes().splitlines(), 1):
            try:
                readings.append(Reading(**json.loads(line)))
            except (TypeError, ValueError) as error:
                raise LedgerError(
                    f"{self._path}, line {number}: found no valid entry ({error}), expected a "
                    "reading of the test set as JSON; restore the line from a copy of the home"
                ) from error
        return readings
