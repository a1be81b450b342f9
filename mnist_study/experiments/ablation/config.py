"""The settings of an ablation: its recipes, its parts, and what is declared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from mnist_study.core.config import (
    MAX_SEED,
    NAME_PATTERN,
    Activation,
    DataConfig,
    FileSettings,
    Frozen,
    NetworkParams,
    load_settings,
)
from mnist_study.experiments.ablation.claims import (
    Claim,
    EarlierEdition,
    PowerConfig,
    Sentence,
    StatisticsConfig,
)
from mnist_study.experiments.ablation.recipes import FACTORS, RECIPES, Recipe, RecipeName


class Levels(Frozen):
    """The two levels of a factor."""

    off: float
    on: float


class FactorLevels(Frozen):
    """The levels of each factor; with all factors on it is the documented network."""

    l2: Levels
    dropout_1: Levels
    dropout_2: Levels


class Widths(Frozen):
    """What is the same in every cell: the widths, and the documented learning rate."""

    units_1: int
    units_2: int
    units_3: int
    learning_rate: float


_Seeds = Annotated[int, Field(ge=2, le=10_000)]


class StoppingConfig(Frozen):
    """Early stopping of the documented network under caps, from runs that train to the last once.

    Attributes:
        caps: epochs that training is allowed; each run trains for as many as the largest.
        patiences: of early stopping.
        n_seeds: of each execution.
    """

    caps: tuple[int, ...] = Field(min_length=2, strict=False)
    patiences: tuple[int, ...] = Field(min_length=1, strict=False)
    n_seeds: _Seeds


class StabilityConfig(Frozen):
    """The documented network at several learning rates, the documented one among them."""

    learning_rates: tuple[float, ...] = Field(min_length=2, strict=False)
    n_seeds: _Seeds


class ActivationsConfig(Frozen):
    """The documented network with other activations of its hidden layers.

    Attributes:
        names: the first is the documented one.
        epochs: of a run; one that has not reached the target by then counts as one epoch more.
        target: validation accuracy, in [0, 1].
        n_seeds: of each execution.
    """

    names: tuple[Activation, ...] = Field(min_length=2, strict=False)
    epochs: int = Field(ge=1, le=10_000)
    target: float = Field(gt=0, lt=1)
    n_seeds: _Seeds


class StepsConfig(Frozen):
    """The steps from the documented recipe to the champion, one change after the other.

    Attributes:
        epochs: of the step that trains longer, and of those after it.
        found: the configuration that the search found and the confirmation chose.
        n_seeds: of each execution.
    """

    epochs: int = Field(ge=1, le=10_000)
    found: NetworkParams
    n_seeds: _Seeds


class DoseConfig(Frozen):
    """The strengths of L2 and of dropout in the study's recipe; the other one as documented.

    Attributes:
        l2: strengths.
        dropout: multiples of the documented rates of both dropouts.
        n_seeds: of each execution.
    """

    l2: tuple[float, ...] = Field(min_length=3, strict=False)
    dropout: tuple[float, ...] = Field(min_length=3, strict=False)
    n_seeds: _Seeds


class TrainingSize(Frozen):
    """A subset of the training rows and the epochs to train on it."""

    rows: int = Field(ge=10)
    epochs: int = Field(ge=2, le=100_000)


class SizeConfig(Frozen):
    """The sizes of the training set beside the whole one; nested, the same for both cells."""

    sizes: tuple[TrainingSize, ...] = Field(min_length=1, strict=False)
    n_seeds: _Seeds

    def with_share(self, share: float) -> SizeConfig:
        """Return the sizes for a data set that has this share of the rows they were written for."""
        sizes = tuple(
            size.model_copy(update={"rows": max(10, round(share * size.rows))})
            for size in self.sizes
        )
        return self.model_copy(update={"sizes": sizes})


class TuningConfig(Frozen):
    """How the learning rate of each cell is re-tuned in the study's recipe, on validation rows.

    Attributes:
        learning_rates: the candidates, the same for all cells.
        n_runs: of each candidate and execution, with fresh seeds and splits.
        n_seeds: of each execution, of the factorial at the chosen rates.
    """

    learning_rates: tuple[float, ...] = Field(min_length=3, strict=False)
    n_runs: int = Field(ge=1, le=1000)
    n_seeds: _Seeds


class AblationConfig(FileSettings):
    """One ablation file.

    Attributes:
        name: of the experiment in MLflow and of the main record.
        executions: a master seed each; they share no seed and no split.
        n_seeds: of each execution, in every cell; each with a split of its own.
        validation_size: rows held out of each split.
        network: the documented one's widths and learning rate.
        factors: that are crossed.
        recipes: in each of which the factorial is run; the documented one is the main one, if it
            is there.
        earlier: the edition before this one, if the report is to say what became of its verdicts.
    """

    name: str = Field(min_length=1, max_length=80, pattern=NAME_PATTERN)
    executions: tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...] = Field(
        min_length=2, strict=False
    )
    n_seeds: _Seeds
    validation_size: int = Field(ge=1)
    network: Widths
    factors: FactorLevels
    recipes: dict[RecipeName, Recipe] = Field(min_length=1)
    stopping: StoppingConfig | None = None
    stability: StabilityConfig | None = None
    activations: ActivationsConfig | None = None
    steps: StepsConfig | None = None
    dose_response: DoseConfig | None = None
    training_size: SizeConfig | None = None
    tuning: TuningConfig | None = None
    power: PowerConfig
    statistics: StatisticsConfig
    sentences: tuple[Sentence, ...] = Field(min_length=1, strict=False)
    earlier: EarlierEdition | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.executions)) < len(self.executions):
            raise ValueError(f"executions: found {list(self.executions)}, expected different seeds")
        for name, recipes in _RECIPES_OF_SECTIONS.items():
            absent = set(recipes) - set(self.recipes)
            if getattr(self, name) is not None and absent:
                raise ValueError(f"{name}: needs the recipe {min(absent)}, which the file has not")
        for on in ((), FACTORS):
            self.params(on)
        needing = {c.metric for c in self.claims if c.margin is None and c.direction != "below"}
        if missing := needing - set(self.statistics.margins):
            raise ValueError(f"statistics.margins: no margin for {', '.join(sorted(missing))}")
        if self.earlier is not None:
            stray = set(self.earlier.verdicts) - {claim.claim for claim in self.claims}
            if stray:
                raise ValueError(
                    f"earlier.verdicts: found {min(stray)!r}, expected the words of a claim"
                )
        for name in _PAIRED_SECTIONS:
            section = getattr(self, name)
            if section is not None and section.n_seeds > self.n_seeds:
                raise ValueError(
                    f"{name}.n_seeds: found {section.n_seeds}, expected {self.n_seeds} or fewer: "
                    "the seeds are those of the factorials, whose runs are used again"
                )
        rate = self.network.learning_rate
        if self.stability is not None:
            _need("stability.learning_rates", self.stability.learning_rates, rate)
        if self.tuning is not None:
            _need("tuning.learning_rates", self.tuning.learning_rates, rate)
        if self.dose_response is not None:
            for needed in (self.factors.l2.off, self.factors.l2.on):
                _need("dose_response.l2", self.dose_response.l2, needed)
            for needed in (0.0, 1.0):
                _need("dose_response.dropout", self.dose_response.dropout, needed)
        return self

    @property
    def main_recipe(self) -> RecipeName:
        """The recipe whose factorial all parts are reported with."""
        return next(name for name in RECIPES if name in self.recipes)

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims of all sentences, in order."""
        return tuple(claim for sentence in self.sentences for claim in sentence.claims)

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
        for section in PART_SECTIONS:
            settings = getattr(self, section)
            if settings is not None:
                fewer = min(n_seeds, settings.n_seeds)
                changes[section] = settings.model_copy(update={"n_seeds": fewer})
        return self.model_copy(update=changes)


PART_SECTIONS = (
    "stopping", "stability", "activations", "steps", "dose_response", "training_size", "tuning",
)  # fmt: skip
"""The optional parts beside the factorials, as the file names them."""


_RECIPES_OF_SECTIONS: dict[str, tuple[RecipeName, ...]] = {
    "stopping": ("documented",),
    "stability": ("documented",),
    "activations": ("documented",),
    "steps": ("documented", "study"),
    "dose_response": ("study",),
    "training_size": ("study",),
    "tuning": ("study",),
}

_PAIRED_SECTIONS = ("stability", "steps", "dose_response", "training_size", "tuning")
"""Those that are compared with runs of a factorial."""


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
