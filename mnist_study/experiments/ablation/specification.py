"""Which arm, execution and replicate a run is of, with which seeds and rows, and how it is named.

A run's seeds and split depend on its execution and replicate alone, so that runs of one replicate
are paired across arms and parts. Run numbers go through the arms first, then the executions, then
the replicates: more seeds extend a record, and both executions are always equally far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from mnist_study.core.identity import ArmIdentity
from mnist_study.core.trials import SeedStream, TrainRows, TrialSpec, derive_seed, derive_seeds
from mnist_study.data.values import N_CLASSES, SIDE
from mnist_study.experiments.ablation.config import AblationConfig
from mnist_study.experiments.ablation.design import Part

STEP_OVERHEAD = 3_000_000
"""What a step takes beside its multiplications, in these; from durations of runs on MNIST."""


def place(number: int, n_arms: int, n_executions: int) -> tuple[int, int, int]:
    """Return arm, execution and replicate of a run, each from 0."""
    block, arm = divmod(number, n_arms)
    replicate, execution = divmod(block, n_executions)
    return arm, execution, replicate


def stream_of(part: str) -> SeedStream:
    """Return the stream of a part's seeds; the tuning shares none with what it is chosen for."""
    return SeedStream.ABLATION_TUNING if part == "tuning" else SeedStream.ABLATION


def specify(
    ablation: AblationConfig, part: Part, arms: Sequence[ArmIdentity], number: int
) -> TrialSpec:
    """Specify a run; those of the tuning have seeds of their own and no read-outs."""
    arm_index, execution, replicate = place(number, len(arms), len(ablation.executions))
    arm, seed = arms[arm_index], ablation.executions[execution]
    stream = stream_of(part)
    spec = TrialSpec(
        number=number,
        params=arm.params,
        seeds=derive_seeds(seed, replicate, stream),
        training=arm.training,
        data=ablation.data(derive_seed(seed, replicate, stream, 1)),
        readouts=arm.readouts,
        all_rows=arm.all_rows,
        activation=arm.activation,
        keeps_model=False,
    )
    if arm.n_rows is None:
        return spec
    subset_seed = derive_seed(seed, replicate, stream, 2)
    return replace(spec, train_rows=TrainRows(arm.n_rows, subset_seed))


def run_name(ablation: AblationConfig, part: Part, arms: Sequence[ArmIdentity], number: int) -> str:
    """Name a run in MLflow, such as study-l2+dropout_1-e1-s03; e and s count from 1."""
    arm, execution, replicate = place(number, len(arms), len(ablation.executions))
    label = arms[arm].label.replace(" ", "")
    return f"{part}-{label}-e{execution + 1}-s{replicate + 1:02d}"


def described_run(
    ablation: AblationConfig, part: Part, arms: Sequence[ArmIdentity], number: int
) -> str:
    """Say for the progress view what a run is: part, arm, execution, seed and split."""
    arm, execution, replicate = place(number, len(arms), len(ablation.executions))
    split_seed = specify(ablation, part, arms, number).data.split_seed
    return (
        f"{part}: {arms[arm].label}, execution {execution + 1}, seed {replicate + 1}, "
        f"split {split_seed}"
    )


def work_of_run(arms: Sequence[ArmIdentity], number: int, n_rows: int) -> float:
    """Return how much there is to compute in a run, by which its duration is foreseen.

    Args:
        arms: of the part.
        number: of the run.
        n_rows: training rows, where the arm does not say.

    Returns:
        The multiplications of its forward passes, and the overhead of its steps in the same unit.
    """
    arm = arms[number % len(arms)]
    units = (SIDE * SIDE, *arm.params.units, N_CLASSES)
    n_weights = sum(one * following for one, following in pairwise(units))
    rows = arm.n_rows or n_rows
    steps = rows / arm.training.batch_size
    of_epoch = rows * n_weights + steps * STEP_OVERHEAD
    return arm.training.epochs * of_epoch
