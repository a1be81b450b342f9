"""Which parameters decided whether a trial came out on top, by PED-ANOVA."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mnist_study.core.config import Range
from mnist_study.core.trials import TrialResult, select, value_of
from mnist_study.search.sampler import distributions

if TYPE_CHECKING:
    import optuna


def importances(rows: Sequence[TrialResult], space: Mapping[str, Range]) -> dict[str, float]:
    """Compute the importance of each parameter for reaching the top tenth of the trials.

    Args:
        rows: finished trials; only COMPLETE ones count.
        space: ranges by name of parameter.

    Returns:
        Shares that sum to 1, or all 0 where nothing can be told apart, the largest first; none
        with fewer than two distinct completed trials.

    References:
        Watanabe, Bansal, Hutter, PED-ANOVA, IJCAI 2023.
    """
    # Takes over a second, because Optuna's importances import scikit-learn.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import create_trial

    complete = select(rows).complete
    if len({tuple(getattr(row.params, name) for name in space) for row in complete}) < 2:
        return {}
    ranges = distributions(space)
    study = _quiet_study()
    study.add_trials(
        [
            create_trial(
                params={name: getattr(row.params, name) for name in space},
                distributions=ranges,
                value=value_of(row),
            )
            for row in complete
        ]
    )
    with warnings.catch_warnings():
        # That it has few trials is said in the figure.
        warnings.simplefilter("ignore")
        found = get_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(), params=list(space)
        )
    return dict(sorted(found.items(), key=lambda item: (-item[1], list(space).index(item[0]))))


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
