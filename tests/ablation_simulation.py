"""An ablation whose runs are drawn at random instead of trained, with effects of known size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from mnist_study.core.readouts import Readout, ReadoutPoint, pack_bits
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialSpec, TrialState
from mnist_study.data.dataset import TestSet, TrainingSet
from mnist_study.execution.job import Job
from mnist_study.experiments.ablation.analysis import Analysis, analyse
from mnist_study.experiments.ablation.claims import Claim, Sentence
from mnist_study.experiments.ablation.config import AblationConfig, load_ablation
from mnist_study.experiments.ablation.design import (
    CELLS,
    PARTS,
    Cell,
    Part,
    cell_label,
    chosen_learning_rates,
)
from mnist_study.experiments.ablation.job import ablation_job
from mnist_study.experiments.ablation.outcomes import Outcome
from mnist_study.experiments.ablation.recipes import FACTORS, RECIPES
from mnist_study.experiments.ablation.runs import Array, Key, Values
from mnist_study.search.history import History

DEFAULT_FILE = Path(__file__).parents[1] / "experiments" / "ablation.toml"
READOUTS = {
    "documented": ("last", "restored", "averaged", "patience_2", "patience_3", "patience_10"),
    "study": ("last", "restored", "averaged"),
}
"""Those of the default file."""

FILE = """\
name = "tiny-ablation"
executions = [5, 6]
n_seeds = {n_seeds}
validation_size = 287

[network]
units_1 = 32
units_2 = 16
units_3 = 16
learning_rate = 0.001

[factors]
l2 = {{ off = 0.0, on = 0.001 }}
dropout_1 = {{ off = 0.0, on = 0.3 }}
dropout_2 = {{ off = 0.0, on = 0.2 }}

[recipes.documented]
batch_size = 64
epochs = {epochs}
schedule = "constant"
early_stopping = {{ monitor = "val/loss", patience = 2 }}
other_patiences = [1]

[recipes.study]
batch_size = 128
epochs = {epochs}
schedule = "cosine"
early_stopping = {{ monitor = "val/accuracy", patience = 2 }}
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

[[sentences]]
text = "L2 helps"
quoted = true

[[sentences.claims]]
claim = "L2 raises test accuracy"
metric = "test_accuracy"
direction = "increase"
margin = 0.002
effect = "l2"

[[sentences.claims]]
claim = "All three lower the gap"
metric = "overfitting_gap"
direction = "decrease"
margin = 0.001
arms = ["all"]
against_arms = ["none"]

[[sentences]]
text = "Early stopping is good."

[[sentences.claims]]
claim = "Early stopping lowers the cross-entropy"
metric = "test_loss"
direction = "decrease"
margin = 0.005
parts = ["documented"]
arms = ["all"]
readouts = ["restored", "patience_1"]
against_readout = "last"

[[sentences.claims]]
claim = "The gap is small"
metric = "overfitting_gap"
direction = "below"
target = 0.05
parts = ["documented"]
arms = ["all"]
readouts = ["restored"]

[[sentences]]
text = "It is elegant."
not_tested = "nothing measures elegance"

[earlier]
design = "one seed"
limits = "One seed decides nothing."
verdicts = {{ "L2 raises test accuracy" = "supported" }}
"""
AXES = """
[stopping]
caps = [3, 6]
patiences = [1, 2]
n_seeds = 2

[stability]
learning_rates = [0.001, 0.01]
n_seeds = 2

[activations]
names = ["relu", "tanh"]
epochs = 3
target = 0.5
n_seeds = 2

[steps]
epochs = 5
n_seeds = 2

[steps.found]
units_1 = 48
units_2 = 24
units_3 = 16
dropout_1 = 0.1
dropout_2 = 0.1
l2 = 0.0001
learning_rate = 0.002

[dose_response]
l2 = [0.0, 0.0003, 0.001]
dropout = [0.0, 1.0, 2.0]
n_seeds = 2

[training_size]
sizes = [{ rows = 200, epochs = 3 }]
n_seeds = 2

[tuning]
learning_rates = [0.0005, 0.001, 0.003]
n_runs = 2
n_seeds = 2
"""


def ablation_text(*, n_seeds: int = 3, epochs: int = 4, axes: bool = False) -> str:
    """Return a small ablation file for the digits."""
    return FILE.format(n_seeds=n_seeds, epochs=epochs, parts=AXES if axes else "")


def study_recipe_alone(text: str) -> str:
    """Return an ablation file without the documented recipe and the claims about it."""
    begin, end = text.index("[recipes.documented]"), text.index("[recipes.study]")
    text = text[:begin] + text[end:]
    begin, end = (text.index(f'[[sentences]]\ntext = "{word}') for word in ("Early", "It"))
    text = text[:begin] + text[end:]
    return text.replace("[[sentences.claims]]\n", '[[sentences.claims]]\nparts = ["study"]\n')


def small_ablation(
    folder: Path, *, n_seeds: int = 3, epochs: int = 4, axes: bool = False
) -> AblationConfig:
    """Write a small ablation file for the digits and load it."""
    path = folder / "ablation.toml"
    path.write_text(ablation_text(n_seeds=n_seeds, epochs=epochs, axes=axes))
    return load_ablation(path)


def drawn_result(spec: TrialSpec, n_test: int, effects: Mapping[str, float]) -> TrialResult:
    """Draw a result, a function of the specification; `effects` shift test accuracy."""
    content = (spec.params, spec.seeds, spec.data, spec.train_rows, spec.training, spec.activation)
    key = repr((*content, spec.all_rows))
    own = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    rng = np.random.default_rng(own)
    shared = np.random.default_rng((spec.seeds.init_seed, spec.data.split_seed))
    common = 0.002 * shared.standard_normal()
    params = spec.params
    gap_cut = 0.4 * bool(params.l2) + 0.5 * params.dropout_1 + 0.5 * params.dropout_2
    epochs = []
    for epoch in range(1, spec.training.epochs + 1):
        train = 0.5 * 0.75**epoch + 0.05 * bool(params.l2) + 0.1 * params.dropout_1
        val = 0.1 + 0.4 * 0.7**epoch + 0.004 * epoch * (1 - gap_cut)
        val += 0.003 * rng.standard_normal()
        accuracy = 0.975 - 0.05 * 0.6**epoch + common + 0.002 * rng.standard_normal()
        accuracy -= 1.5 * abs(np.log10(params.learning_rate / 0.001)) * 0.002
        epochs.append(EpochMetrics(epoch, train, 1 - train / 4, float(val), float(accuracy)))
    readouts = tuple(
        _drawn_readout(rng, point, epochs, n_test, common, gap_cut, effects, spec)
        for point in spec.readouts
    )
    return TrialResult(
        spec.number, spec.params, TrialState.COMPLETE, tuple(epochs),
        value=epochs[-1].val_accuracy, best_epoch=len(epochs), n_parameters=1000,
        weights_sha256=hashlib.sha256(key.encode()).hexdigest(), readouts=readouts,
    )  # fmt: skip


def _drawn_readout(
    rng: np.random.Generator,
    point: ReadoutPoint,
    epochs: list[EpochMetrics],
    n_test: int,
    common: float,
    gap_cut: float,
    effects: Mapping[str, float],
    spec: TrialSpec,
) -> Readout:
    seen = epochs[: point.until]
    at = len(seen) if point.rule is None else min(seen, key=lambda e: e.val_loss).epoch
    rate = 0.975 + common + 0.0012 * rng.standard_normal()
    rate += sum(effects.get(n, 0.0) for n in effects if getattr(spec.params, n, 0))
    rate += effects.get(point.name, 0.0)
    ease = np.random.default_rng(1).standard_normal(n_test)
    correct = ease + 0.25 * rng.standard_normal(n_test) > np.quantile(ease, 1 - rate) - 0.02
    test = float(correct.mean())
    gap = 0.02 * (1 - gap_cut) * (1 if point.rule is None else 0.7)
    return Readout(
        point=point.name,
        epoch=at,
        epochs_trained=min(at + 2, len(seen)) if point.rule else at,
        weights_sha256=hashlib.sha256(f"{spec}{point}".encode()).hexdigest(),
        train_accuracy=min(1.0, test + gap + 0.0008 * rng.standard_normal()),
        train_loss=0.02,
        test_accuracy=test,
        test_loss=float(0.12 - 0.03 * gap_cut + 0.003 * rng.standard_normal()),
        calibration_error=float(0.015 - 0.005 * gap_cut + 0.001 * rng.random()),
        correct_bits=pack_bits(correct),
        val_accuracy=epochs[at - 1].val_accuracy,
        val_loss=0.1,
        kernel_norms=tuple(float(n) for n in 8 - 3 * bool(spec.params.l2) + rng.random(4)),
    )


def draw_ablation(
    folder: Path,
    ablation: AblationConfig,
    training_set: TrainingSet,
    test_set: TestSet,
    effects: Mapping[str, float],
    parts: tuple[Part, ...] = PARTS,
) -> History:
    """Store drawn results of parts in a new storage; return the main record."""
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
        for number in range(job.n_trials):
            spec = plan.suggest(number, [], [])
            history.append(drawn_result(spec, len(test_set.labels), effects), f"run-{number}")
        main = main or history
        if part == "tuning":
            chosen = chosen_learning_rates(ablation, history.results)
    assert main is not None
    return main


REPLICATE_SD, RUN_SD, IMAGES = 0.001, 0.0025, 10_000
"""Of a simulated ablation: what the cells of a replicate share, a run, and the test images."""


def drawn_values(
    rng: np.random.Generator,
    shift: Callable[[str, Cell, str], float] = lambda part, cell, readout: 0.0,
    *,
    n_replicates: int = 20,
    noise: float = RUN_SD,
    outcomes: tuple[Outcome, ...] = ("test_accuracy",),
    readouts: Mapping[str, tuple[str, ...]] = READOUTS,
    n_images: int = 20,
) -> Values:
    """Draw both factorials, of two executions, in which nothing has an effect but what is asked.

    Args:
        rng: the only source of randomness.
        shift: of every outcome, by part, cell and read-out.
        n_replicates: of each execution.
        noise: standard deviation of a run.
        outcomes: that runs have.
        readouts: by recipe.
        n_images: test images of the packed answers.
    """
    shape = (2, n_replicates)
    arrays: dict[Key, dict[Outcome, Array]] = {}
    correct: dict[Key, np.ndarray] = {}
    common = REPLICATE_SD * rng.standard_normal(shape)
    for part in RECIPES:
        for cell in CELLS:
            # The read-outs of a run have part of their luck in common.
            of_run = rng.standard_normal(shape)
            for readout in readouts.get(part, ()):
                key = (part, cell_label(cell), readout)
                own = 0.6 * of_run + 0.8 * rng.standard_normal(shape)
                of_key = arrays.setdefault(key, {})
                for outcome in outcomes:
                    of_key[outcome] = 0.9 + common + noise * own + shift(part, cell, readout)
                correct[key] = rng.random((*shape, n_images)) < 0.9
    return Values(arrays, correct)


def sd_of_main_effect() -> float:
    """Return the true standard deviation of a replicate's main effect in `drawn_values`."""
    return float(RUN_SD * np.sqrt(8 / 16))


def of_factor(name: str, size: float) -> Callable[[str, Cell, str], float]:
    """Return a shift by which a factor has a main effect everywhere."""
    assert name in FACTORS
    return lambda part, cell, readout: size * (name in cell)


def analysed(values: Values, *claims: Claim) -> Analysis:
    """Analyse as the default file does; without claims, those that it declares."""
    ablation = load_ablation(DEFAULT_FILE)
    sentences = (Sentence(text="x", claims=claims),) if claims else ablation.sentences
    return analyse(values, sentences, ablation.statistics, READOUTS)


def claim(**settings: object) -> Claim:
    """Declare an increase of test accuracy, or what the settings say instead."""
    given = {"claim": "x", "metric": "test_accuracy", "direction": "increase", "margin": 0.001}
    return Claim.model_validate(given | settings)
