"""Which parameters decided whether a trial came out on top, by PED-ANOVA."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from mnist_study.config import IntRange, Range
from mnist_study.plots import style
from mnist_study.plots.marks import empty_figure
from mnist_study.plots.selection import select, spelled, value_of
from mnist_study.records import TrialResult

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

ENOUGH_TRIALS = 50
"""Below so many completed trials the importances say little; five of fifty are the top tenth."""

_TITLE = "Parameter importance"


def importances(rows: Sequence[TrialResult], space: Mapping[str, Range]) -> dict[str, float]:
    """Compute the importance of each parameter for reaching the top tenth of the trials.

    Args:
        rows: finished trials; only COMPLETE ones count.
        space: ranges by name of parameter.

    Returns:
        Shares that sum to 1, or all 0 where nothing can be told apart, the largest first.

    Raises:
        ValueError: fewer than two distinct completed trials.

    References:
        Watanabe, Bansal, Hutter, PED-ANOVA, IJCAI 2023.
    """
    # Takes over a second, because Optuna's importances import scikit-learn.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import create_trial

    complete = select(rows).complete
    n_distinct = _n_distinct(complete, space)
    if n_distinct < 2:
        raise ValueError(_too_few(n_distinct))
    distributions = {name: _distribution(limit) for name, limit in space.items()}
    study = _quiet_study()
    study.add_trials(
        [
            create_trial(
                params={name: getattr(row.params, name) for name in space},
                distributions=distributions,
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


def _n_distinct(rows: Sequence[TrialResult], space: Mapping[str, Range]) -> int:
    return len({tuple(getattr(row.params, name) for name in space) for row in rows})


def _too_few(n_distinct: int) -> str:
    return f"needs at least two distinct completed trials, got {n_distinct}"


def _distribution(limit: Range) -> BaseDistribution:
    from optuna.distributions import FloatDistribution, IntDistribution

    if isinstance(limit, IntRange):
        return IntDistribution(limit.low, limit.high, log=limit.log)
    return FloatDistribution(limit.low, limit.high, log=limit.log)


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


@style.styled
def parameter_importances(rows: Sequence[TrialResult], space: Mapping[str, Range]) -> Figure:
    """Draw each parameter's importance as a bar, with a warning where trials are few.

    Args:
        rows: finished trials; only COMPLETE ones count.
        space: ranges by name of parameter.
    """
    complete = select(rows).complete
    n_complete, n_distinct = len(complete), _n_distinct(complete, space)
    if n_distinct < 2:
        return empty_figure(_TITLE, _too_few(n_distinct))
    shares = importances(rows, space)
    figure = style.new_figure(height=0.75 + 0.27 * len(shares))
    inches = figure.get_size_inches()[1]
    axes = figure.add_axes((0.16, 0.12 / inches, 0.77, 1 - 0.68 / inches))
    places = list(range(len(shares)))[::-1]
    axes.barh(places, list(shares.values()), height=0.62, color=style.COMPLETE)
    for place, share in zip(places, shares.values(), strict=True):
        axes.text(
            share + 0.012 * max(*shares.values(), 1e-9),
            place,
            f"{share:.2f}",
            va="center",
            fontsize=style.SMALL,
        )
    axes.set_yticks(places, [spelled(name) for name in shares])
    axes.tick_params(axis="y", length=0, labelsize=style.FONT_SIZE)
    axes.set_xlim(0, max(*shares.values(), 1e-9))
    axes.set_ylim(-0.5, len(shares) - 0.5)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    style.write_title(
        figure,
        0.02,
        f"{_TITLE} for reaching the top tenth (PED-ANOVA, "
        f"{n_complete} completed trials, shares of 1)",
    )
    if n_complete < ENOUGH_TRIALS:
        figure.text(
            0.02,
            1 - 0.22 / inches,
            f"Not reliable: {n_complete} completed trials, and PED-ANOVA "
            f"wants {ENOUGH_TRIALS} or more.",
            va="top",
            color=style.BEST,
            fontsize=style.SMALL,
            gid="too-few",
        )
    return figure
