"""The images a study learns from, the images it never sees, and how training rows are split.

Three objects keep them apart. A `TrainingSet` is what `load_training_set` reads; `split` makes of
it the `Splits` that trials use. A `TestSet` comes only from `load_test_set`, which no trial calls.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from mnist_study.core.config import DataConfig
from mnist_study.core.datasets import AUTO, DIGITS, MNIST, is_mnist, is_own, name_problem
from mnist_study.core.provenance import DatasetRecord
from mnist_study.data.digits import read_digits
from mnist_study.data.files import DataError
from mnist_study.data.names import Subset
from mnist_study.data.sources import MnistNotInReachError, read_mnist, read_own
from mnist_study.data.stratified import stratified_choice
from mnist_study.data.values import UInt8Array, idx_sha256

__all__ = [
    "DataError",
    "Splits",
    "TestSet",
    "TrainingSet",
    "check_split",
    "content_hash",
    "fit_split",
    "load_test_set",
    "load_training_set",
    "load_training_set_by_hash",
    "split",
    "take_rows",
]

N_MNIST_ROWS = 60_000


# eq=False: comparing fields would ask numpy for the truth of an array.
@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """All rows that training and validation may use.

    Attributes:
        images: uint8 (n, 28, 28), 0 background to 255 stroke, read-only.
        labels: uint8 (n,), the class 0 to 9, read-only.
        dataset: "mnist"; "digits" for the stand-in, or the user's name for data of his own,
            neither of which is MNIST.
        source: in words, where the images came from.
        content_hash: `content_hash(images, labels)`.
        class_names: of the ten classes, where the user has named them.
    """

    images: UInt8Array
    labels: UInt8Array
    dataset: str
    source: str
    content_hash: str
    class_names: tuple[str, ...] | None = None

    def record(self, *, n_validation: int, split_seed: int) -> DatasetRecord:
        """Describe the set, of which so many rows are set apart for validation."""
        return DatasetRecord(
            name=self.dataset,
            source=self.source,
            content_hash=self.content_hash,
            n_train=len(self.labels) - n_validation,
            n_validation=n_validation,
            split_seed=split_seed,
        )


@dataclass(frozen=True, slots=True, eq=False)
class TestSet:
    """The held-out images, with the fields of `TrainingSet`."""

    __test__: ClassVar[bool] = False  # pytest: the name is no promise of tests

    images: UInt8Array
    labels: UInt8Array
    dataset: str
    source: str
    content_hash: str
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """What a trial trains on and is judged by; no test image is among it.

    Attributes:
        train_images: uint8 (n_train, 28, 28).
        train_labels: uint8 (n_train,).
        validation_images: uint8 (n_validation, 28, 28).
        validation_labels: uint8 (n_validation,).
        dataset: as in `TrainingSet`.
        content_hash: that of the training set that was split.
    """

    train_images: UInt8Array
    train_labels: UInt8Array
    validation_images: UInt8Array
    validation_labels: UInt8Array
    dataset: str
    content_hash: str


def load_training_set(dataset: str, data_dir: Path | None = None) -> TrainingSet:
    """Load the training images; the test images are not read.

    Args:
        dataset: "mnist"; "digits", the stand-in, without looking for MNIST; "auto", MNIST where
            it is in reach and the stand-in otherwise; or any other name, under which data of
            MNIST's form is read, whatever it shows.
        data_dir: a folder with the data, in any form and somewhere below it, or a file, before
            `MNIST_STUDY_DATA` and, for MNIST, Keras's cache and Keras's download. Not used by
            "digits".

    Returns:
        The training set; its `dataset` tells the stand-in from MNIST.

    Raises:
        DataError: the name is none, the source cannot be used, or none is in reach.
    """
    loaded = _load(_checked(dataset), data_dir, "train")
    return TrainingSet(
        loaded.images,
        loaded.labels,
        loaded.dataset,
        loaded.source,
        content_hash(loaded.images, loaded.labels),
        loaded.class_names,
    )


def load_training_set_by_hash(
    content_hash: str, data_dir: Path | None = None, *, dataset: str = MNIST
) -> TrainingSet:
    """Load the training set with a content hash.

    The hash alone decides, so that no name can pass the stand-in or other data off as MNIST.

    Args:
        content_hash: of the training set.
        data_dir: as for `load_training_set`.
        dataset: what the model's record calls the data. Only the name of a user's own data is
            believed: what has its hash is read under it.

    Raises:
        DataError: neither the stand-in nor the data in reach has this hash.
    """
    digits = load_training_set(DIGITS)
    if digits.content_hash == content_hash:
        return digits
    found = load_training_set(dataset if is_own(dataset) else MNIST, data_dir)
    if found.content_hash == content_hash:
        return found
    raise DataError(
        f"training set: found the hash {found.content_hash[:12]}… ({found.source}), expected "
        f"{content_hash[:12]}…, on which the model was trained; give the model's own data with "
        "--data"
    )


def load_test_set(dataset: str, data_dir: Path | None = None) -> TestSet:
    """Load the held-out test images; the training images of MNIST are not read.

    Only for the named steps that may read the test set (promotion, ablation read-out, baseline
    reproduction), each of which writes its reading to the ledger.

    Args:
        dataset: the data set that the models were trained on; there is no "auto".
        data_dir: as for `load_training_set`.

    Returns:
        The test set: 10,000 images of MNIST, 360 of the stand-in, or those of the user's data.

    Raises:
        DataError: the source cannot be used or none is in reach.
    """
    if dataset == AUTO:
        raise DataError(
            f"test set: found dataset {dataset!r}, expected mnist, digits or another data set's "
            "name; name the one that the models were trained on"
        )
    loaded = _load(_checked(dataset), data_dir, "test")
    return TestSet(
        loaded.images,
        loaded.labels,
        loaded.dataset,
        loaded.source,
        content_hash(loaded.images, loaded.labels),
        loaded.class_names,
    )


def split(training_set: TrainingSet, *, validation_size: int, split_seed: int) -> Splits:
    """Split the training rows into training and validation rows.

    A function of its arguments alone. Stratified: each part holds every digit in the training
    set's proportion, to within one row, so that the validation accuracies of two split seeds do
    not differ by how many hard digits were drawn. Rows keep their order; training shuffles.

    Args:
        training_set: what to split, n rows.
        validation_size: number of validation rows, 1 to n - 1.
        split_seed: what decides the rows, 0 or greater.

    Returns:
        The two parts, disjoint and together all rows.

    Raises:
        DataError: `validation_size` or `split_seed` is out of range.
    """
    check_split(training_set, validation_size=validation_size, split_seed=split_seed)
    in_validation = stratified_choice(training_set.labels, validation_size, split_seed)
    return Splits(
        train_images=training_set.images[~in_validation],
        train_labels=training_set.labels[~in_validation],
        validation_images=training_set.images[in_validation],
        validation_labels=training_set.labels[in_validation],
        dataset=training_set.dataset,
        content_hash=training_set.content_hash,
    )


def take_rows(splits: Splits, *, n_rows: int, subset_seed: int) -> Splits:
    """Keep a part of the training rows; validation rows stay as they are.

    Stratified as `split` is. Of one seed, each smaller part lies within every larger one.

    Args:
        splits: whose training rows to take from.
        n_rows: how many, 1 to all of them.
        subset_seed: what decides the rows, 0 or greater.

    Raises:
        DataError: there are not as many rows.
    """
    available = len(splits.train_labels)
    if not 1 <= n_rows <= available:
        raise DataError(
            f"training rows: found {n_rows}, expected 1 to the {available} of the split; choose a "
            "size in this range"
        )
    kept = stratified_choice(splits.train_labels, n_rows, subset_seed)
    return replace(
        splits,
        train_images=splits.train_images[kept],
        train_labels=splits.train_labels[kept],
    )


def with_all_rows(splits: Splits) -> Splits:
    """Train on the validation rows too; they stay what is validated with, and tell nothing then."""
    return replace(
        splits,
        train_images=np.concatenate([splits.train_images, splits.validation_images]),
        train_labels=np.concatenate([splits.train_labels, splits.validation_labels]),
    )


def validation_rows(wanted: int, training_set: TrainingSet) -> int:
    """Return how many rows to validate with: as wanted, if the data set has as many.

    If not, the experiment file was written for MNIST, and the data set gives the same share.
    """
    n_rows = len(training_set.labels)
    if is_mnist(training_set.dataset) or not n_rows < wanted < N_MNIST_ROWS:
        return wanted
    return min(n_rows - 1, round(wanted / N_MNIST_ROWS * n_rows))


def fit_split(data: DataConfig, training_set: TrainingSet) -> DataConfig:
    """Return the split with as many validation rows as the data set can give.

    Raises:
        DataError: its size or seed is out of range.
    """
    fitted = data.model_copy(
        update={"validation_size": validation_rows(data.validation_size, training_set)}
    )
    check_split(training_set, validation_size=fitted.validation_size, split_seed=fitted.split_seed)
    return fitted


def check_split(training_set: TrainingSet, *, validation_size: int, split_seed: int) -> None:
    """Raise what `split` would raise for these arguments.

    Raises:
        DataError: `validation_size` or `split_seed` is out of range.
    """
    n_rows = len(training_set.labels)
    if not 1 <= validation_size < n_rows:
        raise DataError(
            f"validation_size: found {validation_size}, expected 1 to {n_rows - 1} of the "
            f"{n_rows} training rows of {training_set.dataset}; choose a size in this range"
        )
    if split_seed < 0:
        raise DataError(
            f"split_seed: found {split_seed}, expected 0 or greater; choose another seed"
        )


def content_hash(images: UInt8Array, labels: UInt8Array) -> str:
    """Return the identity of a data set, whatever file it came from.

    SHA-256 over the IDX file of the images followed by the IDX file of the labels. Each is the
    bytes 0, 0, 8 (uint8) and the number of dimensions, the dimensions as big-endian uint32, then
    the values in C order. For MNIST that is
    `cat train-images-idx3-ubyte train-labels-idx1-ubyte | sha256sum`.

    Args:
        images: uint8 (n, 28, 28).
        labels: uint8 (n,).

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: an array is not uint8.
    """
    return idx_sha256(images, labels)


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    """What a training set and a test set have in common."""

    images: UInt8Array
    labels: UInt8Array
    dataset: str
    source: str
    class_names: tuple[str, ...] | None = None


def _load(dataset: str, data_dir: Path | None, part: Subset) -> _Loaded:
    if is_own(dataset):
        own = read_own(dataset, part, data_dir)
        return _Loaded(own.images, own.labels, dataset, own.source, own.class_names)
    why = "as asked for"
    if dataset != DIGITS:
        try:
            mnist = read_mnist(part, data_dir)
        except MnistNotInReachError as error:
            if dataset == MNIST:
                raise
            why = str(error)
        else:
            return _Loaded(mnist.images, mnist.labels, MNIST, mnist.source)
    images, labels = read_digits(part)
    return _Loaded(images, labels, DIGITS, f"handwritten digits of scikit-learn ({why})")


def _checked(dataset: str) -> str:
    if (expected := name_problem(dataset)) is not None:
        raise DataError(f"dataset: found {dataset[:60]!r}, expected {expected}; choose such a name")
    return dataset
