"""All that the stores hold of an ablation, put together for the report."""

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
    """One place on a dose-response or size curve.

    Attributes:
        x: strength, or number of training rows.
        runs: one a seed and split, the same of both at all places of a curve.
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
            found = history.sibling(f"{history.name}-{part}")
            # A part of other settings or data, as --allow-mixed leaves it, is not this one's.
            if found is not None and found.results:
                self.parts[part] = found
        self.runs: dict[str, list[Run]] = {part: runs_of(h) for part, h in self.parts.items()}

    @property
    def on_mnist(self) -> bool:
        """Whether this is about MNIST and not the stand-in."""
        return self.identity.data.dataset == "mnist"

    @property
    def n_images(self) -> int:
        """How many test images there are."""
        return self.identity.data.n_test or 0

    @property
    def n_splits(self) -> int:
        """How many splits every seed is crossed with."""
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
        """What was declared."""
        return tuple(map(Hypothesis.model_validate, self._declared["hypotheses"]))

    @cached_property
    def statistics(self) -> StatisticsConfig:
        """How it is decided."""
        return StatisticsConfig.model_validate(self._declared["statistics"])

    @cached_property
    def power(self) -> PowerConfig:
        """What the design was planned with."""
        return PowerConfig.model_validate(self._declared["power"])

    @cached_property
    def data(self) -> Factorial | None:
        """The factorial at the documented learning rate."""
        return factorial(self.runs["factorial"], self.n_images)

    @cached_property
    def analysis(self) -> Analysis | None:
        """Its statistics."""
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
        """Its statistics."""
        if self.retuned is None:
            return None
        return analyse(self.retuned, self.hypotheses, self.statistics)

    @cached_property
    def rates(self) -> dict[Cell, dict[float, NDArray[np.float64]]]:
        """Validation accuracy at the last epoch of the tuning, by cell and learning rate."""
        found: dict[Cell, dict[float, list[float]]] = {}
        for run in self.runs.get("tuning", []):
            if run.is_complete and run.cell is not None:
                rate = run.result.params.learning_rate
                values = found.setdefault(run.cell, {}).setdefault(rate, [])
                values.append(run.result.epochs[-1].val_accuracy)
        return {
            cell: {rate: np.array(values) for rate, values in sorted(of_rate.items())}
            for cell, of_rate in found.items()
        }

    @cached_property
    def chosen(self) -> dict[Cell, float]:
        """The learning rates of the re-tuned factorial; empty while that is open."""
        if "retuned" not in self.runs:
            return dict.fromkeys(CELLS, self.documented_rate) if self._keeps_rates else {}
        anew = {run.cell: run.result.params.learning_rate for run in self.runs["retuned"]}
        return {cell: anew.get(cell, self.documented_rate) for cell in CELLS}

    @property
    def _keeps_rates(self) -> bool:
        """Whether the tuning is done and no cell has found a better rate than the documented."""
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
        """The dose-response curves by axis; runs of the factorial stand where they fit."""
        if "doses" not in self.runs:
            return {}
        pool = [*self.runs["factorial"], *self.runs["doses"]]
        documented = next(r for r in self.runs["factorial"] if r.cell == DOCUMENTED).result.params
        places: dict[str, list[tuple[float, Callable[[Run], bool], bool]]] = {}
        for level in self.parts["doses"].identity_as(AblationIdentity).levels or ():
            places.setdefault(level.axis, []).append(
                (level.strength, _has(level.params), level.params == documented)
            )
        return {axis: _curve(pool, sorted(of, key=_x)) for axis, of in places.items()}

    @cached_property
    def size_curves(self) -> dict[Cell, list[CurvePoint]]:
        """The training-size curves of both arms; the whole comes from the factorial."""
        if "sizes" not in self.runs:
            return {}
        pool = [*self.runs["factorial"], *self.runs["sizes"]]
        sizes = sorted({run.n_rows for run in pool})
        return {
            cell: _curve(pool, [(float(n), _is_arm(cell, n), n == sizes[-1]) for n in sizes])
            for cell in (NONE, DOCUMENTED)
        }

    @property
    def n_test_readings(self) -> int:
        """How often the test set was read, by all parts together."""
        return sum(len(run.result.readouts) for runs in self.runs.values() for run in runs)


_Place = tuple[float, Callable[[Run], bool], bool]


def _x(place: _Place) -> float:
    return place[0]


def _has(params: NetworkParams) -> Callable[[Run], bool]:
    return lambda run: run.result.params == params


def _is_arm(cell: Cell, n_rows: int) -> Callable[[Run], bool]:
    return lambda run: run.cell == cell and run.n_rows == n_rows


def _curve(pool: Sequence[Run], places: Sequence[_Place]) -> list[CurvePoint]:
    """Gather the runs at each place, of the seeds that are complete at all of them.

    Returns:
        The curve; nothing with fewer than two whole seeds, which have no spread.
    """
    found: list[Mapping[tuple[int, int], Run]] = [
        {(run.seed, run.split): run for run in pool if run.is_complete and belongs(run)}
        for _, belongs, _ in places
    ]
    splits = {run.split for run in pool}
    whole = [
        seed
        for seed in sorted({run.seed for run in pool})
        if all((seed, split) in runs for runs in found for split in splits)
    ]
    return [
        CurvePoint(x, tuple(runs[seed, split] for seed in whole for split in sorted(splits)), is_it)
        for (x, _, is_it), runs in zip(places, found, strict=True)
        if len(whole) >= 2
    ]
