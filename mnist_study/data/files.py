"""MNIST's files, npz and IDX, and the check that one holds the published arrays.

Every file is treated as untrusted: what its header declares is compared with what MNIST is before
anything is allocated, no more bytes than that are read, nothing is unpickled, and the content is
checked against the published SHA-256. Only the arrays of the part asked for are read.
"""

import gzip
import hashlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from mnist_study.core.errors import UserFacingError

Subset = Literal["train", "test"]
UInt8Array = NDArray[np.uint8]

# MNIST as npz takes 11 to 55 MB. Far larger files are refused before their index is read.
NPZ_MAX_BYTES = 256 * 2**20

# What damaged or foreign bytes make gzip and zipfile raise.
DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class DataError(UserFacingError):
    """A data set that cannot be used: what was found, what was expected, what to do."""


@dataclass(frozen=True, slots=True)
class KnownArray:
    """One array of MNIST as it was published.

    Attributes:
        npz_member: name of the array in Keras's npz file.
        idx_name: name of the original, uncompressed IDX file.
        shape: the exact shape; the type is always uint8.
        sha256: SHA-256 of the original IDX file, header included.
    """

    npz_member: str
    idx_name: str
    shape: tuple[int, ...]
    sha256: str


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


@dataclass(frozen=True, slots=True)
class Origin:
    """A file or folder as an error message names it, and what its user can do about it."""

    label: str
    remedy: str

    def error(self, found: str, expected: str) -> DataError:
        """Return the error for this file, ready to be raised."""
        return DataError(f"{self.label}: found {found}, expected {expected}; {self.remedy}")

    def inside(self, name: str) -> "Origin":
        """Return the origin of a file in this folder."""
        return Origin(f"{self.label}/{name}", self.remedy)


def idx_header(shape: tuple[int, ...]) -> bytes:
    """Return the header of the IDX file that holds a uint8 array of this shape."""
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


def idx_sha256(*arrays: UInt8Array) -> str:
    """Return the SHA-256 over the IDX files of `arrays`, one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for array in arrays:
        if array.dtype != np.uint8:
            raise ValueError(f"only uint8 arrays have this hash, received {array.dtype}")
        digest.update(idx_header(array.shape))
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def read_npz_file(part: Subset, path: Path, origin: Origin) -> MnistPart:
    """Read one part from the npz file at `path`, or raise a `DataError` that names `origin`."""
    with _open(path, origin) as stream:
        n_bytes = os.fstat(stream.fileno()).st_size
        if n_bytes > NPZ_MAX_BYTES:
            raise origin.error(f"{n_bytes:,} bytes", f"an npz file up to {NPZ_MAX_BYTES:,} bytes")
        return read_npz(part, stream, origin, origin.label)


def read_npz(part: Subset, stream: IO[bytes], origin: Origin, source: str) -> MnistPart:
    """Read one part from an open npz file; `source` says in words where it came from."""
    names = " and ".join(known.npz_member for known in MNIST_ARRAYS[part])
    try:
        with zipfile.ZipFile(stream) as archive:
            images, labels = (
                _read_npz_member(archive, known, origin) for known in MNIST_ARRAYS[part]
            )
    except DAMAGE as error:
        raise origin.error(
            f"a damaged file ({one_line(error)})", f"an intact npz file with {names}"
        ) from error
    return MnistPart(images, labels, source)


def _read_npz_member(archive: zipfile.ZipFile, known: KnownArray, origin: Origin) -> UInt8Array:
    members = archive.namelist()
    if f"{known.npz_member}.npy" not in members:
        raise origin.error(f"arrays {shown(members)}", f"an array {known.npz_member}")
    compression = archive.getinfo(f"{known.npz_member}.npy").compress_type
    if compression not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"compression method {compression}, which numpy does not write")
    with archive.open(f"{known.npz_member}.npy") as stream:
        shape, fortran_order, dtype = _read_npy_header(stream)
        if shape != known.shape or dtype != np.uint8:
            raise origin.error(
                f"{known.npz_member} {str(dtype)[:60]} {str(shape)[:60]}",
                f"{known.npz_member} uint8 {known.shape}",
            )
        content = _read_exactly(stream, known, known.npz_member, origin)
    array = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran_order else "C")
    return _checked(np.ascontiguousarray(array), known, known.npz_member, origin)


def _read_npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the shape, Fortran order and type that an npy file declares; nothing is unpickled."""
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(stream)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(stream)
    except Exception as error:
        # The header is a Python literal: foreign text makes numpy raise nearly anything, a
        # MemoryError for deep nesting or a TypeError for a list as key.
        raise ValueError(f"npy header: {one_line(error)}") from error
    raise ValueError(f"npy header: version {version}")


def read_idx_file(known: KnownArray, path: Path, origin: Origin) -> UInt8Array:
    """Read one array from the IDX file at `path`, compressed if its name ends in .gz."""
    header = idx_header(known.shape)
    kind = f"IDX file {known.idx_name}"
    try:
        with _open(path, origin) as file:
            stream = file
            if path.suffix == ".gz":
                stream = cast("IO[bytes]", gzip.GzipFile(fileobj=file))
            found = stream.read(len(header))
            if found != header:
                raise origin.error(
                    f"a header {found.hex(' ', 4) or 'of no bytes'}",
                    f"{header.hex(' ', 4)} as uint8 {known.shape} of {kind} has",
                )
            content = _read_exactly(stream, known, kind, origin)
    except DAMAGE as error:
        raise origin.error(f"a damaged file ({one_line(error)})", f"an intact {kind}") from error
    return _checked(np.frombuffer(content, np.uint8).reshape(known.shape), known, kind, origin)


def _read_exactly(stream: IO[bytes], known: KnownArray, what: str, origin: Origin) -> bytes:
    """Read the array's bytes and meet the end, where zip and gzip compare their checksums."""
    n_bytes = int(np.prod(known.shape))
    content = stream.read(n_bytes)
    if len(content) < n_bytes:
        raise origin.error(
            f"{what} truncated to {len(content):,} bytes of values", f"{n_bytes:,} bytes"
        )
    if stream.read(1):
        raise origin.error(f"more than {n_bytes:,} bytes in {what}", f"{n_bytes:,} bytes")
    return content


def _checked(array: UInt8Array, known: KnownArray, what: str, origin: Origin) -> UInt8Array:
    sha256 = idx_sha256(array)
    if sha256 != known.sha256:
        raise origin.error(
            f"{what} with changed content (SHA-256 {sha256[:12]}…)",
            f"MNIST's (SHA-256 {known.sha256[:12]}…)",
        )
    array.flags.writeable = False
    return array


def _open(path: Path, origin: Origin) -> IO[bytes]:
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            found = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
            raise origin.error(found, "an ordinary file")
        return path.open("rb")
    except (OSError, ValueError) as error:
        raise origin.error(one_line(error), "a readable file") from error


def idx_file_names(known: KnownArray) -> list[str]:
    """Return the names this array's file goes by, uncompressed ones first."""
    dotted = known.idx_name.replace("-idx", ".idx")
    return [known.idx_name, dotted, f"{known.idx_name}.gz", f"{dotted}.gz"]


def shown(names: Iterable[str], most: int = 5) -> str:
    """List a few names for a message, quoted: they come from outside and may hold anything."""
    ordered = sorted(names)
    quoted = [repr(name[:60]) for name in ordered[:most]]
    if len(ordered) > most:
        quoted.append(f"and {len(ordered) - most} more")
    return ", ".join(quoted) or "nothing"


def one_line(error: BaseException) -> str:
    """Return what an exception says, in one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__
