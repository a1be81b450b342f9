"""What an ablation measures, and how each outcome is written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unit:
    """How an outcome is written.

    Attributes:
        name: in words.
        unit: of the numbers as written.
        scale: from the stored to the written number.
        digits: after the point.
        more_is_better: in which direction it improves.
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
