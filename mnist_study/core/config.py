"""Experiment files: TOML, validated into frozen models."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from mnist_study.core.datasets import suffix
from mnist_study.core.errors import UserFacingError
from mnist_study.core.paths import expanded

MAX_SEED = 2**31 - 1
MAX_NAME = 100
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


class ConfigError(UserFacingError):
    """An experiment file that cannot be used."""


class Frozen(BaseModel):
    """Base of all settings: immutable, unknown keys refused, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Activation = Literal["relu", "tanh", "sigmoid"]
"""Activation of the hidden layers; the documented one is relu."""


class NetworkParams(Frozen):
    """One network of the documented shape, with its learning rate.

    Flatten - Dense(units_1, relu, L2) - Dense(units_2, relu) - Dropout(dropout_1)
    - Dense(units_3, relu) - Dropout(dropout_2) - Dense(10, softmax).
    """

    units_1: int = Field(ge=1, le=8192)
    units_2: int = Field(ge=1, le=8192)
    units_3: int = Field(ge=1, le=8192)
    dropout_1: float = Field(ge=0, le=0.99)
    dropout_2: float = Field(ge=0, le=0.99)
    l2: float = Field(ge=0, le=1)
    learning_rate: float = Field(gt=0, le=10)

    @property
    def units(self) -> tuple[int, int, int]:
        """Widths of the three hidden layers."""
        return (self.units_1, self.units_2, self.units_3)


def _check_range(limits: IntRange | FloatRange) -> None:
    if limits.low >= limits.high:
        raise ValueError(f"low must be below high, got low {limits.low} and high {limits.high}")
    if limits.log and limits.low <= 0:
        raise ValueError(f"a log range must start above 0, got low {limits.low}")


class IntRange(Frozen):
    """A range of whole numbers, both ends included."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_range(self)
        return self


class FloatRange(Frozen):
    """A range of numbers, both ends included."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_range(self)
        return self


Range = Annotated[IntRange | FloatRange, Field(discriminator="type")]


class EarlyStoppingConfig(Frozen):
    """When training ends early; the best epoch's weights are always restored."""

    monitor: Literal["val/loss", "val/accuracy"] = "val/loss"
    patience: int = Field(ge=1, le=10_000)
    min_delta: float = Field(default=0.0, ge=0)


class TrainingConfig(Frozen):
    """What is the same for every training run of an experiment."""

    batch_size: int = Field(ge=1, le=60_000)
    epochs: int = Field(ge=1, le=10_000)
    schedule: Literal["constant", "cosine"]
    early_stopping: EarlyStoppingConfig | None = None


class DataConfig(Frozen):
    """How the training set is split."""

    validation_size: int = Field(ge=1)
    split_seed: int = Field(ge=0, le=MAX_SEED)


class SamplerConfig(Frozen):
    """The sampler; it must be a pure function of the trials that it sees."""

    kind: str
    n_startup_trials: int = Field(default=10, ge=1)

    @model_validator(mode="after")
    def _is_function_of_trials(self) -> Self:
        if self.kind in ("tpe", "random"):
            return self
        reason = {
            "qmc": "it keeps state in study attributes and would repeat points",
            "grid": "it keeps state in study attributes",
            "brute_force": "it keeps state outside the trials",
        }.get(self.kind, "it has not been shown to be a function of the trials that it sees")
        raise ValueError(f"sampler {self.kind!r} is not supported: {reason}; use 'tpe' or 'random'")


class PrunerConfig(Frozen):
    """An Optuna pruner and the settings that its class takes (see the class in Optuna's manual)."""

    kind: Literal[
        "none", "median", "percentile", "threshold", "successive_halving", "hyperband", "wilcoxon"
    ]
    options: dict[str, int | float | str | bool] = Field(default_factory=dict)


class SearchConfig(Frozen):
    """How trials are suggested and when they are pruned."""

    seed: int = Field(ge=0, le=MAX_SEED)
    in_flight: int = Field(default=8, ge=1, le=1024)
    sampler: SamplerConfig
    pruner: PrunerConfig
    space: dict[str, Range]

    @field_validator("space")
    @classmethod
    def _in_the_order_of_the_network(cls, space: dict[str, Range]) -> dict[str, Range]:
        """Put the ranges in a fixed order: samplers draw in order, the fingerprint ignores it."""
        known = {name: space[name] for name in NetworkParams.model_fields if name in space}
        return known | space


class StudyConfig(SearchConfig):
    """The search of a study, and how many trials it has."""

    n_trials: int = Field(ge=1, le=1_000_000)


class FileSettings(Frozen):
    """Settings read from an experiment file, with its path and its text."""

    _path: Path | None = PrivateAttr(None)
    _source_text: str = PrivateAttr("")

    @property
    def source_text(self) -> str:
        """Content of the experiment file, for the record; empty for settings built in code."""
        return self._source_text

    @contextmanager
    def errors_named(self) -> Iterator[None]:
        """Put the file's name before errors about its settings."""
        try:
            yield
        except UserFacingError as error:
            raise ConfigError(f"{self._path}: {error}") from error


class ExperimentConfig(FileSettings):
    """One experiment file.

    Attributes:
        name: of the experiment in MLflow and of the study in Optuna.
        data: the split.
        training: shared by all runs.
        baseline: the documented network, always trial 0.
        study: the search around it; None in files that only train the baseline.
        n_seeds: how many seeds `baseline` trains; None in files that only search.
    """

    name: str = Field(min_length=1, max_length=MAX_NAME, pattern=NAME_PATTERN)
    data: DataConfig
    training: TrainingConfig
    baseline: NetworkParams
    study: StudyConfig | None = None
    n_seeds: int | None = Field(default=None, ge=2, le=100_000)

    @model_validator(mode="after")
    def _baseline_inside_space(self) -> Self:
        if self.study is None:
            return self
        for name, limits in self.study.space.items():
            if name not in NetworkParams.model_fields:
                known = ", ".join(NetworkParams.model_fields)
                raise ValueError(f"study.space.{name}: no such parameter; known: {known}")
            is_whole = NetworkParams.model_fields[name].annotation is int
            if is_whole != isinstance(limits, IntRange):
                wanted = "int" if is_whole else "float"
                raise ValueError(f"study.space.{name}: type must be '{wanted}'")
            for end in (limits.low, limits.high):
                _check_param(name, end)
            value = getattr(self.baseline, name)
            if not limits.low <= value <= limits.high:
                raise ValueError(
                    f"baseline.{name} = {value} lies outside study.space.{name} "
                    f"({limits.low} to {limits.high}); trial 0 is the baseline, so widen the range"
                )
        return self

    @property
    def search(self) -> StudyConfig:
        """The [study] table.

        Raises:
            ConfigError: the file has none.
        """
        if self.study is None:
            raise ConfigError(
                f"{self._path or self.name}: no [study] table, so there is nothing to search; use "
                "a file that has one, such as experiments/study.toml"
            )
        return self.study


def _check_param(name: str, value: float) -> None:
    """Raise ValueError if a network cannot have this value; otherwise a trial would be refused."""
    valid = dict(
        units_1=1, units_2=1, units_3=1, dropout_1=0.0, dropout_2=0.0, l2=0.0, learning_rate=0.1
    )
    try:
        NetworkParams.model_validate({**valid, name: value})
    except ValidationError as error:
        raise ValueError(
            f"study.space.{name}: {value} cannot be used, "
            + error.errors()[0]["msg"].replace("Input should be", "expected")
        ) from error


def load_experiment(path: Path) -> ExperimentConfig:
    """Read and validate an experiment file.

    Args:
        path: a TOML file.

    Returns:
        The validated settings.

    Raises:
        ConfigError: in one line the file, the key, the value found and what is allowed.
    """
    return load_settings(path, ExperimentConfig)


_Settings = TypeVar("_Settings", bound=FileSettings)


def load_settings(path: Path, model: type[_Settings]) -> _Settings:
    """Read a TOML file into settings of any kind; raises as `load_experiment` does."""
    path = expanded(path)
    try:
        source_text = path.read_text(encoding="utf-8-sig")
        content = tomllib.loads(source_text)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such experiment file; expected a TOML file such as experiments/study.toml"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a text file: {error}") from error
    # Numbers of thousands of digits raise ValueError, brackets nested too deeply RecursionError.
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    try:
        settings = model.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_describe(error)}") from error
    settings._path, settings._source_text = path, source_text
    return settings


def name_on(dataset: str, name: str) -> str:
    """Return an experiment's name on a data set; other than on MNIST it ends in the data set's.

    Raises:
        ConfigError: the name becomes too long.
    """
    ending = suffix(dataset)
    if len(name + ending) > MAX_NAME:
        raise ConfigError(
            f"name: found {len(name)} characters, and {len(name + ending)} with '{ending}' "
            f"appended; expected {MAX_NAME - len(ending)} or fewer on this data set"
        )
    return name + ending


def with_overrides(
    experiment: ExperimentConfig, *, n_trials: int | None, seed: int | None
) -> ExperimentConfig:
    """Return the experiment with the number of trials or the seed of the command line."""
    changes = {"n_trials": n_trials, "seed": seed}
    given = {name: value for name, value in changes.items() if value is not None}
    if experiment.study is None or not given:
        return experiment
    study = StudyConfig.model_validate({**experiment.study.model_dump(), **given})
    return experiment.model_copy(update={"study": study})


def _describe(error: ValidationError) -> str:
    """Describe the first of the errors in one line."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if part not in ("int", "float"))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key; remove it or correct its spelling"
    elif first["type"] == "missing":
        message = "missing; this key is required"
    elif first["type"] == "union_tag_not_found":
        message = "no type; expected type = 'int' or type = 'float' beside low and high"
    elif not isinstance(first["input"], Mapping):
        message = f"found {first['input']!r}, {message.replace('Input should be', 'expected')}"
    others = error.error_count() - 1
    more = f" (and {others} more)" if others else ""
    return f"{key + ': ' if key else ''}{message}{more}"
