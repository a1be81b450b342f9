"""What an ablation found that each parameter causes, for the report of a study."""

from __future__ import annotations

from collections.abc import Iterable

from mnist_study.core.identity import AblationIdentity
from mnist_study.experiments.ablation.recipes import LAST
from mnist_study.experiments.ablation.record import AblationRecord
from mnist_study.search.history import History
from mnist_study.stats import Interval


def measured_effects(ablations: Iterable[History], content_hash: str) -> dict[str, Interval]:
    """Return the main effects on test accuracy in the study's recipe, at its last epoch, in points.

    Args:
        ablations: records of ablations, of which the first that has such effects is taken.
        content_hash: of the training set that they are to be about.
    """
    for history in ablations:
        identity = history.identity
        if not isinstance(identity, AblationIdentity) or identity.declared is None:
            continue
        if identity.data.content_hash != content_hash:
            continue
        record = AblationRecord(history)
        found = {
            estimate.name: _in_points(estimate.interval)
            for estimate in (record.analysis.effects if record.analysis else ())
            if estimate.outcome == "test_accuracy"
            and (estimate.comparison.part, estimate.comparison.readout) == ("study", LAST)
            and ":" not in estimate.name
        }
        if found:
            return found
    return {}


def _in_points(interval: Interval) -> Interval:
    estimate, low, high = (100 * end for end in (interval.estimate, interval.low, interval.high))
    return Interval(estimate, low, high, confidence=interval.confidence)
