"""Samples, their spread, and the plain tables in which they are printed."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil

from mnist_study.core.provenance import collect_provenance


@dataclass(frozen=True, slots=True)
class Lap:
    """One measurement of a candidate.

    Attributes:
        wall_seconds: by the clock.
        cpu_seconds: of all cores together, in the candidate's own process.
    """

    wall_seconds: float
    cpu_seconds: float

    @property
    def n_cores(self) -> float:
        """Cores in use on average."""
        return self.cpu_seconds / self.wall_seconds


@dataclass(frozen=True, slots=True)
class Table:
    """A part of the benchmark's output.

    Attributes:
        title: what was measured, with the unit.
        columns: their names.
        rows: as printed.
        notes: sentences below the table, ratios among them.
        samples: every measurement behind it, by name, in the order measured.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    samples: dict[str, Any] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return the table as text: the first column to the left, the others to the right."""
        cells = [list(self.columns), *map(list, self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        text = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
        text.insert(1, "-" * max(map(len, text)))
        return [self.title, "", *(f"  {line}" for line in text), *(f"  {n}" for n in self.notes)]

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> Table:
        """Return the table that `as_json` has written."""
        rows = table["rows"]
        return cls(
            title=table["title"],
            columns=list(rows[0]) if rows else (),
            rows=[list(row.values()) for row in rows],
            notes=table["notes"],
            samples=table["samples"],
        )

    def as_json(self) -> dict[str, Any]:
        """Return the table and the samples behind it."""
        return {
            "title": self.title,
            "rows": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
            "notes": list(self.notes),
            "samples": self.samples,
        }


SPREAD_COLUMNS = ("median", "quartiles", "min", "max", "n")


def spread_cells(samples: Sequence[float], digits: int) -> list[str]:
    """Return the cells under `SPREAD_COLUMNS`."""
    low, median, high = np.quantile(samples, (0.25, 0.5, 0.75))
    return [
        f"{median:.{digits}f}",
        f"{low:.{digits}f} to {high:.{digits}f}",
        f"{min(samples):.{digits}f}",
        f"{max(samples):.{digits}f}",
        str(len(samples)),
    ]


def describe_ratio(
    name: str, numerators: Sequence[float], denominators: Sequence[float], must: str = ""
) -> str:
    """Say what the ratio of two candidates is: that of the medians, and over the rounds.

    Args:
        name: what the ratio says.
        numerators: one per round.
        denominators: one per round, measured in turn with the numerators.
        must: what is asked for, in words.
    """
    overall = float(np.median(numerators) / np.median(denominators))
    by_round = [a / b for a, b in zip(numerators, denominators, strict=True)]
    low, high = np.quantile(by_round, (0.25, 0.75))
    asked = f"; {must}" if must else ""
    return f"{name}: {overall:.2f} (quartiles over rounds {low:.2f} to {high:.2f}{asked})"


def interleave(
    candidates: dict[str, Callable[[], Lap]], n_rounds: int, progress: str
) -> dict[str, list[Lap]]:
    """Measure each candidate once per round, in turn, after one round that does not count."""
    laps: dict[str, list[Lap]] = {name: [] for name in candidates}
    for index in range(-1, n_rounds):
        say(f"{progress}: {'warm-up' if index < 0 else f'round {index + 1} of {n_rounds}'}")
        for name, measure in candidates.items():
            lap = measure()
            if index >= 0:
                laps[name].append(lap)
    return laps


def walls(laps: Sequence[Lap]) -> list[float]:
    """Return the seconds by the clock."""
    return [lap.wall_seconds for lap in laps]


def say(text: str) -> None:
    """Tell on stderr how far the benchmark is."""
    print(text, file=sys.stderr, flush=True)


def hardware() -> dict[str, Any]:
    """Describe the machine, the packages and the code, as they are when the benchmark starts."""
    provenance = collect_provenance(fingerprint="", experiment_file="")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    packages = {name: version for name, version in provenance.packages.items() if version}
    return {
        "cpu": provenance.cpu,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": round(load, 2),
        "system": platform.platform(),
        "python": provenance.python,
        "packages": packages,
        "commit": provenance.commit,
        "dirty": provenance.dirty,
    }
