"""Compute every interval of the published ablation again, with numpy alone.

    python experiments/results/recompute.py [FOLDER]

FOLDER (default: `ablation`, beside this file) holds `runs.csv`, `runs.npz` and `effects.csv` as
`mnist-study ablation` wrote them. Each row of `effects.csv` is computed again, the estimate and the
ends of its interval, from the runs that the row names; and each test accuracy in `runs.csv` from
the packed answers in `runs.npz`. Nothing of this project is imported. Exit status 1 where any of
them differs by more than rounding.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np

CONFIDENCE = 0.95
Key = tuple[str, ...]
Place = tuple[int, int]
Runs = dict[Key, dict[Place, dict[str, str]]]


def student_t_quantile(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t, by bisection of the integral of its density."""
    # With t = sqrt(freedom) tan(angle) the density becomes a power of the cosine.
    angles = np.linspace(0.0, np.pi / 2, 200_001)
    density = np.cos(angles) ** (freedom - 1)
    steps = (density[1:] + density[:-1]) / 2
    mass = np.concatenate([[0.0], np.cumsum(steps)])
    angle = np.interp(2 * probability - 1, mass / mass[-1], angles)
    return float(np.sqrt(freedom) * np.tan(angle))


def read_runs(path: Path) -> Runs:
    """Return the row of every read-out, by part, arm and read-out, then by its place."""
    runs: Runs = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if not row["readout"]:
                continue
            key = (row["part"], row["arm"], row["readout"])
            place = (int(row["execution"]), int(row["replicate"]))
            runs.setdefault(key, {})[place] = row
    return runs


def outcomes(runs: Runs, key: Key, outcome: str) -> dict[Place, float]:
    """Return an outcome by execution and replicate, of the runs that have it."""
    source = "test_accuracy" if outcome == "accuracy_deviation" else outcome
    return {
        place: float(row[source]) for place, row in runs.get(key, {}).items() if row[source] != ""
    }


def per_replicate(runs: Runs, weights: list[list], outcome: str) -> dict[int, np.ndarray]:
    """Return the weighted sums of the replicates that have all runs, by execution."""
    known = [outcomes(runs, tuple(key), outcome) for *key, _ in weights]
    places = sorted(set.intersection(*map(set, known)))
    sums = {}
    for execution in sorted({e for e, _ in places}):
        of_execution = [place for place in places if place[0] == execution]
        rows = np.array([[values[place] for place in of_execution] for values in known])
        if outcome == "accuracy_deviation":
            rows = np.abs(rows - np.median(rows, axis=1, keepdims=True))
        sums[execution] = np.array([weight for *_, weight in weights]) @ rows
    return sums


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return mean and the ends of the t interval."""
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    half = student_t_quantile(0.5 + CONFIDENCE / 2, len(values) - 1) * error
    return mean, mean - half, mean + half


def check_effects(runs: Runs, path: Path) -> tuple[int, list[Key]]:
    """Return how many rows were computed again, and those that differ."""
    n = 0
    different: list[Key] = []
    weights: list[list] = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            # The runs stand in the row of all executions, which comes first.
            weights = json.loads(row["weights"]) if row["weights"] else weights
            sums = per_replicate(runs, weights, row["outcome"])
            whole = row["execution"] == "all"
            values = np.concatenate(list(sums.values())) if whole else sums[int(row["execution"])]
            published = [float(row[name]) for name in ("estimate", "low", "high")]
            if not np.isfinite(published).all():
                continue
            n += 1
            found = interval(values)
            tolerance = 1e-9 + 1e-5 * max(abs(end) for end in published)
            is_off = np.abs(np.subtract(found, published)).max() > tolerance
            if len(values) != int(row["n"]) or is_off:
                different.append((row["table"], row["outcome"], row["name"], row["execution"]))
    return n, different


def check_answers(runs: Runs, path: Path) -> tuple[int, list[Key]]:
    """Return how many accuracies were counted again, and those that differ."""
    n = 0
    different: list[Key] = []
    with np.load(path) as arrays:
        for name in (n for n in arrays.files if n.startswith("answers/")):
            _, *key = name.split("/")
            counted = np.unpackbits(arrays[name], axis=-1).sum(axis=-1)
            for (execution, replicate), row in runs[tuple(key)].items():
                n += 1
                accuracy = counted[execution, replicate] / int(arrays["n_images"])
                if abs(accuracy - float(row["test_accuracy"])) > 1e-12:
                    different.append((*key, str(execution), str(replicate)))
    return n, different


def main(folder: Path) -> int:
    """Check a folder; return the exit status."""
    runs = read_runs(folder / "runs.csv")
    n_effects, wrong_effects = check_effects(runs, folder / "effects.csv")
    n_answers, wrong_answers = check_answers(runs, folder / "runs.npz")
    print(f"{n_effects} intervals computed again, {len(wrong_effects)} differ")
    print(f"{n_answers} test accuracies counted again, {len(wrong_answers)} differ")
    for different in (*wrong_effects, *wrong_answers):
        print("differs:", *different)
    return int(bool(wrong_effects or wrong_answers or not n_effects or not n_answers))


if __name__ == "__main__":
    here = Path(__file__).parent
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else here / "ablation"))
