"""Figures and tables of a study, drawn from synthetic trials."""

from __future__ import annotations

import csv
import io
import itertools
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mnist_study import plots
from mnist_study.core.config import FloatRange, IntRange, NetworkParams, Range, load_experiment
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialState, by_value, select
from mnist_study.experiments import tables
from mnist_study.plots import selection, style
from mnist_study.plots.marks import range_ticks

STUDY_FILE = Path(__file__).parents[2] / "experiments" / "study.toml"
SPACE: dict[str, Range] = {
    "units_1": IntRange(type="int", low=64, high=512, log=True),
    "units_2": IntRange(type="int", low=32, high=256, log=True),
    "units_3": IntRange(type="int", low=16, high=128, log=True),
    "dropout_1": FloatRange(type="float", low=0.0, high=0.6),
    "dropout_2": FloatRange(type="float", low=0.0, high=0.6),
    "l2": FloatRange(type="float", low=1e-7, high=1e-2, log=True),
    "learning_rate": FloatRange(type="float", low=2e-4, high=1e-2, log=True),
}
BASELINE = NetworkParams(
    units_1=128, units_2=64, units_3=32, dropout_1=0.3, dropout_2=0.2, l2=1e-3, learning_rate=1e-3
)


STUDY_FIGURES: dict[str, Callable[[Sequence[TrialResult]], Figure]] = {
    "optimization_history": plots.optimization_history,
    "parallel_coordinates": lambda rows: plots.parallel_coordinates(rows, SPACE),
    "slices": lambda rows: plots.slices(rows, SPACE),
    "accuracy_against_size": plots.accuracy_against_size,
    "best_curves": plots.best_curves,
}


def make_params(rng: np.random.Generator) -> NetworkParams:
    drawn: dict[str, Any] = {}
    for name, limit in SPACE.items():
        share = rng.uniform(0.02, 0.98)
        if limit.log:
            value = limit.low * (limit.high / limit.low) ** share
        else:
            value = limit.low + (limit.high - limit.low) * share
        drawn[name] = round(value) if isinstance(limit, IntRange) else float(value)
    return NetworkParams(**drawn)


def make_row(
    number: int,
    value: float | None,
    state: TrialState = TrialState.COMPLETE,
    *,
    params: NetworkParams = BASELINE,
    n_epochs: int = 12,
    size: int = 110_000,
    reason: str | None = None,
) -> TrialResult:
    end = 0.1 if value is None else value
    accuracies = [end - 0.08 * math.exp(-i / 2) for i in range(n_epochs - 1)] + [end]
    epochs = tuple(
        EpochMetrics(i + 1, 1.2 - accuracy, accuracy - 0.01, 1.1 - accuracy, accuracy)
        for i, accuracy in enumerate(accuracies)
    )
    finished = value is not None
    return TrialResult(
        number=number,
        params=params,
        state=state,
        epochs=epochs,
        value=value,
        best_epoch=n_epochs if finished else None,
        restored_train_accuracy=end + 0.005 if finished else None,
        n_parameters=size,
        train_seconds=4.26,
        reason=reason,
    )


def make_study(n_trials: int = 60, seed: int = 0) -> list[TrialResult]:
    """Trial 0 the baseline, trial 17 FAILED, about half of the others PRUNED."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(n_trials):
        params = BASELINE if number == 0 else make_params(rng)
        value = float(rng.uniform(0.972, 0.986))
        size = 785 * params.units_1 + params.units_1 * params.units_2
        if number == 17:
            row = make_row(
                number,
                None,
                TrialState.FAILED,
                params=params,
                n_epochs=2,
                size=size,
                reason="loss is nan in epoch 2\nTraceback…",
            )
        elif number > 5 and rng.random() < 0.5:
            row = make_row(
                number,
                value - float(rng.uniform(0, 0.1)),
                TrialState.PRUNED,
                params=params,
                n_epochs=int(rng.integers(5, 9)),
                size=size,
            )
        else:
            row = make_row(number, value, params=params, n_epochs=20, size=size)
        rows.append(row)
    return rows


STUDY = make_study()
OF_STATE = {s: [row for row in STUDY if row.state is s] for s in TrialState}


def points(figure: Figure, *kinds: str) -> int:
    """Count the scatter points whose artist carries one of these ids."""
    collections: list[Any] = [artist for axes in figure.axes for artist in axes.collections]
    return sum(len(c.get_offsets()) for c in collections if c.get_gid() in kinds)


def lines(figure: Figure, *gids: str) -> list[Any]:
    """Find the lines that carry one of these ids."""
    return [line for axes in figure.axes for line in axes.lines if line.get_gid() in gids]


def words(figure: Figure) -> str:
    """All that is written in a figure."""
    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


# --- the rules behind the figures


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=0, max_size=12))
def test_pareto_front_is_what_brute_force_finds(drawn: list[tuple[int, int]]) -> None:
    sizes, values = [size for size, _ in drawn], [value for _, value in drawn]

    def beats(a: tuple[int, int], b: tuple[int, int]) -> bool:
        return a[0] <= b[0] and a[1] >= b[1] and a != b

    unbeaten = {p for p in drawn if not any(beats(q, p) for q in drawn)}
    front = plots.pareto_front(sizes, values)
    assert {drawn[i] for i in front} == unbeaten
    assert len(front) == len(unbeaten)
    assert all(
        drawn[a][0] < drawn[b][0] and drawn[a][1] < drawn[b][1]
        for a, b in itertools.pairwise(front)
    )
    assert all(i == drawn.index(drawn[i]) for i in front)


def test_pareto_front_refuses_unequal_lengths() -> None:
    with pytest.raises(ValueError, match="got 2 and 1"):
        plots.pareto_front([1, 2], [1.0])


@given(st.lists(st.floats(0, 1), max_size=30))
def test_best_so_far_is_the_maximum_of_every_prefix(values: list[float]) -> None:
    assert plots.best_so_far(values) == [max(values[: i + 1]) for i in range(len(values))]


def test_limits_leave_out_a_diverged_trial_and_keep_the_baseline() -> None:
    low, high = selection.focus_limits([97.9, 98.0, 98.1, 98.2, 98.3, 11.0], keep=[97.2])
    assert 97.0 < low < 97.2
    assert 98.3 < high < 98.5


def test_limits_are_widened_by_near_others_only() -> None:
    values = [98.0, 98.2, 98.4, 98.6]
    low, _ = selection.focus_limits(values, [97.75, 90.0])
    assert 97.6 < low < 97.75


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


def test_ticks_of_log_ranges_are_doublings_and_powers() -> None:
    assert list(range_ticks(SPACE["units_1"])) == [64, 128, 256, 512]
    assert list(range_ticks(SPACE["l2"])) == pytest.approx([1e-7, 1e-5, 1e-3])
    assert list(range_ticks(SPACE["dropout_1"])) == pytest.approx([0, 0.2, 0.4, 0.6])


# --- training curves


def test_training_curves_draw_every_value_and_mark_the_kept_epoch() -> None:
    row = make_row(3, 0.98)
    figure = plots.training_curves(row.epochs, best_epoch=9, title="Trial 3")
    curves = lines(figure, "training", "validation")
    assert [list(line.get_ydata()) for line in curves] == [
        [e.train_loss for e in row.epochs],
        [e.val_loss for e in row.epochs],
        pytest.approx([100 * e.train_accuracy for e in row.epochs]),
        pytest.approx([100 * e.val_accuracy for e in row.epochs]),
    ]
    marks = lines(figure, "best-epoch")
    assert len(marks) == 2
    # In the same place along the epochs as the ninth point of the curves.
    figure.canvas.draw()
    for mark, curve in zip(marks, curves[::2], strict=True):
        ninth = curve.get_transform().transform((9, curve.get_ydata()[8]))
        at = mark.get_transform().transform((mark.get_xdata()[0], mark.get_ydata()[0]))
        assert at[0] == pytest.approx(ninth[0])
    written = words(figure)
    assert "Trial 3" in written
    assert "epoch 9 kept" in written


def test_training_curves_say_how_many_points_are_not_finite() -> None:
    broken = (EpochMetrics(1, 2.0, 0.3, 1.5, 0.4), EpochMetrics(2, math.nan, 0.1, math.inf, 0.1))
    figure = plots.training_curves(broken, best_epoch=None, title="Trial 1, FAILED")
    assert "(2 points not finite)" in words(figure)
    assert not lines(figure, "best-epoch")
    assert plots.to_png(figure).startswith(b"\x89PNG")


def test_training_curves_say_how_many_points_lie_below_the_accuracy_axis() -> None:
    accuracies = [0.2, 0.97, 0.975, 0.98, 0.981, 0.982]
    epochs = [EpochMetrics(i + 1, 1.0, a, 1.0, a) for i, a in enumerate(accuracies)]
    figure = plots.training_curves(epochs, best_epoch=6, title="")
    assert "accuracy in % (2 points below 86)" in words(figure)


@pytest.mark.parametrize(
    "epochs",
    [
        (),
        (EpochMetrics(1, 0.5, 0.9, 0.4, 0.92),),
        (EpochMetrics(1, math.nan, math.nan, math.nan, math.nan),),
        (EpochMetrics(1, 0.0, 1.0, 0.0, 1.0), EpochMetrics(2, 0.0, 1.0, 0.0, 1.0)),
        (EpochMetrics(1, 0.5, 0.9, 0.4, 0.92), EpochMetrics(2, 1e30, 0.1, 1e35, 0.1)),
    ],
    ids=["none", "one", "only-nan", "perfect", "exploding"],
)
def test_training_curves_draw_in_edge_cases(epochs: tuple[EpochMetrics, ...]) -> None:
    png = plots.to_png(plots.training_curves(epochs, best_epoch=None, title="$not_math$ %"))
    assert Image.open(io.BytesIO(png)).size == (960, 375)


# --- figures of a study


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
    assert f"below {low:.1f} % ({n_below})" in words(figure)


def test_history_shows_the_best_so_far_of_complete_trials_only() -> None:
    rows = [
        make_row(0, 0.97),
        make_row(1, 0.99, TrialState.PRUNED),
        make_row(2, 0.98),
        make_row(3, 0.975),
    ]
    (best,) = lines(plots.optimization_history(rows), "best-so-far")
    assert list(best.get_ydata()) == pytest.approx([97, 98, 98, 98])
    (baseline,) = lines(plots.optimization_history(rows), "baseline")
    assert list(baseline.get_ydata()) == pytest.approx([97, 97])


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
    scales = {name: panels[selection.spelled(name)].get_xscale() for name in SPACE}
    assert scales == {name: "log" if limit.log else "linear" for name, limit in SPACE.items()}
    assert len(lines(figure, "baseline")) == 7


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
    assert len(lines(figure, "baseline")) == 1
    heights = [line.get_ydata()[-1] for line in drawn]
    assert heights == sorted(heights)
    for what in (lambda line: line.get_linewidth(), lambda line: line.get_zorder()):
        assert list(map(what, drawn)) == sorted(map(what, drawn))
    assert all(len(line.get_ydata()) == 7 for line in lines(figure, "pruned"))


def test_size_figure_steps_along_the_front_and_names_its_trials() -> None:
    rows = [
        make_row(0, 0.970, size=110_000),
        make_row(1, 0.975, size=90_000),
        make_row(2, 0.985, size=400_000),
        make_row(3, 0.980, size=500_000),
        make_row(4, 0.999, TrialState.PRUNED, size=50_000),
    ]
    figure = plots.accuracy_against_size(rows)
    (front,) = lines(figure, "front-points")
    assert list(front.get_xdata()) == [90_000, 400_000]
    assert list(front.get_ydata()) == pytest.approx([97.5, 98.5])
    (step,) = lines(figure, "pareto-front")
    assert step.get_drawstyle() == "steps-post"
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(labels) == ["1", "2", "baseline"]
    assert points(figure, "complete", "complete-below") == 4
    assert points(figure, "pruned", "pruned-below") == 1


def test_best_curves_show_the_best_ten_and_the_baseline() -> None:
    figure = plots.best_curves(STUDY)
    per_panel = {gid: len(lines(figure, gid)) / 2 for gid in ("best", "other", "baseline")}
    ranked = by_value(OF_STATE[TrialState.COMPLETE])
    assert ranked[0].number != 0
    in_top = any(row.number == 0 for row in ranked[:10])
    assert per_panel == {"best": 1, "other": 8 if in_top else 9, "baseline": 1}
    best = lines(figure, "best")[0]
    assert list(best.get_ydata()) == pytest.approx(
        [100 * epoch.val_accuracy for epoch in ranked[0].epochs]
    )


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
        assert image.width == 1050
    # Something is always written: what is seen, or why there is nothing.
    assert words(figure).strip()


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
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_importing_plots_is_cheap_and_touches_neither_training_nor_tracking() -> None:
    import subprocess

    code = (
        "import sys, mnist_study.plots; "
        "print([m for m in ('matplotlib.pyplot', 'tensorflow', 'keras', 'mlflow', 'sklearn', "
        "'optuna') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- tables


def test_table_is_sorted_by_value_with_failed_trials_last() -> None:
    rows = [
        make_row(0, 0.97),
        make_row(1, None, TrialState.FAILED, reason="loss is nan in epoch 2\nTraceback (most…"),
        make_row(2, 0.98),
        make_row(3, 0.975, TrialState.PRUNED),
        make_row(4, 0.98),
    ]
    cells = list(csv.DictReader(io.StringIO(tables.trial_table_csv(rows))))
    assert [cell["number"] for cell in cells] == ["2", "4", "3", "0", "1"]
    assert cells[-1]["state"] == "FAILED"
    assert cells[-1]["reason"] == "loss is nan in epoch 2"
    assert cells[-1]["value"] == ""


def test_table_has_fixed_digits() -> None:
    (cells,) = csv.DictReader(io.StringIO(tables.trial_table_csv([make_row(0, 0.97)])))
    assert cells == {
        "number": "0",
        "state": "COMPLETE",
        "value": "0.9700",
        "best_epoch": "12",
        "units_1": "128",
        "units_2": "64",
        "units_3": "32",
        "dropout_1": "0.300",
        "dropout_2": "0.200",
        "l2": "0.001",
        "learning_rate": "0.001",
        "restored_train_accuracy": "0.9750",
        "overfitting_gap": "0.0050",
        "n_parameters": "110000",
        "train_seconds": "4.3",
        "reason": "",
    }


def test_markdown_table_keeps_its_columns_whatever_a_reason_holds() -> None:
    rows = [make_row(0, 0.97), make_row(1, None, TrialState.FAILED, reason="a | b \\| c")]
    header, rule, *body = tables.trial_table_markdown(rows).splitlines()
    n_columns = len(tables.COLUMNS)
    assert header.count("|") == rule.count("|") == n_columns + 1
    assert len(body) == 2
    assert body[1].endswith("a \\| b \\\\\\| c |")


def test_a_bare_traceback_is_told_by_its_last_line() -> None:
    reason = "Traceback (most recent call last):\n  File x\nValueError: bad width\n"
    (cells,) = tables.trial_table([make_row(0, None, TrialState.FAILED, reason=reason)])
    assert cells[-1] == "ValueError: bad width"
