"""Several panels in one figure: side by side, as small multiples, with rows that have names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from mnist_study.plots import style


def legend_below_title(figure: Figure, marks: Sequence[Line2D | Patch]) -> None:
    """Put a legend on the second line from the top, below the title."""
    figure.legend(
        handles=list(marks),
        loc="upper left",
        bbox_to_anchor=(0.0, 1 - 0.2 / figure.get_figheight()),
        ncols=len(marks),
        handletextpad=0.4,
        columnspacing=1.2,
        borderaxespad=0.2,
    )


def row_of_axes(
    figure: Figure, n: int, *, left: float, bottom: float, top: float, gap: float = 0.03
) -> list[Axes]:
    """Return n axes side by side; `left` and `gap` are shares of the width, the others inches."""
    height = figure.get_figheight()
    width = (0.985 - left - (n - 1) * gap) / n
    return [
        figure.add_axes(
            (left + i * (width + gap), bottom / height, width, 1 - (bottom + top) / height)
        )
        for i in range(n)
    ]


def grid_of_axes(
    n_rows: int,
    n_columns: int,
    *,
    height: float,
    bottom: float,
    top: float,
    spaces: tuple[float, float],
    sharey: bool | Literal["row", "col"] = False,
    height_ratios: Sequence[float] | None = None,
) -> tuple[Figure, NDArray[np.object_]]:
    """Return a figure with a grid of axes; each column has one x axis.

    Args:
        n_rows: of the grid.
        n_columns: of the grid.
        height: of the figure, in inches.
        bottom: room below the grid, in inches.
        top: room above it, in inches.
        spaces: between rows and between columns, as shares of a panel.
        sharey: as `Figure.subplots` takes it.
        height_ratios: of the rows.
    """
    figure = style.new_figure(height=height)
    grid = figure.subplots(
        n_rows, n_columns, squeeze=False, sharex="col", sharey=sharey, height_ratios=height_ratios
    )
    figure.subplots_adjust(
        left=0.1, right=0.985, bottom=bottom / height, top=1 - top / height,
        hspace=spaces[0], wspace=spaces[1],
    )  # fmt: skip
    return figure, grid


def small_multiples(n: int, row_height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with n panels of one scale, four in a row.

    Args:
        n: how many; the last row may stay short.
        row_height: inches.
    """
    n_columns = 4
    n_rows = -(-n // n_columns)
    figure = style.new_figure(height=0.95 + row_height * n_rows)
    height = figure.get_figheight()
    grid = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(
        left=0.085, right=0.985, bottom=0.42 / height, top=1 - 0.75 / height, hspace=0.28,
        wspace=0.09,
    )  # fmt: skip
    for axis in grid.flat[n:]:
        axis.set_visible(False)
    return figure, list(grid.flat[:n])


def name_multiples(axes: Sequence[Axes], x_label: str, y_label: str) -> None:
    """Label the outer axes of `small_multiples`."""
    for place, axis in enumerate(axes):
        if place % 4 == 0:
            axis.set_ylabel(y_label)
            axis.yaxis.set_label_coords(-0.29, 0.5)
        if place >= len(axes) - 4:
            axis.set_xlabel(x_label)


def name_rows(axis: Axes, labels: Sequence[str], *, is_first: bool) -> None:
    """Make rows from top to bottom, named at the first of the panels side by side."""
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.set_yticks(range(len(labels)), labels if is_first else [""] * len(labels))
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.grid(axis="x")
