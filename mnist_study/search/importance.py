"""The importance of each parameter for being among the best trials, by PED-ANOVA."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnist_study.core.config import Range
from mnist_study.core.trials import TrialResult, select, value_of
from mnist_study.search.sampler import distributions

if TYPE_CHECKING:
    import optuna

ENOUGH_TRIALS = 50
"""With fewer completed trials nothing is ranked; the top tenth of fifty are five."""

N_RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Importance:
    """Importance of one parameter.

    Attributes:
        share: of the importance of all parameters, in [0, 1].
        low: lower end of its 95 % interval.
        high: upper end.
        leads: share of the resamples in which no other parameter was more important.
    """

    share: float
    low: float
    high: float
    leads: float


def importances(
    rows: Sequence[TrialResult],
    space: Mapping[str, Range],
    *,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
) -> dict[str, Importance]:
    """Compute the importance of each parameter for reaching the top tenth of the trials.

    The intervals come from re-sampling the completed trials (percentile bootstrap). They cover
    which configurations were tried and, because every trial's value includes the noise of its
    seeds, that noise; they do not cover another search space, another share than the top tenth,
    or that a sampler which learns tries little where it expects little.

    Args:
        rows: finished trials; only COMPLETE ones count.
        space: ranges by name of parameter.
        rng: the only source of randomness.
        n_resamples: how often the trials are re-sampled.

    Returns:
        The largest share first; nothing with fewer than `ENOUGH_TRIALS` completed trials, or where
        all of them are equal.

    References:
        Watanabe, Bansal, Hutter, PED-ANOVA, IJCAI 2023.
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    complete = select(rows).complete
    names = list(space)
    is_varied = len({tuple(getattr(row.params, name) for name in names) for row in complete}) > 1
    if len(complete) < ENOUGH_TRIALS or not is_varied:
        return {}
    trials = _optuna_trials(complete, space)
    shares = _shares(trials, names)
    resampled = np.array(
        [
            _shares([trials[row] for row in rng.integers(0, len(trials), len(trials))], names)
            for _ in range(n_resamples)
        ]
    )
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    # Where all trials are equal all shares are 0, and none leads.
    leads = ((resampled == resampled.max(axis=1, keepdims=True)) & (resampled > 0)).mean(axis=0)
    by_name = {
        name: Importance(shares[i], float(low[i]), float(high[i]), float(leads[i]))
        for i, name in enumerate(names)
    }
    return dict(sorted(by_name.items(), key=lambda item: -item[1].share))


def _optuna_trials(
    complete: Sequence[TrialResult], space: Mapping[str, Range]
) -> list[optuna.trial.FrozenTrial]:
    from optuna.trial import create_trial

    ranges = distributions(space)
    return [
        create_trial(
            params={name: getattr(row.params, name) for name in space},
            distributions=ranges,
            value=value_of(row),
        )
        for row in complete
    ]


def _shares(trials: Sequence[optuna.trial.FrozenTrial], names: Sequence[str]) -> list[float]:
    """Return PED-ANOVA's shares in the order of `names`; all 0 where all trials are equal."""
    # Takes over a second, because Optuna's importances import scikit-learn.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    study = _quiet_study()
    study.add_trials(trials)
    with warnings.catch_warnings():
        # That a resample has few distinct trials shows in the intervals.
        warnings.simplefilter("ignore")
        shares = get_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(), params=list(names)
        )
    return [shares[name] for name in names]


def _quiet_study() -> optuna.Study:
    """Create a study in memory without the line that Optuna logs about it."""
    import optuna

    logger = logging.getLogger("optuna.storages._in_memory")

    def drop(record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO

    logger.addFilter(drop)
    try:
        return optuna.create_study(direction="maximize")
    finally:
        logger.removeFilter(drop)
