"""What Keras makes of the same rows in the same order: the slow reference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from training_runs import SEEDS

from mnist_study.core.config import Activation, NetworkParams, TrainingConfig
from mnist_study.core.trials import Seeds
from mnist_study.data.dataset import Splits
from mnist_study.training.epoch_graph import batch_order
from mnist_study.training.model import build_model


@dataclass(frozen=True)
class Reference:
    """What `model.fit` makes of the same rows in the same order."""

    model: keras.Model
    losses: list[float]
    accuracies: list[float]

    @property
    def weights(self) -> list[NDArray[Any]]:
        weights: list[NDArray[Any]] = self.model.get_weights()
        return weights


def compiled(model: keras.Model, learning_rate: object) -> keras.Model:
    model.compile(
        # In float64 Keras would round Python's 0.999 to float32, numpy's it takes as it is.
        optimizer=keras.optimizers.Adam(
            learning_rate, beta_1=np.float64(0.9), beta_2=np.float64(0.999)
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


def scaled(images: NDArray[np.uint8], dtype: str) -> NDArray[Any]:
    array: NDArray[Any] = images.astype(dtype) / np.asarray(255, dtype)
    return array


def fit_reference(
    params: NetworkParams,
    config: TrainingConfig,
    splits: Splits,
    *,
    dtype: str = "float32",
    seeds: Seeds = SEEDS,
    activation: Activation = "relu",
) -> Reference:
    model = build_model(params, seeds, dtype=dtype, activation=activation)
    n_rows = len(splits.train_labels)
    rate: object = params.learning_rate
    if config.schedule == "cosine":
        n_steps = config.epochs * math.ceil(n_rows / config.batch_size)
        # Keras computes a schedule in the type of its first rate; Python's is float32 to it.
        rate = keras.optimizers.schedules.CosineDecay(np.dtype(dtype).type(rate), n_steps)
    compiled(model, rate)
    images = scaled(splits.train_images, dtype)
    reference = Reference(model, [], [])
    for epoch in range(1, config.epochs + 1):
        order = batch_order(seeds.shuffle_seed, epoch, n_rows)
        log = model.fit(
            images[order], splits.train_labels[order], batch_size=config.batch_size,
            shuffle=False, verbose=0,
        )  # fmt: skip
        reference.losses.append(log.history["loss"][0])
        reference.accuracies.append(log.history["accuracy"][0])
    return reference


def load_model(content: bytes, folder: Path) -> keras.Model:
    path = folder / "loaded.keras"
    path.write_bytes(content)
    return keras.saving.load_model(path)
