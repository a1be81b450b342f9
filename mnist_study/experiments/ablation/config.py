"""The settings of an ablation: its design, its axes, and what was declared before it ran."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from mnist_study.core.config import (
    MAX_SEED,
    NAME_PATTERN,
    AblationSettings,
    DataConfig,
    FileSettings,
    Frozen,
    Levels,
    NetworkParams,
    load_settings,
)

FACTORS = ("l2", "dropout_1", "dropout_2")
"""The crossed factors, each a parameter of the network; early stopping is the fourth."""
EARLY_STOPPING = "early_stopping"
ReadoutPoint = Literal["last", "restored"]
Outcome = Literal[
    "test_accuracy",
    "test_loss",
    "overfitting_gap",
    "calibration_error",
    "epochs_trained",
    "accuracy_deviation",
]


class TuningConfig(Frozen):
    """How the learning rate of each cell is re-tuned, by validation accuracy alone.

    Attributes:
        learning_rates: the candidates, the same for all cells.
        n_runs: training runs of each candidate, each with a fresh seed and a split.
        n_seeds: of the factorial at the chosen rates.
    """

    learning_rates: tuple[float, ...] = Field(min_length=2, strict=False)
    n_runs: int = Field(ge=1, le=1000)
    n_seeds: int = Field(ge=2, le=10_000)


class DoseConfig(Frozen):
    """The strengths of L2 and of dropout; the other one stays as documented.

    Attributes:
        l2: strengths.
        dropout: multiples of the documented rates of both dropouts.
        n_seeds: each crossed with all splits.
    """

    l2: tuple[float, ...] = Field(min_length=3, strict=False)
    dropout: tuple[float, ...] = Field(min_length=3, strict=False)
    n_seeds: int = Field(ge=2, le=10_000)


class TrainingSize(Frozen):
    """A subset of the training rows and the epochs to train on it."""

    rows: int = Field(ge=10)
    epochs: int = Field(ge=1, le=100_000)


class SizeConfig(Frozen):
    """The sizes of the training set beside the whole one; nested, the same for both cells."""

    sizes: tuple[TrainingSize, ...] = Field(min_length=1, strict=False)
    n_seeds: int = Field(ge=2, le=10_000)

    def with_share(self, share: float) -> SizeConfig:
        """Return the sizes for a data set that has this share of the rows they were written for."""
        sizes = tuple(
            size.model_copy(update={"rows": max(10, round(share * size.rows))})
            for size in self.sizes
        )
        return self.model_copy(update={"sizes": sizes})


class PowerConfig(Frozen):
    """The assumptions behind the design.

    Attributes:
        run_sd: standard deviation of test accuracy over runs of a cell, in [0, 1].
        correlation: between two cells that share seed and split.
        power: wanted.
        source: of `run_sd` and `correlation`.
    """

    run_sd: float = Field(gt=0, lt=1)
    correlation: float = Field(default=0.0, ge=-0.99, le=0.99)
    power: float = Field(default=0.8, gt=0.05, lt=1)
    source: str = Field(min_length=1)


class CellReadout(Frozen):
    """One cell of the factorial at one read-out.

    Attributes:
        on: the factors that are on.
        readout: "last" epoch, or the one that early stopping "restored".
    """

    on: tuple[Literal["l2", "dropout_1", "dropout_2"], ...] = Field(strict=False)
    readout: ReadoutPoint

    @property
    def cell(self) -> tuple[str, ...]:
        """The factors that are on, in the order of `FACTORS`."""
        return tuple(name for name in FACTORS if name in self.on)


class Hypothesis(Frozen):
    """A claim and how it is decided; declared before the ablation ran.

    Either `effect` and `readout` (a main effect or an interaction of the factorial; with
    `early_stopping` among its factors the read-out is itself a factor), or `treatment` and
    `control` (the paired difference of two cells at their read-outs), or `treatment` alone (its
    mean).

    Attributes:
        claim: a sentence without its full stop.
        metric: the outcome.
        direction: of the effect; "within" claims that it lies within the margin.
        margin: half-width of what counts as no difference, in the metric's unit.
    """

    claim: str = Field(min_length=1)
    metric: Outcome
    direction: Literal["increase", "decrease", "within"]
    margin: float = Field(gt=0)
    family: Literal["primary", "exploratory"] = "primary"
    effect: str | None = None
    readout: ReadoutPoint | None = None
    treatment: CellReadout | None = None
    control: CellReadout | None = None

    @model_validator(mode="after")
    def _one_contrast(self) -> Self:
        if (self.effect is None) == (self.treatment is None):
            raise ValueError("expected either effect or treatment, not both and not neither")
        if self.effect is None:
            if self.readout is not None:
                raise ValueError("readout belongs to an effect; a treatment has its own")
            if self.control is None and self.direction != "within":
                raise ValueError("a treatment without control can only be claimed 'within'")
            sides = [(side.cell, side.readout) for side in (self.treatment, self.control) if side]
            if len(set(sides)) < len(sides):
                raise ValueError(
                    "treatment and control are the same cell at the same read-out; expected two "
                    "that differ"
                )
            return self
        if self.control is not None:
            raise ValueError("control belongs to a treatment, not to an effect")
        names = self.effect.split(":")
        known = (*FACTORS, EARLY_STOPPING)
        if [name for name in known if name in names] != names:
            raise ValueError(
                f"effect: found {self.effect!r}, expected names among {', '.join(known)} in this "
                "order, joined by ':'"
            )
        if (EARLY_STOPPING in names) != (self.readout is None):
            raise ValueError(
                f"an effect needs a readout, unless {EARLY_STOPPING} is among its factors"
            )
        return self


class StatisticsConfig(Frozen):
    """How estimates become verdicts.

    Attributes:
        alpha: two-sided level of all tests and intervals, of the family after Holm.
        margins: half-width of what counts as no difference, for outcomes without a claim's own.
    """

    alpha: float = Field(gt=0, lt=0.5)
    margins: dict[Outcome, Annotated[float, Field(gt=0)]]

    @property
    def confidence(self) -> float:
        """The confidence of all intervals."""
        return 1 - self.alpha


class AblationConfig(AblationSettings, FileSettings):
    """One ablation file.

    Attributes:
        name: of the experiment in MLflow and of the main record.
        n_seeds: each crossed with every split, in every cell.
    """

    name: str = Field(min_length=1, max_length=80, pattern=NAME_PATTERN)
    n_seeds: int = Field(ge=2, le=10_000)
    tuning: TuningConfig | None = None
    dose_response: DoseConfig | None = None
    training_size: SizeConfig | None = None
    power: PowerConfig
    statistics: StatisticsConfig
    hypotheses: tuple[Hypothesis, ...] = Field(min_length=1, strict=False)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.training.early_stopping is not None:
            raise ValueError(
                "training.early_stopping: every run trains to its last epoch; the rule of the "
                "second read-out belongs to [early_stopping]"
            )
        for seed in self.split_seeds:
            if not 0 <= seed <= MAX_SEED or self.split_seeds.count(seed) > 1:
                raise ValueError(f"split_seeds: found {seed}, expected different numbers from 0 up")
        for on in ((), FACTORS):
            self.params(on)
        for name in ("tuning", "dose_response", "training_size"):
            section = getattr(self, name)
            if section is not None and section.n_seeds > self.n_seeds:
                raise ValueError(
                    f"{name}.n_seeds: found {section.n_seeds}, expected {self.n_seeds} or fewer: "
                    "the seeds are those of the factorial, whose runs are used again"
                )
        missing = set(get_args(Outcome)) - set(self.statistics.margins)
        if missing:
            raise ValueError(f"statistics.margins: no margin for {', '.join(sorted(missing))}")
        if self.tuning is not None:
            _need("tuning.learning_rates", self.tuning.learning_rates, self.network.learning_rate)
        if self.dose_response is not None:
            for needed in (self.factors.l2.off, self.factors.l2.on):
                _need("dose_response.l2", self.dose_response.l2, needed)
            for needed in (0.0, 1.0):
                _need("dose_response.dropout", self.dose_response.dropout, needed)
        return self

    @property
    def settings(self) -> AblationSettings:
        """The settings that all parts share, without the number of seeds."""
        shared = self.model_dump(include=set(AblationSettings.model_fields))
        return AblationSettings.model_validate(shared)

    def params(self, on: tuple[str, ...], learning_rate: float | None = None) -> NetworkParams:
        """Return the network with the given factors on and the others off."""
        settings = self.network.model_dump()
        for name in FACTORS:
            levels: Levels = getattr(self.factors, name)
            settings[name] = levels.on if name in on else levels.off
        if learning_rate is not None:
            settings["learning_rate"] = learning_rate
        return NetworkParams.model_validate(settings)

    def data(self, split_seed: int) -> DataConfig:
        """Return the split of a seed."""
        return DataConfig(validation_size=self.validation_size, split_seed=split_seed)

    def with_seeds(self, n_seeds: int | None) -> AblationConfig:
        """Return the ablation with at most `n_seeds` seeds in each part; None changes nothing."""
        if n_seeds is None:
            return self
        changes: dict[str, Any] = {"n_seeds": n_seeds}
        for section in ("tuning", "dose_response", "training_size"):
            settings = getattr(self, section)
            if settings is not None:
                fewer = min(n_seeds, settings.n_seeds)
                changes[section] = settings.model_copy(update={"n_seeds": fewer})
        return self.model_copy(update=changes)


def _need(name: str, values: tuple[float, ...], needed: float) -> None:
    if needed not in values or len(set(values)) < len(values):
        raise ValueError(
            f"{name}: found {list(values)}, expected different values, {needed:g} among them"
        )


def load_ablation(path: Path) -> AblationConfig:
    """Read and validate an ablation's experiment file.

    Raises:
        ConfigError: in one line the file, the key, the value found and what is allowed.
    """
    return load_settings(path, AblationConfig)


@dataclass(frozen=True, slots=True)
class Unit:
    """How an outcome is formatted.

    Attributes:
        name: as written in reports.
        unit: of the written number.
        scale: from the stored to the written number.
        digits: after the point.
        more_is_better: whether a rise is an improvement.
    """

    name: str
    unit: str
    scale: float
    digits: int
    more_is_better: bool = False


UNITS: dict[str, Unit] = {
    "test_accuracy": Unit("test accuracy", "points", 100, 3, more_is_better=True),
    "test_loss": Unit("test cross-entropy", "nats", 1, 4),
    "overfitting_gap": Unit("overfitting gap", "points", 100, 3),
    "calibration_error": Unit("calibration error", "points", 100, 3),
    "epochs_trained": Unit("length of training", "epochs", 1, 2),
    "accuracy_deviation": Unit("deviation of test accuracy between seeds", "points", 100, 3),
}
