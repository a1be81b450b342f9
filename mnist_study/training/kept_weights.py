"""The weights that are kept during a run: those of early stopping, of an epoch, or averages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from mnist_study.core.config import EarlyStoppingConfig
from mnist_study.core.readouts import ReadoutPoint
from mnist_study.core.trials import EpochMetrics
from mnist_study.training.early_stopping import EarlyStopping

GetWeights = Callable[[], tuple[np.ndarray, ...]]
"""Returns copies of the weights as they are now, in the order of `model.get_weights()`."""


@dataclass(frozen=True, slots=True)
class KeptWeights:
    """A set of weights of a run.

    Attributes:
        epoch: whose weights these are; for averaged weights the last epoch.
        epochs_trained: length of a run that ends with these weights, patience included.
        weights: in the order of `model.get_weights()`.
    """

    epoch: int
    epochs_trained: int
    weights: tuple[np.ndarray, ...]


class Keeper(Protocol):
    """Keeps a set of weights as training goes on."""

    @property
    def kept(self) -> KeptWeights | None:
        """What is kept so far; None before the first epoch that counts."""

    @property
    def is_final(self) -> bool:
        """Whether no later epoch changes what is kept."""

    def update(self, metrics: EpochMetrics, get_weights: GetWeights) -> None:
        """Take in one epoch."""


def keeper_of(point: ReadoutPoint) -> Keeper:
    """Return a keeper of the weights that a read-out is about.

    Raises:
        ValueError: the point both restores and averages.
    """
    if point.average_from is None:
        return RestoredKeeper(point.rule, until=point.until)
    if point.rule is not None:
        raise ValueError(f"read-out {point.name}: it restores weights or averages them, not both")
    return AverageKeeper(point.average_from, until=point.until)


class RestoredKeeper:
    """The weights that an early-stopping rule would restore; without a rule, the last epoch's.

    Attributes:
        kept: the weights of the rule's best epoch so far; None before the first epoch.
    """

    def __init__(self, rule: EarlyStoppingConfig | None, *, until: int | None = None) -> None:
        self._stopping = EarlyStopping(rule)
        self._until = until
        self._epoch = 0
        self.kept: KeptWeights | None = None

    @property
    def should_stop(self) -> bool:
        """Whether the rule would have ended the training."""
        return self._stopping.should_stop

    @property
    def is_final(self) -> bool:
        """Whether no later epoch changes what is kept."""
        return self.should_stop or self._epoch == self._until

    def update(self, metrics: EpochMetrics, get_weights: GetWeights) -> None:
        """Take in one epoch."""
        if self.is_final:
            return
        self._epoch = metrics.epoch
        if self._stopping.update(metrics) or self.kept is None:
            self.kept = KeptWeights(metrics.epoch, metrics.epoch, get_weights())
        else:
            self.kept = replace(self.kept, epochs_trained=metrics.epoch)


class AverageKeeper:
    """The mean of the weights at the ends of epochs, added up in float64."""

    def __init__(self, first: int, *, until: int | None = None) -> None:
        self._first = first
        self._until = until
        self._sums: list[np.ndarray] = []
        self._last: tuple[np.ndarray, ...] = ()
        self._epoch = 0

    @property
    def kept(self) -> KeptWeights | None:
        """The mean so far; None before the first epoch that counts."""
        if not self._sums:
            return None
        n = self._epoch - self._first + 1
        means = tuple(
            (total / n).astype(last.dtype)
            for total, last in zip(self._sums, self._last, strict=True)
        )
        return KeptWeights(self._epoch, self._epoch, means)

    @property
    def is_final(self) -> bool:
        """Whether no later epoch changes what is kept."""
        return self._epoch == self._until

    def update(self, metrics: EpochMetrics, get_weights: GetWeights) -> None:
        """Take in one epoch."""
        if metrics.epoch < self._first or self.is_final:
            return
        self._epoch, self._last = metrics.epoch, get_weights()
        if not self._sums:
            self._sums = [np.zeros(weight.shape, np.float64) for weight in self._last]
        for total, weight in zip(self._sums, self._last, strict=True):
            total += weight
