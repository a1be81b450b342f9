"""Properties of the readers: any form gives the same arrays, any bytes end in our own error."""

from __future__ import annotations

import gzip
import io
import random
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mnist_forms import (
    Arrays,
    idx_bytes,
    install_table,
    npy_bytes,
    npz_bytes,
    synthetic_arrays,
    write,
)
from numpy.typing import NDArray

from mnist_study.data.dataset import DataError, load_training_set

pytest_plugins = ["mnist_fixtures"]
pytestmark = pytest.mark.usefixtures("isolated")

# The intact files take less than 4 MB to read.
MOST_BYTES = 16_000_000

# --- any form


IMAGE_TYPES = ("u1", "<i2", ">u2", "<i4", ">i8", "<f2", "<f4", ">f4", "<f8")
LABEL_TYPES = ("u1", "i1", "<i4", ">i8", "<f4", "<f8")
IMAGE_SHAPES = ((-1, 28, 28), (-1, 28, 28, 1), (-1, 1, 28, 28), (-1, 784))
IDX_TYPES = ("u1", "i2", "i4", "f4", "f8")


@st.composite
def stored_arrays(draw: st.DrawFn) -> dict[str, NDArray[Any]]:
    """The training arrays in any type, shape and order that hold them exactly."""
    arrays = synthetic_arrays()
    images = arrays["x_train"].reshape(draw(st.sampled_from(IMAGE_SHAPES)))
    image_type = np.dtype(draw(st.sampled_from(IMAGE_TYPES)))
    is_unit = image_type.kind == "f" and draw(st.booleans())
    images = (images / 255).astype(image_type) if is_unit else images.astype(image_type)
    labels = arrays["y_train"].astype(draw(st.sampled_from(LABEL_TYPES)))
    labels = draw(
        st.sampled_from(
            (labels, labels[:, None], np.eye(10, dtype=labels.dtype)[labels.astype(int)])
        )
    )
    order = draw(st.sampled_from("CF"))
    return {
        "x": np.asarray(images, order=order),  # type: ignore[call-overload]
        "y": np.asarray(labels, order=order),  # type: ignore[call-overload]
    }


@st.composite
def stored_files(draw: st.DrawFn) -> dict[str, bytes]:
    """The training arrays as files of any form, in any folder, in up to three layers of gzip."""
    arrays = draw(stored_arrays())
    folder = draw(st.sampled_from(("", "raw/", "MNIST/raw/", "a/b/c/")))
    form = draw(st.sampled_from(("npz", "stored npz", "two npz", "npy", "idx")))
    if form == "idx":
        code = draw(st.sampled_from(IDX_TYPES))
        files = {name: idx_bytes(np.ascontiguousarray(arrays[name]).astype(code)) for name in "xy"}
        if code in ("u1", "i2", "i4") and arrays["x"].max() <= 1:
            files["x"] = idx_bytes(np.rint(np.multiply(arrays["x"], 255, dtype=float)).astype(code))
    elif form == "npy":
        files = {name: npy_bytes(array) for name, array in arrays.items()}
    elif form == "two npz":
        files = {name: npz_bytes({"arr_0": array}) for name, array in arrays.items()}
    elif form == "npz":
        files = {"both": npz_bytes(arrays)}
    else:
        stream = io.BytesIO()
        np.savez(stream, **arrays)  # type: ignore[arg-type]  # numpy's keywords
        files = {"both": stream.getvalue()}
    names = {
        "x": draw(st.sampled_from(("train-images-idx3-ubyte", "x_train.npy", "a.gz", "X.csv"))),
        "y": draw(st.sampled_from(("train-labels.idx1-ubyte", "y_train.npz", "b", "labels.pkl"))),
        "both": draw(st.sampled_from(("mnist.npz", "c", "d.gz"))),
    }
    for name in files:
        for _ in range(draw(st.integers(0, 3))):
            files[name] = gzip.compress(files[name], 1)
    return {folder + names[name]: content for name, content in files.items()}


# The same examples every time; the other tests here have seeds too.
@settings(max_examples=100, deadline=None, derandomize=True)
@given(files=stored_files())
def test_any_form_of_mnist_gives_the_same_arrays(
    files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    arrays = synthetic_arrays()
    with pytest.MonkeyPatch.context() as monkeypatch:
        install_table(monkeypatch, arrays)
        folder = write(tmp_path_factory.mktemp("form"), files)
        training_set = load_training_set("mnist", folder)
    np.testing.assert_array_equal(training_set.images, arrays["x_train"])
    np.testing.assert_array_equal(training_set.labels, arrays["y_train"])


# --- any bytes


def stored_npz(arrays: dict[str, NDArray[Any]]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]  # numpy's keywords
    return stream.getvalue()


def intact_files(arrays: Arrays) -> dict[str, list[bytes]]:
    images = arrays["x_train"]
    floats: dict[str, NDArray[Any]] = {
        **arrays,
        "x_train": (images / 255).astype(np.float32),
        "y_train": arrays["y_train"].astype(np.int64),
    }
    by_columns = {**arrays, "x_train": np.asfortranarray(images[..., None])}
    return {
        "npz": [
            npz_bytes(arrays),
            stored_npz(dict(arrays)),
            npz_bytes(floats),
            stored_npz(dict(by_columns)),
            gzip.compress(npz_bytes(arrays)),
            npy_bytes(images),
        ],
        "idx": [
            idx_bytes(images),
            idx_bytes(images.astype(np.float32)),
            idx_bytes(arrays["y_train"].astype(np.int32)),
            gzip.compress(idx_bytes(images)),
            gzip.compress(gzip.compress(idx_bytes(images), 1), 1),
        ],
    }


def damaged(intact: bytes, rng: random.Random) -> bytes:
    """Change, remove, insert and copy bytes, mostly at the ends, where headers and indexes lie."""
    content = bytearray(intact)
    for _ in range(rng.randint(1, 6)):
        n_bytes = len(content)
        if not n_bytes:
            break
        place = (
            rng.choice([min(rng.randrange(400), n_bytes - 1), -1 - rng.randrange(600)]) % n_bytes
        )
        if rng.random() < 0.3:
            place = rng.randrange(n_bytes)
        change = rng.randrange(6)
        if change == 0:
            content[place] = rng.randrange(256)
        elif change == 1:
            del content[place : place + rng.choice([1, 2, 4, 100, n_bytes])]
        elif change == 2:
            content[place:place] = rng.randbytes(rng.choice([1, 2, 4, 50]))
        elif change == 3:
            number = rng.choice([0, 1, 28, 60, 10**6, 2**31, 2**32 - 1])
            content[place : place + 4] = struct.pack(rng.choice("<>") + "I", number)
        elif change == 4:
            content[place : place + 2] = struct.pack("<H", rng.choice([0, 1, 8, 9, 14, 99, 65535]))
        else:
            start = rng.randrange(n_bytes)
            content[place : place + 50] = content[start : start + rng.randrange(1, 200)]
    return bytes(content)


def made_up_npz(rng: random.Random) -> bytes:
    """A whole zip archive whose arrays have headers of any text, and values of any length."""
    shape = rng.choice(
        ["(60, 28, 28)", "(60,)", "(10**9,)", "(4000000000, 28, 28)", "()", "(-1, 784)"]
    )
    kind = rng.choice(["|u1", "<f8", "|O", "<U9", "|b1", "<c16", "<M8[s]", "|V7", "<f16", ""])
    text = f"{{'descr': '{kind}', 'fortran_order': {rng.choice(['True', 'False', '1'])}, "
    header = rng.choice(
        [f"{text}'shape': {shape}}}", "[" * rng.randrange(3000), text, "None", "{}"]
    )
    version = rng.choice([1, 1, 1, 2, 3, 9])
    length = struct.pack("<H" if version == 1 else "<I", rng.choice([len(header), 65535]))
    member = b"\x93NUMPY" + bytes([version, 0]) + length + header.encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", rng.choice([0, 8, 12, 14])) as archive:
        for name in rng.sample(["x_train", "y_train", "arr_0", "../x", "a\nb", "ü"], 3):
            archive.writestr(f"{name}.npy", member + rng.randbytes(rng.choice([0, 60, 47_040])))
    return stream.getvalue()


def made_up_idx(rng: random.Random) -> bytes:
    """A header with any type and dimensions, and values of any length."""
    n_dimensions = rng.choice([0, 1, 1, 2, 3, 3, 4, 255])
    shape = [rng.choice([0, 1, 28, 60, 784, 10**6, 2**32 - 1]) for _ in range(n_dimensions)]
    mark, order = rng.choice([8, 9, 11, 12, 13, 14, 7, 255]) << 8 | n_dimensions, rng.choice(">><")
    values = rng.randbytes(rng.choice([0, 60, 480, 47_040, 50_000]))
    content = struct.pack(f"{order}{1 + n_dimensions}I", mark, *shape) + values
    return gzip.compress(content, 1) if rng.random() < 0.3 else content


def check_any_bytes(kind: str, n_files: int, arrays: Arrays, folder: Path) -> None:
    """Read damaged and made-up files, beside intact labels, as MNIST and as other data."""
    rng = random.Random(n_files)
    intact = intact_files(arrays)[kind]
    make_up = made_up_npz if kind == "npz" else made_up_idx
    write(folder, {"train-labels": idx_bytes(arrays["y_train"])})
    path = folder / ("mnist.npz" if kind == "npz" else "train-images-idx3-ubyte")
    n_read = n_refused = most_bytes = 0
    warnings.simplefilter("ignore")  # numpy on old headers, zipfile on names that come twice
    tracemalloc.start()
    try:
        for _ in range(n_files):
            make_new = rng.random() < 0.3
            path.write_bytes(make_up(rng) if make_new else damaged(rng.choice(intact), rng))
            name = rng.choice(["mnist", "mnist", "mine"])
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                training_set = load_training_set(name, folder)
            except DataError as error:
                n_refused += 1
                assert str(error).isprintable()  # noqa: PT017  # either outcome is right
            else:
                n_read += 1
                assert training_set.images.shape[1:] == (28, 28)
                if name == "mnist":
                    np.testing.assert_array_equal(training_set.images, arrays["x_train"])
            most_bytes = max(most_bytes, tracemalloc.get_traced_memory()[1] - before)
            assert most_bytes < MOST_BYTES
    finally:
        tracemalloc.stop()
    print(f"{kind}: {n_read} read, {n_refused} refused, at most {most_bytes / 1e6:.1f} MB at once")
    assert n_read > n_files // 1000
    assert n_refused > n_files // 2


def test_a_beginning_of_any_length_ends_in_our_own_error(arrays: Arrays, folder: Path) -> None:
    for files in intact_files(arrays).values():
        for content in files:
            for n_bytes in (*range(24), 60, 100, 127, 128, 129):
                write(folder, {"train-images": content[:n_bytes]})
                with pytest.raises(DataError):
                    load_training_set("mnist", folder)


@pytest.mark.parametrize("kind", ["npz", "idx"])
def test_any_bytes_end_in_our_own_error_within_bounded_memory(
    kind: str, arrays: Arrays, folder: Path
) -> None:
    check_any_bytes(kind, 250, arrays, folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["npz", "idx"])
def test_20000_files_of_any_bytes_end_in_our_own_error_within_bounded_memory(
    kind: str, arrays: Arrays, folder: Path
) -> None:
    check_any_bytes(kind, 10_000, arrays, folder)
