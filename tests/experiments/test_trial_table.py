"""The table of a study's trials."""

from __future__ import annotations

import csv
import io

from drawn_study import make_row

from mnist_study.core.trials import TrialState
from mnist_study.experiments import tables


def test_table_is_sorted_by_value_with_failed_trials_last() -> None:
    rows = [
        make_row(0, 0.97),
        make_row(1, None, TrialState.FAILED, reason="loss is nan in epoch 2\nTraceback (most…"),
        make_row(2, 0.98),
        make_row(3, 0.975, TrialState.PRUNED),
        make_row(4, 0.98),
    ]
    cells = list(csv.DictReader(io.StringIO(tables.trial_table_csv(rows))))
    assert [cell["number"] for cell in cells] == ["2", "4", "3", "0", "1"]
    assert cells[-1]["state"] == "FAILED"
    assert cells[-1]["reason"] == "loss is nan in epoch 2"
    assert cells[-1]["value"] == ""


def test_table_has_fixed_digits() -> None:
    (cells,) = csv.DictReader(io.StringIO(tables.trial_table_csv([make_row(0, 0.97)])))
    assert cells == {
        "number": "0",
        "state": "COMPLETE",
        "value": "0.9700",
        "best_epoch": "12",
        "units_1": "128",
        "units_2": "64",
        "units_3": "32",
        "dropout_1": "0.300",
        "dropout_2": "0.200",
        "l2": "0.001",
        "learning_rate": "0.001",
        "restored_train_accuracy": "0.9750",
        "overfitting_gap": "0.0050",
        "n_parameters": "110000",
        "train_seconds": "4.3",
        "reason": "",
    }


def test_markdown_table_keeps_its_columns_whatever_a_reason_holds() -> None:
    rows = [make_row(0, 0.97), make_row(1, None, TrialState.FAILED, reason="a | b \\| c")]
    header, rule, *body = tables.trial_table_markdown(rows).splitlines()
    n_columns = len(tables.COLUMNS)
    assert header.count("|") == rule.count("|") == n_columns + 1
    assert len(body) == 2
    assert body[1].endswith("a \\| b \\\\\\| c |")


def test_a_bare_traceback_is_told_by_its_last_line() -> None:
    reason = "Traceback (most recent call last):\n  File x\nValueError: bad width\n"
    (cells,) = tables.trial_table([make_row(0, None, TrialState.FAILED, reason=reason)])
    assert cells[-1] == "ValueError: bad width"
