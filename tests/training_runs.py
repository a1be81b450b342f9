"""Networks, configurations and rows that the tests of training share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from mnist_study.core.config import EarlyStoppingConfig, NetworkParams, TrainingConfig
from mnist_study.core.trials import Seeds
from mnist_study.data.dataset import Splits

PARAMS = NetworkParams(
    # A learning rate that float32 holds exactly, as Keras stores it in that.
    units_1=32, units_2=24, units_3=16, dropout_1=0.3, dropout_2=0.2, l2=1e-3, learning_rate=2**-9
)  # fmt: skip
PLAIN = PARAMS.model_copy(update={"dropout_1": 0.0, "dropout_2": 0.0})
# More rate than is good for the network: runs part soon, and the best epoch is not the last.
RESTLESS = PLAIN.model_copy(update={"learning_rate": 2**-6})
UNITS = ("units_1", "units_2", "units_3")
SEEDS = Seeds(init_seed=11, dropout_seed=12, shuffle_seed=13)
TWO_EPOCHS = TrainingConfig(batch_size=32, epochs=2, schedule="cosine")
# No file can ask for this rate; it makes float32 overflow within an epoch.
EXPLODING = PARAMS.model_copy(update={"learning_rate": 1e20, "l2": 1.0})


def stopping_config(monitor: str, patience: int, epochs: int = 30) -> TrainingConfig:
    stopping = EarlyStoppingConfig.model_validate(dict(monitor=monitor, patience=patience))
    return TrainingConfig(
        batch_size=32, epochs=epochs, schedule="constant", early_stopping=stopping
    )


def first_rows(splits: Splits, n_rows: int) -> Splits:
    images, labels = splits.train_images[:n_rows], splits.train_labels[:n_rows]
    assert len(labels) == n_rows
    return replace(splits, train_images=images, train_labels=labels)


def same_weights(ours: Sequence[NDArray[Any]], theirs: Sequence[NDArray[Any]]) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(ours, theirs, strict=True))
