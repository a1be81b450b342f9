"""Limits and ticks that a study's figures share."""

from __future__ import annotations

import pytest
from drawn_study import SPACE

from mnist_study.core.config import FloatRange, IntRange, Range
from mnist_study.plots.marks import focus_limits, range_ticks


def test_limits_leave_out_a_diverged_trial_and_keep_the_baseline() -> None:
    low, high = focus_limits([97.9, 98.0, 98.1, 98.2, 98.3, 11.0], keep=[97.2])
    assert 97.0 < low < 97.2
    assert 98.3 < high < 98.5


def test_limits_are_widened_by_near_others_only() -> None:
    values = [98.0, 98.2, 98.4, 98.6]
    low, _ = focus_limits(values, [97.75, 90.0])
    assert 97.6 < low < 97.75


def test_ticks_of_log_ranges_are_doublings_and_powers() -> None:
    assert list(range_ticks(SPACE["units_1"])) == [64, 128, 256, 512]
    assert list(range_ticks(SPACE["l2"])) == pytest.approx([1e-7, 1e-5, 1e-3])
    assert list(range_ticks(SPACE["dropout_1"])) == pytest.approx([0, 0.2, 0.4, 0.6])


@pytest.mark.parametrize(
    "limit",
    [
        FloatRange(type="float", low=1.1e-3, high=1.9e-3, log=True),
        IntRange(type="int", low=110, high=190, log=True),
    ],
)
def test_log_range_without_powers_or_doublings_has_ticks_too(limit: Range) -> None:
    ticks = list(range_ticks(limit))
    assert 2 <= len(ticks) <= 4
    assert all(limit.low <= tick <= limit.high for tick in ticks)
