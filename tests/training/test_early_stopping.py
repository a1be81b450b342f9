"""The early-stopping rule against Keras's own callback."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_study.core.config import EarlyStoppingConfig
from mnist_study.core.trials import EpochMetrics
from mnist_study.training.early_stopping import EarlyStopping

Monitor = Literal["val/loss", "val/accuracy"]
NAN, INF = math.nan, math.inf

pytestmark = pytest.mark.usefixtures("one_thread")


class FakeModel:
    """What Keras's callback touches of a model; its one weight is the number of the epoch."""

    def __init__(self) -> None:
        self.stop_training = False
        self.weight = 0

    def get_weights(self) -> list[int]:
        return [self.weight]

    def set_weights(self, weights: list[int]) -> None:
        (self.weight,) = weights


def by_keras(config: EarlyStoppingConfig, history: Sequence[float]) -> tuple[int, int]:
    """Return the epoch whose weights Keras restores and the last epoch that it runs."""
    callback = keras.callbacks.EarlyStopping(
        monitor=config.monitor,
        mode="min" if config.monitor == "val/loss" else "max",
        min_delta=config.min_delta,
        patience=config.patience,
        restore_best_weights=True,
    )
    model = FakeModel()
    callback.set_model(model)
    callback.on_train_begin()
    n_epochs = 0
    for value in history:
        n_epochs += 1
        model.weight = n_epochs
        callback.on_epoch_end(n_epochs - 1, {config.monitor: value})
        if model.stop_training:
            break
    callback.on_train_end()
    return model.weight, n_epochs


def by_rule(config: EarlyStoppingConfig | None, history: Sequence[float]) -> tuple[int, int]:
    """Return the same by the rule under test, from what `update` answers."""
    stopping = EarlyStopping(config)
    restored = n_epochs = 0
    for value in history:
        n_epochs += 1
        # The other monitor gets a value that would decide otherwise.
        loss, accuracy = (value, -n_epochs) if _watches_loss(config) else (n_epochs, value)
        if stopping.update(EpochMetrics(n_epochs, NAN, NAN, loss, accuracy)):
            restored = n_epochs
        if stopping.should_stop:
            break
    assert stopping.best_epoch == restored
    return restored, n_epochs


def _watches_loss(config: EarlyStoppingConfig | None) -> bool:
    return config is None or config.monitor == "val/loss"


# Falling is better; for the accuracy every value is negated.
# name: (history, patience, min_delta, restored epoch, last epoch)
CRAFTED: dict[str, tuple[list[float], int, float, int, int]] = {
    "improving to the end": ([5, 4, 3, 2, 1], 1, 0, 5, 5),
    "worse from the second epoch": ([1, 2, 3, 4, 5], 2, 0, 1, 3),
    "plateau after an improvement": ([3, 2, 2, 2, 2, 2], 3, 0, 2, 5),
    "a tie is no improvement": ([1, 1, 1], 2, 0, 1, 3),
    "ties do not move the best epoch": ([2, 1, 1, 0.5, 0.5, 0.5], 2, 0, 4, 6),
    "recovers in the last epoch of patience": ([2, 3, 3, 1, 4, 4, 4, 0], 3, 0, 4, 7),
    "recovers one epoch too late": ([2, 3, 3, 3, 1], 3, 0, 1, 4),
    "patience of one": ([2, 1, 1.5, 0], 1, 0, 2, 3),
    "patience that runs out at the very end": ([1, 2, 2], 2, 0, 1, 3),
    "patience longer than the history": ([1, 2, 2, 2], 9, 0, 1, 4),
    "one epoch": ([1], 1, 0, 1, 1),
    "less than min_delta is no improvement": ([2, 1.75, 1.5, 0], 2, 0.5, 1, 3),
    "exactly min_delta is no improvement": ([2, 1.5, 1.0], 1, 0.5, 1, 2),
    "small steps add up to more than min_delta": ([2, 1.75, 1.25, 1.0], 2, 0.5, 3, 4),
    "NaN at the first epoch is never beaten": ([NAN, 2, 1, 0.5], 2, 0, 1, 3),
    "NaN later counts as worse": ([2, NAN, 1, NAN, NAN, 0], 2, 0, 3, 5),
    "NaN to the end": ([3, NAN, NAN, NAN, NAN], 3, 0, 1, 4),
    "nothing but NaN": ([NAN, NAN, NAN, NAN], 2, 0, 1, 3),
    "infinity at the first epoch is beaten": ([INF, 2, 1], 1, 0, 3, 3),
    "infinity later counts as worse": ([2, INF, INF, 1], 2, 0, 1, 3),
    "two infinities are a tie": ([INF, INF, INF, 1], 2, 0, 1, 3),
}


@pytest.mark.parametrize("monitor", ["val/loss", "val/accuracy"])
@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_history_ends_and_restores_as_in_keras(name: str, monitor: Monitor) -> None:
    history, patience, min_delta, restored, last = CRAFTED[name]
    if monitor == "val/accuracy":
        history = [-value for value in history]
    config = EarlyStoppingConfig(monitor=monitor, patience=patience, min_delta=float(min_delta))
    assert by_keras(config, history) == (restored, last)  # the table itself is right
    assert by_rule(config, history) == (restored, last)


@settings(deadline=None, max_examples=150)
@given(
    # Sixteenths, so that Keras's float32 comparisons are exact and ties are common.
    history=st.lists(
        st.integers(-24, 24).map(lambda n: n / 16) | st.sampled_from([NAN, INF, -INF]),
        min_size=1,
        max_size=14,
    ),
    patience=st.integers(1, 6),
    min_delta=st.integers(0, 6).map(lambda n: n / 16),
    monitor=st.sampled_from(["val/loss", "val/accuracy"]),
)
def test_any_history_ends_and_restores_as_in_keras(
    history: list[float], patience: int, min_delta: float, monitor: Monitor
) -> None:
    config = EarlyStoppingConfig(monitor=monitor, patience=patience, min_delta=min_delta)
    assert by_rule(config, history) == by_keras(config, history)


@given(history=st.lists(st.floats(), min_size=1, max_size=8))
def test_without_settings_nothing_stops_and_the_last_epoch_is_kept(history: list[float]) -> None:
    assert by_rule(None, history) == (len(history), len(history))
