"""Read-outs of a run: sets of its weights, and what is measured of each."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mnist_study.core.config import EarlyStoppingConfig


@dataclass(frozen=True, slots=True)
class ReadoutPoint:
    """A set of weights of a run that is to be measured; measuring does not end the run.

    Without `rule` and `average_from` these are the weights of the last epoch.

    Attributes:
        name: of the read-out, unique in a run.
        until: the run counts as ended after this epoch; None takes all epochs.
        rule: early stopping, whose restored weights these are.
        average_from: the first of the epochs whose final weights are averaged.

    References:
        Izmailov et al., Averaging weights leads to wider optima and better generalization, UAI
        2018 (the average over epochs).
    """

    name: str
    until: int | None = None
    rule: EarlyStoppingConfig | None = None
    average_from: int | None = None


def pack_bits(correct: np.ndarray) -> str:
    """Pack bool, shape (n_images,), as `Readout.correct_bits` says."""
    return base64.b64encode(np.packbits(correct).tobytes()).decode("ascii")


@dataclass(frozen=True, slots=True)
class Readout:
    """Metrics of one set of a run's weights, without dropout and without the L2 penalty.

    Attributes:
        point: name of the `ReadoutPoint`.
        epoch: whose weights these are; for averaged weights the last epoch.
        epochs_trained: how long a run that ends here trains, the epochs of patience included.
        weights_sha256: identity of the weights.
        train_accuracy: over the training rows of the run, in [0, 1].
        train_loss: mean cross-entropy over them, in nats.
        test_accuracy: in [0, 1].
        test_loss: mean cross-entropy over the test images, in nats.
        calibration_error: expected calibration error on the test images, 15 bins.
        correct_bits: which test images were classified correctly: a bit each, the first image in
            the highest bit of the first byte, filled up with zeros, in base64.
        val_accuracy: over the validation rows, in [0, 1]; None in records of earlier versions.
        val_loss: mean cross-entropy over them, in nats; None likewise.
        kernel_norms: Frobenius norm of each layer's kernel, from the images on; empty likewise.
    """

    point: str
    epoch: int
    epochs_trained: int
    weights_sha256: str
    train_accuracy: float
    train_loss: float
    test_accuracy: float
    test_loss: float
    calibration_error: float
    correct_bits: str = field(repr=False)
    val_accuracy: float | None = None
    val_loss: float | None = None
    kernel_norms: tuple[float, ...] = ()

    def as_document(self) -> dict[str, Any]:
        """Return the values by name, without those that records of earlier versions lack."""
        return {k: v for k, v in asdict(self).items() if v is not None and v != ()}

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Readout:
        """Read what `as_document` wrote, from JSON, which has no tuples."""
        return cls(**{**document, "kernel_norms": tuple(document.get("kernel_norms", ()))})

    def correct_images(self, n_images: int) -> np.ndarray:
        """Unpack `correct_bits`; returns bool, shape (n_images,)."""
        packed = np.frombuffer(base64.b64decode(self.correct_bits), np.uint8)
        return np.unpackbits(packed, count=n_images).astype(np.bool_)

    def as_metrics(self) -> dict[str, float]:
        """Return the numbers under the names that stores and the ledger use."""
        point = self.point.replace("@", "_within_")  # MLflow's names have no "@"
        norms = {
            f"readout/norm_dense_{layer}_{point}": norm
            for layer, norm in enumerate(self.kernel_norms, 1)
        }
        return norms | {
            f"readout/train_accuracy_{point}": self.train_accuracy,
            f"readout/train_loss_{point}": self.train_loss,
            f"test/accuracy_{point}": self.test_accuracy,
            f"test/loss_{point}": self.test_loss,
            f"test/calibration_error_{point}": self.calibration_error,
            f"readout/epoch_{point}": self.epoch,
            f"readout/epochs_trained_{point}": self.epochs_trained,
        }
