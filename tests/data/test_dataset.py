"""The stand-in, the splits, and MNIST itself."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from mnist_forms import Arrays, cache_path, npz_bytes, refusal
from numpy.typing import NDArray

from mnist_study.data import dataset, download, mnist
from mnist_study.data.dataset import load_test_set, load_training_set, split

pytest_plugins = ["mnist_fixtures"]
pytestmark = pytest.mark.usefixtures("isolated")

# Read before the fixture hides it from the tests.
REAL_MNIST = os.environ.get("MNIST_STUDY_DATA")


# --- the stand-in


def test_auto_without_mnist_takes_digits_and_says_why() -> None:
    training_set = load_training_set("auto")
    assert training_set.dataset == "digits"
    assert "handwritten digits" in training_set.source
    assert "MNIST is not in reach" in training_set.source


def test_mnist_without_mnist_lists_what_was_tried(tmp_path: Path) -> None:
    for load in (lambda: load_training_set("mnist"), lambda: load_test_set("mnist")):
        message = refusal(load)
        assert "MNIST_STUDY_DATA" in message
        assert str(tmp_path / "keras" / "datasets" / "mnist.npz") in message
        assert download.DOWNLOAD_URL in message
        assert "Connection refused" in message


def test_digits_look_for_nothing_else(
    arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_path(tmp_path).write_bytes(b"corrupt")
    monkeypatch.setenv("MNIST_STUDY_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr(download, "DOWNLOAD_URL", "unused")
    assert load_training_set("digits").dataset == load_test_set("digits").dataset == "digits"


def test_digits_are_laid_out_as_mnist_and_the_same_on_every_machine() -> None:
    training_set, test_set = load_training_set("digits"), load_test_set("digits")
    for part, n_rows in ((training_set, 1437), (test_set, 360)):
        assert part.images.shape == (n_rows, 28, 28)
        assert part.images.dtype == part.labels.dtype == np.uint8
        assert part.images.max() == 255
        margin = part.images.copy()
        margin[:, 4:24, 4:24] = 0
        assert not margin.any()  # background is 0, strokes are bright
        assert part.images.any(axis=(1, 2)).all()
        shares = np.bincount(part.labels, minlength=10) / n_rows
        assert np.ptp(shares) < 0.01
    assert training_set.content_hash == (
        "d6fc7562b41bad53faf01acf1ef3944a7d7ae6d83a3f28d6e54db52a5bb8fb49"
    )


def test_digits_test_rows_and_training_rows_are_different_rows() -> None:
    from sklearn.datasets import load_digits

    training_set, test_set = load_training_set("digits"), load_test_set("digits")
    together = np.concatenate([training_set.images, test_set.images])
    labels = np.concatenate([training_set.labels, test_set.labels])
    assert len(together) == 1797
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(load_digits().target))
    # scikit-learn's 1797 images are all different.
    assert len({image.tobytes() for image in together}) == 1797


def test_a_test_set_is_that_of_a_named_data_set() -> None:
    assert "'auto'" in refusal(lambda: load_test_set("auto"))


@pytest.mark.parametrize(
    "name", ["", "MNIST", "Digits", "AUTO", "-x", "a b", "a/b", "a\n", "x" * 41]
)
def test_what_is_no_name_of_a_data_set_is_refused(name: str, arrays: Arrays, folder: Path) -> None:
    (folder / "mnist.npz").write_bytes(npz_bytes(arrays))
    for load in (load_training_set, load_test_set):
        assert f"dataset: found {name!r}"[:40] in refusal(lambda load=load: load(name, folder))  # type: ignore[misc]


# --- the splits


@pytest.fixture
def numbered() -> dataset.TrainingSet:
    """997 rows of unequal classes, each with its row number as its first two pixels."""
    rng = np.random.default_rng(3)
    images = np.zeros((997, 28, 28), np.uint8)
    rows = np.arange(997)
    images[:, 0, 0], images[:, 0, 1] = rows // 256, rows % 256
    labels = rng.choice(10, 997, p=np.arange(1, 11) / 55).astype(np.uint8)
    return dataset.TrainingSet(images, labels, "digits", "made", "hash")


def rows_of(images: NDArray[np.uint8]) -> list[int]:
    return [int(one[0, 0]) * 256 + int(one[0, 1]) for one in images]


@pytest.mark.parametrize("validation_size", [1, 10, 200, 500, 996])
def test_splits_are_disjoint_and_cover_all_rows(
    numbered: dataset.TrainingSet, validation_size: int
) -> None:
    splits = split(numbered, validation_size=validation_size, split_seed=5)
    training, validation = rows_of(splits.train_images), rows_of(splits.validation_images)
    assert len(validation) == validation_size
    assert sorted(training + validation) == list(range(997))
    np.testing.assert_array_equal(splits.train_labels, numbered.labels[training])
    np.testing.assert_array_equal(splits.validation_labels, numbered.labels[validation])
    assert (splits.dataset, splits.content_hash) == ("digits", "hash")


def test_same_seed_same_split_other_seed_other_split(numbered: dataset.TrainingSet) -> None:
    np.random.seed(1)  # global state must not matter
    first = split(numbered, validation_size=200, split_seed=5)
    np.random.seed(2)
    again = split(numbered, validation_size=200, split_seed=5)
    other = split(numbered, validation_size=200, split_seed=6)
    assert rows_of(first.validation_images) == rows_of(again.validation_images)
    assert rows_of(first.validation_images) != rows_of(other.validation_images)


def test_each_part_holds_each_label_in_proportion(numbered: dataset.TrainingSet) -> None:
    for split_seed in range(20):
        splits = split(numbered, validation_size=300, split_seed=split_seed)
        share = np.bincount(numbered.labels, minlength=10) * 300 / 997
        found = np.bincount(splits.validation_labels, minlength=10)
        assert np.abs(found - share).max() <= 1


def test_every_row_is_as_likely_a_validation_row(numbered: dataset.TrainingSet) -> None:
    n_splits = 400
    counts = np.zeros(997)
    for split_seed in range(n_splits):
        splits = split(numbered, validation_size=300, split_seed=split_seed)
        counts[rows_of(splits.validation_images)] += 1
    share = 300 / 997
    deviation = (counts / n_splits - share) / np.sqrt(share * (1 - share) / n_splits)
    assert np.abs(deviation).max() < 5  # 997 rows: the largest is near 3.3 when all are alike
    halves = counts[: 997 // 2].mean() - counts[997 // 2 :].mean()
    assert abs(halves) < 0.05 * n_splits * share


@pytest.mark.parametrize("validation_size", [-1, 0, 997, 5000])
def test_a_validation_size_out_of_range_is_refused(
    numbered: dataset.TrainingSet, validation_size: int
) -> None:
    message = refusal(lambda: split(numbered, validation_size=validation_size, split_seed=0))
    assert f"found {validation_size}, expected 1 to 996" in message


def test_a_negative_split_seed_is_refused(numbered: dataset.TrainingSet) -> None:
    assert "found -3" in refusal(lambda: split(numbered, validation_size=9, split_seed=-3))


# --- MNIST itself


@pytest.mark.skipif(
    REAL_MNIST is None, reason="needs MNIST: set MNIST_STUDY_DATA to a folder that has it"
)
def test_real_mnist_is_read_and_has_the_published_content(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MNIST_STUDY_DATA", str(REAL_MNIST))
    training_set, test_set = load_training_set("auto"), load_test_set("mnist")
    assert training_set.dataset == "mnist"
    assert training_set.images.shape == (60000, 28, 28)
    assert training_set.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert test_set.labels[:5].tolist() == [7, 2, 1, 0, 4]
    splits = split(training_set, validation_size=12000, split_seed=0)
    assert len(splits.train_labels) == 48000
    share = np.bincount(training_set.labels) * 0.2
    assert np.abs(np.bincount(splits.validation_labels) - share).max() <= 1


def test_the_table_of_published_hashes_is_mnists() -> None:
    table = mnist.MNIST_ARRAYS
    shapes = [known.shape for part in ("train", "test") for known in table[part]]
    assert shapes == [(60000, 28, 28), (60000,), (10000, 28, 28), (10000,)]
    # Sizes and hashes as published with the IDX files.
    assert [known.sha256[:8] for part in ("train", "test") for known in table[part]] == [
        "ba891046",
        "65a50cbb",
        "0fa7898d",
        "ff7bcfd4",
    ]
