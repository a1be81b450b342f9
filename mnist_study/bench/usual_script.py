"""The script that people write: Optuna, `model.fit`, an MLflow run and a logged model per trial.

One process, TensorFlow's own thread settings, the defaults of `mlflow.keras.log_model`, Optuna's
study in memory.
"""

from __future__ import annotations

import keras
import mlflow
import numpy as np
import optuna

from mnist_study.data.dataset import Splits


def make_model(trial: optuna.Trial) -> keras.Model:
    """Build the network that Optuna suggests, in the space of `experiments/study.toml`."""
    units_1 = trial.suggest_int("units_1", 128, 640)
    units_2 = trial.suggest_int("units_2", 64, 320)
    units_3 = trial.suggest_int("units_3", 32, 160)
    dropout_1 = trial.suggest_float("dropout_1", 0.0, 0.5)
    dropout_2 = trial.suggest_float("dropout_2", 0.0, 0.5)
    l2 = trial.suggest_float("l2", 1e-6, 1e-3, log=True)
    learning_rate = trial.suggest_float("learning_rate", 5e-4, 3e-3, log=True)
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28)),
            keras.layers.Flatten(),
            keras.layers.Dense(
                units_1, activation="relu", kernel_regularizer=keras.regularizers.L2(l2)
            ),
            keras.layers.Dense(units_2, activation="relu"),
            keras.layers.Dropout(dropout_1),
            keras.layers.Dense(units_3, activation="relu"),
            keras.layers.Dropout(dropout_2),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


class Objective:
    """Train one network, record it and return its best validation accuracy.

    Args:
        splits: training and validation rows.
        epochs, batch_size: of every trial.
    """

    def __init__(self, splits: Splits, *, epochs: int, batch_size: int) -> None:
        self._train = (_scaled(splits.train_images), splits.train_labels)
        self._validation = (_scaled(splits.validation_images), splits.validation_labels)
        self._epochs = epochs
        self._batch_size = batch_size

    def __call__(self, trial: optuna.Trial) -> float:
        """Run one trial."""
        model = make_model(trial)
        with mlflow.start_run(run_name=f"trial-{trial.number:03d}"):
            mlflow.log_params(trial.params)
            history = model.fit(
                *self._train,
                validation_data=self._validation,
                epochs=self._epochs,
                batch_size=self._batch_size,
                verbose=0,
            ).history
            for epoch in range(self._epochs):
                values = {name: series[epoch] for name, series in history.items()}
                mlflow.log_metrics(values, step=epoch + 1)
            mlflow.keras.log_model(model, name="model")
        return float(max(history["val_accuracy"]))


def _scaled(images: np.ndarray) -> np.ndarray:
    return images.astype("float32") / 255
