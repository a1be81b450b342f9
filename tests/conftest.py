"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnist_study.data import TrainingSet, load_training_set

# Read at import: some tests hide the variable from the code under test.
REAL_MNIST = os.environ.get("MNIST_STUDY_DATA")


@pytest.fixture(scope="session")
def mnist_training_set() -> TrainingSet:
    """The training images of real MNIST, named by the environment; nothing is downloaded."""
    if not REAL_MNIST:
        pytest.skip("MNIST is not in reach: MNIST_STUDY_DATA names no folder or file with it")
    return load_training_set("mnist", Path(REAL_MNIST))


@pytest.fixture(scope="session")
def digits() -> TrainingSet:
    """The training images of the stand-in, which is always there."""
    return load_training_set("digits")


@pytest.fixture(scope="session")
def one_thread() -> None:
    """TensorFlow limited to one thread, as in every worker; to be asked for before it is used."""
    from mnist_study import training

    training.limit_threads()
