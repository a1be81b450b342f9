"""Where the images come from: the user's folder, Keras's cache or the network."""

import os
from dataclasses import replace
from pathlib import Path

from mnist_study.core.paths import expanded, path_in
from mnist_study.core.safe_text import printable
from mnist_study.data.download import (
    DATA_VARIABLE,
    URL_VARIABLE,
    DownloadFailed,
    download,
    download_address,
    write_atomically,
)
from mnist_study.data.files import DataError, Origin, one_line
from mnist_study.data.folder import (
    Inventory,
    inventory_of_bytes,
    inventory_of_file,
    inventory_of_folder,
)
from mnist_study.data.mnist import NPZ_NAME, MnistPart, read_mnist_part
from mnist_study.data.names import Subset
from mnist_study.data.own import OwnPart, read_own_part


class MnistNotInReachError(DataError):
    """No source has MNIST, and none of them is broken either."""


def read_mnist(part: Subset, data_dir: Path | None) -> MnistPart:
    """Read one part of MNIST from the first source that has it.

    Args:
        part: "train" or "test"; the arrays of the other part are not read.
        data_dir: a folder with MNIST in any form, somewhere below it, or a file; before all other
            sources.

    Returns:
        The images, uint8 (n, 28, 28), and labels, uint8 (n,).

    Raises:
        DataError: a source is there but cannot be used. No later source is tried then: whoever
            names a folder wants that one.
        MnistNotInReachError: no source has MNIST; the message says what was tried.
    """
    other_data = ", or read it under a name of its own with --dataset NAME if it is other data"
    if (given := _given(data_dir, "an intact MNIST", other_data)) is not None:
        return read_mnist_part(part, given)

    cached = keras_cache_path()
    remedy = "delete this file, and it is downloaded again"
    origin = Origin(f"Keras's cache {cached.parent}", remedy, is_ours=True)
    if _is_there(cached, origin):
        return read_mnist_part(part, inventory_of_file(cached, origin))
    return _downloaded(part, cached)


def read_own(dataset: str, part: Subset, data_dir: Path | None) -> OwnPart:
    """Read one part of a data set of the user's from the folder that is named.

    Args:
        dataset: the name that the user gives it.
        part: "train" or "test"; the arrays of the other part are not read.
        data_dir: a folder with the data set in any form, or a file; else `MNIST_STUDY_DATA`.

    Raises:
        DataError: no folder is named, or it has no such data.
    """
    given = _given(data_dir, "images and labels of MNIST's form")
    if given is None:
        raise DataError(
            f"dataset {dataset}: found no --data and no {DATA_VARIABLE}, expected the folder that "
            "has its images and labels as IDX or npz; name it with --data"
        )
    return read_own_part(dataset, part, given)


def keras_cache_path() -> Path:
    """Return where Keras keeps its copy of MNIST, whether or not the file exists."""
    if keras_home := os.environ.get("KERAS_HOME"):
        folder = Path(os.path.expanduser(keras_home))
    else:
        home = os.path.expanduser("~")
        # Keras's own fallback, for a user without a writable home. A copy in the home still counts.
        in_home = Path(home, ".keras")
        usable = os.access(home, os.W_OK) or os.path.lexists(in_home / "datasets" / NPZ_NAME)
        folder = in_home if usable else Path("/tmp/.keras")
    return folder / "datasets" / NPZ_NAME


def _given(data_dir: Path | None, wanted: str, other_data: str = "") -> Inventory | None:
    """List what the folder or file that the user has named holds; None if none is named."""
    if data_dir is not None:
        location, label = data_dir, "{}"
        remedy = f"name a folder with {wanted}"
    elif (in_environment := path_in(DATA_VARIABLE)) is not None:
        location, label = in_environment, DATA_VARIABLE + "={}"
        remedy = f"let {DATA_VARIABLE} name a folder with {wanted}, or unset it"
    else:
        return None
    location = expanded(location)

    def origin_of(path: Path) -> Origin:
        return Origin(label.format(printable(str(path))), remedy, other_data)

    try:
        if location.is_dir():
            return inventory_of_folder(location, origin_of(location))
        os.stat(location)  # says why a path that cannot be reached is no folder
        folder = location.parent
        inventory = inventory_of_file(location, origin_of(folder))
        if inventory.arrays and inventory.arrays[0].member is None:
            # One array: the others lie beside it.
            return inventory_of_folder(folder, origin_of(folder), most_depth=0)
    except (OSError, ValueError) as error:
        wanted = f"a folder with {NPZ_NAME} or IDX files"
        raise origin_of(location).error(one_line(error), wanted) from error
    return inventory


def _downloaded(part: Subset, cached: Path) -> MnistPart:
    """Download MNIST and keep it where Keras keeps its own."""
    address = download_address()
    try:
        content = download(address)
    except DownloadFailed as failure:
        raise MnistNotInReachError(
            f"MNIST is not in reach: found no {DATA_VARIABLE}, no file {cached}, and the download "
            f"of {address.shown} failed ({failure}); expected one of them; put {NPZ_NAME} or the "
            f"IDX files into a folder and name it with {DATA_VARIABLE} or --data, or name a mirror "
            f"with {URL_VARIABLE}"
        ) from failure
    try:
        write_atomically(cached, content)
        kept = f"kept as {cached}"
    except OSError as error:
        # The bytes in hand are complete and checked; a read-only home only costs the next download.
        kept = f"not kept: {one_line(error)}"
    origin = Origin(address.shown, f"name a folder with an intact MNIST by {DATA_VARIABLE}")
    read = read_mnist_part(part, inventory_of_bytes(content, origin))
    return replace(read, source=f"downloaded from {address.shown} ({kept})")


def _is_there(path: Path, origin: Origin) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise origin.inside(path.name).error(one_line(error), "a readable file or none") from error
    return True
