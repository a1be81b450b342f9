"""Fixtures of the tests about ablations; a plugin, to be named in `pytest_plugins`."""

from __future__ import annotations

from pathlib import Path

import pytest
from ablation_simulation import draw_ablation, small_ablation

from mnist_study.data.dataset import TestSet, TrainingSet
from mnist_study.search.history import History


@pytest.fixture(scope="session")
def ablation_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the storage of `whole_ablation`."""
    return tmp_path_factory.mktemp("whole_ablation")


@pytest.fixture(scope="session")
def whole_ablation(digits: TrainingSet, digits_test: TestSet, ablation_folder: Path) -> History:
    """Return the main record of an ablation with all parts, to be read alone.

    It is drawn, with four seeds and eight epochs; L2 costs two points of test accuracy.
    """
    ablation = small_ablation(ablation_folder, n_seeds=5, epochs=8, axes=True)
    return draw_ablation(ablation_folder, ablation, digits, digits_test, {"l2": -0.02})
