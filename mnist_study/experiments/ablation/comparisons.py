"""What an ablation compares: weighted sums of its cells at its read-outs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mnist_study import stats
from mnist_study.experiments.ablation.config import (
    EARLY_STOPPING,
    FACTORS,
    CellReadout,
    Hypothesis,
    ReadoutPoint,
)
from mnist_study.experiments.ablation.design import CELLS, DOCUMENTED, NONE, Cell, cell_label
from mnist_study.experiments.ablation.runs import POINTS, Factorial, cell_index

Array = NDArray[np.float64]
Where = Literal["last", "restored", "both"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A weighted sum of cells at read-outs.

    Attributes:
        name: of the effect or difference.
        where: the read-out; "both" where the two are compared.
        weights: of each cell at each read-out; absent ones weigh nothing.
    """

    name: str
    where: Where
    weights: Mapping[tuple[ReadoutPoint, Cell], float]

    def per_block(self, data: Factorial, outcome: str) -> Array:
        """Return the sum in each block, shape (n_splits, n_seeds)."""
        total = np.zeros(data.values[outcome, "last"].shape[-2:])
        for (point, cell), weight in self.weights.items():
            total += weight * data.values[outcome, point][cell_index(cell)]
        return total

    def per_image(self, data: Factorial) -> Array:
        """Return the sum for each test image, averaged over splits, shape (n_seeds, n_images)."""
        n_splits, *shape = data.correct["last"].shape[-3:]
        total = np.zeros(shape)
        for (point, cell), weight in self.weights.items():
            n_correct = data.correct[point][cell_index(cell)].sum(axis=0, dtype=np.float64)
            total += weight * n_correct
        return np.asarray(total / n_splits)


def factorial_effects() -> list[Comparison]:
    """Return main effects and interactions at each read-out, and those of early stopping."""
    comparisons = [
        Comparison(
            ":".join(names),
            point,
            dict(zip([(point, cell) for cell in _ALL_CELLS], weights, strict=True)),
        )
        for point in POINTS
        for names, weights in _contrast_weights(FACTORS).items()
    ]
    # The last factor varies fastest: "off" is the last epoch, "on" the restored one.
    cells_at_points = [(point, cell) for cell in _ALL_CELLS for point in POINTS]
    comparisons += [
        Comparison(":".join(names), "both", dict(zip(cells_at_points, weights, strict=True)))
        for names, weights in _contrast_weights((*FACTORS, EARLY_STOPPING)).items()
        if EARLY_STOPPING in names
    ]
    return comparisons


def differences_to_none() -> list[Comparison]:
    """Return each cell minus the one without regularization, at each read-out."""
    return [
        Comparison(f"{cell_label(cell)} - none", point, {(point, cell): 1.0, (point, NONE): -1.0})
        for point in POINTS
        for cell in CELLS[1:]
    ]


def stopping_effects() -> list[Comparison]:
    """Return restored minus last in each cell."""
    return [
        Comparison(cell_label(cell), "both", {("restored", cell): 1.0, ("last", cell): -1.0})
        for cell in CELLS
    ]


def comparison_of(hypothesis: Hypothesis) -> Comparison:
    """Return the comparison that a hypothesis concerns."""
    if hypothesis.effect is not None:
        where = hypothesis.readout or "both"
        return next(
            c for c in factorial_effects() if (c.name, c.where) == (hypothesis.effect, where)
        )
    treatment, control = hypothesis.treatment, hypothesis.control
    assert treatment is not None
    weights = {(treatment.readout, treatment.cell): 1.0}
    if control is None:
        return Comparison(_label(treatment), treatment.readout, weights)
    weights[control.readout, control.cell] = -1.0
    return Comparison(
        f"{_label(treatment)} - {_label(control)}",
        treatment.readout if treatment.readout == control.readout else "both",
        weights,
    )


_ALL_CELLS: tuple[Cell, ...] = tuple(
    tuple(name for name, level in zip(FACTORS, levels, strict=True) if level)
    for levels in product((0, 1), repeat=len(FACTORS))
)
"""In the order of the leading axes of the arrays."""


def _contrast_weights(factors: Sequence[str]) -> dict[tuple[str, ...], Array]:
    """Return the weight of each cell in each contrast: the contrasts of unit vectors."""
    n_cells = 2 ** len(factors)
    units = np.eye(n_cells).reshape((2,) * len(factors) + (n_cells,))
    return stats.block_contrasts(units, factors)


def _label(cell_readout: CellReadout) -> str:
    names = {NONE: "none", DOCUMENTED: "documented"}
    name = names.get(cell_readout.cell, cell_label(cell_readout.cell))
    return f"{name} ({cell_readout.readout})"
