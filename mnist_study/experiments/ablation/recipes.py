"""How a network is trained in an ablation, and where a run of it is read out."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from mnist_study.core.config import EarlyStoppingConfig, Frozen, TrainingConfig

FACTORS = ("l2", "dropout_1", "dropout_2")
"""The crossed factors, each a parameter of the network."""

RecipeName = Literal["documented", "study"]
RECIPES: tuple[RecipeName, ...] = get_args(RecipeName)
FACTORIALS = (*RECIPES, "retuned")
"""The parts that have all cells; in the last, each cell has a learning rate of its own."""
LAST, RESTORED, AVERAGED = "last", "restored", "averaged"
"""The read-outs that every recipe has."""


class Recipe(Frozen):
    """How a network is trained, and by which rules a run of it is read out.

    Attributes:
        batch_size: rows.
        epochs: of every run; early stopping is a read-out and ends nothing.
        schedule: of the learning rate.
        early_stopping: the rule behind the read-out "restored".
        other_patiences: of the read-outs "patience_N", otherwise with the same rule.
    """

    batch_size: int = Field(ge=1, le=60_000)
    epochs: int = Field(ge=2, le=10_000)
    schedule: Literal["constant", "cosine"]
    early_stopping: EarlyStoppingConfig
    other_patiences: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _different_patiences(self) -> Self:
        patiences = (self.early_stopping.patience, *self.other_patiences)
        if len(set(patiences)) < len(patiences):
            raise ValueError(f"found the patiences {list(patiences)}, expected different ones")
        return self

    @property
    def training(self) -> TrainingConfig:
        """The settings of a run's training."""
        return TrainingConfig(
            batch_size=self.batch_size, epochs=self.epochs, schedule=self.schedule
        )

    def readout_names(self) -> tuple[str, ...]:
        """Return the read-outs of a run, in order."""
        return (LAST, RESTORED, AVERAGED, *(f"patience_{n}" for n in self.other_patiences))
