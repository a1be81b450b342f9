"""The figures of an ablation, from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mnist_study.experiments.ablation.config import UNITS, Outcome, ReadoutPoint
from mnist_study.experiments.ablation.design import CELLS, DOCUMENTED, NONE, Cell, cell_label
from mnist_study.experiments.ablation.record import AblationRecord, CurvePoint
from mnist_study.experiments.ablation.runs import POINTS, cell_index
from mnist_study.experiments.ablation.text import percent
from mnist_study.stats import Interval, mean_estimate

if TYPE_CHECKING:
    from mnist_study.plots.style import Figure

SHOWN: tuple[Outcome, ...] = ("test_accuracy", "test_loss", "overfitting_gap")

_BETTER = {True: "higher", False: "lower"}


def ablation_figures(record: AblationRecord) -> dict[str, Figure]:
    """Draw what there is to draw, by the names of `report.FIGURES`."""
    if record.data is None:
        return {}
    figures = {
        "paired_differences": _paired_differences(record),
        "interactions": _interactions(record),
        "seeds": _seeds(record),
        "epoch_curves": _epoch_curves(record),
    }
    if record.rates:
        figures["learning_rates"] = _learning_rates(record)
    if any(record.dose_curves.values()):
        figures["dose_response"] = _dose_response(record)
    if any(record.size_curves.values()):
        figures["training_size"] = _training_size(record)
    return figures


def _title(record: AblationRecord, text: str) -> str:
    return text if record.on_mnist else f"{text} (digits stand-in, not MNIST)"


def _axis_title(outcome: str, *, difference: bool = False) -> str:
    unit = UNITS[outcome]
    shown = "%" if outcome == "test_accuracy" and not difference else unit.unit
    return f"{unit.name} ({shown})"


def _short(record: AblationRecord, cell: Cell) -> str:
    """Name a cell for an axis, the dropouts with their rates."""
    factors = record.identity.settings.factors
    names = {"l2": "L2"} | {
        name: f"{name} ({getattr(factors, name).on:g})" for name in ("dropout_1", "dropout_2")
    }
    known = {
        NONE: "none",
        DOCUMENTED: "all (documented)",
        ("dropout_1", "dropout_2"): "both dropouts",
    }
    return known.get(cell, " + ".join(names[name] for name in cell))


def _scaled(outcome: str, interval: Interval) -> Interval:
    scale = UNITS[outcome].scale
    return Interval(
        scale * interval.estimate, scale * interval.low, scale * interval.high, interval.confidence
    )


def _paired_differences(record: AblationRecord) -> Figure:
    from mnist_study.plots.ablation import ForestPanel, paired_differences

    analysis = record.analysis
    assert analysis is not None
    found = {(e.outcome, e.name, e.where): e.contrast.interval for e in analysis.differences}
    panels = [
        ForestPanel(
            title=UNITS[outcome].name,
            unit=f"{UNITS[outcome].unit}, {_BETTER[UNITS[outcome].more_is_better]} is better",
            margin=UNITS[outcome].scale * record.statistics.margins[outcome],
            rows={
                _short(record, cell): {
                    point: _scaled(outcome, found[outcome, f"{cell_label(cell)} - none", point])
                    for point in POINTS
                }
                for cell in CELLS[1:]
            },
        )
        for outcome in SHOWN
    ]
    intervals = f"{percent(record.statistics.confidence)} intervals"
    return paired_differences(
        panels, _title(record, f"What regularization changes, against none ({intervals})")
    )


def _interactions(record: AblationRecord) -> Figure:
    from mnist_study.plots.ablation import InteractionPanel, interactions

    data = record.data
    assert data is not None

    def interval(outcome: str, point: ReadoutPoint, cell: Cell) -> Interval:
        values = data.values[outcome, point][cell_index(cell)].mean(axis=0)
        return _scaled(outcome, mean_estimate(values).interval(record.statistics.confidence))

    others: list[Cell] = [(), ("dropout_1",), ("dropout_2",), ("dropout_1", "dropout_2")]
    panels = [
        InteractionPanel(
            title=_axis_title(outcome),
            lines={
                point: {
                    _short(record, other) if other else "no dropout": (
                        interval(outcome, point, other),
                        interval(outcome, point, ("l2", *other)),
                    )
                    for other in others
                }
                for point in POINTS
            },
        )
        for outcome in SHOWN
    ]
    return interactions(
        panels,
        ("without L2", "with L2"),
        _title(record, "Interactions of L2, dropout and early stopping"),
    )


def _seeds(record: AblationRecord) -> Figure:
    from mnist_study.plots.ablation import StripPanel, seeds

    data = record.data
    assert data is not None
    panels = [
        StripPanel(
            title=_axis_title(outcome),
            rows={
                _short(record, cell): {
                    point: UNITS[outcome].scale
                    * data.values[outcome, point][cell_index(cell)].mean(axis=0)
                    for point in POINTS
                }
                for cell in CELLS
            },
        )
        for outcome in SHOWN
    ]
    return seeds(panels, _title(record, f"All {data.n_seeds} seeds, each a mean over splits"))


def _epoch_curves(record: AblationRecord) -> Figure:
    from mnist_study.plots.ablation import EpochPanel, epoch_curves

    panels = []
    for cell in CELLS:
        runs = [r for r in record.runs["factorial"] if r.cell == cell and r.is_complete]
        panels.append(
            EpochPanel(
                title=_short(record, cell),
                train=np.array([[e.train_loss for e in r.result.epochs] for r in runs]),
                validation=np.array([[e.val_loss for e in r.result.epochs] for r in runs]),
                restored=float(np.median([r.readout("restored").epoch for r in runs])),
            )
        )
    return epoch_curves(panels, _title(record, "Loss over epochs, with the L2 penalty"))


def _learning_rates(record: AblationRecord) -> Figure:
    from mnist_study.plots.ablation import RatePanel, learning_rates

    panels = [
        RatePanel(
            title=_short(record, cell),
            values={rate: 100 * values for rate, values in record.rates[cell].items()},
            chosen=record.chosen.get(cell),
        )
        for cell in CELLS
        if cell in record.rates
    ]
    return learning_rates(
        panels, record.documented_rate, _title(record, "Validation accuracy by learning rate")
    )


def _dose_response(record: AblationRecord) -> Figure:
    from mnist_study.plots.ablation import DosePanel, dose_response

    confidence = record.statistics.confidence
    names = {"l2": "L2 strength", "dropout": "dropout, multiple of the documented rates"}
    panels = [
        [
            DosePanel(
                outcome=_axis_title(outcome).replace(" (", "\n("),
                axis=names[axis],
                xs=[place.x for place in places],
                documented=next(place.x for place in places if place.is_documented),
                seeds={point: _per_seed(places, outcome, point) for point in POINTS},
                means={point: _means(places, outcome, point, confidence) for point in POINTS},
            )
            for axis, places in record.dose_curves.items()
            if places
        ]
        for outcome in SHOWN
    ]
    return dose_response(panels, _title(record, "Strength of L2 and of dropout"))


def _training_size(record: AblationRecord) -> Figure:
    from mnist_study.plots.ablation import SizePanel, training_size

    confidence = record.statistics.confidence
    curves = {cell: places for cell, places in record.size_curves.items() if places}
    panels = [
        SizePanel(
            outcome=_axis_title(outcome),
            difference=UNITS[outcome].unit,
            xs=[place.x for place in next(iter(curves.values()))],
            means={
                _short(record, cell): {
                    point: _means(places, outcome, point, confidence) for point in POINTS
                }
                for cell, places in curves.items()
            },
            changes={point: _changes(curves, outcome, point, confidence) for point in POINTS},
        )
        for outcome in SHOWN
    ]
    return training_size(panels, _title(record, "Size of the training set"))


def _changes(
    curves: Mapping[Cell, Sequence[CurvePoint]],
    outcome: str,
    point: ReadoutPoint,
    confidence: float,
) -> list[Interval]:
    """Return what all regularization changes at each size, paired by seed and split."""
    pairs = zip(curves.get(DOCUMENTED, ()), curves.get(NONE, ()), strict=False)
    return [
        _scaled(
            outcome,
            mean_estimate(
                treated.per_seed(outcome, point) - control.per_seed(outcome, point)
            ).interval(confidence),
        )
        for treated, control in pairs
        if treated.seeds == control.seeds
    ]


def _per_seed(
    places: Sequence[CurvePoint], outcome: str, point: ReadoutPoint
) -> NDArray[np.float64]:
    return UNITS[outcome].scale * np.array([p.per_seed(outcome, point) for p in places])


def _means(
    places: Sequence[CurvePoint], outcome: str, point: ReadoutPoint, confidence: float
) -> list[Interval]:
    return [
        _scaled(outcome, mean_estimate(place.per_seed(outcome, point)).interval(confidence))
        for place in places
    ]
