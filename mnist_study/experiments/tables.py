"""Tables: any in Markdown, and that of a study's trials as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Collection, Iterable, Sequence

from mnist_study.core.config import NetworkParams
from mnist_study.core.trials import TrialResult, TrialState


def markdown_table(
    head: Sequence[str], rows: Iterable[Sequence[object]], *, left: Collection[str] | None = None
) -> list[str]:
    """Return the lines of a Markdown table; a `|` in a cell is escaped.

    Args:
        head: names of the columns.
        rows: their cells.
        left: columns that are aligned to the left, all others to the right; None aligns none.
    """
    rule = ["---" if left is None or name in left else "---:" for name in head]
    cells = [[str(cell).replace("\\", "\\\\").replace("|", "\\|") for cell in row] for row in rows]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *cells)]


def _fixed(digits: int) -> Callable[[float | None], str]:
    def show(value: float | None) -> str:
        return "" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"

    return show


_accuracy = _fixed(4)


def _significant(value: float) -> str:
    return f"{value:.3g}"


_PARAM_FORMATS: dict[str, Callable[[float], str]] = {
    "units_1": str,
    "units_2": str,
    "units_3": str,
    "dropout_1": _fixed(3),
    "dropout_2": _fixed(3),
    "l2": _significant,
    "learning_rate": _significant,
}

COLUMNS: tuple[str, ...] = (
    "number",
    "state",
    "value",
    "best_epoch",
    *NetworkParams.model_fields,
    "restored_train_accuracy",
    "overfitting_gap",
    "n_parameters",
    "train_seconds",
    "reason",
)
"""Accuracies are shares in [0, 1]; `value` is validation accuracy."""


def trial_table(rows: Sequence[TrialResult]) -> list[list[str]]:
    """Return the cells of the table, one list per trial, in the order of `COLUMNS`.

    Args:
        rows: finished trials in any order.

    Returns:
        The best value first, equal ones by number; FAILED trials last, by number.
    """
    return [_cells(row) for row in sorted(rows, key=_rank)]


def trial_table_markdown(rows: Sequence[TrialResult]) -> str:
    """Return the table of trials in Markdown, sorted as `trial_table` says."""
    lines = markdown_table(COLUMNS, trial_table(rows), left=("state", "reason"))
    return "\n".join(lines) + "\n"


def trial_table_csv(rows: Sequence[TrialResult], run_ids: Sequence[str] = ()) -> str:
    """Return the table of trials as CSV with a header, sorted as `trial_table` says.

    Args:
        rows: finished trials in any order.
        run_ids: of all trials, by number, for a last column; none leaves that out.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    last = ("run_id",) if run_ids else ()
    writer.writerow([*COLUMNS, *last])
    for cells in trial_table(rows):
        writer.writerow([*cells, run_ids[int(cells[0])]] if run_ids else cells)
    return buffer.getvalue()


def _rank(row: TrialResult) -> tuple[bool, float, int]:
    has_value = row.value is not None and math.isfinite(row.value)
    last = row.state is TrialState.FAILED or not has_value
    return (last, 0.0 if last or row.value is None else -row.value, row.number)


def _cells(row: TrialResult) -> list[str]:
    return [
        str(row.number),
        row.state.value,
        _accuracy(row.value),
        "" if row.best_epoch is None else str(row.best_epoch),
        *(_PARAM_FORMATS[name](getattr(row.params, name)) for name in NetworkParams.model_fields),
        _accuracy(row.restored_train_accuracy),
        _accuracy(row.overfitting_gap),
        "" if row.n_parameters is None else str(row.n_parameters),
        _fixed(1)(row.train_seconds),
        _first_line(row.reason),
    ]


def _first_line(reason: str | None) -> str:
    """Return a reason without its traceback; of a bare traceback the error at its end."""
    lines = [line.strip() for line in (reason or "").splitlines() if line.strip()]
    if not lines:
        return ""
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]
