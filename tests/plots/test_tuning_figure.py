"""The figure of tuning curves."""

from __future__ import annotations

import io
import math
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image

from mnist_study import plots
from mnist_study.plots.tuning import Curve, tuning_curves


def curve(n: int, start: float = 97.0) -> Curve:
    median = start + 1.3 * (1 - 1 / np.arange(1, n + 1))
    high = median + 0.2
    high[n // 2 :] = math.inf
    low = median - 0.3
    low[0] = -math.inf
    return np.array([median, low, high])


def test_curves_bands_and_the_run_are_drawn_as_given() -> None:
    figure: Any = tuning_curves({"random": curve(16), "all": curve(59)}, [97.0, 97.0, 98.2])
    axes = figure.axes[0]
    medians = [line for line in axes.lines if line.get_gid() == "median"]
    assert [len(line.get_xdata()) for line in medians] == [16, 59]
    assert list(medians[0].get_ydata()) == pytest.approx(list(curve(16)[0]))
    (run,) = [line for line in axes.lines if line.get_gid() == "run"]
    assert list(run.get_ydata()) == [97.0, 97.0, 98.2]
    assert len([band for band in axes.collections if band.get_gid() == "band"]) == 2
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert labels == {"random", "all", "best so far, as run"}


def test_a_band_without_upper_end_goes_to_the_frame() -> None:
    figure: Any = tuning_curves({"random": curve(16)}, [])
    axes = figure.axes[0]
    (band,) = [band for band in axes.collections if band.get_gid() == "band"]
    top = axes.get_ylim()[1]
    corners = np.asarray(band.get_paths()[0].vertices)
    heights = {x: y for x, y in corners if y >= curve(16)[0][int(x) - 1]}
    assert heights[16] == pytest.approx(top)
    assert heights[2] < top


def test_failed_trials_do_not_stretch_the_axis() -> None:
    values = curve(16)
    values[:, 0] = 0.0
    low, high = tuning_curves({"random": values}, [0.0, 97.5, 98.0]).axes[0].get_ylim()
    assert low > 96.5
    assert high < 99


@pytest.mark.parametrize("curves", [{}, {"random": curve(1)}, {"random": np.zeros((3, 5))}])
def test_edge_cases_draw_the_same_bytes_whatever_the_users_style(curves: dict[str, Curve]) -> None:
    first = plots.to_png(tuning_curves(curves, [0.0], why_none="too few"))
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True}):
        assert plots.to_png(tuning_curves(curves, [0.0], why_none="too few")) == first
    with Image.open(io.BytesIO(first)) as image:
        assert image.width == 1056
