"""Learning curves: of one run, and of a study's best trials."""

from __future__ import annotations

import io
import math

import pytest
from drawn_study import (
    OF_STATE,
    STUDY,
    check_texts_stand_apart,
    lines,
    make_row,
    shown_texts,
    words,
)
from PIL import Image

from mnist_study import plots
from mnist_study.core.trials import EpochMetrics, TrialState, by_value


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


@pytest.mark.parametrize("kept", [1, 2, 6, 11, 12])
def test_name_of_the_kept_epoch_lies_above_both_loss_curves(kept: int) -> None:
    epochs = make_row(3, 0.98).epochs
    figure = plots.training_curves(epochs, best_epoch=kept, title="Trial 3")
    check_texts_stand_apart(figure)
    (name,) = [text for text in shown_texts(figure) if text.get_text() == f"epoch {kept} kept"]
    for curve in lines(figure, "training", "validation")[:2]:
        heights = curve.get_transform().transform(curve.get_xydata())[:, 1]
        assert heights.max() < name.get_window_extent().y0


def test_best_curves_show_the_best_ten_and_the_documented_network() -> None:
    figure = plots.best_curves(STUDY)
    drawn = {gid: len(lines(figure, gid)) for gid in ("best", "other", "documented")}
    ranked = by_value(OF_STATE[TrialState.COMPLETE])
    assert ranked[0].number != 0
    in_top = any(row.number == 0 for row in ranked[:10])
    assert drawn == {"best": 1, "other": 8 if in_top else 9, "documented": 1}
    best = lines(figure, "best")[0]
    assert list(best.get_ydata()) == pytest.approx(
        [100 * epoch.val_accuracy for epoch in ranked[0].epochs]
    )
