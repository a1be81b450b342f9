"""Training is a function of its arguments and uses every row once per epoch."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from training_runs import PARAMS, PLAIN, SEEDS, TWO_EPOCHS, first_rows, same_weights

from mnist_study.core.config import TrainingConfig
from mnist_study.core.trials import Seeds
from mnist_study.data.dataset import Splits, load_training_set, split
from mnist_study.training.model import weights_sha256
from mnist_study.training.trainer import TrainingResult, batch_order, train

pytestmark = pytest.mark.usefixtures("one_thread")


def outcome(result: TrainingResult) -> tuple[object, ...]:
    """All of a result but its wall time."""
    return (
        result.epochs,
        result.best_epoch,
        weights_sha256(result.weights),
        result.restored_train_loss,
        result.restored_train_accuracy,
    )


def test_same_arguments_give_the_same_bits_whatever_ran_before(some_rows: Splits) -> None:
    first = outcome(train(PARAMS, SEEDS, TWO_EPOCHS, some_rows))
    again = outcome(train(PARAMS, SEEDS, TWO_EPOCHS, some_rows))
    wider = PARAMS.model_copy(update={"units_1": 50, "l2": 0.0})
    other_shape = outcome(train(wider, SEEDS, TWO_EPOCHS, first_rows(some_rows, 333)))
    after_other_shape = outcome(train(PARAMS, SEEDS, TWO_EPOCHS, some_rows))
    hotter = PARAMS.model_copy(update={"learning_rate": 0.1})
    train(hotter, Seeds(1, 2, 3), TWO_EPOCHS, some_rows)  # the same graph, full of other numbers
    after_same_shape = outcome(train(PARAMS, SEEDS, TWO_EPOCHS, some_rows))
    assert first == again == after_other_shape == after_same_shape
    assert first != other_shape


def test_global_random_state_is_neither_read_nor_changed(some_rows: Splits) -> None:
    outcomes = []
    for seed in (0, 1):
        random.seed(seed)
        np.random.seed(seed)
        tf.random.set_seed(seed)
        outcomes.append(outcome(train(PARAMS, SEEDS, TWO_EPOCHS, some_rows)))
    assert outcomes[0] == outcomes[1]

    np.random.seed(7)
    expected = np.random.random()
    np.random.seed(7)
    train(PARAMS, SEEDS, TWO_EPOCHS, some_rows)
    assert np.random.random() == expected


@pytest.mark.parametrize("name", ["init_seed", "dropout_seed", "shuffle_seed"])
def test_each_seed_decides_something(some_rows: Splits, name: str) -> None:
    other = replace(SEEDS, **{name: 1234})
    ours = train(PARAMS, SEEDS, TWO_EPOCHS, some_rows).weights
    assert not same_weights(ours, train(PARAMS, other, TWO_EPOCHS, some_rows).weights)


def describe_training() -> str:
    """What a fresh process prints: the outcome, floats written exactly."""
    splits = first_rows(split(load_training_set("digits"), validation_size=437, split_seed=0), 1000)
    result = train(PARAMS, SEEDS, TWO_EPOCHS, splits)
    metrics = [value.hex() for epoch in result.epochs for value in epoch.as_metrics().values()]
    return json.dumps([weights_sha256(result.weights), metrics])


def test_fresh_process_with_another_hash_seed_gives_the_same_bits() -> None:
    script = (
        f"import sys; sys.path[:0] = {[str(path) for path in Path(__file__).parents[:2]]}\n"
        "from mnist_study.training.process import limit_threads; limit_threads()\n"
        "import random, numpy, tensorflow\n"
        "random.seed(5); numpy.random.seed(6); tensorflow.random.set_seed(7)\n"
        f"import {Path(__file__).stem} as tests; print(tests.describe_training())"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": "4242"},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == describe_training()


@pytest.mark.parametrize("n_rows", [1, 7, 1000])
def test_order_of_an_epoch_visits_every_row_once(n_rows: int) -> None:
    for epoch in (1, 2, 50):
        order = batch_order(SEEDS.shuffle_seed, epoch, n_rows)
        assert order.dtype == np.int32
        assert sorted(order.tolist()) == list(range(n_rows))


def test_order_differs_between_epochs_and_seeds_and_is_a_function_of_both() -> None:
    orders = {(s, e): batch_order(s, e, 500).tobytes() for s in (0, 1, 13) for e in (1, 2, 3)}
    assert len(set(orders.values())) == len(orders)
    assert all(batch_order(s, e, 500).tobytes() == order for (s, e), order in orders.items())


@pytest.mark.parametrize(("n_rows", "batch_size"), [(100, 32), (96, 32), (20, 32), (33, 32)])
def test_epoch_loss_counts_every_row_once_the_short_batch_included(
    some_rows: Splits, n_rows: int, batch_size: int
) -> None:
    """With steps of nearly no length the running loss is the mean over exactly these rows."""
    params = PLAIN.model_copy(update={"learning_rate": 1e-30})
    config = TrainingConfig(batch_size=batch_size, epochs=1, schedule="constant")
    result = train(params, SEEDS, config, first_rows(some_rows, n_rows), dtype="float64")
    # Row losses are distinct, so a row missed or taken twice would show.
    assert result.epochs[0].train_loss == pytest.approx(result.restored_train_loss, rel=1e-12)
    assert result.epochs[0].train_accuracy == pytest.approx(result.restored_train_accuracy)


def test_every_row_changes_the_weights_those_of_the_short_batch_too(some_rows: Splits) -> None:
    config = TrainingConfig(batch_size=8, epochs=1, schedule="constant")
    rows = first_rows(some_rows, 19)
    weights = train(PLAIN, SEEDS, config, rows).weights
    for row in range(19):
        labels = rows.train_labels.copy()
        labels[row] = (labels[row] + 1) % 10
        changed = train(PLAIN, SEEDS, config, replace(rows, train_labels=labels)).weights
        assert not same_weights(weights, changed), f"row {row} was not used"
