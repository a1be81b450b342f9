"""The gate: whether a challenger may become champion, from stored answers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mnist_study.core.errors import UserFacingError
from mnist_study.deployment.champion_answers import ChampionAnswers, champion_answers
from mnist_study.deployment.stored_answers import StoredAnswers
from mnist_study.tracking.registry import Registry

MARGINS = {"mnist": 0.0015, "digits": 0.02}
"""How much less accurate than the best champion a challenger may be, a share of the test images.

On MNIST's 10,000 images, two networks of the study's size disagree about 0.6 to 1.0 % of the images
in which of them is right, one of them and the documented network about 1.0 to 1.3 %. The standard
error of a difference is therefore 0.08 to 0.11 points. A margin of 0.10 points would reject three
of four equally good networks; one of 0.20 would accept a quarter of those that are 0.1 worse. With
0.15 points and 1 %, simulated in `tests/deployment/test_gate.py`:

| truly better than the best champion by (points) | 0.2 | 0.1 | 0 | -0.1 | -0.15 | -0.2 | -0.3 |
|---|---|---|---|---|---|---|---|
| is accepted (%) | 97 | 79 | 44 | 12 | 5 | 2 | 0 |

Ten challengers in a row, each 0.1 points worse than the champion that it meets, bring the champion
down by 0.05 points on average; the rule before, which rejected what was significantly worse than
the present champion, by 0.5. On the 360 images of the digits, 2 points are as much as 0.15 here."""


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


def decide(registry: Registry, answers: StoredAnswers, force: str | None) -> GateDecision:
    """Compare a challenger with the best champion there has been, on the same test images.

    Args:
        registry: with the history of the champion.
        answers: of the challenger.
        force: why a rejection is overridden; None does not override it.

    Raises:
        GateError: the challenger is rejected and that is not overridden.
    """
    decision = judge(answers, champion_answers(registry))
    if decision.is_passed:
        return decision
    if force is None:
        raise GateError(
            f"the challenger is rejected: {decision.text}; keep the champion, promote a better "
            "model, or override with --force REASON"
        )
    return replace(decision, forced=force)


def judge(challenger: StoredAnswers, champions: Sequence[ChampionAnswers]) -> GateDecision:
    """Test that a challenger is less than the margin worse than the best of all champions.

    The best is the one with the most correct answers, the earliest of equals; not the present one,
    or a row of challengers that are each a little worse would bring the champion down step by step.
    Every champion must be comparable, because an unknown one may have been the best.

    Args:
        challenger: its answers.
        champions: all that there were; none passes every challenger.
    """
    if not champions:
        return GateDecision(True, "no champion yet, so there is nothing to compare with")
    problems = [c.problem for c in champions if c.answers is None]
    comparable: list[tuple[str, StoredAnswers]] = []
    for champion in champions:
        if champion.answers is None:
            continue
        if champion.answers.test_sha256 == challenger.test_sha256:
            comparable.append((champion.name, champion.answers))
        else:
            problems.append(
                f"{champion.name} was measured on other test images (content hash "
                f"{champion.answers.test_sha256[:12]}…, now {challenger.test_sha256[:12]}…)"
            )
    if not comparable:
        return GateDecision(False, "; ".join(problems) + ", so nothing can be compared")
    name, best = max(comparable, key=lambda pair: int(np.count_nonzero(pair[1].correct)))
    rank = "the best champion so far" if len(champions) > 1 else "the champion"
    if problems:
        rank = "the best champion that can be compared"
    is_shown, text = _compare(challenger, best, f"{name}, {rank}")
    if problems:
        text += f"; {'; '.join(problems)}, and may have been better"
    return GateDecision(is_shown and not problems, text)


def _compare(challenger: StoredAnswers, best: StoredAnswers, name: str) -> tuple[bool, str]:
    """Return whether non-inferiority is shown, and the comparison in words."""
    from mnist_study.stats.noninferiority import non_inferiority

    margin = MARGINS.get(challenger.dataset, MARGINS["mnist"])
    test = non_inferiority(challenger.correct, best.correct, margin)
    comparison = test.comparison
    difference = comparison.difference
    verdict = "not significantly different"
    if not difference.contains(0.0):
        verdict = f"significantly {'better' if difference.estimate > 0 else 'worse'}"
    shown = "shown" if test.is_shown else "not shown"
    text = (
        f"{100 * difference.estimate:+.2f} points against {name}: {shown} to be less than "
        f"{100 * margin:.2f} points worse (one-sided 95 % lower bound "
        f"{100 * test.lower_bound:+.2f}); {verdict} (95 % interval {100 * difference.low:+.2f} to "
        f"{100 * difference.high:+.2f}, McNemar p = {comparison.p_value:.3g}, "
        f"{comparison.n_only_first_correct} to {comparison.n_only_second_correct} images)"
    )
    return test.is_shown, text
