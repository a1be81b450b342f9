"""What is published of an ablation so that a reader can compute every interval again.

`runs.npz` holds arrays alone, so that numpy reads it: for each part, arm and read-out the correct
answers per test image as packed bits, and for each part and arm the epoch curves. `effects.csv` has
every interval of the report, with the runs that it is made of.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping

import numpy as np

from mnist_study.experiments.ablation.comparisons import level, step_keys
from mnist_study.experiments.ablation.estimates import Estimate
from mnist_study.experiments.ablation.outcomes import Outcome
from mnist_study.experiments.ablation.recipes import LAST
from mnist_study.experiments.ablation.record import AblationRecord
from mnist_study.experiments.ablation.runs import Key
from mnist_study.experiments.ablation.tables import (
    CURVE_OUTCOMES,
    CURVE_READOUTS,
    stability_keys,
)
from mnist_study.stats import Interval

EFFECT_COLUMNS = (
    "table", "kind", "outcome", "name", "part", "readout", "execution", "n", "confidence",
    "estimate", "low", "high", "weights",
)  # fmt: skip
"""`kind` is the interval's: of the "mean", of one more run ("prediction"), or over runs and test
images ("crossed"). `execution` is "all" or its index; `weights` is JSON, a list of part, arm,
read-out and weight, and stands in the first row of an estimate, before the others."""


def effects_csv(record: AblationRecord) -> str:
    """Return a row for each interval of the report, of each execution and of all together."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(EFFECT_COLUMNS)
    analysis = record.analysis
    if analysis is None:
        return buffer.getvalue()
    claims = [
        estimate
        for decision in analysis.all_decisions
        for reading in decision.readings
        for estimate in (reading.estimate, *(reading.parts or ()))
    ]
    for table, estimates in (
        ("claims", claims),
        ("effects", analysis.effects),
        ("differences", analysis.differences),
        ("steps", analysis.steps),
        ("levels", _levels(record)),
    ):
        writer.writerows(
            row for estimate in estimates for row in _rows(table, estimate, record.copies)
        )
    return buffer.getvalue()


def _levels(record: AblationRecord) -> list[Estimate]:
    """Return the estimates of curves, steps, gaps and activations."""
    keys: dict[Outcome, list[Key]] = {"test_accuracy": [key for _, key in step_keys()]}
    curves = [*record.dose_curves.values(), *record.size_curves.values()]
    places = [point.key(readout) for of in curves for point in of for readout in CURVE_READOUTS]
    for outcome in CURVE_OUTCOMES:
        keys.setdefault(outcome, []).extend(places)
    activations = [("activations", arm.label, LAST) for arm in record.arms("activations")]
    keys["test_accuracy"] += activations
    keys["epochs_to_target"] = activations
    keys["jitter"] = [(*at, LAST) for _, at in stability_keys(record)]
    found = [
        record.estimate(outcome, level(key))
        for outcome, of_outcome in keys.items()
        for key in dict.fromkeys(of_outcome)
    ]
    return [estimate for estimate in found if estimate is not None]


def _rows(table: str, estimate: Estimate, copies: Mapping[Key, Key]) -> Iterable[list[object]]:
    comparison = estimate.comparison
    weights = json.dumps(
        [[*copies.get(key, key), weight] for key, weight in comparison.weights.items()]
    )
    about = [estimate.outcome, comparison.name, comparison.part, comparison.readout]

    def row(kind: str, execution: object, n: int, interval: Interval, runs: str) -> list[object]:
        ends = (interval.estimate, interval.low, interval.high)
        return [table, kind, *about, execution, n, interval.confidence, *ends, runs]

    n = estimate.pooled.n_pairs
    yield row("mean", "all", n, estimate.interval, weights)
    for index, of in enumerate(estimate.executions):
        if of is not None:
            yield row("mean", index, of.n_runs, of.mean_interval, "")
    if table == "claims" and len(comparison.weights) == 1:
        yield row("prediction", "all", n, estimate.prediction_interval, "")
    if estimate.crossed is not None:
        yield row("crossed", "all", n, estimate.crossed, "")


def runs_npz(record: AblationRecord) -> bytes:
    """Return answers and curves of every run as compressed arrays, the same bytes each time.

    Returns:
        An npz file: `answers/<part>/<arm>/<read-out>`, uint8 (n_executions, n_replicates,
        n_bytes), bits in numpy's `packbits` order, all 0 where there is no run; `n_images`, the
        number of bits that count; and `curves/<part>/<arm>`, float32 (n_executions, n_replicates,
        n_epochs, 4), training loss, training accuracy, validation loss and validation accuracy,
        NaN where there is no epoch.
    """
    arrays: dict[str, np.ndarray] = {
        "/".join(("answers", *key)): np.packbits(correct, axis=-1)
        for key, correct in record.values.correct.items()
        if key not in record.copies
    }
    arrays["n_images"] = np.array(record.n_images)
    for part, runs in record.runs.items():
        n_replicates = max((run.replicate for run in runs), default=-1) + 1
        for run in runs:
            name = f"curves/{part}/{run.arm.label}"
            if name not in arrays:
                shape = (len(record.identity.executions), n_replicates, run.arm.training.epochs, 4)
                arrays[name] = np.full(shape, np.nan, np.float32)
            for epoch in run.result.epochs:
                arrays[name][run.execution, run.replicate, epoch.epoch - 1] = (
                    epoch.train_loss, epoch.train_accuracy, epoch.val_loss, epoch.val_accuracy,
                )  # fmt: skip
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
