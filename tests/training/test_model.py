"""Weights, their identity, and model files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_reference import load_model
from numpy.typing import NDArray
from training_runs import PARAMS, PLAIN, SEEDS

from mnist_study.core.config import NetworkParams
from mnist_study.core.trials import Seeds
from mnist_study.training.model import build_model, model_to_bytes, weights_sha256

pytestmark = pytest.mark.usefixtures("one_thread")


def test_weights_hash_identifies_a_network_where_its_files_bytes_cannot(tmp_path: Path) -> None:
    model = build_model(PARAMS, SEEDS)
    files = [model_to_bytes(model) for _ in range(2)]
    hashes = [weights_sha256(load_model(content, tmp_path).get_weights()) for content in files]
    assert hashes == [weights_sha256(model.get_weights())] * 2


def test_weights_hash_sees_one_bit_shape_dtype_and_order() -> None:
    first, second = np.arange(6, dtype=np.float32), np.ones(6, np.float32)
    bit = first.copy()
    bit[3] = np.nextafter(bit[3], np.float32(9))
    minus_zero = first.copy()
    minus_zero[0] = -0.0
    variants: list[list[NDArray[Any]]] = [
        [first, second],
        [second, first],
        [bit, second],
        [minus_zero, second],
        [first.reshape(2, 3), second],
        [first.astype(np.float64), second],
        [first.view(np.int32), second],
        [first],
    ]
    assert len({weights_sha256(variant) for variant in variants}) == len(variants)
    transposed = np.asfortranarray(first.reshape(2, 3))
    assert weights_sha256([transposed]) == weights_sha256([first.reshape(2, 3)])


def test_initial_weights_are_a_function_of_the_init_seed_alone() -> None:
    def initial(params: NetworkParams, seeds: Seeds) -> str:
        return weights_sha256(build_model(params, seeds).get_weights())

    others = replace(SEEDS, dropout_seed=1, shuffle_seed=1)
    assert initial(PARAMS, SEEDS) == initial(PLAIN, others)
    assert initial(PARAMS, SEEDS) != initial(PARAMS, replace(SEEDS, init_seed=1))


def test_a_users_order_of_image_axes_changes_no_answer() -> None:
    import keras

    images = np.random.default_rng(0).random((3, 28, 28), np.float32)
    before = keras.config.image_data_format()
    expected = build_model(PARAMS, SEEDS).predict(images, verbose=0)
    keras.config.set_image_data_format("channels_first")
    try:
        found = build_model(PARAMS, SEEDS).predict(images, verbose=0)
    finally:
        keras.config.set_image_data_format(before)
    np.testing.assert_array_equal(found, expected)


def test_layers_of_equal_shape_start_from_different_weights() -> None:
    square = PARAMS.model_copy(update={"units_1": 16, "units_2": 16, "units_3": 16})
    weights = build_model(square, SEEDS).get_weights()
    assert weights[2].shape == weights[4].shape
    assert not np.array_equal(weights[2], weights[4])
