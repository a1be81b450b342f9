"""The figures of an ablation: no text over another, and what is said is what is drawn."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from ablation_simulation import draw_ablation, small_ablation
from matplotlib.figure import Figure
from matplotlib.text import Text

from mnist_study.data.dataset import TestSet, TrainingSet
from mnist_study.experiments.ablation.design import DOCUMENTED, NONE
from mnist_study.experiments.ablation.figures import ablation_figures
from mnist_study.experiments.ablation.record import AblationRecord
from mnist_study.experiments.ablation.report import FIGURES
from mnist_study.experiments.ablation.runs import POINTS
from mnist_study.stats import mean_estimate

Drawn = tuple[AblationRecord, dict[str, Figure]]


@pytest.fixture(scope="module")
def drawn(
    digits: TrainingSet, digits_test: TestSet, tmp_path_factory: pytest.TempPathFactory
) -> Drawn:
    folder = tmp_path_factory.mktemp("drawn")
    ablation = small_ablation(folder, n_seeds=4, axes=True)
    history = draw_ablation(folder, ablation, digits, digits_test, {"l2": -0.01})
    record = AblationRecord(history)
    return record, ablation_figures(record)


def texts(figure: Figure) -> list[Text]:
    """Return what is to be read; ticks beyond the limits of an axis have labels, but undrawn."""
    undrawn = [
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    ]
    shown = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return [text for text in shown if text not in undrawn]


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_lies_over_another_or_leaves_the_figure(drawn: Drawn, name: str) -> None:
    figure = drawn[1][name]
    figure.canvas.draw()
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts(figure)]
    assert len(boxes) > 5
    for text, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0
        inside &= box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
        assert inside, f"{text!r} leaves the figure: {box}"
    for (first, a), (second, b) in combinations(boxes, 2):
        assert not a.overlaps(b), f"{first!r} lies over {second!r}"


def test_forest_says_which_direction_is_better(drawn: Drawn) -> None:
    labels = [axis.get_xlabel() for axis in drawn[1]["paired_differences"].axes]
    assert labels == [
        "points, higher is better", "nats, lower is better", "points, lower is better",
    ]  # fmt: skip


def test_interactions_are_drawn_at_both_read_outs_on_one_scale(drawn: Drawn) -> None:
    record, figures = drawn
    assert record.data is not None
    last, restored = (figures["interactions"].axes[place].lines[0].get_ydata() for place in (0, 3))
    for line, point in zip((last, restored), POINTS, strict=True):
        accuracies = record.data.values["test_accuracy", point]
        wanted = 100 * accuracies[:, 0, 0].mean(axis=(-2, -1))
        assert np.asarray(line) == pytest.approx(wanted)
    axes = figures["interactions"].axes
    assert axes[0].get_ylim() == axes[3].get_ylim()


def test_every_seed_is_drawn(drawn: Drawn) -> None:
    record, figures = drawn
    assert record.data is not None
    (axis, *_) = figures["seeds"].axes
    points = np.concatenate(
        [np.asarray(line.get_xdata()) for line in axis.lines if line.get_marker() == "o"]
    )
    wanted = [record.data.values["test_accuracy", p].mean(axis=-2) for p in POINTS]
    assert np.sort(points) == pytest.approx(np.sort(100 * np.concatenate(wanted, axis=None)))


def test_changes_with_the_size_of_the_training_set_are_paired(drawn: Drawn) -> None:
    record, figures = drawn
    curves = record.size_curves
    below = figures["training_size"].axes[3]
    shown = [line.get_ydata() for line in below.lines if line.get_marker() == "o"]
    for found, point in zip(shown, POINTS, strict=True):
        pairs = zip(curves[DOCUMENTED], curves[NONE], strict=True)
        wanted = [
            100 * np.mean(a.per_seed("test_accuracy", point) - b.per_seed("test_accuracy", point))
            for a, b in pairs
        ]
        assert np.asarray(found) == pytest.approx(wanted)
    bars = [line.get_ydata() for line in below.lines if line.get_marker() != "o"][1:]
    documented, none = curves[DOCUMENTED][0], curves[NONE][0]
    differences = documented.per_seed("test_accuracy", "last")
    differences = differences - none.per_seed("test_accuracy", "last")
    interval = mean_estimate(differences).interval()
    assert np.asarray(bars[0]) == pytest.approx([100 * interval.low, 100 * interval.high])


def test_rates_are_told_in_the_names_of_the_dropouts(drawn: Drawn) -> None:
    for name in ("paired_differences", "seeds", "epoch_curves", "learning_rates"):
        said = {t.get_text() for t in texts(drawn[1][name])}
        assert {"dropout_1 (0.3)", "dropout_2 (0.2)"} <= said
