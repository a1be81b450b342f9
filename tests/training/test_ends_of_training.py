"""How training ends: by divergence, early stopping or pruning."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from keras_reference import compiled, scaled
from numpy.typing import NDArray
from training_runs import EXPLODING, PARAMS, RESTLESS, SEEDS, same_weights, stopping_config

from mnist_study.core.config import TrainingConfig
from mnist_study.core.trials import EpochMetrics
from mnist_study.data.dataset import Splits
from mnist_study.training import trainer as trainer_module
from mnist_study.training.early_stopping import EarlyStopping
from mnist_study.training.model import build_model
from mnist_study.training.trainer import train

pytestmark = pytest.mark.usefixtures("one_thread")


def test_diverged_training_keeps_nothing_and_ends_at_once(some_rows: Splits) -> None:
    seen: list[EpochMetrics] = []
    config = TrainingConfig(batch_size=32, epochs=5, schedule="constant")

    def watch(metrics: EpochMetrics) -> bool:
        seen.append(metrics)
        return False

    result = train(EXPLODING, SEEDS, config, some_rows, on_epoch=watch)
    assert result.diverged
    assert len(result.epochs) == 1
    assert seen == list(result.epochs)  # whoever watches sees the last epoch too
    assert not math.isfinite(result.epochs[-1].val_loss)
    assert result.weights == ()
    assert math.isnan(result.restored_train_accuracy)


def test_divergence_after_good_epochs_keeps_nothing_either(
    some_rows: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rates(config: TrainingConfig, base: float, n_rows: int, epoch: int) -> NDArray[Any]:
        return np.full(math.ceil(n_rows / config.batch_size), 1e20 if epoch == 3 else base)

    monkeypatch.setattr(trainer_module, "learning_rates", rates)
    config = TrainingConfig(batch_size=32, epochs=5, schedule="constant")
    result = train(PARAMS, SEEDS, config, some_rows)
    assert result.diverged
    assert [math.isfinite(epoch.val_loss) for epoch in result.epochs] == [True, True, False]
    assert result.weights == ()
    assert result.best_epoch == 0


@pytest.mark.parametrize("monitor", ["val/loss", "val/accuracy"])
@pytest.mark.parametrize("patience", [1, 3])
def test_early_stopping_ends_and_restores_where_the_rule_says(
    some_rows: Splits, monitor: str, patience: int
) -> None:
    config = stopping_config(monitor, patience)
    result = train(RESTLESS, SEEDS, config, some_rows)
    last = len(result.epochs)
    assert last < config.epochs
    rule = EarlyStopping(config.early_stopping)
    for metrics in result.epochs:
        assert not rule.should_stop
        rule.update(metrics)
    assert rule.should_stop
    assert result.best_epoch == rule.best_epoch == last - patience

    model = compiled(build_model(RESTLESS, SEEDS), 0.001)
    model.set_weights(list(result.weights))
    images = scaled(some_rows.validation_images, "float32")
    loss, accuracy = model.evaluate(images, some_rows.validation_labels, verbose=0)
    best, final = result.epochs[result.best_epoch - 1], result.epochs[-1]
    assert loss == pytest.approx(best.val_loss, rel=1e-6)
    assert accuracy == pytest.approx(best.val_accuracy, abs=1e-7)
    assert final.val_loss != pytest.approx(best.val_loss, rel=1e-3)


def test_training_does_not_depend_on_whether_it_may_stop_early(some_rows: Splits) -> None:
    stopped = train(RESTLESS, SEEDS, stopping_config("val/loss", 1), some_rows)
    free = TrainingConfig(batch_size=32, epochs=len(stopped.epochs), schedule="constant")
    whole = train(RESTLESS, SEEDS, free, some_rows)
    assert stopped.epochs == whole.epochs
    assert stopped.best_epoch < whole.best_epoch == len(whole.epochs)
    up_to_best = free.model_copy(update={"epochs": stopped.best_epoch})
    assert same_weights(stopped.weights, train(RESTLESS, SEEDS, up_to_best, some_rows).weights)


def test_pruned_training_ends_at_that_epoch_with_the_best_weights_so_far(some_rows: Splits) -> None:
    config = stopping_config("val/loss", 3)
    whole = train(RESTLESS, SEEDS, config, some_rows)
    cut = whole.best_epoch + 1
    assert cut < len(whole.epochs)
    result = train(RESTLESS, SEEDS, config, some_rows, on_epoch=lambda m: m.epoch == cut)
    assert result.pruned
    assert not result.diverged
    assert result.epochs == whole.epochs[:cut]
    assert result.best_epoch == whole.best_epoch
    assert same_weights(result.weights, whole.weights)
