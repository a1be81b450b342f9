"""The figures of an ablation: no text over another, and what is said is what is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ablation_simulation import draw_ablation, small_ablation
from drawn_study import check_texts_stand_apart, shown_texts
from matplotlib.figure import Figure

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


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_lies_over_another_or_leaves_the_figure(drawn: Drawn, name: str) -> None:
    figure = drawn[1][name]
    assert len(shown_texts(figure)) > 5
    check_texts_stand_apart(figure)


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
    bars: Any = below.collections[0]
    first_bar = bars.get_segments()[0]
    documented, none = curves[DOCUMENTED][0], curves[NONE][0]
    differences = documented.per_seed("test_accuracy", "last")
    differences = differences - none.per_seed("test_accuracy", "last")
    interval = mean_estimate(differences).interval()
    assert first_bar[:, 1] == pytest.approx([100 * interval.low, 100 * interval.high])


def test_rates_are_told_in_the_names_of_the_dropouts(drawn: Drawn) -> None:
    for name in ("paired_differences", "seeds", "epoch_curves", "learning_rates"):
        said = {t.get_text() for t in shown_texts(drawn[1][name])}
        assert {"dropout_1 (0.3)", "dropout_2 (0.2)"} <= said
