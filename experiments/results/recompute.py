"""Compute every interval of the published ablation again, with numpy alone.

    python experiments/results/recompute.py [FOLDER]

FOLDER (default: `ablation`, beside this file) holds `runs.csv`, `runs.npz` and `effects.csv` as
`mnist-study ablation` wrote them. Each row of `effects.csv` is computed again, the estimate and the
ends of its interval, from the runs that it names: intervals of means and of one more run, and those
over runs and test images. Each test accuracy in `runs.csv` is counted again from the packed answers
in `runs.npz`. Nothing of this project is imported. Exit status 1 where any of
them differs by more than rounding.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np

Key = tuple[str, ...]
Weights = dict[Key, float]
Place = tuple[int, int]
Runs = dict[Key, dict[Place, dict[str, str]]]


def student_t_quantile(probability: float, freedom: float) -> float:
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


def per_replicate(runs: Runs, weights: Weights, outcome: str) -> dict[int, np.ndarray]:
    """Return the weighted sums of the replicates that have all runs, by execution."""
    known = [outcomes(runs, key, outcome) for key in weights]
    places = sorted(set.intersection(*map(set, known)))
    if outcome == "epochs_to_target" and len(weights) > 1:
        # Of runs that all miss the target, which would have come first is unknown.
        missed = [outcomes(runs, key, "target_missed") for key in weights]
        places = [place for place in places if not all(of[place] for of in missed)]
    sums = {}
    for execution in sorted({e for e, _ in places}):
        of_execution = [place for place in places if place[0] == execution]
        rows = np.array([[values[place] for place in of_execution] for values in known])
        if outcome == "accuracy_deviation":
            rows = np.abs(rows - np.median(rows, axis=1, keepdims=True))
        sums[execution] = np.array(list(weights.values())) @ rows
    return sums


def interval(
    values: np.ndarray, confidence: float, *, one_more: bool = False
) -> tuple[float, float, float]:
    """Return mean and the ends of its t interval, or of that of one more value."""
    n, mean, spread = len(values), values.mean(), values.std(ddof=1)
    error = spread * np.sqrt(1 + 1 / n) if one_more else spread / np.sqrt(n)
    half = student_t_quantile(0.5 + confidence / 2, n - 1) * error
    return mean, mean - half, mean + half


def crossed_interval(values: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """Return mean and interval over two crossed samples, shape (n_runs, n_images).

    The variance from the mean squares of the two-way layout, with Satterthwaite's degrees of
    freedom.
    """
    n_rows, n_columns = values.shape
    mean = values.mean()
    rows, columns = values.mean(axis=1) - mean, values.mean(axis=0) - mean
    residual = values - mean - rows[:, None] - columns[None, :]
    df = np.array([n_rows - 1, n_columns - 1, (n_rows - 1) * (n_columns - 1)])
    squares = np.array([n_columns * rows @ rows, n_rows * columns @ columns, (residual**2).sum()])
    squares = squares / df
    variance = max(squares[0] + squares[1] - squares[2], min(squares[0], squares[1]))
    spread = (squares**2 / df).sum()
    lowest = float(min(df[:2]))
    freedom = max(variance**2 / spread if spread > 0 else lowest, lowest)
    half = student_t_quantile(0.5 + confidence / 2, freedom)
    half *= np.sqrt(variance / (n_rows * n_columns))
    return mean, mean - half, mean + half


def per_image(
    runs: Runs, answers: dict[Key, np.ndarray], weights: Weights, n_images: int
) -> np.ndarray:
    """Return the weighted sums of correct answers, shape (n_replicates, n_images)."""
    known = [outcomes(runs, key, "test_accuracy") for key in weights]
    places = sorted(set.intersection(*map(set, known)))
    total = np.zeros((len(places), n_images))
    for key, weight in weights.items():
        bits = np.unpackbits(answers[key], axis=-1, count=n_images)
        total += weight * np.array([bits[place] for place in places], float)
    return total


def check_effects(
    runs: Runs, answers: dict[Key, np.ndarray], n_images: int, path: Path
) -> tuple[int, int, list[Key]]:
    """Return how many rows were computed again, how many are infinite, and those that differ."""
    n = n_infinite = 0
    different: list[Key] = []
    weights: Weights = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            # The runs stand in the first row of an estimate.
            if row["weights"]:
                weights = {tuple(key): weight for *key, weight in json.loads(row["weights"])}
            published = [float(row[name]) for name in ("estimate", "low", "high")]
            if not np.isfinite(published).all():
                n_infinite += 1
                continue
            n += 1
            confidence = float(row["confidence"])
            sums = per_replicate(runs, weights, row["outcome"])
            whole = row["execution"] == "all"
            values = np.concatenate(list(sums.values())) if whole else sums[int(row["execution"])]
            if row["kind"] == "crossed":
                found = crossed_interval(per_image(runs, answers, weights, n_images), confidence)
            else:
                found = interval(values, confidence, one_more=row["kind"] == "prediction")
            tolerance = 1e-9 + 1e-5 * max(abs(end) for end in published)
            is_off = np.abs(np.subtract(found, published)).max() > tolerance
            if len(values) != int(row["n"]) or is_off:
                different.append((row["table"], row["outcome"], row["name"], row["execution"]))
    return n, n_infinite, different


def check_answers(
    runs: Runs, answers: dict[Key, np.ndarray], n_images: int
) -> tuple[int, list[Key]]:
    """Return how many accuracies were counted again, and those that differ or have no answers."""
    n = 0
    different: list[Key] = []
    for key, rows in runs.items():
        for (execution, replicate), row in rows.items():
            if not row["train_accuracy"]:  # diverged before this read-out
                continue
            n += 1
            bits = answers[key][execution, replicate] if key in answers else None
            counted = np.nan if bits is None else np.unpackbits(bits).sum() / n_images
            if not abs(counted - float(row["test_accuracy"])) < 1e-12:
                different.append((*key, str(execution), str(replicate)))
    return n, different


def main(folder: Path) -> int:
    """Check a folder; return the exit status."""
    runs = read_runs(folder / "runs.csv")
    with np.load(folder / "runs.npz") as arrays:
        n_images = int(arrays["n_images"])
        answers = {
            tuple(name.split("/")[1:]): arrays[name]
            for name in arrays.files
            if name.startswith("answers/")
        }
    n_effects, n_infinite, wrong_effects = check_effects(
        runs, answers, n_images, folder / "effects.csv"
    )
    n_answers, wrong_answers = check_answers(runs, answers, n_images)
    print(f"{n_effects} intervals computed again, {len(wrong_effects)} differ")
    if n_infinite:
        print(f"{n_infinite} intervals are without end, from too few runs")
    print(f"{n_answers} test accuracies counted again, {len(wrong_answers)} differ")
    for different in (*wrong_effects, *wrong_answers):
        print("differs:", *different)
    return int(bool(wrong_effects or wrong_answers or not n_effects or not n_answers))


if __name__ == "__main__":
    here = Path(__file__).parent
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else here / "ablation"))
