"""Images and labels from arrays of any type that holds them exactly, and of any usual shape."""

import hashlib
import struct
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_study.data.arrays import Declaration, StoredArray
from mnist_study.data.files import Unfit

UInt8Array = NDArray[np.uint8]

SIDE = 28
N_CLASSES = 10
# Eight times MNIST; the images then take 392 MB.
MOST_ROWS = 500_000
# float16 holds k / 255 to within 0.06 / 255.
_GREY_TOLERANCE = 0.1
_SAVE_NUMBERS = "save it as an array of numbers"
# What floats from 0 to 1 are multiplied by.
_FULL = 255.0


def image_rows(declaration: Declaration) -> int | None:
    """Return how many 28x28 images an array of this shape holds; None if it holds none."""
    if not declaration.shape:
        return None
    n_rows, *rest = declaration.shape
    usual = ([SIDE, SIDE], [SIDE, SIDE, 1], [1, SIDE, SIDE], [SIDE * SIDE])
    return n_rows if rest in usual else None


def label_rows(declaration: Declaration) -> int | None:
    """Return how many labels an array of this shape holds, one-hot ones included, or None."""
    if not declaration.shape:
        return None
    n_rows, *rest = declaration.shape
    return n_rows if rest in ([], [1], [N_CLASSES]) else None


def read_images(stored: StoredArray) -> UInt8Array:
    """Read images of whole numbers 0 to 255, of such as floats, or of floats 0 to 1.

    Returns:
        uint8 (n, 28, 28), read-only.

    Raises:
        Unfit: the file is damaged, or the values are no 8-bit grey levels.
    """
    _check_type(stored, image_rows(stored.declaration))
    is_float = stored.declaration.dtype.kind == "f"
    levels = bytearray()
    scale = None if is_float else 1.0
    for block in stored.blocks():
        if scale is None and (scale := _scale(block)) == _FULL:
            _stretch(levels)
        levels += _levels(block, scale or 1.0, stored).data
    if scale is None:
        _stretch(levels)
    return _read_only(_in_rows(levels, stored).reshape(-1, SIDE, SIDE))


def read_labels(stored: StoredArray) -> UInt8Array:
    """Read labels of whole numbers 0 to 255, as integers or floats, or one-hot ones.

    Returns:
        uint8 (n,), read-only.

    Raises:
        Unfit: the file is damaged, or the values are no labels.
    """
    _check_type(stored, label_rows(stored.declaration), kinds="iufb")
    values = bytearray()
    for block in stored.blocks():
        numbers = block.astype(np.uint8) if block.dtype.kind == "b" else block
        values += _levels(numbers, 1.0, stored).data
    labels = _in_rows(values, stored)
    if stored.declaration.shape[1:] == (N_CLASSES,):
        if not ((labels.max(axis=1) == 1) & (labels.sum(axis=1) == 1)).all():
            raise Unfit(f"{stored.what} with rows that are not one-hot", "one 1 among nine 0")
        labels = labels.argmax(axis=1).astype(np.uint8)
    return _read_only(labels.reshape(-1))


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


def _check_type(stored: StoredArray, n_rows: int | None, kinds: str = "iuf") -> None:
    dtype = stored.declaration.dtype
    if dtype.kind not in kinds or dtype.itemsize > 8 or n_rows is None:
        raise Unfit(f"{stored.what} {stored.declaration}", "an array of numbers", _SAVE_NUMBERS)
    if not 0 <= n_rows <= MOST_ROWS:
        raise Unfit(f"{stored.what} with {n_rows:,} rows", f"{MOST_ROWS:,} or fewer")


def _scale(block: NDArray[Any]) -> float | None:
    """Return what floats 0 to 1 or 0 to 255 are multiplied by; None if 0 and 1 leave it open."""
    # One that is infinite tells nothing of the others.
    if ((block > 1) & (block < np.inf)).any():
        return 1.0
    return _FULL if ((block > 0) & (block < 1)).any() else None


def _stretch(levels: bytearray) -> None:
    """Make 255 of each 1, once it is known to stand for full ink."""
    np.frombuffer(levels, np.uint8)[:] *= 255


def _levels(block: NDArray[Any], scale: float, stored: StoredArray) -> UInt8Array:
    """Return values as uint8, floats as the whole numbers that they stand for."""
    if block.dtype == np.uint8:
        return block
    if block.dtype.kind == "f":
        with np.errstate(all="ignore"):
            exact = block.astype(np.float64) * scale
            whole = np.rint(exact)
            # Not a number is not near one either.
            off = ~(np.abs(exact - whole) <= _GREY_TOLERANCE)
        if off.any():
            raise Unfit(
                f"{stored.what} with a value {float(block[off][0]):.6g}",
                "whole numbers from 0 to 255" if scale == 1 else "multiples of 1/255 from 0 to 1",
            )
        block = whole
    low, high = block.min(), block.max()
    if low < 0 or high > 255:
        raise Unfit(
            f"{stored.what} with values from {low / scale:.6g} to {high / scale:.6g}",
            f"0 to {255 / scale:g}",
        )
    return block.astype(np.uint8)


def _in_rows(values: bytearray, stored: StoredArray) -> UInt8Array:
    declaration = stored.declaration
    order: Literal["F", "C"] = "F" if declaration.fortran_order else "C"
    flat = np.frombuffer(values, np.uint8)
    return np.ascontiguousarray(flat.reshape(declaration.shape, order=order))


def _read_only(array: UInt8Array) -> UInt8Array:
    array.flags.writeable = False
    return array
