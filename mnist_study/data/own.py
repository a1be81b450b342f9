"""Data of MNIST's form that is not MNIST: Fashion-MNIST, KMNIST, a user's own digits.

There is no published content to tell what is what. Names say which arrays are for training and
which labels belong to which images, and where they leave that open the data is refused.
"""

import codecs
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnist_study.data.arrays import StoredArray
from mnist_study.data.files import Origin, Unfit, open_regular, shown
from mnist_study.data.folder import Inventory, Rejected
from mnist_study.data.mnist import is_mnist_content
from mnist_study.data.names import Kind, Subset, kind_of, part_of, set_of
from mnist_study.data.values import (
    N_CLASSES,
    UInt8Array,
    image_rows,
    label_rows,
    read_images,
    read_labels,
)

CLASSES_NAME = "classes.txt"
_CLASSES_MAX_BYTES = 4096
_CLASS_MAX_LENGTH = 40
# Of a data set's name, to be taken for the name.
_LEAST_BEGINNING = 4

_MARKS: dict[Subset, str] = {"train": "'train'", "test": "'test' or 't10k'"}
_WANTED: dict[Kind, str] = {"images": "grey, n x 28 x 28", "labels": "one an image"}
_WORDS: dict[Subset, str] = {"train": "training", "test": "test"}


@dataclass(frozen=True, slots=True)
class OwnPart:
    """The images and labels of one part, where they were found, and what the classes are called."""

    images: UInt8Array
    labels: UInt8Array
    source: str
    class_names: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The arrays that one data set's images and labels of a part may be read from."""

    images: list[StoredArray]
    labels: list[StoredArray]


def read_own_part(dataset: str, part: Subset, inventory: Inventory) -> OwnPart:
    """Read one part of a data set that is known by its user's name alone.

    Args:
        dataset: its name; of several data sets in the folder, the one of this name is read.
        part: "train" or "test"; the values of the other part are not read.
        inventory: of the folder or file.

    Returns:
        Images, uint8 (n, 28, 28); labels, uint8 (n,), 0 to 9; and the names of the classes.

    Raises:
        DataError: it is not there, or not of MNIST's form; the error says what was found.
    """
    candidates = _choose(dataset, part, inventory)
    images, at_images, over_images = _first_intact("images", part, candidates.images, inventory)
    labels, at_labels, over_labels = _first_intact("labels", part, candidates.labels, inventory)
    _check(part, images, labels, inventory.origin.inside(at_labels.file))
    source = inventory.source((at_images, at_labels), over_images + over_labels)
    if is_mnist_content(images):
        source += f"; these are MNIST's images, under the name {dataset}"
    return OwnPart(images, labels, source, _class_names(inventory, at_images))


def _choose(dataset: str, part: Subset, inventory: Inventory) -> _Candidates:
    """Return the arrays of the one data set in the folder, or of the one of that name."""
    sets = _sets_of(part, inventory)
    # One that has the name and lacks its labels is not replaced by another one.
    pool = _of_name(dataset, sets) or list(sets)
    whole = [sets[key] for key in pool if sets[key].images and sets[key].labels]
    if len(whole) == 1:
        return whole[0]
    if whole:
        files = shown(one.images[0].file for one in whole)
        raise inventory.origin.error(
            f"{len(whole)} data sets with {_WORDS[part]} images, {files}",
            f"one, or one that is named {dataset}",
            "name the folder of one of them with --data",
        )
    lacking: Kind = "labels" if any(sets[key].images for key in pool) else "images"
    raise inventory.complaint(
        part,
        lacking,
        _misshapen(part, lacking, inventory),
        missing=f"no {_WORDS[part]} {lacking} of {dataset} (names with {_MARKS[part]})",
        expected=f"{_WORDS[part]} images, {_WANTED['images']}, and labels as IDX, npy or npz",
    )


def _sets_of(part: Subset, inventory: Inventory) -> dict[tuple[str, ...], _Candidates]:
    """Sort the arrays of one part by the data sets that their names tell."""
    sets: dict[tuple[str, ...], _Candidates] = defaultdict(lambda: _Candidates([], []))
    for stored in inventory.arrays:
        if part_of(stored.name) != part:
            continue
        if image_rows(stored.declaration) is not None:
            sets[set_of(stored.name)].images.append(stored)
        elif label_rows(stored.declaration) is not None:
            sets[set_of(stored.name)].labels.append(stored)
    return sets


def _of_name(dataset: str, keys: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the data sets of this name, `fashion` being one for FashionMNIST."""
    name = "".join(set_of(dataset))
    exact = [key for key in keys if name in key]
    if exact or len(name) < _LEAST_BEGINNING:
        return exact
    return [key for key in keys if any(component.startswith(name) for component in key)]


def _misshapen(part: Subset, kind: Kind, inventory: Inventory) -> list[Rejected]:
    """Return the arrays of a part that are not of MNIST's shapes."""
    return [
        Rejected(
            one.name, one.file, Unfit(f"{one.what} {one.declaration}", f"{kind}, {_WANTED[kind]}")
        )
        for one in inventory.arrays
        if part_of(one.name) == part
        and kind_of(one.name) in (kind, None)
        and image_rows(one.declaration) is None
        and label_rows(one.declaration) is None
    ]


def _first_intact(
    kind: Kind, part: Subset, candidates: list[StoredArray], inventory: Inventory
) -> tuple[UInt8Array, StoredArray, list[str]]:
    failures: list[Rejected] = []
    for stored in candidates:
        try:
            array = read_images(stored) if kind == "images" else read_labels(stored)
        except Unfit as unfit:
            failures.append(Rejected(stored.name, stored.file, unfit))
        else:
            return array, stored, inventory.passed_over(part, kind, failures, stored)
    raise inventory.error(failures[0], f"intact {_WORDS[part]} {kind}")


def _check(part: Subset, images: UInt8Array, labels: UInt8Array, origin: Origin) -> None:
    """Refuse what is not of MNIST's form: ten classes, labels for all images, 256 grey levels."""
    if len(images) != len(labels):
        raise origin.error(
            f"{len(labels):,} {_WORDS[part]} labels for {len(images):,} images", "one for each"
        )
    classes = np.unique(labels)
    # A small test set may lack a class; without training images a class cannot be learned.
    is_ten = len(classes) == N_CLASSES if part == "train" else len(classes) > 0
    if not is_ten or classes[-1] >= N_CLASSES:
        found = f"labels {classes[0]} to {classes[-1]}" if len(classes) else "set with no labels"
        n_classes = f"{len(classes)} class{'es' * (len(classes) != 1)}"
        raise origin.error(
            f"{_WORDS[part]} {found} ({n_classes})", f"the {N_CLASSES} classes 0 to {N_CLASSES - 1}"
        )
    if images.max() <= 1:
        raise origin.error(
            f"{_WORDS[part]} images with whole numbers 0 to {images.max()}",
            "0, background, to 255, stroke; floats may go from 0 to 1",
        )


def _class_names(inventory: Inventory, at_images: StoredArray) -> tuple[str, ...] | None:
    """Read the names of the classes beside the images or above, within the folder given."""
    if inventory.root is None:
        return None
    for folder in Path(at_images.file).parents:
        with os.scandir(inventory.root / folder) as listing:
            names = [one.name for one in listing if one.name.lower() == CLASSES_NAME]
        if names:
            return _read_class_names(inventory.root / folder / min(names, key=_exact_first))
    return None


def _exact_first(name: str) -> tuple[bool, str]:
    return name != CLASSES_NAME, name


def _read_class_names(path: Path) -> tuple[str, ...]:
    origin = Origin(str(path), "correct the file, or remove it")
    expected = (
        f"{N_CLASSES} different names of up to {_CLASS_MAX_LENGTH} characters, one a line, in UTF-8"
    )
    try:
        with open_regular(path) as stream:
            content = stream.read(_CLASSES_MAX_BYTES + 1)
        # Windows calls UTF-16 Unicode, and begins it with a mark.
        is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        lines = content.decode("utf-16" if is_utf_16 else "utf-8-sig").strip().splitlines()
    except Unfit as unfit:
        raise origin.error(unfit.found, expected) from unfit
    except (OSError, UnicodeDecodeError) as error:
        raise origin.error(f"what is no text in UTF-8 ({error})", expected) from error
    names = tuple(line.strip() for line in lines)
    if len(content) > _CLASSES_MAX_BYTES or len(names) != N_CLASSES:
        raise origin.error(f"{len(names)} lines", expected)
    for name in names:
        if not name or len(name) > _CLASS_MAX_LENGTH or not name.isprintable():
            raise origin.error(f"a line {name[:60]!r}", expected)
    if len(set(names)) < N_CLASSES:
        twice = next(name for name in names if names.count(name) > 1)
        raise origin.error(f"{twice!r} twice", expected)
    return names
