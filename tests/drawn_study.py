"""A synthetic study, the figures drawn from it, and what is found in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from mnist_study import plots
from mnist_study.core.config import FloatRange, IntRange, NetworkParams, Range
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialState

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
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def shown_texts(figure: Figure) -> list[Text]:
    """Return the texts that are drawn; ticks beyond the limits of an axis have labels, undrawn."""
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


def check_texts_stand_apart(figure: Figure) -> None:
    """Assert that no text lies over another one or leaves the figure."""
    figure.canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown_texts(figure)]
    for text, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0
        inside &= box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
        assert inside, f"{text!r} leaves the figure: {box}"
    for (first, a), (second, b) in combinations(boxes, 2):
        assert not a.overlaps(b), f"{first!r} lies over {second!r}"
