"""The figure of importances beside measured effects."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
import pytest
from drawn_study import words
from matplotlib.figure import Figure
from PIL import Image

from mnist_study import plots

SHARES = {
    "units_1": (0.5, 0.3, 0.7),
    "l2": (0.3, 0.1, 0.6),
    "dropout_1": (0.2, 0.05, 0.3),
}
EFFECTS = {"l2": (-0.2, -0.24, -0.16), "dropout_1": (0.05, -0.01, 0.11)}


def intervals(figure: Figure) -> list[list[tuple[float, float]]]:
    """Ends of the intervals, panel by panel, from the top."""
    drawn: list[Any] = [
        collection
        for axes in figure.axes
        for collection in axes.collections
        if collection.get_gid() == "interval"
    ]
    return [
        [(path.vertices[0, 0], path.vertices[1, 0]) for path in collection.get_paths()]
        for collection in drawn
    ]


def test_every_bar_has_its_interval() -> None:
    figure: Any = plots.parameter_importances(SHARES, n_complete=60, effects={})
    assert [patch.get_width() for patch in figure.axes[0].patches] == [0.5, 0.3, 0.2]
    assert intervals(figure) == [[(0.3, 0.7), (0.1, 0.6), (0.05, 0.3)]]
    assert "top tenth of 60 trials" in words(figure)


def test_effects_stand_in_the_rows_of_their_parameters() -> None:
    figure: Any = plots.parameter_importances(SHARES, n_complete=60, effects=EFFECTS)
    left, right = figure.axes
    assert intervals(figure)[1] == [(-0.24, -0.16), (-0.01, 0.11)]
    (points,) = [line for line in right.lines if line.get_marker() == "o"]
    assert list(points.get_xdata()) == [-0.2, 0.05]
    assert list(points.get_ydata()) == [1, 2]
    assert left.get_ylim() == right.get_ylim()
    assert words(figure).count("not tested") == 1


def test_a_withheld_ranking_says_why() -> None:
    figure: Any = plots.parameter_importances(
        {}, n_complete=49, why_none="too few", effects=EFFECTS
    )
    assert "too few" in words(figure)
    assert not intervals(figure)


@pytest.mark.parametrize("shares", [{}, dict.fromkeys(SHARES, (0.0, 0.0, 0.0)), SHARES])
def test_same_values_give_the_same_bytes_whatever_the_users_style(
    shares: dict[str, tuple[float, float, float]],
) -> None:
    def draw() -> bytes:
        return plots.to_png(
            plots.parameter_importances(shares, n_complete=60, why_none="none", effects=EFFECTS)
        )

    first = draw()
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True}):
        assert draw() == first
    with Image.open(io.BytesIO(first)) as image:
        assert image.width == 1056
