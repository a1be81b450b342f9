"""The figures of an ablation: no text over another, and what is said is what is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drawn_study import check_texts_stand_apart, shown_texts
from matplotlib.figure import Figure

from mnist_study.experiments.ablation.figures import ablation_figures
from mnist_study.experiments.ablation.record import AblationRecord
from mnist_study.experiments.ablation.report import FIGURES
from mnist_study.plots.ablation import draw_rates
from mnist_study.plots.panels import small_multiples
from mnist_study.search.history import History
from mnist_study.stats import mean_estimate

pytest_plugins = ["ablation_fixtures"]

Drawn = tuple[AblationRecord, dict[str, Figure]]


@pytest.fixture(scope="module")
def drawn(whole_ablation: History) -> Drawn:
    record = AblationRecord(whole_ablation)
    return record, ablation_figures(record)


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_lies_over_another_or_leaves_the_figure(drawn: Drawn, name: str) -> None:
    figure = drawn[1][name]
    assert len(shown_texts(figure)) > 5
    check_texts_stand_apart(figure)


def test_an_effect_is_drawn_with_each_execution_beside_both_together(drawn: Drawn) -> None:
    record, figures = drawn
    assert record.analysis is not None
    l2 = next(
        e for e in record.analysis.effects
        if (e.outcome, e.name, e.comparison.part, e.comparison.readout)
        == ("test_accuracy", "l2", "documented", "last")
    )  # fmt: skip
    pooled, ticks = figures["effects"].axes[0].lines[:2]  # the first row, the first read-out
    assert np.asarray(pooled.get_xdata()) == pytest.approx([100 * l2.interval.estimate])
    means = [100 * of.mean for of in l2.executions if of is not None]
    assert np.asarray(ticks.get_xdata()) == pytest.approx(means)
    bar: Any = figures["effects"].axes[0].collections[0]
    ends = bar.get_segments()[0][:, 0]
    assert ends == pytest.approx([100 * l2.interval.low, 100 * l2.interval.high])


def test_the_effects_at_re_tuned_rates_are_drawn_below_those_of_the_recipes(drawn: Drawn) -> None:
    titles = [axes.get_title(loc="left") for axes in drawn[1]["effects"].axes]
    assert titles == ["documented recipe", "study's recipe", "study's recipe, rates re-tuned"]


@pytest.mark.parametrize("unit", [0.001, 0.0003])
def test_learning_rates_are_named_by_their_ratio_to_the_documented_one(unit: float) -> None:
    ratios = [0.125, 0.25, 0.5, 1, 2.5, 4, 8]
    values = {unit * ratio: np.linspace(97, 98, 5) for ratio in ratios}
    figure, panels = small_multiples(8, 1.5, x_label="ratio", y_label="accuracy (%)")
    for axes in panels:
        draw_rates(axes, values, unit, unit)
    labels = [label.get_text() for label in panels[-1].get_xticklabels()]
    assert labels == ["1/8", "1/4", "1/2", "1", "2.5", "4", "8"]
    check_texts_stand_apart(figure)


def test_the_gap_is_drawn_between_its_two_parts(drawn: Drawn) -> None:
    record, figures = drawn
    train, test = figures["gap"].axes[0].lines[:2]
    for line, outcome in ((train, "train_accuracy"), (test, "test_accuracy")):
        wanted = record.values.mean(("documented", "none", "last"), outcome)  # type: ignore[arg-type]
        assert np.asarray(line.get_xdata()) == pytest.approx([100 * wanted])


def test_changes_with_the_size_of_the_training_set_are_paired(drawn: Drawn) -> None:
    record, figures = drawn
    below = figures["training_size"].axes[3]
    bars: Any = below.collections[0]
    first_bar = bars.get_segments()[0]
    weights = {
        ("sizes", f"200 rows, {cell}", "last"): sign
        for cell, sign in (("all", 1.0), ("none", -1.0))
    }
    differences = np.concatenate(record.values.weighted(weights, "test_accuracy"))
    interval = mean_estimate(differences).interval()
    assert first_bar[:, 1] == pytest.approx([100 * interval.low, 100 * interval.high])
