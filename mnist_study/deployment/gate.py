"""Whether a challenger may take the champion's place, from stored answers alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnist_study.core.errors import UserFacingError
from mnist_study.deployment.test_answers import StoredAnswers

if TYPE_CHECKING:
    from mnist_study.stats import ClassifierComparison


class GateError(UserFacingError):
    """A challenger that is refused."""


@dataclass(frozen=True, slots=True)
class GateDecision:
    """What the gate found; `comparison` is None where there was no champion to compare with.

    Attributes:
        is_passed: nothing speaks against the challenger.
        text: the reason in one sentence.
        comparison: challenger minus champion.
        forced: the reason for which a refusal was overridden, else "".
    """

    is_passed: bool
    text: str
    comparison: ClassifierComparison | None = None
    forced: str = ""


def compare(challenger: StoredAnswers, champion: StoredAnswers, champion_name: str) -> GateDecision:
    """Compare a challenger with the champion on the same test images.

    It is refused if it is worse beyond noise: the 95 % interval of the paired difference lies below
    zero.

    Args:
        challenger: its answers.
        champion: answers stored at the champion's own promotion.
        champion_name: for the text.
    """
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
    verdict = "worse beyond noise" if is_worse else "not worse beyond noise"
    if difference.low > 0:
        verdict = "better beyond noise"
    text = (
        f"{100 * difference.estimate:+.2f} points against {champion_name} (95 % interval "
        f"{100 * difference.low:+.2f} to {100 * difference.high:+.2f}, McNemar p = "
        f"{found.p_value:.3g}, {found.n_only_first_correct} to {found.n_only_second_correct} "
        f"images): {verdict}"
    )
    return GateDecision(not is_worse, text, found)


def enforce(decision: GateDecision, force: str | None) -> GateDecision:
    """Return the decision, overridden if the user gave a reason for that.

    Raises:
        GateError: refused and not overridden.
    """
    if decision.is_passed:
        return decision
    if force is None:
        raise GateError(
            f"the challenger is refused: {decision.text}; expected one that is not worse; keep the "
            "champion, or override with --force REASON"
        )
    return GateDecision(False, decision.text, decision.comparison, force)
