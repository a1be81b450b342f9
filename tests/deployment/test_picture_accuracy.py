"""What is promised of photographs, measured on drawn ones that nothing was tuned on."""

from __future__ import annotations

import pytest
from picture_accuracy import asked_on_split_0, measure, share
from picture_generator import KINDS
from picture_non_digits import NON_DIGITS


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_photographs_are_answered_and_what_is_no_digit_is_refused() -> None:
    assert not set(KINDS) & set(NON_DIGITS)  # rows are told apart by kind
    asked, answering, splits = asked_on_split_0(None)
    assert answering.facts["answered"] >= 0.97
    rows = []
    for row in measure(asked, splits, 40, seed=2000):
        print(row)
        rows.append(row)
    photographs = [row for row in rows if row.kind in KINDS]
    assert share([row for row in photographs if row.kind != "clean"]) >= 0.95
    assert min(row.right / row.n for row in photographs) >= 0.85
    assert share([row for row in photographs if row.kind == "clean"]) >= 0.97
    assert share([row for row in rows if row.kind in NON_DIGITS]) >= 0.9
