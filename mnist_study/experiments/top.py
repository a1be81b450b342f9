"""The best trials of a record, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mnist_study.core.trials import by_value, select
from mnist_study.search.history import History


def top_rows(history: History, n: int) -> list[dict[str, Any]]:
    """Return the best COMPLETE trials, the best first.

    Args:
        history: of the record.
        n: how many at most.
    """
    finished_at = [moment.astimezone() for moment in history.finished_at]
    return [
        {
            "trial": result.number,
            "val_accuracy": result.value,
            "overfitting_gap": result.overfitting_gap,
            "n_parameters": result.n_parameters,
            "params": result.params.model_dump(),
            "run_id": history.run_ids[result.number],
            "finished_at": finished_at[result.number].isoformat("T", "seconds"),
        }
        for result in by_value(select(history.results).complete)[:n]
    ]


def top_lines(history: History, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the rows as lines of text, two a trial, none wider than 80 columns."""
    if not rows:
        return [f"{history.name}: no trial has completed yet"]
    lines = [f"{history.name}: validation accuracy, trial, network, MLflow run"]
    for row in rows:
        params = row["params"]
        units = "-".join(str(params[f"units_{layer}"]) for layer in (1, 2, 3))
        name = f"{row['trial']}" + (
            " (documented)" if history.kind == "study" and row["trial"] == 0 else ""
        )
        lines += [
            f"{row['val_accuracy']:8.2%}  trial {name:<16} {units:<12} run {row['run_id']}",
            f"          dropout {params['dropout_1']:.3f}, {params['dropout_2']:.3f}, "
            f"L2 {params['l2']:.2g}, learning rate {params['learning_rate']:.2g}",
        ]
    return lines
