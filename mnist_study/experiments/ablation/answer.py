"""The answer of an ablation in a few sentences, with which its report opens."""

from __future__ import annotations

from collections import Counter

from mnist_study.experiments.ablation.analysis import Analysis
from mnist_study.experiments.ablation.comparisons import difference, simple_effects
from mnist_study.experiments.ablation.design import CELLS, DOCUMENTED, NONE, cell_label
from mnist_study.experiments.ablation.estimates import Estimate
from mnist_study.experiments.ablation.outcomes import Outcome
from mnist_study.experiments.ablation.recipes import AVERAGED, LAST
from mnist_study.experiments.ablation.record import AblationRecord
from mnist_study.experiments.ablation.text import PART_NAMES, interval_text


def answer_lines(record: AblationRecord, analysis: Analysis) -> list[str]:
    """Say what L2 and all regularization change, where, and where the accuracy comes from.

    Returns:
        A line each; what has no runs yet is left out.
    """
    lines = [*_l2_lines(record), *_gap_lines(record)]
    whole = next((e for e in analysis.steps if e.name == "all steps"), None)
    if whole is not None:
        largest = max(analysis.steps[:-1], key=lambda e: e.interval.estimate)
        lines.append(
            "- From the documented recipe to the configuration found, trained on all rows, test "
            f"accuracy rises by {_points(whole)}; the largest of its {len(analysis.steps) - 1} "
            f"steps, {_points(largest)}, is “{largest.name}”."
        )
    return lines


def _l2_lines(record: AblationRecord) -> list[str]:
    """Return L2's effect on test accuracy in each factorial, with and without both dropouts."""
    lines = []
    for part, readout, where in (
        ("retuned", LAST, "In the study's recipe at re-tuned learning rates (last epoch)"),
        ("study", LAST, "In the study's recipe (last epoch)"),
        ("documented", LAST, "In the documented recipe at its last epoch"),
        ("documented", AVERAGED, "In the documented recipe with averaged weights"),
    ):
        without, *_, with_both = simple_effects("l2", part, readout)
        found = [record.estimate("test_accuracy", one) for one in (without, with_both)]
        alone, beside = found
        if alone is not None and beside is not None:
            lines.append(
                f"- {where} L2 changes test accuracy by {_points(alone)} without dropout and by "
                f"{_points(beside)} with both dropouts."
            )
    return lines


def rate_lines(record: AblationRecord) -> list[str]:
    """Return which learning rates were chosen, and what re-tuning alone changes in test accuracy.

    Returns:
        One line; none until the tuning is complete.
    """
    if not record.chosen:
        return []
    counts = Counter(record.chosen.values())
    rates = ", ".join(f"{rate:g} for {counts[rate]}" for rate in sorted(counts))
    line = (
        f"Chosen learning rates: {rates} of {len(CELLS)} combinations; documented: "
        f"{record.documented_rate:g}."
    )
    changes = []
    for cell, words in ((NONE, "without regularization"), (DOCUMENTED, "with all three")):
        retuned, fixed = ((part, cell_label(cell), LAST) for part in ("retuned", "study"))
        change = record.estimate("test_accuracy", difference("", retuned, fixed))
        if change is not None and record.chosen[cell] != record.documented_rate:
            changes.append(f"by {_points(change)} {words}")
    if changes:
        line += f" Re-tuning alone changes test accuracy {' and '.join(changes)}."
    return [line]


def _gap_lines(record: AblationRecord) -> list[str]:
    """Return how the gap changes, and by which of its parts, in the main recipe."""
    none, every = ((record.main_part, cell_label(cell), LAST) for cell in (NONE, DOCUMENTED))
    outcomes: tuple[Outcome, ...] = ("overfitting_gap", "train_accuracy", "test_accuracy")
    found = [record.estimate(outcome, difference("", every, none)) for outcome in outcomes]
    gap, train, test = found
    if gap is None or train is None or test is None:
        return []
    return [
        f"- In the {PART_NAMES[record.main_part]} at its last epoch L2 and both dropouts together "
        f"change the overfitting gap by {_points(gap)}: training accuracy by {_points(train)}, "
        f"test accuracy by {_points(test)}."
    ]


def _points(estimate: Estimate) -> str:
    return f"{interval_text(estimate.outcome, estimate.interval)} points"
