"""All runs of an ablation in the stores, arranged for its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_study.core.config import NetworkParams
from mnist_study.core.identity import AblationIdentity
from mnist_study.experiments.ablation.analysis import Analysis, analyse
from mnist_study.experiments.ablation.config import (
    Hypothesis,
    PowerConfig,
    ReadoutPoint,
    StatisticsConfig,
)
from mnist_study.experiments.ablation.design import CELLS, DOCUMENTED, NONE, PARTS, Cell, best_rate
from mnist_study.experiments.ablation.runs import (
    Factorial,
    Run,
    factorial,
    outcome_of,
    runs_of,
    with_retuned,
)
from mnist_study.search.history import History


@dataclass(frozen=True, slots=True, eq=False)
class CurvePoint:
    """One point of a dose-response or size curve.

    Attributes:
        x: strength, or number of training rows.
        runs: one per seed and split, the same seeds and splits at all points of a curve.
        is_documented: whether this is the documented setting.
    """

    x: float
    runs: tuple[Run, ...]
    is_documented: bool = False

    @property
    def seeds(self) -> list[int]:
        """The seeds, in order."""
        return sorted({run.seed for run in self.runs})

    def per_seed(self, outcome: str, point: ReadoutPoint) -> NDArray[np.float64]:
        """Return an outcome averaged over splits, shape (n_seeds,), seeds in order."""
        by_seed: dict[int, list[float]] = {}
        for run in self.runs:
            by_seed.setdefault(run.seed, []).append(outcome_of(run.readout(point), outcome))
        return np.array([np.mean(by_seed[seed]) for seed in sorted(by_seed)])


class AblationRecord:
    """An ablation's factorial with whatever parts there are beside it.

    Attributes:
        history: of the factorial.
        parts: all records with runs, by part, the factorial's too.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self.identity = history.identity_as(AblationIdentity)
        self.parts: dict[str, History] = {"factorial": history}
        for part in PARTS[1:]:
            sibling = history.sibling(f"{history.name}-{part}")
            if sibling is not None and sibling.results:
                self.parts[part] = sibling
        self.runs: dict[str, list[Run]] = {part: runs_of(h) for part, h in self.parts.items()}

    @property
    def on_mnist(self) -> bool:
        """Whether this is about MNIST and not the stand-in."""
        return self.identity.data.dataset == "mnist"

    @property
    def n_images(self) -> int:
        """The number of test images."""
        return self.identity.data.n_test or 0

    @property
    def n_splits(self) -> int:
        """The number of splits that every seed is crossed with."""
        return len(self.identity.settings.split_seeds)

    @property
    def documented_rate(self) -> float:
        """The documented learning rate."""
        return self.identity.settings.network.learning_rate

    @property
    def _declared(self) -> dict[str, Any]:
        declared: dict[str, Any] | None = self.identity.declared
        assert declared is not None  # of the factorial
        return declared

    @cached_property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """The declared hypotheses."""
        return tuple(map(Hypothesis.model_validate, self._declared["hypotheses"]))

    @cached_property
    def statistics(self) -> StatisticsConfig:
        """The declared level and margins."""
        return StatisticsConfig.model_validate(self._declared["statistics"])

    @cached_property
    def power(self) -> PowerConfig:
        """The declared assumptions behind the design."""
        return PowerConfig.model_validate(self._declared["power"])

    @cached_property
    def data(self) -> Factorial | None:
        """The factorial at the documented learning rate."""
        return factorial(self.runs["factorial"], self.n_images)

    @cached_property
    def analysis(self) -> Analysis | None:
        """The statistics of `data`."""
        return None if self.data is None else analyse(self.data, self.hypotheses, self.statistics)

    @cached_property
    def retuned(self) -> Factorial | None:
        """The factorial at the chosen learning rates; None while there is none."""
        if "retuned" not in self.runs:
            return None
        runs = with_retuned(self.runs["factorial"], self.runs["retuned"])
        return factorial(runs, self.n_images)

    @cached_property
    def retuned_analysis(self) -> Analysis | None:
        """The statistics of `retuned`."""
        if self.retuned is None:
            return None
        return analyse(self.retuned, self.hypotheses, self.statistics)

    @cached_property
    def rates(self) -> dict[Cell, dict[float, NDArray[np.float64]]]:
        """Validation accuracy at the last epoch of the tuning, by cell and learning rate."""
        accuracies: dict[Cell, dict[float, list[float]]] = {}
        for run in self.runs.get("tuning", []):
            if run.is_complete and run.cell is not None:
                rate = run.result.params.learning_rate
                values = accuracies.setdefault(run.cell, {}).setdefault(rate, [])
                values.append(run.result.epochs[-1].val_accuracy)
        return {
            cell: {rate: np.array(values) for rate, values in sorted(of_rate.items())}
            for cell, of_rate in accuracies.items()
        }

    @cached_property
    def chosen(self) -> dict[Cell, float]:
        """The learning rates of the re-tuned factorial; empty until they are chosen."""
        if "retuned" not in self.runs:
            return dict.fromkeys(CELLS, self.documented_rate) if self._keeps_rates else {}
        retuned = {run.cell: run.result.params.learning_rate for run in self.runs["retuned"]}
        return {cell: retuned.get(cell, self.documented_rate) for cell in CELLS}

    @property
    def _keeps_rates(self) -> bool:
        """Whether the tuning is complete and no cell has a better rate than the documented one."""
        tuning = self.parts.get("tuning")
        if tuning is None or len(tuning.results) < tuning.n_trials:
            return False
        documented = self.documented_rate
        return all(
            best_rate({rate: float(v.mean()) for rate, v in of_rate.items()}, documented)
            == documented
            for of_rate in self.rates.values()
        )

    @cached_property
    def dose_curves(self) -> dict[str, list[CurvePoint]]:
        """The dose-response curves by axis, with the factorial's runs where they fit."""
        if "doses" not in self.runs:
            return {}
        pool = [*self.runs["factorial"], *self.runs["doses"]]
        documented = next(r for r in self.runs["factorial"] if r.cell == DOCUMENTED).result.params
        levels: dict[str, list[_Level]] = {}
        for level in self.parts["doses"].identity_as(AblationIdentity).levels or ():
            levels.setdefault(level.axis, []).append(
                _Level(level.strength, _has(level.params), level.params == documented)
            )
        return {
            axis: _curve(pool, sorted(of_axis, key=lambda level: level.x))
            for axis, of_axis in levels.items()
        }

    @cached_property
    def size_curves(self) -> dict[Cell, list[CurvePoint]]:
        """The training-size curves of both cells; the whole set comes from the factorial."""
        if "sizes" not in self.runs:
            return {}
        pool = [*self.runs["factorial"], *self.runs["sizes"]]
        sizes = sorted({run.n_rows for run in pool})
        return {
            cell: _curve(
                pool, [_Level(float(n), _is_size_of(cell, n), n == sizes[-1]) for n in sizes]
            )
            for cell in (NONE, DOCUMENTED)
        }

    @property
    def n_test_readings(self) -> int:
        """How often the test set was read, by all parts together."""
        return sum(len(run.result.readouts) for runs in self.runs.values() for run in runs)


@dataclass(frozen=True, slots=True)
class _Level:
    """A point of a curve before its runs are gathered; `has` tells which they are."""

    x: float
    has: Callable[[Run], bool]
    is_documented: bool


def _has(params: NetworkParams) -> Callable[[Run], bool]:
    return lambda run: run.result.params == params


def _is_size_of(cell: Cell, n_rows: int) -> Callable[[Run], bool]:
    return lambda run: run.cell == cell and run.n_rows == n_rows


def _curve(pool: Sequence[Run], levels: Sequence[_Level]) -> list[CurvePoint]:
    """Gather the runs at each level, of the seeds that are complete at all levels.

    Returns:
        The curve; empty with fewer than two complete seeds, which have no spread.
    """
    by_level: list[Mapping[tuple[int, int], Run]] = [
        {(run.seed, run.split): run for run in pool if run.is_complete and level.has(run)}
        for level in levels
    ]
    splits = {run.split for run in pool}
    whole = [
        seed
        for seed in sorted({run.seed for run in pool})
        if all((seed, split) in runs for runs in by_level for split in splits)
    ]
    return [
        CurvePoint(
            level.x,
            tuple(runs[seed, split] for seed in whole for split in sorted(splits)),
            level.is_documented,
        )
        for level, runs in zip(levels, by_level, strict=True)
        if len(whole) >= 2
    ]
