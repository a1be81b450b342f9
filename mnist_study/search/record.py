"""A trial's result as JSON, exact to the last bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mnist_study.core.config import NetworkParams
from mnist_study.core.readouts import Readout
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialState, epoch_row

# Fields that Optuna itself stores, and those that are bytes.
_APART = {"number", "state", "value", "system_attrs", "model_keras", "curves_png"}


def write_record(result: TrialResult) -> str:
    """Write what Optuna has no field for, with NaN and Infinity as Python writes them."""
    content = {name: getattr(result, name) for name in TrialResult.__slots__ if name not in _APART}
    content["params"] = result.params.model_dump()
    content["epochs"] = [epoch_row(metrics) for metrics in result.epochs]
    content["readouts"] = [readout.as_document() for readout in result.readouts]
    return json.dumps(content)


def read_record(
    record: str,
    *,
    number: int,
    state: TrialState,
    value: float | None,
    system_attrs: Mapping[str, Any],
    model_keras: bytes | None = None,
) -> TrialResult:
    """Read a result back.

    Args:
        record: from `write_record`.
        number: the first of the fields that are not in it.
        state: as in the result.
        value: likewise.
        system_attrs: likewise.
        model_keras: likewise.

    Raises:
        ValueError, TypeError, KeyError: the record is not one of `write_record`.
    """
    content = json.loads(record)
    content["params"] = NetworkParams.model_validate(content["params"])
    content["epochs"] = tuple(EpochMetrics(*row) for row in content["epochs"])
    # Absent in records that were written before there were read-outs.
    content["readouts"] = tuple(
        Readout.of_document(readout) for readout in content.get("readouts", ())
    )
    return TrialResult(
        number=number,
        state=state,
        value=value,
        system_attrs=system_attrs,
        model_keras=model_keras,
        **content,
    )
