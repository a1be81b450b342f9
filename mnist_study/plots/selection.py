"""What the figures of a study show of its trials: which rows, which front, which limits."""

from __future__ import annotations

import math
from collections.abc import Sequence

_FENCE = 2.5
_NARROWEST_POINTS = 0.4


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
