"""Several panels in one figure: grids of axes, small multiples, rows with names, one legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mnist_study.plots import style

_COLUMNS = 4


def legend_below_title(figure: Figure, *, n_columns: int | None = None) -> None:
    """Put a legend on the second line of a figure, with each label of its panels once."""
    marks = {
        label: mark
        for axes in figure.axes
        for mark, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles=list(marks.values()), labels=list(marks), loc="upper left",
        bbox_to_anchor=(0.0, 1 - 0.2 / figure.get_figheight()), ncols=n_columns or len(marks),
        handlelength=2.6, handletextpad=0.4, columnspacing=1.2, borderaxespad=0.2,
    )  # fmt: skip


def grid_of_axes(
    n_rows: int,
    n_columns: int,
    *,
    height: float,
    bottom: float,
    top: float,
    width: float = style.TEXT_WIDTH,
    left: float = 0.1,
    spaces: tuple[float, float] = (0.0, 0.13),
    sharey: bool | Literal["row", "col"] = False,
    height_ratios: Sequence[float] | None = None,
) -> tuple[Figure, NDArray[np.object_]]:
    """Return a figure with a grid of axes; the panels of a column share their x axis.

    Args:
        n_rows: of the grid.
        n_columns: of the grid.
        height: of the figure, in inches.
        bottom: room below the grid, in inches.
        top: room above the grid, in inches.
        width: of the figure, in inches.
        left: room on its left, as a share of the figure.
        spaces: between rows and between columns, as shares of a panel.
        sharey: as `Figure.subplots` takes it.
        height_ratios: of the rows.
    """
    figure = style.new_figure(width, height)
    grid = figure.subplots(
        n_rows, n_columns, squeeze=False, sharex="col", sharey=sharey, height_ratios=height_ratios
    )
    figure.subplots_adjust(
        left=left, right=0.985, bottom=bottom / height, top=1 - top / height,
        hspace=spaces[0], wspace=spaces[1],
    )  # fmt: skip
    return figure, grid


def small_multiples(
    n: int, row_height: float, *, x_label: str, y_label: str
) -> tuple[Figure, list[Axes]]:
    """Return a figure with n panels on the same axes, four in a row.

    Args:
        n: number of panels; the last row may be shorter.
        row_height: inches.
        x_label: below the lowest panel of each column.
        y_label: at the first panel of each row.
    """
    n_rows = -(-n // _COLUMNS)
    figure, grid = grid_of_axes(
        n_rows, _COLUMNS, height=0.95 + row_height * n_rows, bottom=0.42, top=0.75, left=0.085,
        spaces=(0.28, 0.09), sharey=True,
    )  # fmt: skip
    panels = list(grid.flat[:n])
    for axes in grid.flat[n:]:
        axes.set_visible(False)
    for axes in panels[::_COLUMNS]:
        axes.set_ylabel(y_label)
        axes.yaxis.set_label_coords(-0.29, 0.5)
    for axes in panels[-_COLUMNS:]:
        axes.set_xlabel(x_label)
        axes.tick_params(labelbottom=True)
    return figure, panels


def name_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Turn a y axis into rows with names, from top to bottom."""
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
