"""What the figures of a study show of its trials: which rows, which front, which limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mnist_study.records import TrialResult, TrialState

BASELINE_NUMBER = 0
_FENCE = 2.5
_NARROWEST_POINTS = 0.4


@dataclass(frozen=True, slots=True)
class Selection:
    """The trials of a study, sorted by what a figure does with them.

    Attributes:
        complete: COMPLETE with a finite value, by number.
        pruned: PRUNED with a finite value, by number.
        failed: all others, by number.
        baseline: trial 0 if it is COMPLETE.
        best: the COMPLETE trial of the highest value, the earliest of equals.
    """

    complete: tuple[TrialResult, ...]
    pruned: tuple[TrialResult, ...]
    failed: tuple[TrialResult, ...]
    baseline: TrialResult | None
    best: TrialResult | None


def select(rows: Sequence[TrialResult]) -> Selection:
    """Sort trials by what a figure does with them."""
    ordered = sorted(rows, key=lambda row: row.number)
    complete = tuple(r for r in ordered if r.state is TrialState.COMPLETE and has_value(r))
    pruned = tuple(r for r in ordered if r.state is TrialState.PRUNED and has_value(r))
    shown = {row.number for row in (*complete, *pruned)}
    return Selection(
        complete=complete,
        pruned=pruned,
        failed=tuple(row for row in ordered if row.number not in shown),
        baseline=next((row for row in complete if row.number == BASELINE_NUMBER), None),
        best=max(complete, key=lambda row: (value_of(row), -row.number), default=None),
    )


def has_value(row: TrialResult) -> bool:
    """Tell whether a trial ended with a finite value."""
    return row.value is not None and math.isfinite(row.value)


def value_of(row: TrialResult) -> float:
    """Return the validation accuracy of a trial that has one, in [0, 1]."""
    if row.value is None:
        raise ValueError(f"trial {row.number} has no value; it ended {row.state}")
    return row.value


def in_percent(row: TrialResult) -> float:
    """Return the validation accuracy of a trial that has one, in percent."""
    return 100.0 * value_of(row)


def by_value(rows: Sequence[TrialResult]) -> list[TrialResult]:
    """Return rows with values, best first, the earlier of equals first."""
    return sorted(rows, key=lambda row: (-value_of(row), row.number))


def best_so_far(values: Sequence[float]) -> list[float]:
    """Return the highest value up to each place; never decreases."""
    best: list[float] = []
    for value in values:
        best.append(max(value, best[-1]) if best else value)
    return best


def pareto_front(sizes: Sequence[float], values: Sequence[float]) -> list[int]:
    """Find the points that no other one beats: none is as small and better, or smaller and as good.

    Args:
        sizes: to be small, shape (n,).
        values: to be large, shape (n,).

    Returns:
        Indices by rising size (and so by rising value); of equal points only the first.

    Raises:
        ValueError: lengths differ.
    """
    if len(sizes) != len(values):
        raise ValueError(f"need as many sizes as values, got {len(sizes)} and {len(values)}")
    front: list[int] = []
    highest = -math.inf
    for index in sorted(range(len(sizes)), key=lambda i: (sizes[i], -values[i], i)):
        if values[index] > highest:
            front.append(index)
            highest = values[index]
    return front


def focus_limits(
    values: Sequence[float], others: Sequence[float] = (), *, keep: Sequence[float] = ()
) -> tuple[float, float]:
    """Choose limits in percent that show where it matters, whatever lies far below.

    The lower end is the lowest value that is not an outlier (more than 2.5 interquartile ranges
    below the first quartile). Others widen the range by at most half of it.

    Args:
        values: in percent, what the figure is about; may be empty.
        others: in percent, shown as far as they lie near.
        keep: in percent, shown in any case.

    Returns:
        Lower and upper end, a margin included; the upper end may pass 100.
    """
    main = sorted(values) or sorted(others) or [50.0]
    first, third = main[len(main) // 4], main[(3 * len(main)) // 4]
    fence = first - max(_FENCE * (third - first), _NARROWEST_POINTS)
    low = min([value for value in main if value >= fence] + list(keep))
    high = max([main[-1], *keep])
    near = [value for value in others if value >= low - 0.5 * max(high - low, _NARROWEST_POINTS)]
    low, high = min([low, *near]), max([high, *near])
    if high - low < _NARROWEST_POINTS:
        middle = (high + low) / 2
        low, high = middle - _NARROWEST_POINTS / 2, middle + _NARROWEST_POINTS / 2
    margin = 0.07 * (high - low)
    return max(low - margin, 0.0), high + margin


def spelled(name: str) -> str:
    """Return a parameter's name as an axis shows it."""
    return {"l2": "L2"}.get(name, name.replace("_", " "))
