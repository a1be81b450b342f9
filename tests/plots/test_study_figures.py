"""Figures of a study's trials: history, slices, parallel coordinates, accuracy against size."""

from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drawn_study import (
    OF_STATE,
    SPACE,
    STUDY,
    STUDY_FIGURES,
    check_texts_stand_apart,
    lines,
    make_row,
    points,
    shown_texts,
    words,
)
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mnist_study import plots
from mnist_study.core.config import NetworkParams, load_experiment
from mnist_study.core.trials import TrialResult, TrialState, by_value, select
from mnist_study.plots.size import pareto_front

STUDY_FILE = Path(__file__).parents[2] / "experiments" / "study.toml"


def test_history_draws_every_trial_once_and_in_its_state() -> None:
    figure = plots.optimization_history(STUDY)
    assert points(figure, "complete", "complete-below") == len(OF_STATE[TrialState.COMPLETE])
    assert points(figure, "pruned", "pruned-below") == len(OF_STATE[TrialState.PRUNED])
    assert points(figure, "pruned-below") > 0
    (failed,) = lines(figure, "failed")
    assert list(failed.get_xdata()) == [17]


def test_history_says_how_many_points_lie_below_its_axis() -> None:
    figure = plots.optimization_history(STUDY)
    low = figure.axes[0].get_ylim()[0]
    n_below = sum(100 * row.value < low for row in STUDY if row.value is not None)
    assert n_below == points(figure, "complete-below", "pruned-below")
    assert f"{n_below} of them below {low:.1f} %" in words(figure)


def test_history_shows_the_best_so_far_of_complete_trials_only() -> None:
    rows = [
        make_row(0, 0.97),
        make_row(1, 0.99, TrialState.PRUNED),
        make_row(2, 0.98),
        make_row(3, 0.975),
    ]
    (best,) = lines(plots.optimization_history(rows), "best-so-far")
    assert list(best.get_ydata()) == pytest.approx([97, 98, 98, 98])
    (documented,) = lines(plots.optimization_history(rows), "documented")
    assert list(documented.get_ydata()) == pytest.approx([97, 97])


def test_a_non_finite_value_is_never_best() -> None:
    rows = [make_row(0, 0.97), replace(make_row(1, 0.98), value=math.inf)]
    chosen = select(rows)
    assert chosen.best is rows[0]
    assert chosen.failed == (rows[1],)


def test_slices_draw_every_trial_in_every_panel_on_the_scale_of_its_range() -> None:
    figure = plots.slices(STUDY, SPACE)
    panels = {axes.get_xlabel(): axes for axes in figure.axes}
    assert points(figure, "complete", "complete-below") == 7 * len(OF_STATE[TrialState.COMPLETE])
    assert points(figure, "pruned", "pruned-below") == 7 * len(OF_STATE[TrialState.PRUNED])
    scales = {name: panels[name].get_xscale() for name in SPACE}
    assert scales == {name: "log" if limit.log else "linear" for name, limit in SPACE.items()}
    assert len(lines(figure, "documented")) == 7


def test_tick_labels_of_neighbouring_slices_stand_apart() -> None:
    search = load_experiment(STUDY_FILE).study
    assert search is not None
    figure = plots.slices(STUDY, search.space)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [
        label.get_window_extent(canvas.get_renderer())
        for axes in figure.axes
        for label in axes.get_xticklabels()
        if label.get_text()
    ]
    assert len(boxes) > 15
    for one, other in itertools.combinations(boxes, 2):
        assert not one.padded(3).overlaps(other)


def test_slices_colour_trials_by_their_number() -> None:
    figure: Any = plots.slices(STUDY, {"l2": SPACE["l2"]})
    (scatter,) = [c for axes in figure.axes for c in axes.collections if c.get_gid() == "complete"]
    darkness = -scatter.get_facecolor()[:, :3].sum(axis=1)
    assert darkness[0] == darkness.min()
    assert darkness[-1] == darkness.max()


def test_parallel_coordinates_are_truly_logarithmic() -> None:
    params = NetworkParams(
        units_1=128,
        units_2=32,
        units_3=128,
        dropout_1=0.3,
        dropout_2=0.6,
        l2=math.sqrt(1e-9),
        learning_rate=2e-4,
    )
    rows = [make_row(0, 0.97), make_row(1, 0.98, params=params)]
    (line,) = lines(plots.parallel_coordinates(rows, SPACE), "complete")
    assert list(line.get_ydata())[:7] == pytest.approx([1 / 3, 0, 1, 0.5, 1, 0.5, 0])


def test_parallel_coordinates_draw_the_best_last_and_widest() -> None:
    figure = plots.parallel_coordinates(STUDY, SPACE)
    drawn = lines(figure, "complete")
    assert len(drawn) == len(OF_STATE[TrialState.COMPLETE]) - 1
    assert len(lines(figure, "pruned")) == len(OF_STATE[TrialState.PRUNED])
    assert len(lines(figure, "documented")) == 1
    heights = [line.get_ydata()[-1] for line in drawn]
    assert heights == sorted(heights)
    for what in (lambda line: line.get_linewidth(), lambda line: line.get_zorder()):
        assert list(map(what, drawn)) == sorted(map(what, drawn))
    assert all(len(line.get_ydata()) == 7 for line in lines(figure, "pruned"))


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=0, max_size=12))
def test_pareto_front_is_what_brute_force_finds(drawn: list[tuple[int, int]]) -> None:
    sizes, values = [size for size, _ in drawn], [value for _, value in drawn]

    def beats(a: tuple[int, int], b: tuple[int, int]) -> bool:
        return a[0] <= b[0] and a[1] >= b[1] and a != b

    unbeaten = {p for p in drawn if not any(beats(q, p) for q in drawn)}
    front = pareto_front(sizes, values)
    assert {drawn[i] for i in front} == unbeaten
    assert len(front) == len(unbeaten)
    assert all(
        drawn[a][0] < drawn[b][0] and drawn[a][1] < drawn[b][1]
        for a, b in itertools.pairwise(front)
    )
    assert all(i == drawn.index(drawn[i]) for i in front)


def test_pareto_front_refuses_unequal_lengths() -> None:
    with pytest.raises(ValueError, match="got 2 and 1"):
        pareto_front([1, 2], [1.0])


def test_size_figure_steps_along_the_front_and_names_its_trials() -> None:
    rows = [
        make_row(0, 0.970, size=110_000),
        make_row(1, 0.975, size=90_000),
        make_row(2, 0.985, size=400_000),
        make_row(3, 0.980, size=500_000),
        make_row(4, 0.999, TrialState.PRUNED, size=50_000),
    ]
    figure = plots.accuracy_against_size(rows)
    front = lines(figure, "front-points")
    assert [point.get_xdata()[0] for point in front] == [90_000, 400_000]
    assert [point.get_ydata()[0] for point in front] == pytest.approx([97.5, 98.5])
    (step,) = lines(figure, "pareto-front")
    # The front ends with its data.
    assert list(step.get_xdata()) == [90_000, 400_000]
    assert step.get_drawstyle() == "steps-post"
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(labels) == ["1", "2", "documented"]
    assert points(figure, "complete", "complete-below") == 4
    assert points(figure, "pruned", "pruned-below") == 1


EDGE_CASES = {
    "none": [],
    "one": STUDY[:1],
    "three": STUDY[:3],
    "only-failed": OF_STATE[TrialState.FAILED],
    "only-pruned": OF_STATE[TrialState.PRUNED],
    "all-pruned-but-one": [*OF_STATE[TrialState.PRUNED], STUDY[3]],
    "without-baseline": STUDY[1:],
    "equal-values": [make_row(k, 0.98) for k in range(4)],
    "all-right": [make_row(k, 1.0) for k in range(4)],
    "no-epochs": [replace(make_row(k, 0.98 + k / 1000), epochs=()) for k in range(3)],
    "no-sizes": [replace(make_row(k, 0.98 + k / 1000), n_parameters=None) for k in range(3)],
}


@pytest.mark.parametrize("rows", EDGE_CASES.values(), ids=EDGE_CASES.keys())
@pytest.mark.parametrize("name", STUDY_FIGURES)
def test_study_figures_draw_in_edge_cases(name: str, rows: list[TrialResult]) -> None:
    figure = STUDY_FIGURES[name](rows)
    with Image.open(io.BytesIO(plots.to_png(figure))) as image:
        assert image.width == 1056
    # Something is always written: what is seen, or why there is nothing.
    assert words(figure).strip()


CONFIRMED: dict[str, Callable[[int], Figure]] = {
    "optimization_history": lambda number: plots.optimization_history(STUDY, number),
    "parallel_coordinates": lambda number: plots.parallel_coordinates(STUDY, SPACE, number),
    "slices": lambda number: plots.slices(STUDY, SPACE, number),
    "accuracy_against_size": lambda number: plots.accuracy_against_size(STUDY, number),
}


@pytest.mark.parametrize("name", CONFIRMED)
def test_the_winner_of_the_confirmation_is_marked_and_named(name: str) -> None:
    ranked = by_value(OF_STATE[TrialState.COMPLETE])
    figure = CONFIRMED[name](ranked[2].number)
    marks = lines(figure, "confirmed")
    assert len(marks) == (len(SPACE) if name == "slices" else 1)
    assert marks[0].get_url() == f"#trial-{ranked[2].number}"
    assert f"confirmed, {'' if name == 'parallel_coordinates' else 'trial '}" in words(figure)


@pytest.mark.parametrize("name", STUDY_FIGURES)
def test_no_word_of_a_figure_lies_over_another_or_is_cut_off(name: str) -> None:
    check_texts_stand_apart(STUDY_FIGURES[name](STUDY))


@pytest.mark.parametrize("name", STUDY_FIGURES)
def test_every_word_of_a_figure_can_be_read_on_a_telephone(name: str) -> None:
    figure = STUDY_FIGURES[name](STUDY)
    # A figure is then 358 of the screen's 390 points wide.
    scale = 358 / (72 * figure.get_figwidth())
    assert min(float(text.get_fontsize()) * scale for text in shown_texts(figure)) >= 7.5


def test_each_trial_is_counted_once_in_a_legend() -> None:
    figure = plots.optimization_history(STUDY)
    counts = re.findall(r"^(\d+) (?:complete|pruned|failed)$", words(figure), re.M)
    assert sum(map(int, counts)) == len(STUDY)


def test_figures_use_the_names_of_parameters_that_files_and_mlflow_use() -> None:
    for figure in (plots.slices(STUDY, SPACE), plots.parallel_coordinates(STUDY, SPACE)):
        written = words(figure).replace("_\n", "_").splitlines()
        assert set(SPACE) <= set(written)
