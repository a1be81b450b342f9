"""Ticks, labels and encoding that all figures share."""

from __future__ import annotations

import itertools
import subprocess
import sys

import matplotlib
import matplotlib.pyplot as plt
import pytest
from drawn_study import STUDY, STUDY_FIGURES
from hypothesis import given
from hypothesis import strategies as st

from mnist_study import plots
from mnist_study.plots import style


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 8))
def test_ticks_lie_inside_and_are_not_too_many(low: float, width: float, at_most: int) -> None:
    high = low + width
    if high - low < 1e-9 * max(abs(low), 1):
        return
    ticks = style.nice_ticks(low, high, at_most)
    slack = 1e-6 * (high - low)
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    assert len(ticks) <= at_most
    assert ticks == sorted(set(ticks))


def test_tick_labels_have_the_digits_of_their_step() -> None:
    assert style.tick_labels([97.5, 97.75, 98.0]) == ["97.50", "97.75", "98.00"]
    assert style.tick_labels([96.0, 98.0]) == ["96", "98"]


@given(st.lists(st.floats(0, 1), max_size=8))
def test_labels_are_spread_by_no_less_than_the_distance(heights: list[float]) -> None:
    placed = style.spread_apart(sorted(heights), 0.1)
    assert len(placed) == len(heights)
    assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(placed))
    assert sum(placed) == pytest.approx(sum(heights))


def test_epoch_ticks_start_at_one_and_stay_few() -> None:
    assert style.epoch_ticks(1) == [1, 2]
    assert style.epoch_ticks(20) == [1, 5, 10, 15, 20]
    assert all(len(style.epoch_ticks(n)) <= 7 for n in range(1, 500))


@pytest.mark.parametrize("name", STUDY_FIGURES)
def test_same_rows_in_any_order_give_the_same_bytes(name: str) -> None:
    first = plots.to_png(STUDY_FIGURES[name](STUDY))
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True, "lines.linewidth": 5}):
        again = plots.to_png(STUDY_FIGURES[name](STUDY[::-1]))
    assert again == first


def test_training_curves_give_the_same_bytes_whatever_the_users_style() -> None:
    def draw() -> bytes:
        return plots.to_png(plots.training_curves(STUDY[0].epochs, best_epoch=4, title="Trial 0"))

    first = draw()
    with matplotlib.rc_context({"font.family": "serif", "font.size": 20, "lines.linewidth": 5}):
        assert draw() == first


def test_drawing_leaves_no_global_state() -> None:
    before = dict(matplotlib.rcParams)
    for draw in STUDY_FIGURES.values():
        plots.to_png(draw(STUDY))
    plots.to_png(plots.training_curves(STUDY[0].epochs, best_epoch=1, title=""))
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == []


def test_importing_plots_is_cheap_and_touches_neither_training_nor_tracking() -> None:
    code = (
        "import sys, mnist_study.plots; "
        "print([m for m in ('matplotlib.pyplot', 'tensorflow', 'keras', 'mlflow', 'sklearn', "
        "'optuna') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
