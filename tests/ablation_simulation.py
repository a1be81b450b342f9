"""An ablation whose runs are drawn at random instead of trained, with effects of known size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_study.core.trials import (
    EpochMetrics,
    Readout,
    TrialResult,
    TrialSpec,
    TrialState,
    pack_bits,
)
from mnist_study.data.dataset import TestSet, TrainingSet
from mnist_study.execution.job import Job
from mnist_study.experiments.ablation.analysis import Analysis, analyse
from mnist_study.experiments.ablation.config import (
    FACTORS,
    AblationConfig,
    Hypothesis,
    ReadoutPoint,
    load_ablation,
)
from mnist_study.experiments.ablation.design import CELLS, PARTS, Cell, Part, chosen_learning_rates
from mnist_study.experiments.ablation.job import ablation_job
from mnist_study.experiments.ablation.runs import (
    POINTS,
    RUN_OUTCOMES,
    Factorial,
    cell_index,
    deviations,
)
from mnist_study.search.history import History

DEFAULT_FILE = Path(__file__).parents[1] / "experiments" / "ablation.toml"

FILE = """\
name = "tiny-ablation"
n_seeds = {n_seeds}
seed = 5
validation_size = 287
split_seeds = {splits}

[training]
batch_size = 64
epochs = {epochs}
schedule = "constant"

[early_stopping]
monitor = "val/loss"
patience = 2

[network]
units_1 = 32
units_2 = 16
units_3 = 16
learning_rate = 0.001

[factors]
l2 = {{ off = 0.0, on = 0.001 }}
dropout_1 = {{ off = 0.0, on = 0.3 }}
dropout_2 = {{ off = 0.0, on = 0.2 }}
{parts}
[power]
run_sd = 0.002
source = "a guess"

[statistics]
alpha = 0.05

[statistics.margins]
test_accuracy = 0.001
test_loss = 0.005
overfitting_gap = 0.001
calibration_error = 0.001
epochs_trained = 1.0
accuracy_deviation = 0.0002

[[hypotheses]]
claim = "L2 raises test accuracy"
metric = "test_accuracy"
direction = "increase"
margin = 0.002
effect = "l2"
readout = "last"

[[hypotheses]]
claim = "All three lower the gap"
metric = "overfitting_gap"
direction = "decrease"
margin = 0.001
treatment = {{ on = ["l2", "dropout_1", "dropout_2"], readout = "last" }}
control = {{ on = [], readout = "last" }}

[[hypotheses]]
claim = "Early stopping shortens training"
metric = "epochs_trained"
direction = "decrease"
margin = 1.0
effect = "early_stopping"

[[hypotheses]]
claim = "The gap is small"
metric = "overfitting_gap"
direction = "within"
margin = 0.05
treatment = {{ on = ["l2", "dropout_1", "dropout_2"], readout = "restored" }}
"""
AXES = """
[tuning]
learning_rates = [0.001, 0.003]
n_runs = 2
n_seeds = 2

[dose_response]
l2 = [0.0, 0.0003, 0.001]
dropout = [0.0, 1.0, 2.0]
n_seeds = 2

[training_size]
sizes = [{ rows = 200, epochs = 3 }]
n_seeds = 2
"""


def ablation_text(
    *, n_seeds: int = 3, splits: str = "[0, 1]", epochs: int = 4, axes: bool = False
) -> str:
    """Return a small ablation file for the digits."""
    parts = AXES if axes else ""
    return FILE.format(n_seeds=n_seeds, splits=splits, epochs=epochs, parts=parts)


def small_ablation(folder: Path, **settings: object) -> AblationConfig:
    """Write a small ablation file for the digits and load it; settings as of `ablation_text`."""
    path = folder / "ablation.toml"
    path.write_text(ablation_text(**settings))  # type: ignore[arg-type]
    return load_ablation(path)


def drawn_result(
    spec: TrialSpec, n_test: int, effects: Mapping[str, float], *, n_rows: int = 1000
) -> TrialResult:
    """Draw a result, a function of the specification; `effects` shift test accuracy."""
    key = repr((spec.params, spec.seeds, spec.data, spec.train_rows, spec.training))
    own = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    rng = np.random.default_rng(own)
    shared = np.random.default_rng((spec.seeds.init_seed, spec.data.split_seed))
    common = 0.002 * shared.standard_normal()
    params = spec.params
    size = 0 if spec.train_rows is None else np.log10(n_rows / spec.train_rows.n_rows)
    gap_cut = 0.4 * bool(params.l2) + 0.5 * params.dropout_1 + 0.5 * params.dropout_2
    epochs = []
    for epoch in range(1, spec.training.epochs + 1):
        train = 0.5 * 0.75**epoch + 0.05 * bool(params.l2) + 0.1 * params.dropout_1
        val = 0.1 + 0.4 * 0.7**epoch + 0.004 * epoch * (1 - gap_cut)
        val += 0.003 * rng.standard_normal()
        accuracy = 0.975 - 0.05 * 0.6**epoch + common + 0.002 * rng.standard_normal()
        accuracy -= 1.5 * abs(np.log10(params.learning_rate / 0.001)) * 0.002
        epochs.append(EpochMetrics(epoch, train, 1 - train / 4, float(val), float(accuracy)))
    best = min(epochs, key=lambda e: e.val_loss).epoch
    readouts = []
    if spec.readout_rule is not None:
        ease = np.random.default_rng(1).standard_normal(n_test)
        for point, at in (("last", len(epochs)), ("restored", best)):
            rate = 0.975 + common - 0.03 * size
            rate += sum(effects.get(n, 0.0) for n in effects if getattr(params, n, 0))
            rate += 0.001 * (point == "restored") + 0.0012 * rng.standard_normal()
            cut = np.quantile(ease, 1 - rate)
            correct = ease + 0.25 * rng.standard_normal(n_test) > cut - 0.02
            test = float(correct.mean())
            gap = 0.02 * (1 - gap_cut) * (1 if point == "last" else 0.7) + 0.03 * size
            readouts.append(
                Readout(
                    point=point,  # type: ignore[arg-type]
                    epoch=at,
                    epochs_trained=min(at + 2, len(epochs)) if point == "restored" else at,
                    weights_sha256=hashlib.sha256(f"{key}{point}".encode()).hexdigest(),
                    train_accuracy=min(1.0, test + gap + 0.0008 * rng.standard_normal()),
                    train_loss=0.02,
                    test_accuracy=test,
                    test_loss=float(0.12 - 0.03 * gap_cut + 0.003 * rng.standard_normal()),
                    calibration_error=float(0.015 - 0.005 * gap_cut + 0.001 * rng.random()),
                    correct_bits=pack_bits(correct),
                )
            )
    return TrialResult(
        spec.number, spec.params, TrialState.COMPLETE, tuple(epochs),
        value=epochs[-1].val_accuracy, best_epoch=len(epochs), n_parameters=1000,
        weights_sha256=hashlib.sha256(key.encode()).hexdigest(), readouts=tuple(readouts),
    )  # fmt: skip


def draw_ablation(
    folder: Path,
    ablation: AblationConfig,
    training_set: TrainingSet,
    test_set: TestSet,
    effects: Mapping[str, float],
    parts: tuple[Part, ...] = PARTS,
) -> History:
    """Store drawn results of all parts in a new storage; return the factorial's record."""
    url = f"sqlite:///{folder / 'optuna.db'}"
    chosen: dict[Cell, float] | None = None
    main: History | None = None
    for part in parts:
        job: Job | None = ablation_job(ablation, part, training_set, test_set, chosen)
        if job is None:
            continue
        history = History.open(url, job.name)
        history.check_identity(job.identity, allow_mixed=False)
        history.n_trials = job.n_trials
        plan = job.make_plan()
        n_rows = len(training_set.labels) - ablation.validation_size
        for number in range(job.n_trials):
            spec = plan.suggest(number, [], [])
            result = drawn_result(spec, len(test_set.labels), effects, n_rows=n_rows)
            history.append(result, f"run-{number}")
        main = main or history
        if part == "tuning":
            chosen = chosen_learning_rates(ablation, history.results)
    assert main is not None
    return main


SEED_SD, RUN_SD, IMAGES = 0.003, 0.0015, 10_000
"""Of a simulated study: a seed in one cell, common to its splits, a run, and the test images."""


def null_factorial(
    rng: np.random.Generator,
    n_seeds: int,
    n_splits: int,
    main_effects: Mapping[str, float] | None = None,
) -> Factorial:
    """Draw a factorial in which seeds and splits change things, and no factor but those named.

    Runs of one seed are alike across the splits within a cell, so that blocks are not independent.

    Args:
        rng: the only source of randomness.
        n_seeds: crossed with every split.
        n_splits: of the training rows.
        main_effects: on test accuracy at both read-outs, by factor.
    """
    shape = (2, 2, 2, n_splits, n_seeds)
    values: dict[tuple[str, ReadoutPoint], NDArray[np.float64]] = {}
    correct: dict[ReadoutPoint, NDArray[np.bool_]] = {}
    common = 0.001 * (rng.standard_normal((n_splits, 1)) + rng.standard_normal(n_seeds))
    # The two read-outs of a run have part of their luck in common.
    of_run = {name: rng.standard_normal(shape) for name in (*RUN_OUTCOMES, "any")}
    shift = np.zeros((2, 2, 2, 1, 1))
    for axis, name in enumerate(FACTORS):
        coding = np.array([-0.5, 0.5]).reshape([2 if i == axis else 1 for i in range(5)])
        shift = shift + (main_effects or {}).get(name, 0.0) * coding
    for point in POINTS:
        for name in RUN_OUTCOMES:
            noise = 0.6 * of_run[name] + 0.8 * rng.standard_normal(shape)
            of_seed = SEED_SD * rng.standard_normal((2, 2, 2, 1, n_seeds))
            values[name, point] = 0.9 + common + of_seed + RUN_SD * noise
        values["epochs_trained", point] = np.round(15 + 2 * rng.standard_normal(shape))
        n_correct = rng.binomial(IMAGES, values["test_accuracy", point] + shift)
        values["test_accuracy", point] = n_correct / IMAGES
        values["accuracy_deviation", point] = deviations(values["test_accuracy", point])
        correct[point] = rng.random((*shape, 20)) < 0.9
    return Factorial(tuple(range(n_seeds)), 0, values, correct)


def sd_of_main_effect(n_splits: int) -> float:
    """Return the true standard deviation of a seed's main effect on test accuracy."""
    of_block = RUN_SD**2 + 0.9 * 0.1 / IMAGES
    return float(np.sqrt((SEED_SD**2 + of_block / n_splits) * 8 / 16))


def drawn_factorial(
    shift: Callable[[tuple[str, ...], str], float],
    *,
    n_seeds: int = 12,
    noise: float = 0.001,
    seed: int = 0,
) -> Factorial:
    """Draw a factorial whose test accuracy and gap are shifted by cell and read-out."""
    rng = np.random.default_rng(seed)
    shape = (2, 2, 2, 3, n_seeds)
    names = ("test_accuracy", "test_loss", "overfitting_gap", "calibration_error",
             "epochs_trained", "accuracy_deviation")  # fmt: skip
    values, correct = {}, {}
    shared = noise * rng.standard_normal((3, n_seeds))
    for point in ("last", "restored"):
        for name in names:
            values[name, point] = 0.02 + shared + noise * rng.standard_normal(shape)
        for cell in CELLS:
            for name in ("test_accuracy", "overfitting_gap"):
                values[name, point][cell_index(cell)] += shift(cell, point)
        correct[point] = rng.random((*shape, 60)) < 0.9
    return Factorial(tuple(range(n_seeds)), 0, values, correct)  # type: ignore[arg-type]


def analysed(data: Factorial, *hypotheses: Hypothesis) -> Analysis:
    """Analyse as the default file does; without hypotheses, those that it declares."""
    ablation = load_ablation(DEFAULT_FILE)
    return analyse(data, hypotheses or ablation.hypotheses, ablation.statistics)


def claim(**settings: object) -> Hypothesis:
    """Declare an increase of test accuracy, or what the settings say instead."""
    given = {"claim": "x", "metric": "test_accuracy", "direction": "increase", "margin": 0.001}
    return Hypothesis.model_validate(given | settings)
