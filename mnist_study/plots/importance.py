"""Importance of each parameter with its interval, beside the effect that an ablation measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_study.plots import style
from mnist_study.plots.marks import empty_figure

_TITLE = "Parameter importance"

Ends = tuple[float, float, float]
"""An estimate with the lower and the upper end of its interval."""


@style.styled
def parameter_importances(
    shares: Mapping[str, Ends], *, n_complete: int, why_none: str = "", effects: Mapping[str, Ends]
) -> Figure:
    """Draw each parameter's importance, and beside it what an ablation found that it causes.

    Args:
        shares: importance in [0, 1] with its interval, by name, in the order to be drawn; empty
            where nothing is ranked.
        n_complete: number of completed trials behind them.
        why_none: is written where there are no shares.
        effects: change of test accuracy in points with its interval, by name; of any parameters,
            or of none.
    """
    if not shares:
        return empty_figure(_TITLE, why_none)
    has_effects = bool(effects)
    figure = style.new_column(height=1.2 + 0.27 * len(shares))
    inches = figure.get_size_inches()[1]
    bottom, height = 0.58 / inches, 1 - 1.12 / inches
    width = 0.36 if has_effects else 0.74
    left = figure.add_axes((0.205, bottom, width, height))
    _draw_rows(left, list(shares.values()), style.COMPLETE, as_bars=True)
    left.set_yticks(range(len(shares)), list(shares))
    left.tick_params(axis="y", length=0, labelsize=style.FONT_SIZE)
    left.set_xlim(0, 1.03 * max(high for _, _, high in shares.values()) or 1.0)
    left.set_xlabel("importance, shares of 1")
    style.set_x_ticks(left, 4)
    style.write_title(
        figure,
        0.02,
        f"{_TITLE} for reaching the top tenth of {n_complete} trials",
    )
    figure.text(
        0.02, 1 - 0.27 / inches, "PED-ANOVA, 95 % intervals over re-sampled trials",
        va="center_baseline", fontsize=style.SMALL, color=style.MUTED,
    )  # fmt: skip
    if has_effects:
        right = figure.add_axes((0.205 + width + 0.03, bottom, 0.375, height))
        _draw_effects(right, [effects.get(name) for name in shares])
    return figure


def _draw_effects(axes: Axes, effects: Sequence[Ends | None]) -> None:
    """Draw the effects in the rows of their parameters; rows without one stay empty."""
    axes.axvline(0, color=style.MUTED, linewidth=0.8)
    known = [(row, ends) for row, ends in enumerate(effects) if ends is not None]
    _draw_rows(
        axes, [ends for _, ends in known], style.TEST, as_bars=False, rows=[row for row, _ in known]
    )
    axes.set_ylim(len(effects) - 0.5, -0.5)
    axes.set_yticks([])
    reach = 1.08 * max((max(abs(low), abs(high)) for _, (_, low, high) in known), default=1.0)
    axes.set_xlim(-(reach or 1.0), reach or 1.0)
    axes.set_xlabel("effect on test accuracy\nin the ablation, points")
    style.set_x_ticks(axes, 4)
    for row in set(range(len(effects))) - {row for row, _ in known}:
        axes.text(
            0.5, row, "not tested", transform=axes.get_yaxis_transform(), ha="center", va="center",
            color=style.MUTED, fontsize=style.SMALL, backgroundcolor="white",
        )  # fmt: skip


def _draw_rows(
    axes: Axes,
    values: Sequence[Ends],
    color: str,
    *,
    as_bars: bool,
    rows: Sequence[int] | None = None,
) -> None:
    """Draw estimates with their intervals, one a row, from the top."""
    places = range(len(values)) if rows is None else rows
    if as_bars:
        axes.barh(places, [v for v, _, _ in values], height=0.62, color=color, alpha=0.45)
    else:
        axes.plot([v for v, _, _ in values], places, "o", color=color, markersize=4)
    axes.hlines(
        places, [low for _, low, _ in values], [high for _, _, high in values], color=color,
        linewidth=1.5, gid="interval",
    )  # fmt: skip
    axes.set_ylim(max(places, default=0) + 0.5, -0.5)
    axes.spines["left"].set_visible(False)
