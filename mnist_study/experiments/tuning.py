"""What a study's trials say about its search: the best of n, whether more would pay, which sampler.

Accuracies are in percent, differences in points.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnist_study.core.identity import ConfirmationIdentity, StudyIdentity
from mnist_study.core.trials import BASELINE_NUMBER, TrialResult, TrialState, has_value, in_percent
from mnist_study.experiments.tables import markdown_table
from mnist_study.search.history import History
from mnist_study.search.sampler import drawn_at_random

if TYPE_CHECKING:
    from mnist_study.plots.style import Figure
    from mnist_study.plots.tuning import Curve
    from mnist_study.stats import Interval, TuningCurve

FEWEST_TRIALS = 5
"""A curve of fewer trials says nothing."""

_AT_RANDOM = "random trials"
_ALL = "all trials, re-ordered"


@dataclass(frozen=True, slots=True)
class Search:
    """The trials of a study as a search.

    Attributes:
        at_random: validation accuracy of the trials drawn at random, in order.
        proposed: of all trials but the baseline, in order.
        learns: whether some trials were proposed from the results of others.
        seed_sd: standard deviation over seeds of one configuration's accuracy, in points; None
            where the home has no confirmation of the study.
    """

    at_random: tuple[float, ...]
    proposed: tuple[float, ...]
    learns: bool
    seed_sd: float | None


def search_of(history: History) -> Search:
    """Read the search from a study's record and that of its confirmation."""
    identity = history.identity_as(StudyIdentity)
    at_random = drawn_at_random(history.results, identity.study)
    proposed = [r for r in history.results if r.number != BASELINE_NUMBER]
    return Search(
        at_random=tuple(map(_worth, at_random)),
        proposed=tuple(map(_worth, proposed)),
        learns=len(at_random) < len(proposed),
        seed_sd=seed_sd(history),
    )


def _worth(result: TrialResult) -> float:
    """Return what a trial contributed: a pruned one what it had reached, a failed one nothing."""
    is_failed = result.state is TrialState.FAILED or not has_value(result)
    return 0.0 if is_failed else in_percent(result)


def seed_sd(study: History) -> float | None:
    """Estimate from a study's confirmations how much seeds alone move validation accuracy.

    It is the standard deviation of what configuration and replicate do not explain together, so
    the splits, which are common to all configurations of a replicate, are not in it.

    Args:
        study: whose home is searched for confirmations.

    Returns:
        Points, from the confirmation with the most runs; None without two configurations of two
        replicates each.
    """
    tables = []
    for record in study.siblings("confirm"):
        if record.identity_as(ConfirmationIdentity).study == study.name:
            tables.append(_replicates(record.results))
    largest = max(tables, key=lambda table: table.size, default=np.empty((0, 0)))
    if min(largest.shape) < 2:
        return None
    rest = largest - largest.mean(axis=0) - largest.mean(axis=1, keepdims=True) + largest.mean()
    degrees_of_freedom = (largest.shape[0] - 1) * (largest.shape[1] - 1)
    return float(np.sqrt(np.square(rest).sum() / degrees_of_freedom))


def _replicates(results: Sequence[TrialResult]) -> np.ndarray:
    """Arrange a confirmation as (n_configurations, n_replicates), as far as all are complete."""
    runs: dict[object, list[float]] = {}
    for result in results:
        if result.state is TrialState.COMPLETE and has_value(result):
            runs.setdefault(result.params, []).append(in_percent(result))
    n = min(map(len, runs.values()), default=0)
    return np.array([values[:n] for values in runs.values()])


def tuning_figure(search: Search) -> Figure:
    """Draw the tuning curves of a search."""
    from mnist_study.plots.tuning import tuning_curves

    samples = _samples(search)
    return tuning_curves(
        {f"{name} ({len(values)})": _curve(values) for name, values in samples.items()},
        list(itertools.accumulate(search.proposed, max)),
        why_none=f"needs {FEWEST_TRIALS} trials beside the documented network",
    )


def _samples(search: Search) -> dict[str, tuple[float, ...]]:
    """Return what is re-sampled, by its name; a random search is both in one."""
    samples = {_AT_RANDOM: search.at_random}
    if search.learns:
        samples[_ALL] = search.proposed
    return {name: values for name, values in samples.items() if len(values) >= FEWEST_TRIALS}


def _curve(values: Sequence[float]) -> Curve:
    from mnist_study.stats import tuning_curve

    curve = tuning_curve(values, np.arange(1, len(values) + 1))
    return np.array([curve.median, curve.low, curve.high])


def tuning_lines(search: Search) -> list[str]:
    """Say what twice as many trials would bring, and whether that is more than luck."""
    from mnist_study.stats import doubling_gain
    from mnist_study.stats.tuning import FEWEST_FOR_GAIN

    n = len(search.proposed)
    if n < FEWEST_FOR_GAIN:
        return [
            f"Whether more trials would pay cannot be said from {n} trials beside the documented "
            f"network; it takes {FEWEST_FOR_GAIN}."
        ]
    gain = doubling_gain(search.proposed)
    return [
        f"Twice as many trials like these would raise the expected best by {gain.estimate:.2f} "
        f"points (95 % interval {gain.low:.2f} to {gain.high:.2f}). {_advice(gain, search.seed_sd)}"
    ]


def _advice(gain: Interval, noise: float | None) -> str:
    if noise is None:
        return (
            "To compare that with the noise of the seeds, run `mnist-study confirm`, which "
            "measures it, then `mnist-study report`."
        )
    of_seeds = f"the seeds alone move one configuration by {noise:.2f} points (standard deviation)"
    if gain.high < noise:
        return f"More trials are unlikely to pay: {of_seeds}."
    if gain.low > noise:
        return f"More trials are likely to pay: {of_seeds}."
    return f"Whether more trials would pay is undecided: {of_seeds}."


def tuning_markdown(search: Search) -> list[str]:
    """Write the tuning curves as a table, with how they were made."""
    samples = _samples(search)
    if not samples:
        return []
    head = ["n", "best so far, as run"]
    for name in samples:
        head += [f"{name}: expected", "median (95 % band)"]
    n_max = max(map(len, samples.values()))
    rows = []
    for n in [n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024) if n < n_max] + [n_max]:
        cells = [str(n), f"{max(search.proposed[:n]):.2f} %"]
        for values in samples.values():
            cells += _cells(values, n)
        rows.append(cells)
    lines = markdown_table(head, rows, left=())
    lines += ["", _method(search)]
    return lines


def _cells(values: Sequence[float], n: int) -> list[str]:
    """Return expected best and median with band at n; nothing beyond the trials there are."""
    from mnist_study.stats import expected_best, tuning_curve

    if n > len(values):
        return ["", ""]
    curve: TuningCurve = tuning_curve(values, [n])
    low, high = float(curve.low[0]), float(curve.high[0])
    low_text = f"{low:.2f}" if math.isfinite(low) else "no limit"
    high_text = f"{high:.2f}" if math.isfinite(high) else "no limit"
    return [
        f"{expected_best(values, n):.2f} %",
        f"{float(curve.median[0]):.2f} % ({low_text} to {high_text})",
    ]


def _method(search: Search) -> str:
    text = (
        "Expected: mean over all choices of n of the trials, without the documented network. Band: "
        "of the median, simultaneous for all n (Lourie, Cho and He 2024); its upper end is "
        "unbounded where n is large beside the number of trials. A pruned trial counts with the "
        "best value that it had reached, a failed one with nothing."
    )
    if search.learns:
        text += (
            " The random trials are those that the sampler drew before it had enough results to "
            "learn from. Re-ordering all trials ignores that later ones learned from earlier ones, "
            "so that curve describes this study and predicts no other."
        )
    return text


def comparable_studies(history: History) -> list[History]:
    """Return the studies of the same home that differ from this one in their sampler alone."""
    own = history.identity_as(StudyIdentity)
    comparable = []
    for other in history.siblings("study"):
        theirs = other.identity_as(StudyIdentity)
        alike = theirs.study.model_copy(update={"sampler": own.study.sampler}) == own.study
        same_runs = (theirs.data, theirs.training, theirs.baseline) == (
            own.data, own.training, own.baseline,
        )  # fmt: skip
        if alike and same_runs and theirs.study.sampler != own.study.sampler:
            comparable.append(other)
    return comparable


def compare_searches(control: History, treatment: History, rng: np.random.Generator) -> list[str]:
    """Say which of two studies found better configurations, and by how much.

    The intervals come from re-sampling the trials of each study. They say what other trials like
    these in another order would have given, not what a second run of a sampler that learns would.

    Args:
        control: the one that the other is compared with.
        treatment: a study of the same space.
        rng: the only source of randomness.
    """
    from mnist_study.stats import best_difference
    from mnist_study.stats.tuning import largest_comparable

    samples = [search_of(history).proposed for history in (control, treatment)]
    names = [_sampler_of(history) for history in (control, treatment)]
    n_max = largest_comparable(min(map(len, samples)))
    if n_max < 1:
        return [
            f"{names[1]} and {names[0]}: {len(samples[1])} and {len(samples[0])} trials are too "
            "few to be compared, it takes 6 of each."
        ]
    lines = []
    for n in sorted({1, n_max}):
        difference = best_difference(samples[0], samples[1], n, rng=rng)
        lines.append(
            f"{names[1]} against {names[0]}, expected best of {n} "
            f"{'trial' if n == 1 else 'trials'}: {difference.estimate:+.2f} points (95 % interval "
            f"{difference.low:+.2f} to {difference.high:+.2f}): "
            f"{_which_is_better(difference, names)}"
        )
    best = [max(sample) for sample in samples]
    lines.append(
        f"Best trial of all: {best[1]:.2f} % of {len(samples[1])} by {names[1]}, {best[0]:.2f} % "
        f"of {len(samples[0])} by {names[0]}; two single values, without an interval."
    )
    return lines


def _which_is_better(difference: Interval, names: Sequence[str]) -> str:
    if difference.contains(0.0):
        return "neither is shown to be better."
    better = names[1] if difference.estimate > 0 else names[0]
    return f"{better} is better."


def _sampler_of(history: History) -> str:
    kind = history.identity_as(StudyIdentity).study.sampler.kind
    return f"{history.name} ({'TPE' if kind == 'tpe' else kind})"
