"""All runs of an ablation in the stores, arranged for its report."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_study.core.datasets import is_mnist
from mnist_study.core.identity import AblationIdentity, ArmIdentity, differences
from mnist_study.core.trials import TrialResult
from mnist_study.experiments.ablation.analysis import Analysis, analyse
from mnist_study.experiments.ablation.claims import (
    EarlierEdition,
    PowerConfig,
    Sentence,
    StatisticsConfig,
)
from mnist_study.experiments.ablation.comparisons import Comparison
from mnist_study.experiments.ablation.config import ActivationsConfig
from mnist_study.experiments.ablation.design import (
    CELLS,
    DOCUMENTED,
    NONE,
    PARTS,
    Cell,
    cell_label,
    choose_rates,
    tuning_accuracies,
)
from mnist_study.experiments.ablation.estimates import Estimate, estimate_of
from mnist_study.experiments.ablation.outcomes import Outcome
from mnist_study.experiments.ablation.recipes import FACTORIALS, RESTORED
from mnist_study.experiments.ablation.runs import Key, Run, Values, runs_of, values_of
from mnist_study.search.history import History


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One point of a dose-response or size curve.

    Attributes:
        x: strength, or number of training rows.
        part: of its runs.
        arm: of its runs.
        is_documented: whether this is the documented setting.
    """

    x: float
    part: str
    arm: str
    is_documented: bool = False

    def key(self, readout: str) -> Key:
        """Return the key of its runs at a read-out."""
        return self.part, self.arm, readout


class AblationRecord:
    """The factorial of the main recipe with whatever parts there are beside it.

    Attributes:
        history: of the main part.
        main_part: its name.
        parts: all records with runs, by part, the main part's too.
        excluded: why a part beside it is left out, by part: it was run with other settings.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self.identity = history.identity_as(AblationIdentity)
        self.main_part = self.identity.part
        self.parts: dict[str, History] = {self.main_part: history}
        self.excluded: dict[str, str] = {}
        for part in PARTS:
            if part == self.main_part:
                continue
            sibling = history.sibling(f"{history.name}-{part}")
            if sibling is None or not sibling.results:
                continue
            if why := self._why_not_comparable(sibling):
                self.excluded[part] = why
            else:
                self.parts[part] = sibling
        self.runs: dict[str, list[Run]] = {part: runs_of(h) for part, h in self.parts.items()}

    def _why_not_comparable(self, sibling: History) -> str | None:
        """Return in what a part differs from the main part that all parts share; None if nothing.

        Tuning never reads the test set, so that it has no identity of it.
        """
        theirs = sibling.identity_as(AblationIdentity)
        shared: dict[str, Any] = {
            "part": self.identity.part,
            "arms": self.identity.arms,
            "declared": self.identity.declared,
            "levels": self.identity.levels,
        }
        if theirs.data.n_test is None:
            shared["data"] = theirs.data.model_copy(
                update={
                    "test_content_hash": self.identity.data.test_content_hash,
                    "n_test": self.identity.data.n_test,
                }
            )
        changed = differences(self.identity, theirs.model_copy(update=shared))
        return "; ".join(changed) or None

    @property
    def on_mnist(self) -> bool:
        """Whether this is about MNIST and not other data."""
        return is_mnist(self.identity.data.dataset)

    @property
    def n_images(self) -> int:
        """The number of test images."""
        return self.identity.data.n_test or 0

    @property
    def n_seeds(self) -> int:
        """The number of seeds of each execution that were begun in the main recipe."""
        return max((run.replicate for run in self.runs[self.main_part]), default=-1) + 1

    @property
    def all_runs(self) -> list[Run]:
        """The runs of all parts."""
        return [run for runs in self.runs.values() for run in runs]

    @property
    def factorials(self) -> tuple[str, ...]:
        """The parts with all cells that have runs; the re-tuned one copies what keeps its rate."""
        return tuple(part for part in FACTORIALS if part in self.parts)

    def arms(self, part: str) -> tuple[ArmIdentity, ...]:
        """Return the arms of a part; none without its record."""
        if part not in self.parts:
            return ()
        return self.parts[part].identity_as(AblationIdentity).arms

    def readouts(self, part: str) -> tuple[str, ...]:
        """Return the names of the read-outs of a part's first arm."""
        return tuple(p.name for arm in self.arms(part)[:1] for p in arm.readouts)

    def documented_arm(self, part: str | None = None) -> ArmIdentity:
        """Return the documented network's arm in a recipe, the main one unless stated."""
        return next(a for a in self.arms(part or self.main_part) if a.cell == DOCUMENTED)

    def patience(self, part: str | None = None) -> int | None:
        """Return the patience of the read-out "restored", of the main recipe unless stated."""
        points = {point.name: point for point in self.documented_arm(part).readouts}
        rule = points[RESTORED].rule
        return None if rule is None else rule.patience

    @property
    def documented_rate(self) -> float:
        """The documented learning rate."""
        return self.documented_arm().params.learning_rate

    @property
    def _declared(self) -> dict[str, Any]:
        declared: dict[str, Any] | None = self.identity.declared
        assert declared is not None  # of the main part
        return declared

    @cached_property
    def sentences(self) -> tuple[Sentence, ...]:
        """The declared sentences with their claims."""
        return tuple(map(Sentence.model_validate, self._declared["sentences"]))

    @cached_property
    def statistics(self) -> StatisticsConfig:
        """The declared level and margins."""
        return StatisticsConfig.model_validate(self._declared["statistics"])

    @cached_property
    def power(self) -> PowerConfig:
        """The declared assumptions behind the design."""
        return PowerConfig.model_validate(self._declared["power"])

    @cached_property
    def earlier(self) -> EarlierEdition | None:
        """The edition before this one, if the file names it."""
        declared = self._declared.get("earlier")
        return None if declared is None else EarlierEdition.model_validate(declared)

    @property
    def target(self) -> float | None:
        """Validation accuracy that `epochs_to_target` waits for; None without that part."""
        declared = self._declared.get("activations")
        return None if declared is None else ActivationsConfig.model_validate(declared).target

    @cached_property
    def values(self) -> Values:
        """The outcomes of all runs; cells that keep their rate are re-tuned as they are."""
        return values_of(self.all_runs, self.n_images, self.target).with_copies(self.copies)

    @cached_property
    def copies(self) -> dict[Key, Key]:
        """The runs of cells that keep their rate, by the key that they have when re-tuned."""
        kept = (
            cell_label(cell) for cell, rate in self.chosen.items() if rate == self.documented_rate
        )
        return {
            ("retuned", arm, readout): ("study", arm, readout)
            for arm in kept
            for readout in self.readouts("study")
        }

    @cached_property
    def analysis(self) -> Analysis | None:
        """The statistics; None with fewer than two replicates that are complete in every cell."""
        all_cells: dict[Key, float] = {
            (self.main_part, cell_label(cell), readout): 1.0
            for cell in CELLS
            for readout in self.readouts(self.main_part)[:1]
        }
        if sum(len(of) for of in self.values.weighted(all_cells, "test_accuracy")) < 2:
            return None
        readouts = {part: self.readouts(part) for part in self.factorials}
        return analyse(self.values, self.sentences, self.statistics, readouts)

    @cached_property
    def rates(self) -> dict[Cell, dict[float, NDArray[np.float64]]]:
        """Validation accuracy at the last epoch of the tuning, by cell and learning rate."""
        return tuning_accuracies(self.arms("tuning"), self.runs_of_tuning)

    @property
    def offered_rates(self) -> list[float]:
        """The learning rates of the tuning with runs, ascending; empty without that part."""
        return sorted({rate for of_rate in self.rates.values() for rate in of_rate})

    @property
    def runs_of_tuning(self) -> list[TrialResult]:
        """The results of the tuning, in order."""
        return [run.result for run in self.runs.get("tuning", [])]

    @cached_property
    def chosen(self) -> dict[Cell, float]:
        """The learning rates of the re-tuned factorial; empty until the tuning is complete."""
        tuning = self.parts.get("tuning")
        if tuning is None or len(tuning.results) < tuning.n_trials:
            return {}
        return choose_rates(self.rates, self.documented_rate)

    @cached_property
    def dose_curves(self) -> dict[str, list[CurvePoint]]:
        """The dose-response curves by axis, with the study's factorial where it fits."""
        if "doses" not in self.parts or "study" not in self.parts:
            return {}
        places = {arm.params: ("study", arm.label) for arm in self.arms("study")}
        places |= {arm.params: ("doses", arm.label) for arm in self.arms("doses")}
        documented = self.documented_arm("study").params
        curves: dict[str, list[CurvePoint]] = {}
        for one in self.parts["doses"].identity_as(AblationIdentity).levels or ():
            point = CurvePoint(one.strength, *places[one.params], one.params == documented)
            curves.setdefault(one.axis, []).append(point)
        return {axis: sorted(points, key=lambda p: p.x) for axis, points in curves.items()}

    @cached_property
    def size_curves(self) -> dict[Cell, list[CurvePoint]]:
        """The training-size curves of both cells; the whole set is in the study's factorial."""
        if "sizes" not in self.parts or "study" not in self.parts:
            return {}
        whole = self.identity.data.n_train
        return {
            cell: sorted(
                [
                    *(
                        CurvePoint(float(arm.n_rows or 0), "sizes", arm.label)
                        for arm in self.arms("sizes")
                        if arm.cell == cell
                    ),
                    CurvePoint(float(whole), "study", cell_label(cell), is_documented=True),
                ],
                key=lambda point: point.x,
            )
            for cell in (NONE, DOCUMENTED)
        }

    def estimate(self, outcome: Outcome, comparison: Comparison) -> Estimate | None:
        """Estimate a comparison with the declared confidence; None with too few replicates."""
        return estimate_of(self.values, outcome, comparison, self.statistics.confidence)

    @property
    def n_planned(self) -> int:
        """The number of runs of all parts that have begun, when they are finished."""
        return sum(max(h.n_trials, len(h.results)) for h in self.parts.values())

    @property
    def n_test_readings(self) -> int:
        """How often the test set was read, by all parts together."""
        return sum(len(run.result.readouts) for run in self.all_runs)
