"""The gate: whether a challenger may replace the champion, from stored answers alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mnist_study.core.errors import UserFacingError
from mnist_study.deployment.test_answers import (
    ANSWERS,
    ANSWERS_TAG,
    PROMOTION_FOLDER,
    StoredAnswers,
)
from mnist_study.tracking.models import check_file
from mnist_study.tracking.registry import Registry
from mnist_study.tracking.store import ArtifactError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


class GateError(UserFacingError):
    """A challenger that is rejected."""


@dataclass(frozen=True, slots=True)
class GateDecision:
    """The gate's decision about a challenger.

    Attributes:
        is_passed: the challenger is not rejected.
        text: the reason in one sentence.
        forced: why a rejection was overridden, else "".
    """

    is_passed: bool
    text: str
    forced: str = ""


def decide(
    registry: Registry, champion: ModelVersion | None, answers: StoredAnswers, force: str | None
) -> GateDecision:
    """Compare a challenger with the champion on the same test images.

    A challenger significantly worse than the champion is rejected: the 95 % interval of the paired
    difference lies below zero.

    Args:
        registry: of the champion.
        champion: None if there is none.
        answers: of the challenger.
        force: why a rejection is overridden; None does not override it.

    Raises:
        GateError: the challenger is rejected and that is not overridden.
    """
    decision = _judge(registry, champion, answers)
    if decision.is_passed:
        return decision
    if force is None:
        raise GateError(
            f"the challenger is rejected: {decision.text}; expected one that is not significantly "
            "worse; keep the champion, or override with --force REASON"
        )
    return replace(decision, forced=force)


def _judge(
    registry: Registry, champion: ModelVersion | None, answers: StoredAnswers
) -> GateDecision:
    if champion is None:
        return GateDecision(True, "no champion yet, so there is nothing to compare with")
    name = f"{registry.name} version {champion.version}"
    expected = champion.tags.get(ANSWERS_TAG)
    if expected is None:
        return GateDecision(
            False, f"{name} was made champion without stored answers, so nothing can be compared"
        )
    run = registry.client.get_run(str(champion.run_id))
    try:
        content = registry.store.read(run.info.artifact_uri, f"{PROMOTION_FOLDER}/{ANSWERS}")
        check_file(content, expected, f"the stored answers of {name}")
    except ArtifactError as error:
        return GateDecision(False, str(error))  # a reason can override this too
    return _compare(answers, StoredAnswers.from_bytes(content, ANSWERS), name)


def _compare(
    challenger: StoredAnswers, champion: StoredAnswers, champion_name: str
) -> GateDecision:
    from mnist_study.stats import compare_classifiers

    if challenger.test_sha256 != champion.test_sha256:
        return GateDecision(
            False,
            f"{champion_name} was measured on other test images (content hash "
            f"{champion.test_sha256[:12]}…, now {challenger.test_sha256[:12]}…), so the two cannot "
            "be compared",
        )
    found = compare_classifiers(challenger.correct, champion.correct)
    difference = found.difference
    is_worse = difference.high < 0
    verdict = "significantly worse" if is_worse else "not significantly worse"
    if difference.low > 0:
        verdict = "significantly better"
    text = (
        f"{100 * difference.estimate:+.2f} points against {champion_name} (95 % interval "
        f"{100 * difference.low:+.2f} to {100 * difference.high:+.2f}, McNemar p = "
        f"{found.p_value:.3g}, {found.n_only_first_correct} to {found.n_only_second_correct} "
        f"images): {verdict}"
    )
    return GateDecision(not is_worse, text)
