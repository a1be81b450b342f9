"""The runs of an ablation: five parts, each a record of its own, sharing seeds and splits.

Run numbers go through the arms first, then the splits, then the seeds, so that more seeds extend a
record and runs that are compared with each other are trained side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from mnist_study.core.config import NetworkParams
from mnist_study.core.trials import (
    SeedStream,
    TrainRows,
    TrialResult,
    TrialSpec,
    TrialState,
    derive_seed,
    derive_seeds,
)
from mnist_study.data.dataset import TrainingSet, fit_split
from mnist_study.experiments.ablation.config import FACTORS, AblationConfig

Part = Literal["factorial", "tuning", "retuned", "doses", "sizes"]
PARTS: tuple[Part, ...] = ("factorial", "tuning", "retuned", "doses", "sizes")

Cell = tuple[str, ...]
"""The factors that are on, in the order of `FACTORS`."""

CELLS: tuple[Cell, ...] = tuple(
    cell for size in range(len(FACTORS) + 1) for cell in combinations(FACTORS, size)
)
NONE, DOCUMENTED = CELLS[0], CELLS[-1]


@dataclass(frozen=True, slots=True)
class Arm:
    """One setting of a part, run with every seed and split.

    Attributes:
        label: unique in its part.
        params: the network.
        cell: the factors that are on, where the arm is a cell.
        n_rows: training rows; None for all of the split.
        epochs: of each run.
    """

    label: str
    params: NetworkParams
    epochs: int
    cell: Cell | None = None
    n_rows: int | None = None


def fit_ablation(ablation: AblationConfig, training_set: TrainingSet) -> AblationConfig:
    """Return the ablation with as many rows, to validate with and to train on, as there are.

    Raises:
        DataError: its split is impossible.
    """
    data = fit_split(ablation.data(ablation.split_seeds[0]), training_set)
    share = data.validation_size / ablation.validation_size
    if share == 1:
        return ablation
    sizes = ablation.training_size
    return ablation.model_copy(
        update={
            "validation_size": data.validation_size,
            "training_size": None if sizes is None else sizes.with_share(share),
        }
    )


def cell_label(cell: Cell) -> str:
    """Name a cell by the factors that are on."""
    return " + ".join(cell) if cell else "none"


def factorial_arms(ablation: AblationConfig) -> list[Arm]:
    """Return the eight cells at the documented learning rate."""
    epochs = ablation.training.epochs
    return [Arm(cell_label(cell), ablation.params(cell), epochs, cell) for cell in CELLS]


def tuning_arms(ablation: AblationConfig) -> list[Arm]:
    """Return every cell with every candidate of the learning rate."""
    if ablation.tuning is None:
        return []
    return [
        Arm(
            f"{cell_label(cell)} @ {rate:g}",
            ablation.params(cell, rate),
            ablation.training.epochs,
            cell,
        )
        for cell in CELLS
        for rate in ablation.tuning.learning_rates
    ]


def retuned_arms(ablation: AblationConfig, chosen: Mapping[Cell, float]) -> list[Arm]:
    """Return the cells whose chosen learning rate is not the documented one."""
    return [
        Arm(cell_label(cell), ablation.params(cell, chosen[cell]), ablation.training.epochs, cell)
        for cell in CELLS
        if chosen[cell] != ablation.network.learning_rate
    ]


def dose_params(ablation: AblationConfig) -> dict[str, dict[float, NetworkParams]]:
    """Return the networks of both curves, by axis ("l2", "dropout") and strength.

    The strength of dropout is a multiple of both documented rates.
    """
    if ablation.dose_response is None:
        return {}
    documented = ablation.params(DOCUMENTED)
    return {
        "l2": {
            strength: documented.model_copy(update={"l2": strength})
            for strength in ablation.dose_response.l2
        },
        "dropout": {
            scale: NetworkParams.model_validate(
                documented.model_dump()
                | {
                    name: round(scale * getattr(documented, name), 12)
                    for name in ("dropout_1", "dropout_2")
                }
            )
            for scale in ablation.dose_response.dropout
        },
    }


def dose_arms(ablation: AblationConfig) -> list[Arm]:
    """Return arms for the strengths that no cell of the factorial has."""
    known = {arm.params for arm in factorial_arms(ablation)}
    return [
        Arm(f"{axis} {strength:g}", params, ablation.training.epochs)
        for axis, levels in dose_params(ablation).items()
        for strength, params in levels.items()
        if params not in known
    ]


def size_arms(ablation: AblationConfig) -> list[Arm]:
    """Return the cells with no and with all factors on, on each size of the training set."""
    if ablation.training_size is None:
        return []
    return [
        Arm(
            f"{size.rows} rows, {cell_label(cell)}",
            ablation.params(cell),
            size.epochs,
            cell,
            size.rows,
        )
        for size in ablation.training_size.sizes
        for cell in (NONE, DOCUMENTED)
    ]


def specify(ablation: AblationConfig, arms: Sequence[Arm], number: int) -> TrialSpec:
    """Specify a run that is read out on the test set."""
    block, arm_index = divmod(number, len(arms))
    seed_index, split_index = divmod(block, len(ablation.split_seeds))
    arm, split_seed = arms[arm_index], ablation.split_seeds[split_index]
    rows = None
    if arm.n_rows is not None:
        subset_seed = derive_seed(ablation.seed, seed_index, split_index, SeedStream.ABLATION)
        rows = TrainRows(arm.n_rows, subset_seed)
    return TrialSpec(
        number=number,
        params=arm.params,
        seeds=derive_seeds(ablation.seed, seed_index, SeedStream.ABLATION),
        training=ablation.training.model_copy(update={"epochs": arm.epochs}),
        data=ablation.data(split_seed),
        readout_rule=ablation.early_stopping,
        train_rows=rows,
        keeps_model=False,
    )


def specify_tuning(ablation: AblationConfig, arms: Sequence[Arm], number: int) -> TrialSpec:
    """Specify a tuning run, which never gets the test images."""
    run, arm_index = divmod(number, len(arms))
    spec = specify(ablation, arms, arm_index)
    return replace(
        spec,
        number=number,
        seeds=derive_seeds(ablation.seed, run, SeedStream.ABLATION_TUNING),
        data=ablation.data(ablation.split_seeds[run % len(ablation.split_seeds)]),
        readout_rule=None,
    )


def chosen_learning_rates(
    ablation: AblationConfig, results: Sequence[TrialResult]
) -> dict[Cell, float]:
    """Return for each cell the candidate of highest mean validation accuracy at the last epoch.

    A candidate with a failed run is excluded; among equals the documented one wins, then the
    smallest. A cell without a candidate left keeps the documented rate.
    """
    assert ablation.tuning is not None
    documented = ablation.network.learning_rate
    chosen = {}
    for cell in CELLS:
        means = {}
        for rate in ablation.tuning.learning_rates:
            runs = [r for r in results if r.params == ablation.params(cell, rate)]
            if runs and all(r.state is TrialState.COMPLETE for r in runs):
                means[rate] = float(np.mean([r.epochs[-1].val_accuracy for r in runs]))
        chosen[cell] = best_rate(means, documented)
    return chosen


def best_rate(means: Mapping[float, float], documented: float) -> float:
    """Return the rate of highest mean; among equals the documented one, then the smallest."""
    ranked = sorted(means, key=lambda rate: (-means[rate], rate != documented, rate))
    return ranked[0] if ranked else documented
