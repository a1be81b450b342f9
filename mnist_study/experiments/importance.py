"""The importance of each parameter in words, beside the effect that an ablation measured."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mnist_study.experiments.tables import markdown_table
from mnist_study.search.importance import ENOUGH_TRIALS, Importance

if TYPE_CHECKING:
    from mnist_study.plots.style import Figure
    from mnist_study.stats import Interval

Effects = Mapping[str, "Interval"]
"""Change of test accuracy by switching a parameter's documented setting on, in points."""


def why_withheld(n_complete: int) -> str:
    """Say why no ranking is shown."""
    if n_complete < ENOUGH_TRIALS:
        return (
            f"The ranking is withheld: {n_complete} trials completed, and it takes "
            f"{ENOUGH_TRIALS} for the top tenth to be five."
        )
    return "The ranking is withheld: all completed trials have the same parameters."


def importance_figure(
    importances: Mapping[str, Importance], n_complete: int, effects: Effects
) -> Figure:
    """Draw the importances, with the effects of those parameters that have one."""
    from mnist_study.plots import parameter_importances

    return parameter_importances(
        {name: (one.share, one.low, one.high) for name, one in importances.items()},
        n_complete=n_complete,
        why_none=why_withheld(n_complete),
        effects={
            name: (effect.estimate, effect.low, effect.high)
            for name, effect in effects.items()
            if name in importances
        },
    )


def importance_markdown(
    importances: Mapping[str, Importance], n_complete: int, effects: Effects
) -> list[str]:
    """Write the importances as a table, how far they rank, and where the effects disagree."""
    if not importances:
        return [why_withheld(n_complete)]
    shown = {name: effect for name, effect in effects.items() if name in importances}
    head = ["parameter", "importance (95 % interval)", "ranked first in"]
    rows = [
        [name, f"{one.share:.2f} ({one.low:.2f} to {one.high:.2f})", f"{one.leads:.0%}"]
        for name, one in importances.items()
    ]
    if shown:
        head.append("effect on test accuracy, ablation (points)")
        for row in rows:
            row.append(_signed(shown[row[0]]) if row[0] in shown else "not tested")
    lines = markdown_table(head, rows, left=("parameter",))
    return [*lines, "", _ranking(importances), *disagreements(importances, shown)]


def _ranking(importances: Mapping[str, Importance]) -> str:
    first, *others = importances
    level = [name for name in others if importances[name].high >= importances[first].low]
    how = (
        "Intervals and ranks are over re-sampled trials, so they include which configurations were "
        "tried and the noise of their seeds."
    )
    if level:
        return (
            f"{first} has the highest importance, but is ranked first in only "
            f"{importances[first].leads:.0%} of the resamples, and its interval overlaps with "
            f"{len(level)} of {len(others)} others: no ranking can be read from this. {how}"
        )
    return f"{first} has the highest importance, its interval above all others. {how}"


def disagreements(importances: Mapping[str, Importance], effects: Effects) -> list[str]:
    """Say for which parameters the importances and the measured effects are in another order.

    Args:
        importances: of the parameters, the largest first.
        effects: of some of the same parameters.

    Returns:
        Nothing where fewer than two parameters have an effect.
    """
    names = [name for name in importances if name in effects]
    if len(names) < 2:
        return []
    swapped = [
        (first, second)
        for first, second in itertools.combinations(names, 2)
        if abs(effects[second].estimate) > abs(effects[first].estimate)
    ]
    what = (
        "Importance tells which parameter set this study's top tenth apart from its other trials, "
        "within its ranges; the effect is what switching the documented setting on does to one "
        "network."
    )
    if not swapped:
        return [f"Importance and the ablation's effect order {_listed(names)} alike. {what}"]
    pairs = "; ".join(
        f"importance puts {first} before {second}, the ablation {second} before {first}"
        + _doubt(importances[first], importances[second])
        for first, second in swapped
    )
    return [f"They disagree: {pairs}. {what}"]


def _doubt(first: Importance, second: Importance) -> str:
    overlaps = second.high >= first.low
    return " (the intervals of the importances overlap)" if overlaps else ""


def _signed(effect: Interval) -> str:
    return f"{effect.estimate:+.2f} ({effect.low:+.2f} to {effect.high:+.2f})"


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
