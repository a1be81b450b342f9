"""What an ablation compares: weighted sums of runs, by part, arm and read-out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

from mnist_study import stats
from mnist_study.experiments.ablation.claims import Setting
from mnist_study.experiments.ablation.design import CELLS, NONE, STEPS, Cell, cell_label
from mnist_study.experiments.ablation.recipes import FACTORS, LAST, RESTORED
from mnist_study.experiments.ablation.runs import Key

CONTROL_PARTS = {"stability": "documented", "doses": "study", "sizes": "study"}
"""Parts that lack the arms which they share with a factorial."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A weighted sum of outcomes, within each replicate.

    Attributes:
        name: of the effect, difference or level.
        part: of the treatment.
        readout: of the treatment.
        weights: of the runs by key.
    """

    name: str
    part: str
    readout: str
    weights: Mapping[Key, float]


def effect_weights(part: str, readout: str) -> dict[str, dict[Key, float]]:
    """Return the weight of each cell in each main effect and interaction, by name."""
    units = np.eye(len(_ALL_CELLS)).reshape((2,) * len(FACTORS) + (-1,))
    return {
        ":".join(names): {
            (part, cell_label(cell), readout): float(weight)
            for cell, weight in zip(_ALL_CELLS, weights, strict=True)
        }
        for names, weights in stats.block_contrasts(units, FACTORS).items()
    }


_ALL_CELLS: tuple[Cell, ...] = tuple(
    tuple(name for name, level in zip(FACTORS, levels, strict=True) if level)
    for levels in product((0, 1), repeat=len(FACTORS))
)
"""In the order of the leading axes of an array of cells: off and on of each factor."""


def effects(part: str, readout: str) -> list[Comparison]:
    """Return the main effects and interactions of a factorial."""
    return [
        Comparison(name, part, readout, weights)
        for name, weights in effect_weights(part, readout).items()
    ]


def differences_to_none(part: str, readout: str) -> list[Comparison]:
    """Return each cell of a factorial minus the one without regularization."""
    return [
        difference(f"{cell_label(cell)} - none", (part, cell_label(cell), readout),
                   (part, cell_label(NONE), readout))
        for cell in CELLS[1:]
    ]  # fmt: skip


def simple_effects(effect: str, part: str, readout: str) -> list[Comparison]:
    """Return a factor's effect at each setting of the other factors."""
    return [
        difference(
            f"{cell_label(cell)} - {cell_label(off)}",
            (part, cell_label(cell), readout),
            (part, cell_label(off), readout),
        )
        for cell in CELLS
        if effect in cell
        for off in [tuple(name for name in cell if name != effect)]
    ]


def difference(name: str, treatment: Key, control: Key) -> Comparison:
    """Return a paired difference."""
    return Comparison(name, treatment[0], treatment[2], {treatment: 1.0, control: -1.0})


def level(key: Key) -> Comparison:
    """Return an outcome itself."""
    return Comparison(key[1], key[0], key[2], {key: 1.0})


def comparison_at(effect: str | None, setting: Setting) -> Comparison:
    """Return what a claim compares at one of its settings."""
    if effect is not None:
        weights = effect_weights(setting.part, setting.readout)[effect]
        return Comparison(effect, setting.part, setting.readout, weights)
    assert setting.arm is not None
    treatment = (setting.part, setting.arm, setting.readout)
    if setting.against is None:
        return level(treatment)
    arm, readout = setting.against
    name = f"{setting.arm} - {arm}" if arm != setting.arm else f"{setting.readout} - {readout}"
    if arm != setting.arm and readout != setting.readout:
        name = f"{setting.arm} ({setting.readout}) - {arm} ({readout})"
    return difference(name, treatment, (setting.part, arm, readout))


def step_keys() -> list[tuple[str, Key]]:
    """Return what stands before and after each step from the documented recipe to the champion.

    The documented recipe is read where early stopping restores, as its document had it; that it is
    read at its last epoch from then on is a step of its own.
    """
    documented = cell_label(CELLS[-1])
    first: list[tuple[str, Key]] = [
        ("documented recipe", ("documented", documented, RESTORED)),
        (STEPS[0], ("steps", STEPS[0], RESTORED)),
        ("read-out", ("steps", STEPS[0], LAST)),
    ]
    return first + [(step, ("steps", step, LAST)) for step in STEPS[1:]]


def steps() -> list[Comparison]:
    """Return what each step changes, and what all of them change together."""
    keys = step_keys()
    changes = [difference(name, after, before) for (_, before), (name, after) in pairwise(keys)]
    return [*changes, difference("all steps", keys[-1][1], keys[0][1])]
