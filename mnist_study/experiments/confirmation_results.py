"""What the records of a confirmation decide: who is a finalist, and which network wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mnist_study.core.config import ConfigError
from mnist_study.core.identity import Candidate, ConfirmationIdentity, ScreeningIdentity
from mnist_study.core.trials import TrialResult
from mnist_study.experiments.replicates import Replicates, is_complete
from mnist_study.search.history import History

if TYPE_CHECKING:
    from mnist_study.stats import Interval, PairedEffect


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A configuration after its replicates.

    Attributes:
        candidate: what was confirmed.
        values: validation accuracy of each replicate, in [0, 1].
        mean: their mean with its 95 % t interval.
        to_best: paired difference to the configuration of highest mean; None for that one.
        corrected_mean, corrected_to_best: the same means with intervals that are corrected for the
            overlap of the training sets; None where the record does not know its number of rows.
        lower_bound: one-sided bound of `to_best`, jointly 95 % with those of the others; None in
            records of earlier versions.
        may_win: the rule of the record allows it to be the winner.
        n_failed: its runs without a value; their replicates are left out for all.
        n_parameters: of the network.
        seconds_per_epoch: median over replicates; for the record, not part of any digest.
        median_best_epoch: for training once more on all rows.
    """

    candidate: Candidate
    values: tuple[float, ...]
    mean: Interval
    to_best: PairedEffect | None
    corrected_mean: Interval | None
    corrected_to_best: Interval | None
    lower_bound: float | None
    may_win: bool
    n_failed: int
    n_parameters: int
    seconds_per_epoch: float
    median_best_epoch: int


def screening_values(history: History) -> np.ndarray:
    """Return the accuracies of a screening, float64, shape (n_replicates, n_candidates).

    A run without a value counts as 0, so that a configuration that diverged comes last.
    """
    replicates = Replicates.of(history.identity_as(ScreeningIdentity))
    blocks = replicates.blocks(history.results)
    table = [[r.value if is_complete([r]) else 0.0 for r in block] for block in blocks]
    return np.array(table, dtype=float).reshape(len(blocks), len(replicates.candidates))


def finalists(history: History) -> list[Candidate]:
    """Return the candidates of a screening that go on, best first.

    Raises:
        ConfigError: the screening is not finished.
    """
    from mnist_study.stats.selection import best_of

    identity = history.identity_as(ScreeningIdentity)
    values = screening_values(history)
    if len(values) < identity.n_seeds:
        raise ConfigError(
            f"{history.name}: {len(values)} of {identity.n_seeds} replicates are finished, so the "
            "finalists are not known yet; run `mnist-study confirm` to the end"
        )
    chosen = best_of(values[: identity.n_seeds], identity.n_finalists)
    return [identity.candidates[position] for position in chosen]


def complete_blocks(history: History) -> list[list[TrialResult]]:
    """Return the runs of each replicate that all configurations of a confirmation completed."""
    replicates = Replicates.of(history.identity_as(ConfirmationIdentity))
    return [block for block in replicates.blocks(history.results) if is_complete(block)]


def confirmed(history: History) -> list[Confirmed]:
    """Summarize each configuration over the replicates that all of them completed.

    Raises:
        ConfigError: fewer than two replicates are complete for all configurations.
    """
    from mnist_study.stats.selection import within_margin

    identity = history.identity_as(ConfirmationIdentity)
    blocks = Replicates.of(identity).blocks(history.results)
    whole = complete_blocks(history)
    if len(whole) < 2:
        raise ConfigError(
            f"{history.name}: {len(whole)} replicates are complete for every configuration, "
            "expected 2 or more; run `mnist-study confirm` to the end"
        )
    values = np.array([[result.value for result in block] for block in whole], dtype=float)
    n_failed = [
        sum(not is_complete([block[position]]) for block in blocks)
        for position in range(len(identity.candidates))
    ]
    configurations = [
        _summarize(identity, [block[position] for block in whole], values, position, n)
        for position, n in enumerate(n_failed)
    ]
    if identity.margin is None:
        return configurations
    bounds = within_margin(values, identity.margin)
    return [
        replace(c, lower_bound=bound, may_win=is_within)
        for c, bound, is_within in zip(
            configurations, bounds.lower_bounds, bounds.within, strict=True
        )
    ]


def _summarize(
    identity: ConfirmationIdentity,
    runs: Sequence[TrialResult],
    values: np.ndarray,
    position: int,
    n_failed: int,
) -> Confirmed:
    """Summarize one configuration; it may win by the rule of the first records.

    Args:
        identity: of the record.
        runs: of the configuration, one a replicate.
        values: of all configurations, shape (n_replicates, n_configurations).
        position: of the configuration among them.
        n_failed: its runs without a value.
    """
    from mnist_study.stats import mean_estimate, paired_effect
    from mnist_study.stats.selection import corrected_resampled_estimate

    own, best = values[:, position], int(np.argmax(values.mean(axis=0)))
    to_best = None if position == best else paired_effect(own, values[:, best])
    corrected_mean = corrected_to_best = None
    share = identity.data.test_share
    if share is not None:
        corrected_mean = corrected_resampled_estimate(own, share).interval(0.95)
        if to_best is not None:
            differences = own - values[:, best]
            corrected_to_best = corrected_resampled_estimate(differences, share).interval(0.95)
    return Confirmed(
        candidate=identity.candidates[position],
        values=tuple(float(v) for v in own),
        mean=mean_estimate(own).interval(0.95),
        to_best=to_best,
        corrected_mean=corrected_mean,
        corrected_to_best=corrected_to_best,
        lower_bound=None,
        # They took every configuration that was not significantly worse.
        may_win=to_best is None or to_best.interval.contains(0.0),
        n_failed=n_failed,
        n_parameters=runs[0].n_parameters or 0,
        seconds_per_epoch=float(np.median([r.train_seconds / len(r.epochs) for r in runs])),
        median_best_epoch=int(np.median([r.best_epoch or 1 for r in runs])),
    )


def winner(configurations: Sequence[Confirmed]) -> Confirmed:
    """Return the smallest network among those that may win."""
    from mnist_study.stats.selection import smallest

    position = smallest(
        [c.may_win for c in configurations],
        [c.n_parameters for c in configurations],
        [c.mean.estimate for c in configurations],
    )
    return configurations[position]


@dataclass(frozen=True, slots=True)
class ConfirmedStudy:
    """What fresh seeds left of a study's best trials.

    Attributes:
        configurations: all that were confirmed, the documented network first.
        winner: one of them.
        gain: of the winner over the documented network, paired by seed and split; None where that
            is the winner.
    """

    configurations: list[Confirmed]
    winner: Confirmed
    gain: Interval | None


def confirmation_of(study: History) -> ConfirmedStudy | None:
    """Return the finished confirmation of a study that ended last; None without one.

    Args:
        study: whose home is searched for confirmations.
    """
    from mnist_study.stats import paired_effect

    finished = [
        record
        for record in study.siblings("confirm")
        if record.identity_as(ConfirmationIdentity).study == study.name
        and 0 < record.n_trials <= len(record.results)
        and len(complete_blocks(record)) >= 2
    ]
    if not finished:
        return None
    configurations = confirmed(max(finished, key=lambda record: record.finished_at[-1]))
    documented, first = configurations[0], winner(configurations)
    is_documented = first is documented
    gain = None if is_documented else paired_effect(first.values, documented.values).interval
    return ConfirmedStudy(configurations, first, gain)
