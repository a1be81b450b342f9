"""The parts of an ablation, each a record of its own, and the arms that each compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mnist_study.core.config import ConfigError, NetworkParams
from mnist_study.core.identity import ArmIdentity
from mnist_study.core.readouts import ReadoutPoint
from mnist_study.core.trials import TrialResult, TrialState
from mnist_study.data.dataset import TrainingSet, fit_split
from mnist_study.experiments.ablation.config import AblationConfig
from mnist_study.experiments.ablation.recipes import (
    AVERAGED,
    FACTORS,
    LAST,
    RESTORED,
    Recipe,
    RecipeName,
)

Part = Literal[
    "documented", "study", "stopping", "stability", "activations", "steps", "doses", "sizes",
    "tuning", "retuned",
]  # fmt: skip
PARTS: tuple[Part, ...] = get_args(Part)

Cell = tuple[str, ...]
"""The factors that are on, in the order of `FACTORS`."""

CELLS: tuple[Cell, ...] = tuple(
    cell for size in range(len(FACTORS) + 1) for cell in combinations(FACTORS, size)
)
NONE, DOCUMENTED = CELLS[0], CELLS[-1]


def cell_label(cell: Cell) -> str:
    """Name a cell by the factors that are on."""
    return {NONE: "none", DOCUMENTED: "all"}.get(cell, " + ".join(cell))


def fit_ablation(ablation: AblationConfig, training_set: TrainingSet) -> AblationConfig:
    """Return the ablation with as many rows, to validate with and to train on, as there are.

    Raises:
        DataError: its split is impossible.
    """
    data = fit_split(ablation.data(0), training_set)
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


def readout_points(recipe: Recipe, epochs: int | None = None) -> tuple[ReadoutPoint, ...]:
    """Return the read-outs of a run of a recipe, in the order of `Recipe.readout_names`.

    Args:
        recipe: whose rules they are.
        epochs: of the run; None takes the recipe's.
    """
    rule = recipe.early_stopping
    second_half = (epochs or recipe.epochs) // 2 + 1
    return (
        ReadoutPoint(LAST),
        ReadoutPoint(RESTORED, rule=rule),
        ReadoutPoint(AVERAGED, average_from=second_half),
        *(
            ReadoutPoint(f"patience_{n}", rule=rule.model_copy(update={"patience": n}))
            for n in recipe.other_patiences
        ),
    )


def part_arms(
    ablation: AblationConfig, part: Part, chosen: Mapping[Cell, float] | None = None
) -> list[ArmIdentity]:
    """Return the arms of a part; none where the file leaves it out.

    Args:
        ablation: the settings.
        part: which.
        chosen: the learning rates of the part "retuned"; without them it has no arms.
    """
    if part == "retuned":
        return [] if chosen is None else _retuned_arms(ablation, chosen)
    return {
        "documented": lambda: _factorial_arms(ablation, "documented"),
        "study": lambda: _factorial_arms(ablation, "study"),
        "stopping": lambda: _stopping_arms(ablation),
        "stability": lambda: _stability_arms(ablation),
        "activations": lambda: _activation_arms(ablation),
        "steps": lambda: _step_arms(ablation),
        "doses": lambda: _dose_arms(ablation),
        "sizes": lambda: _size_arms(ablation),
        "tuning": lambda: _tuning_arms(ablation),
    }[part]()


def part_seeds(ablation: AblationConfig, part: Part) -> int:
    """Return how many seeds of each execution a part has."""
    if part in ("documented", "study"):
        return ablation.n_seeds
    if part == "tuning":
        assert ablation.tuning is not None
        return ablation.tuning.n_runs
    name = {"doses": "dose_response", "sizes": "training_size", "retuned": "tuning"}.get(part, part)
    n_seeds: int = getattr(ablation, name).n_seeds
    return n_seeds


def check_claims(ablation: AblationConfig) -> None:
    """Refuse claims about runs that the file does not have.

    Raises:
        ConfigError: in one line the claim, what it names and what there is.
    """
    for claim in ablation.claims:
        for setting in claim.settings():
            if setting.part not in PARTS:
                known = ", ".join(PARTS)
                raise ConfigError(
                    f"claim {claim.claim!r}: no part {setting.part!r}; known: {known}"
                )
            known_keys = _keys(ablation, setting.part)
            if not known_keys:
                raise ConfigError(
                    f"claim {claim.claim!r} is about the part {setting.part}, which the file "
                    "leaves out; add its section or take the claim out"
                )
            arm, readout = setting.arm or cell_label(NONE), setting.readout
            for named in {(arm, readout), setting.against or (arm, readout)}:
                if named not in known_keys:
                    arms = ", ".join(dict.fromkeys(known for known, _ in known_keys))
                    readouts = ", ".join(dict.fromkeys(known for _, known in known_keys))
                    raise ConfigError(
                        f"claim {claim.claim!r}: the part {setting.part} has no run of "
                        f"{named[0]!r} read out at {named[1]!r}; arms: {arms}; read-outs: "
                        f"{readouts}"
                    )


def _keys(ablation: AblationConfig, part: Part) -> list[tuple[str, str]]:
    """Return arms and read-outs of a part, those under a cap as arms of their own."""
    keys = []
    # Which cells are run again at another rate is known only after the tuning.
    is_retuned = part == "retuned" and ablation.tuning is not None
    for arm in part_arms(ablation, "study" if is_retuned else part):
        for point in arm.readouts:
            name, _, cap = point.name.partition("@")
            keys.append((f"{cap} epochs" if cap else arm.label, name))
    return keys


def _arm(
    ablation: AblationConfig, label: str, recipe: Recipe, cell: Cell = DOCUMENTED
) -> ArmIdentity:
    return ArmIdentity(
        label=label,
        cell=cell,
        params=ablation.params(cell),
        training=recipe.training,
        readouts=readout_points(recipe),
    )


def _factorial_arms(ablation: AblationConfig, recipe: RecipeName) -> list[ArmIdentity]:
    if recipe not in ablation.recipes:
        return []
    return [_arm(ablation, cell_label(cell), ablation.recipes[recipe], cell) for cell in CELLS]


def _stopping_arms(ablation: AblationConfig) -> list[ArmIdentity]:
    """Return the documented network, trained for as many epochs as the largest cap."""
    if ablation.stopping is None:
        return []
    recipe, caps = ablation.recipes["documented"], ablation.stopping.caps
    points = [ReadoutPoint(f"{LAST}@{cap}", until=cap) for cap in caps]
    points += [
        ReadoutPoint(
            f"patience_{patience}@{cap}",
            until=cap,
            rule=recipe.early_stopping.model_copy(update={"patience": patience}),
        )
        for cap in caps
        for patience in ablation.stopping.patiences
    ]
    return [
        ArmIdentity(
            label="all",
            cell=DOCUMENTED,
            params=ablation.params(DOCUMENTED),
            training=recipe.training.model_copy(update={"epochs": max(caps)}),
            readouts=tuple(points),
        )
    ]


def _stability_arms(ablation: AblationConfig) -> list[ArmIdentity]:
    if ablation.stability is None:
        return []
    return [
        _arm(ablation, f"{rate:g}", ablation.recipes["documented"]).model_copy(
            update={"params": ablation.params(DOCUMENTED, rate), "cell": None}
        )
        for rate in ablation.stability.learning_rates
        if rate != ablation.network.learning_rate
    ]


def _activation_arms(ablation: AblationConfig) -> list[ArmIdentity]:
    if ablation.activations is None:
        return []
    recipe = ablation.recipes["documented"]
    return [
        ArmIdentity(
            label=name,
            params=ablation.params(DOCUMENTED),
            training=recipe.training.model_copy(update={"epochs": ablation.activations.epochs}),
            readouts=(ReadoutPoint(LAST),),
            activation=name,
        )
        for name in ablation.activations.names
    ]


STEPS = ("batch size", "schedule", "epochs", "search", "all rows")
"""From the documented recipe to the champion; each step keeps what those before it changed."""


def _step_arms(ablation: AblationConfig) -> list[ArmIdentity]:
    if ablation.steps is None:
        return []
    documented, study = (ablation.recipes[name] for name in ("documented", "study"))
    batch = documented.model_copy(update={"batch_size": study.batch_size})
    schedule = batch.model_copy(update={"schedule": study.schedule})
    longer = schedule.model_copy(update={"epochs": ablation.steps.epochs})
    found = {"params": ablation.steps.found, "cell": None}
    arms = [
        _arm(ablation, label, recipe)
        for label, recipe in zip(STEPS, (batch, schedule, longer, longer, longer), strict=True)
    ]
    return [
        *arms[:3],
        arms[3].model_copy(update=found),
        arms[4].model_copy(update={**found, "all_rows": True}),
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


def _dose_arms(ablation: AblationConfig) -> list[ArmIdentity]:
    """Return arms for the strengths that no cell of the study's factorial has."""
    known = {arm.params for arm in _factorial_arms(ablation, "study")}
    return [
        _arm(ablation, f"{axis} {strength:g}", ablation.recipes["study"]).model_copy(
            update={"params": params, "cell": None}
        )
        for axis, levels in dose_params(ablation).items()
        for strength, params in levels.items()
        if params not in known
    ]


def _size_arms(ablation: AblationConfig) -> list[ArmIdentity]:
    """Return the cells with no and with all factors on, on each size of the training set."""
    if ablation.training_size is None:
        return []
    arms = []
    for size in ablation.training_size.sizes:
        recipe = ablation.recipes["study"].model_copy(update={"epochs": size.epochs})
        for cell in (NONE, DOCUMENTED):
            arm = _arm(ablation, f"{size.rows} rows, {cell_label(cell)}", recipe, cell)
            arms.append(arm.model_copy(update={"n_rows": size.rows}))
    return arms


def _tuning_arms(ablation: AblationConfig) -> list[ArmIdentity]:
    """Return every cell with every candidate of the learning rate, without read-outs."""
    if ablation.tuning is None:
        return []
    return [
        _arm(
            ablation, f"{cell_label(cell)} @ {rate:g}", ablation.recipes["study"], cell
        ).model_copy(update={"params": ablation.params(cell, rate), "readouts": ()})
        for cell in CELLS
        for rate in ablation.tuning.learning_rates
    ]


def _retuned_arms(ablation: AblationConfig, chosen: Mapping[Cell, float]) -> list[ArmIdentity]:
    """Return the cells whose chosen learning rate is not the documented one."""
    return [
        _arm(ablation, cell_label(cell), ablation.recipes["study"], cell).model_copy(
            update={"params": ablation.params(cell, chosen[cell])}
        )
        for cell in CELLS
        if chosen[cell] != ablation.network.learning_rate
    ]


def tuning_accuracies(
    arms: Sequence[ArmIdentity], results: Sequence[TrialResult]
) -> dict[Cell, dict[float, NDArray[np.float64]]]:
    """Return validation accuracy at the last epoch by cell and learning rate.

    The study's schedule ends at a rate of zero, so that its last epoch does not swing. A rate with
    a failed run is left out.

    Args:
        arms: of the tuning.
        results: of its runs, by number.
    """
    of_arms: dict[str, list[TrialResult]] = {}
    for result in results:
        of_arms.setdefault(arms[result.number % len(arms)].label, []).append(result)
    accuracies: dict[Cell, dict[float, NDArray[np.float64]]] = {}
    for arm in arms:
        runs = of_arms.get(arm.label, [])
        if runs and arm.cell is not None and all(r.state is TrialState.COMPLETE for r in runs):
            values = np.array([run.epochs[-1].val_accuracy for run in runs])
            accuracies.setdefault(arm.cell, {})[arm.params.learning_rate] = values
    return accuracies


def choose_rates(
    accuracies: Mapping[Cell, Mapping[float, NDArray[np.float64]]], documented: float
) -> dict[Cell, float]:
    """Return for each cell the rate of highest mean accuracy.

    Among equals the documented one, then the smallest; a cell without any keeps the documented one.
    """
    chosen = {}
    for cell in CELLS:
        means = {rate: float(values.mean()) for rate, values in accuracies.get(cell, {}).items()}
        ranked = sorted(means, key=lambda rate: (-means[rate], rate != documented, rate))
        chosen[cell] = ranked[0] if ranked else documented
    return chosen


def chosen_learning_rates(
    ablation: AblationConfig, results: Sequence[TrialResult]
) -> dict[Cell, float]:
    """Return the learning rate of each cell that the tuning chooses."""
    accuracies = tuning_accuracies(part_arms(ablation, "tuning"), results)
    return choose_rates(accuracies, ablation.network.learning_rate)
