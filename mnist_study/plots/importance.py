"""Importance of each parameter as bars."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from mnist_study.plots import style
from mnist_study.plots.marks import empty_figure, spelled

ENOUGH_TRIALS = 50
"""Below so many completed trials the importances say little; five of fifty are the top tenth."""

_TITLE = "Parameter importance"


@style.styled
def parameter_importances(shares: Mapping[str, float], n_complete: int) -> Figure:
    """Draw each parameter's importance as a bar, with a warning where trials are few.

    Args:
        shares: as `search.importance.importances` returns them; empty where there are none.
        n_complete: number of completed trials behind them.
    """
    if not shares:
        return empty_figure(_TITLE, "needs at least two distinct completed trials")
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
