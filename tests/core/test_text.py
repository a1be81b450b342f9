"""Durations and first lines."""

from __future__ import annotations

import pytest

from mnist_study.core.text import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (5399, "90 min"), (9000, "2.5 h")],
)
def test_durations_are_written_with_a_fitting_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text
