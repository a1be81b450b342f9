"""Early stopping with restored best weights, as a rule on numbers alone."""

from __future__ import annotations

from mnist_study.core.config import EarlyStoppingConfig
from mnist_study.core.trials import EpochMetrics


class EarlyStopping:
    """Keras's `EarlyStopping(restore_best_weights=True)` without the model.

    Without settings nothing stops training and the last epoch is the best, as in `model.fit`
    without the callback.

    Attributes:
        best_epoch: the epoch whose weights are to be restored, from 1.
        best_value: the monitored value there; None before the first epoch.
    """

    def __init__(self, config: EarlyStoppingConfig | None) -> None:
        self._config = config
        self._wait = 0
        self.best_epoch = 0
        self.best_value: float | None = None

    def update(self, metrics: EpochMetrics) -> bool:
        """Take in one epoch and tell whether it is the best so far."""
        if self._config is None:
            self.best_epoch = metrics.epoch
            return True
        value = metrics.as_metrics()[self._config.monitor]
        self._wait += 1
        if not self._improves(value):
            return False
        self.best_epoch = metrics.epoch
        self.best_value = value
        self._wait = 0
        return True

    @property
    def should_stop(self) -> bool:
        """Whether patience has run out."""
        return self._config is not None and self._wait >= self._config.patience

    def _improves(self, value: float) -> bool:
        if self.best_value is None:
            return True
        assert self._config is not None
        if self._config.monitor == "val/accuracy":
            return value - self._config.min_delta > self.best_value
        return value + self._config.min_delta < self.best_value
