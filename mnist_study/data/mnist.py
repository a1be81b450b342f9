"""MNIST: the published arrays, and how they are recognized by their content in any form."""

from dataclasses import dataclass

from mnist_study.data.arrays import Declaration, StoredArray
from mnist_study.data.files import Unfit
from mnist_study.data.folder import Inventory, Rejected
from mnist_study.data.names import Kind, Subset, kind_of, part_of
from mnist_study.data.values import (
    UInt8Array,
    idx_sha256,
    image_rows,
    label_rows,
    read_images,
    read_labels,
)

NPZ_NAME = "mnist.npz"


@dataclass(frozen=True, slots=True)
class KnownArray:
    """One array of MNIST as it was published.

    Attributes:
        npz_member: name of the array in Keras's npz file.
        idx_name: name of the original, uncompressed IDX file.
        shape: as published; the type is uint8.
        sha256: SHA-256 of the original IDX file, header included.
    """

    npz_member: str
    idx_name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def kind(self) -> Kind:
        """Whether this is the array of images or of labels."""
        return "labels" if len(self.shape) == 1 else "images"

    def rows_in(self, declaration: Declaration) -> slice | None:
        """Return which rows of an array of this shape may be this one, None if none may.

        All 70,000 may be in one array, as OpenML has them: the training rows first.
        """
        rows = label_rows if self.kind == "labels" else image_rows
        found, n_rows = rows(declaration), self.shape[0]
        if found == n_rows:
            return slice(None)
        if found != sum(known[0].shape[0] for known in MNIST_ARRAYS.values()):
            return None
        return slice(n_rows) if self in MNIST_ARRAYS["train"] else slice(found - n_rows, None)

    def read(self, stored: StoredArray) -> UInt8Array:
        """Read and recognize the array.

        Raises:
            Unfit: it is damaged, or another one.
        """
        rows = self.rows_in(stored.declaration)
        if rows is None:
            raise Unfit(
                f"{stored.what} {stored.declaration}",
                f"{self.npz_member} uint8 {self.shape}",
                is_whole=True,
            )
        array = (read_labels if self.kind == "labels" else read_images)(stored)
        if len(array) != self.shape[0]:
            array = array[rows].copy()  # a view would hold the other part's rows too
            array.flags.writeable = False
        if (sha256 := idx_sha256(array)) != self.sha256:
            raise Unfit(
                f"{stored.what} with changed content (SHA-256 {sha256[:12]}…)",
                f"MNIST's {self.npz_member} (SHA-256 {self.sha256[:12]}…)",
                is_whole=True,
            )
        return array


# Images and labels of each part.
MNIST_ARRAYS: dict[Subset, tuple[KnownArray, KnownArray]] = {
    "train": (
        KnownArray(
            "x_train",
            "train-images-idx3-ubyte",
            (60000, 28, 28),
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        KnownArray(
            "y_train",
            "train-labels-idx1-ubyte",
            (60000,),
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
    ),
    "test": (
        KnownArray(
            "x_test",
            "t10k-images-idx3-ubyte",
            (10000, 28, 28),
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        KnownArray(
            "y_test",
            "t10k-labels-idx1-ubyte",
            (10000,),
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class MnistPart:
    """The images and labels of one part of MNIST, and in words where they were found."""

    images: UInt8Array
    labels: UInt8Array
    source: str


def read_mnist_part(part: Subset, inventory: Inventory) -> MnistPart:
    """Read one part of MNIST from a folder or file that holds it in any form.

    Args:
        part: "train" or "test"; the values of the other part are not read.
        inventory: of the folder or file.

    Returns:
        The images, uint8 (n, 28, 28), and labels, uint8 (n,), both with the published content.

    Raises:
        DataError: it is not there; the error names the file that should have been it.
    """
    images, at_images, over_images = _recognized(part, MNIST_ARRAYS[part][0], inventory)
    labels, at_labels, over_labels = _recognized(part, MNIST_ARRAYS[part][1], inventory)
    source = inventory.source((at_images, at_labels), over_images + over_labels)
    return MnistPart(images, labels, source)


def is_mnist_content(images: UInt8Array) -> bool:
    """Whether these are all images of a part of MNIST."""
    sha256 = idx_sha256(images)
    return any(known[0].sha256 == sha256 for known in MNIST_ARRAYS.values())


def _recognized(
    part: Subset, known: KnownArray, inventory: Inventory
) -> tuple[UInt8Array, StoredArray, list[str]]:
    """Return one array, where it is, and the broken files beside it."""
    failures: list[Rejected] = []
    for stored in _by_name(part, known, inventory):
        try:
            array = known.read(stored)
        except Unfit as unfit:
            failures.append(Rejected(stored.name, stored.file, unfit))
        else:
            return array, stored, inventory.passed_over(part, known.kind, failures, stored)
    idx_names = " and ".join(one.idx_name for one in MNIST_ARRAYS[part])
    raise inventory.complaint(
        part,
        known.kind,
        failures,
        missing=f"no {known.idx_name} and no array {known.npz_member}",
        expected=f"{NPZ_NAME} or the IDX files {idx_names}, raw or .gz",
    )


def _by_name(part: Subset, known: KnownArray, inventory: Inventory) -> list[StoredArray]:
    """Return the arrays that may be the known one: those of its name, then those of its shape."""
    named = [
        one
        for one in inventory.arrays
        if part_of(one.name) == part and kind_of(one.name) == known.kind
    ]
    others = [one for one in inventory.arrays if one not in named]
    # What is named so and has another shape is only blamed, if there is nothing better.
    return [
        *(one for one in named if known.rows_in(one.declaration)),
        *(one for one in others if known.rows_in(one.declaration)),
        *(one for one in named if not known.rows_in(one.declaration)),
    ]
