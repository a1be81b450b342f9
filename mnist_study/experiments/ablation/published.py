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

from mnist_study.experiments.ablation.analysis import Estimate
from mnist_study.experiments.ablation.record import AblationRecord
from mnist_study.experiments.ablation.runs import Key

EFFECT_COLUMNS = (
    "table", "outcome", "name", "part", "readout", "execution", "n", "estimate", "low", "high",
    "weights",
)  # fmt: skip
"""`execution` is "all" or its index; `weights` is JSON, a list of part, arm, read-out and weight,
and stands in the row of all executions, before those of each."""


def effects_csv(record: AblationRecord) -> str:
    """Return a row for each interval of the report, of each execution and of all together."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(EFFECT_COLUMNS)
    analysis = record.analysis
    if analysis is None:
        return buffer.getvalue()
    claims = [r.estimate for d in analysis.all_decisions for r in d.readings]
    for table, estimates in (
        ("claims", claims),
        ("effects", analysis.effects),
        ("differences", analysis.differences),
        ("steps", analysis.steps),
    ):
        writer.writerows(
            row for estimate in estimates for row in _rows(table, estimate, record.copies)
        )
    return buffer.getvalue()


def _rows(table: str, estimate: Estimate, copies: Mapping[Key, Key]) -> Iterable[list[object]]:
    comparison, interval = estimate.comparison, estimate.interval
    about = [table, estimate.outcome, comparison.name, comparison.part, comparison.readout]
    weights = json.dumps(
        [[*copies.get(key, key), weight] for key, weight in comparison.weights.items()]
    )
    n = estimate.pooled.n_pairs
    yield [*about, "all", n, interval.estimate, interval.low, interval.high, weights]
    for index, of in enumerate(estimate.executions):
        if of is not None:
            ends = of.mean_interval
            yield [*about, index, of.n_runs, of.mean, ends.low, ends.high, ""]


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
