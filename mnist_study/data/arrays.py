"""Arrays in files: IDX, npy and npz, what their headers declare and the values block by block.

A file says what it is by its first bytes, never by its name. Nothing is unpickled, and memory
follows the bytes that are really there: a header is only a claim.
"""

import gzip
import io
import math
import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from mnist_study.core.safe_text import printable
from mnist_study.data.files import Opener, Unfit, damage_reported, one_line, unwrapped
from mnist_study.data.foreign import foreign_file, foreign_zip

# MNIST in float64, uncompressed, takes 440 MB.
NPZ_MAX_BYTES = 2**30
# In gzip an npz is unpacked in memory; as its own compression is the usual one, 55 MB are a lot.
UNPACKED_NPZ_MAX_BYTES = 2**26
_MOST_MEMBERS = 64
_BLOCK_BYTES = 2**20
_MOST_AT_ONCE = 2**22
# Of an npy file, as numpy allows by default.
_HEADER_BYTES = 10_000

_NPY_MARK = b"\x93NUMPY"
_IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_IDX_MOST_DIMENSIONS = 4


@dataclass(frozen=True, slots=True)
class Declaration:
    """What an array's header says about it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool = False

    def __str__(self) -> str:
        """Return type and shape as a message shows them, at most so long."""
        return f"{str(self.dtype)[:60]} {str(self.shape)[:60]}"


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array that a file declares, not read yet.

    Attributes:
        open: opens the file.
        file: the file's path within the folder that was given; "" for content in memory.
        member: the array's name in an npz file; None if the file is one array.
        declaration: what the header says.
    """

    open: Opener
    file: str
    member: str | None
    declaration: Declaration

    @property
    def name(self) -> str:
        """File and member, for finding out what the array is."""
        return "/".join(part for part in (self.file, self.member) if part)

    @property
    def what(self) -> str:
        """What a message calls the array within its file."""
        return "an array" if self.member is None else printable(self.member[:60])

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Read the values in the order in which they are stored, a megabyte at a time.

        The end is met after the last, where zip and gzip compare their checksums.

        Raises:
            Unfit: the file is damaged, or not as long as it declares.
        """
        with damage_reported(), _opened(self.open, self.member) as (stream, declaration):
            if declaration != self.declaration:
                raise Unfit("a file that changes while it is read", "one that does not")
            n_bytes = math.prod(declaration.shape) * declaration.dtype.itemsize
            n_read = 0
            while n_read < n_bytes:
                wanted = min(_BLOCK_BYTES, n_bytes - n_read)
                content = stream.read(wanted)
                n_read += len(content)
                if len(content) < wanted:
                    raise Unfit(
                        f"{self.what} truncated to {n_read:,} bytes of values", f"{n_bytes:,} bytes"
                    )
                yield np.frombuffer(content, declaration.dtype)
            if stream.read(1):
                raise Unfit(f"more than {n_bytes:,} bytes in {self.what}", f"{n_bytes:,} bytes")


def arrays_in(open_file: Opener, file: str) -> tuple[list[StoredArray], list[tuple[str, Unfit]]]:
    """List the arrays that a file declares, without reading them.

    Args:
        open_file: opens it.
        file: its path, for the `StoredArray`s.

    Returns:
        The arrays, and what is wrong with those whose header cannot be used, by name.

    Raises:
        Unfit: it is no file of arrays; the error says what it is.
    """
    with damage_reported(), open_file() as stream:
        content, head = unwrapped(stream)
        if head.startswith(b"PK"):
            return _members(open_file, file, content)
        if (declaration := _declaration(content, head)) is None:
            raise foreign_file(head, _size(stream), file)
        return [_listed(StoredArray(open_file, file, None, declaration))], []


def _members(
    open_file: Opener, file: str, stream: IO[bytes]
) -> tuple[list[StoredArray], list[tuple[str, Unfit]]]:
    arrays: list[StoredArray] = []
    rejected: list[tuple[str, Unfit]] = []
    with _archive(stream) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        if not names:
            raise foreign_zip(archive.namelist())
        for name in names[:_MOST_MEMBERS]:
            member = name.removesuffix(".npy")
            try:
                with damage_reported(), _member(archive, member) as content:
                    declaration = _npy_declaration(content)
                arrays.append(_listed(StoredArray(open_file, file, member, declaration)))
            except Unfit as unfit:
                rejected.append((member, unfit))
    return arrays, rejected


@contextmanager
def _opened(open_file: Opener, member: str | None) -> Iterator[tuple[IO[bytes], Declaration]]:
    """Open one array: its values, and what is declared about them."""
    with open_file() as file:
        stream, head = unwrapped(file)
        if member is not None:
            with _archive(stream) as archive, _member(archive, member) as content:
                yield content, _npy_declaration(content)
            return
        declaration = _declaration(stream, head)
        if declaration is None:
            raise Unfit("a file that changes while it is read", "one that does not")
        yield stream, declaration


def _listed(stored: StoredArray) -> StoredArray:
    """Return the array, unless only unpickling would tell what is in it."""
    if stored.declaration.dtype.hasobject:
        raise Unfit(
            f"{stored.what} {stored.declaration}, a pickle, which is never opened",
            remedy="save it as an array of numbers",
        )
    return stored


def _archive(stream: IO[bytes]) -> zipfile.ZipFile:
    if isinstance(stream, gzip.GzipFile):
        # A zip is read from its end, which in gzip is as far away as can be.
        stream = io.BytesIO(_unpacked(stream))
    elif (n_bytes := _size(stream)) > NPZ_MAX_BYTES:
        raise Unfit(f"{n_bytes:,} bytes", f"an npz file up to {NPZ_MAX_BYTES:,} bytes")
    return zipfile.ZipFile(cast("IO[bytes]", _SmallReads(stream)))


def _unpacked(stream: IO[bytes]) -> bytearray:
    content = bytearray()
    while block := stream.read(_BLOCK_BYTES):
        content += block
        if len(content) > UNPACKED_NPZ_MAX_BYTES:
            raise Unfit(
                f"gzip around more than {UNPACKED_NPZ_MAX_BYTES:,} bytes of npz",
                "an npz file that is compressed itself",
            )
    return content


@contextmanager
def _member(archive: zipfile.ZipFile, member: str) -> Iterator[IO[bytes]]:
    info = archive.getinfo(f"{member}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"compression method {info.compress_type}, which numpy does not write")
    with archive.open(info) as content:
        yield content


def _declaration(stream: IO[bytes], head: bytes) -> Declaration | None:
    """Read the header of an npy or IDX file; None if it is neither."""
    if head.startswith(_NPY_MARK):
        return _npy_declaration(stream)
    if len(head) < 4:
        return None
    # The format is big-endian; programs that write numbers as their machine does turn all around.
    order: Literal["<", ">"] = "<" if head[2:4] == b"\0\0" else ">"
    mark: int = struct.unpack_from(f"{order}I", head)[0]
    code, n_dimensions = mark >> 8, mark & 0xFF
    if code not in _IDX_TYPES or not 1 <= n_dimensions <= _IDX_MOST_DIMENSIONS:
        return None
    header = stream.read(4 + 4 * n_dimensions)
    shape = struct.unpack_from(f"{order}{n_dimensions}I", header, 4)
    return Declaration(shape, np.dtype(_IDX_TYPES[code]).newbyteorder(order))


def _npy_declaration(stream: IO[bytes]) -> Declaration:
    """Read the header of an npy file; nothing is unpickled."""
    start = stream.read(len(_NPY_MARK) + 2)
    if not start.startswith(_NPY_MARK) or start[-2:] not in (b"\1\0", b"\2\0"):
        raise ValueError(f"npy header: {start.hex(' ')}")
    length = stream.read(2 if start[-2] == 1 else 4)
    n_bytes = int.from_bytes(length, "little")
    # numpy would read a header of any length before it looks at it.
    if n_bytes > _HEADER_BYTES:
        raise ValueError(f"npy header: {n_bytes:,} bytes")
    header = io.BytesIO(length + stream.read(n_bytes))
    try:
        read = (
            np.lib.format.read_array_header_1_0
            if start[-2] == 1
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran_order, dtype = read(header)
    except Exception as error:
        # The header is a Python literal: foreign text makes numpy raise nearly anything, a
        # MemoryError for deep nesting or a TypeError for a list as key.
        raise ValueError(f"npy header: {one_line(error)}") from error
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"npy header: shape {str(shape)[:60]}")
    return Declaration(shape, dtype, fortran_order)


class _SmallReads:
    """A file as zipfile may read it: it would read an index of any claimed size at once."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.seek = stream.seek
        self.tell = stream.tell
        self.seekable = stream.seekable

    def read(self, n_bytes: int = -1) -> bytes:
        whole = 0 <= n_bytes <= _MOST_AT_ONCE
        content = self._stream.read(n_bytes if whole else _MOST_AT_ONCE + 1)
        if len(content) > _MOST_AT_ONCE:
            raise ValueError(f"an index of more than {_MOST_AT_ONCE:,} bytes")
        return content


def _size(stream: IO[bytes]) -> int:
    """Return a file's size, and stay at its beginning."""
    n_bytes = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return n_bytes
