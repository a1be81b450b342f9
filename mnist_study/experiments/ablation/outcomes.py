"""What is measured of a run at a read-out, and how it is written."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mnist_study.core.readouts import Readout
from mnist_study.core.trials import DIVERGED, TrialResult, TrialState

Outcome = Literal[
    "test_accuracy",
    "test_loss",
    "val_accuracy",
    "train_accuracy",
    "overfitting_gap",
    "plotted_gap",
    "calibration_error",
    "kernel_norm_1",
    "epochs_trained",
    "share_of_epochs",
    "jitter",
    "diverged",
    "epochs_to_target",
    "target_missed",
    "accuracy_deviation",
]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True, slots=True)
class Unit:
    """How an outcome is formatted.

    Attributes:
        name: as written in reports.
        unit: of a difference.
        scale: from the stored to the written number.
        digits: after the point.
        more_is_better: whether a rise is an improvement.
    """

    name: str
    unit: str
    scale: float
    digits: int
    more_is_better: bool = False

    @property
    def value_unit(self) -> str:
        """Unit of a value; only differences of percentages are in points."""
        return "%" if self.name.endswith("accuracy") and self.unit == "points" else self.unit


UNITS: dict[str, Unit] = {
    "test_accuracy": Unit("test accuracy", "points", 100, 3, more_is_better=True),
    "test_loss": Unit("test cross-entropy", "nats", 1, 4),
    "val_accuracy": Unit("validation accuracy", "points", 100, 3, more_is_better=True),
    "train_accuracy": Unit("training accuracy", "points", 100, 3, more_is_better=True),
    "overfitting_gap": Unit("overfitting gap", "points", 100, 3),
    "plotted_gap": Unit("gap as plotted", "points", 100, 3),
    "calibration_error": Unit("calibration error", "points", 100, 3),
    "kernel_norm_1": Unit("norm of the first layer's kernel", "(Frobenius)", 1, 2),
    "epochs_trained": Unit("length of training", "epochs", 1, 1),
    "share_of_epochs": Unit("share of the allowed epochs", "% trained", 100, 0),
    "jitter": Unit("jitter between epochs", "points", 100, 3),
    "diverged": Unit("diverged runs", "%", 100, 0),
    "epochs_to_target": Unit("epochs to the target", "epochs", 1, 2),
    "target_missed": Unit("runs that miss the target", "%", 100, 0),
    "accuracy_deviation": Unit("deviation of test accuracy between seeds", "points", 100, 3),
}


CHANCE = 0.1
"""Accuracy that a diverged network is given: that of a class named at random."""
DIVERGED_BELOW = 0.5
"""Validation accuracy at the last epoch below which a run counts as diverged."""


def of_readout(
    result: TrialResult, readout: Readout, *, allowed: int, all_rows: bool
) -> dict[Outcome, float]:
    """Return the outcomes of a run at a read-out; NaN where there is none.

    Args:
        result: the run.
        readout: of it.
        allowed: epochs that the run could have taken up to this read-out.
        all_rows: trained on the validation rows too, so that those tell nothing.
    """
    is_validated = not all_rows and readout.val_accuracy is not None
    plotted = math.nan
    if is_validated and readout.point != "averaged":
        # What Keras prints at the epoch at which the run ends: the running mean, with dropout.
        end = result.epochs[readout.epochs_trained - 1]
        plotted = end.train_accuracy - end.val_accuracy
    return {
        "test_accuracy": readout.test_accuracy,
        "test_loss": readout.test_loss,
        "val_accuracy": float(readout.val_accuracy or 0.0) if is_validated else math.nan,
        "train_accuracy": readout.train_accuracy,
        "overfitting_gap": readout.train_accuracy - readout.test_accuracy,
        "plotted_gap": plotted,
        "calibration_error": readout.calibration_error,
        "kernel_norm_1": readout.kernel_norms[0] if readout.kernel_norms else math.nan,
        "epochs_trained": float(readout.epochs_trained),
        "share_of_epochs": readout.epochs_trained / allowed,
        "diverged": 0.0,
    }


def of_run(
    result: TrialResult, *, target: float | None, planned: int, all_rows: bool
) -> dict[Outcome, float]:
    """Return the outcomes that a run has as a whole, a failed one too; NaN where there is none.

    Args:
        result: the run.
        target: validation accuracy that `epochs_to_target` waits for.
        planned: epochs that it was to train.
        all_rows: as for `of_readout`.
    """
    if is_unknown(result) or all_rows:
        return {"jitter": math.nan, "epochs_to_target": math.nan, "target_missed": math.nan}
    values = np.array([epoch.val_accuracy for epoch in result.epochs])
    epochs = math.nan if target is None else epochs_to(values, target, planned)
    return {
        "jitter": math.nan if has_diverged(result) else jitter(values),
        "epochs_to_target": epochs,
        "target_missed": math.nan if target is None else float(epochs > planned),
    }


def is_unknown(result: TrialResult) -> bool:
    """Tell whether a run failed for another cause than divergence, so that it tells nothing."""
    return result.state is TrialState.FAILED and not (result.reason or "").startswith(DIVERGED)


def has_diverged(result: TrialResult) -> bool:
    """Tell whether a run's loss was not finite, or its network no longer classifies at its end."""
    if is_unknown(result):
        return False
    return result.state is TrialState.FAILED or result.epochs[-1].val_accuracy < DIVERGED_BELOW


def of_diverged() -> dict[Outcome, float]:
    """Return the outcomes at a read-out that a diverged run did not come to."""
    return {"test_accuracy": CHANCE, "diverged": 1.0}


def jitter(values: NDArray[np.float64]) -> float:
    """Return how much a curve swings from one epoch to the next in the second half of training.

    The standard deviation of one epoch about the curve, from successive differences, so that the
    rise of the curve counts little; NaN with fewer than three epochs in that half.

    Args:
        values: by epoch, shape (n_epochs,).

    References:
        von Neumann et al., The mean square successive difference, Annals of Mathematical
        Statistics 12, 1941.
    """
    half = values[len(values) // 2 :]
    if len(half) < 3:
        return math.nan
    return float(np.sqrt(np.mean(np.diff(half) ** 2) / 2))


def epochs_to(values: NDArray[np.float64], target: float, planned: int) -> float:
    """Return the first epoch at which a value reaches the target; one past the last if none does.

    Args:
        values: by epoch, shape (n_epochs,).
        target: in the same unit.
        planned: epochs that there were to be, though a diverged run has fewer.
    """
    reached = np.flatnonzero(values >= target)
    return float(reached[0] + 1 if len(reached) else planned + 1)


def deviations(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each run's distance from the median over the replicates of its execution.

    Brown and Forsythe's test compares it: its mean grows with the spread between runs.

    Args:
        values: replicates on the last axis.

    References:
        Brown and Forsythe, Robust tests for the equality of variances, JASA 69, 1974.
    """
    return np.asarray(np.abs(values - np.median(values, axis=-1, keepdims=True)))


DERIVED: dict[Outcome, tuple[Outcome, Callable[[NDArray[np.float64]], NDArray[np.float64]]]] = {
    "accuracy_deviation": ("test_accuracy", deviations)
}
"""Outcomes of a run among others, with what they are computed from."""
