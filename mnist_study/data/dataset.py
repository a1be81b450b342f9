"""The images a study learns from, the images it never sees, and how training rows are split.

Three objects keep them apart. A `TrainingSet` is what `load_training_set` reads; `split` makes of
it the `Splits` that trials use. A `TestSet` comes only from `load_test_set`, which no trial calls.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_study.core.provenance import DatasetRecord
from mnist_study.data.files import DataError, Subset, UInt8Array, idx_sha256
from mnist_study.data.sources import MnistNotInReachError, read_mnist

__all__ = [
    "DataError",
    "Dataset",
    "DatasetChoice",
    "Splits",
    "TestSet",
    "TrainingSet",
    "check_split",
    "content_hash",
    "load_test_set",
    "load_training_set",
    "load_training_set_by_hash",
    "split",
    "take_rows",
]

Dataset = Literal["mnist", "digits"]
N_MNIST_ROWS = 60_000
DatasetChoice = Literal["auto", "mnist", "digits"]

# The stand-in has no published test images. This seed and number are its definition: a change
# would let a study train on what another one was tested with.
DIGITS_TEST_SEED = 20_240_229
DIGITS_TEST_SIZE = 360


# eq=False: comparing fields would ask numpy for the truth of an array.
@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """All rows that training and validation may use.

    Attributes:
        images: uint8 (n, 28, 28), 0 background to 255 stroke, read-only.
        labels: uint8 (n,), the digit 0 to 9, read-only.
        dataset: "digits" for the stand-in, which is not MNIST.
        source: in words, where the images came from.
        content_hash: `content_hash(images, labels)`.
    """

    images: UInt8Array
    labels: UInt8Array
    dataset: Dataset
    source: str
    content_hash: str

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
    dataset: Dataset
    source: str
    content_hash: str


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """What a trial trains on and is judged by; no test image is among it.

    Attributes:
        train_images: uint8 (n_train, 28, 28).
        train_labels: uint8 (n_train,).
        validation_images: uint8 (n_validation, 28, 28).
        validation_labels: uint8 (n_validation,).
        dataset: "digits" for the stand-in, which is not MNIST.
        content_hash: that of the training set that was split.
    """

    train_images: UInt8Array
    train_labels: UInt8Array
    validation_images: UInt8Array
    validation_labels: UInt8Array
    dataset: Dataset
    content_hash: str


def load_training_set(dataset: DatasetChoice, data_dir: Path | None = None) -> TrainingSet:
    """Load the training images; the test images are not read.

    Args:
        dataset: "mnist"; "digits", the stand-in, without looking for MNIST; "auto", MNIST where
            it is in reach and the stand-in otherwise.
        data_dir: a folder with MNIST, or an npz file, before `MNIST_STUDY_DATA`, Keras's cache
            and Keras's download. Not used by "digits".

    Returns:
        The training set; its `dataset` tells the stand-in from MNIST.

    Raises:
        DataError: the source cannot be used, or, for "mnist", none is in reach.
    """
    images, labels, found, source = _load(dataset, data_dir, "train")
    return TrainingSet(images, labels, found, source, content_hash(images, labels))


def load_training_set_by_hash(content_hash: str, data_dir: Path | None = None) -> TrainingSet:
    """Load the training set with a content hash, be it MNIST or the stand-in.

    The hash alone decides, so that no name can pass the stand-in off as MNIST.

    Args:
        content_hash: of the training set.
        data_dir: as for `load_training_set`.

    Raises:
        DataError: neither the stand-in nor the MNIST in reach has this hash.
    """
    digits = load_training_set("digits")
    if digits.content_hash == content_hash:
        return digits
    mnist = load_training_set("mnist", data_dir)
    if mnist.content_hash == content_hash:
        return mnist
    raise DataError(
        f"the model was trained on data with hash {content_hash[:12]}…, found "
        f"{mnist.content_hash[:12]}… ({mnist.source}); give the model's own data with --data"
    )


def load_test_set(dataset: Dataset, data_dir: Path | None = None) -> TestSet:
    """Load the held-out test images; the training images of MNIST are not read.

    Only for the named steps that may read the test set (promotion, ablation read-out, baseline
    reproduction), each of which writes its reading to the ledger.

    Args:
        dataset: the data set that the models were trained on; there is no "auto".
        data_dir: as for `load_training_set`.

    Returns:
        The test set: 10,000 images of MNIST or 360 of the stand-in.

    Raises:
        DataError: the source cannot be used or none is in reach.
    """
    if dataset not in ("mnist", "digits"):
        raise DataError(f"test set: found dataset {dataset!r}, expected mnist or digits; name one")
    images, labels, found, source = _load(dataset, data_dir, "test")
    return TestSet(images, labels, found, source, content_hash(images, labels))


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
    in_validation = _stratified_choice(training_set.labels, validation_size, split_seed)
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
    kept = _stratified_choice(splits.train_labels, n_rows, subset_seed)
    return Splits(
        train_images=splits.train_images[kept],
        train_labels=splits.train_labels[kept],
        validation_images=splits.validation_images,
        validation_labels=splits.validation_labels,
        dataset=splits.dataset,
        content_hash=splits.content_hash,
    )


def validation_rows(wanted: int, training_set: TrainingSet) -> int:
    """Return how many rows to validate with: as wanted, if the stand-in has as many.

    If not, the experiment file was written for MNIST, and the stand-in gives the same share.
    """
    n_rows = len(training_set.labels)
    if training_set.dataset == "mnist" or not n_rows < wanted < N_MNIST_ROWS:
        return wanted
    return min(n_rows - 1, round(wanted / N_MNIST_ROWS * n_rows))


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


def _load(
    dataset: DatasetChoice, data_dir: Path | None, part: Subset
) -> tuple[UInt8Array, UInt8Array, Dataset, str]:
    if dataset not in ("auto", "mnist", "digits"):
        raise DataError(
            f"dataset: found {dataset!r}, expected auto, mnist or digits; choose one of them"
        )
    why = "as asked for"
    if dataset != "digits":
        try:
            mnist = read_mnist(part, data_dir)
        except MnistNotInReachError as error:
            if dataset == "mnist":
                raise
            why = str(error)
        else:
            return mnist.images, mnist.labels, "mnist", mnist.source
    images, labels = _digits(part)
    return images, labels, "digits", f"handwritten digits of scikit-learn ({why})"


def _digits(part: Subset) -> tuple[UInt8Array, UInt8Array]:
    """Return one part of the stand-in, laid out as MNIST is: 20x20 centred in 28x28."""
    from sklearn.datasets import load_digits  # seconds to import

    ink, digit = load_digits(return_X_y=True)  # float64 (1797, 64), whole numbers 0 to 16
    labels = digit.astype(np.uint8)
    in_test = _stratified_choice(labels, DIGITS_TEST_SIZE, DIGITS_TEST_SEED)
    chosen = in_test if part == "test" else ~in_test
    images = _enlarged(ink[chosen].astype(np.int64).reshape(-1, 8, 8))
    labels = labels[chosen]
    for array in (images, labels):
        array.flags.writeable = False
    return images, labels


def _enlarged(ink: NDArray[np.int64]) -> UInt8Array:
    """Scale (n, 8, 8), 0 to 16, bilinearly to uint8 (n, 28, 28), 0 to 255.

    In whole numbers, so that every machine gets the same bytes: the centre of pixel i of 20 lies
    at (4 i - 3) / 10 of the 8, so all weights are tenths.
    """
    tenths = np.clip(4 * np.arange(20) - 3, 0, 10 * 7)
    left = np.minimum(tenths // 10, 6)
    weights = np.zeros((20, 8), np.int64)
    weights[np.arange(20), left] = 10 * (left + 1) - tenths
    weights[np.arange(20), left + 1] = tenths - 10 * left
    scaled = weights @ ink @ weights.T  # 0 to 16 * 100
    values = (scaled * 255 + 800) // 1600
    return np.pad(values.astype(np.uint8), ((0, 0), (4, 4), (4, 4)))


def _stratified_choice(labels: UInt8Array, size: int, seed: int) -> NDArray[np.bool_]:
    """Choose `size` rows at random, of each label its share to within one row.

    Each row is placed at (rank + 1/2) / count within its label, ranks at random; the `size` rows
    placed lowest are chosen.
    """
    order = np.random.default_rng(np.random.SeedSequence(seed)).permutation(len(labels))
    shuffled = labels[order]
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(shuffled == label)
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    # Stable: rows of equal place stay in their random order.
    chosen = np.zeros(len(labels), np.bool_)
    chosen[order[np.argsort(place, kind="stable")[:size]]] = True
    return chosen
