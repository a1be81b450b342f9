"""The content decides what MNIST is, in whatever form it lies there."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from mnist_forms import (
    Arrays,
    idx_bytes,
    install_table,
    npy_bytes,
    npz_bytes,
    refusal,
    synthetic_arrays,
    write,
    write_idx,
)
from numpy.typing import DTypeLike, NDArray

from mnist_study.data import folder as folders
from mnist_study.data.dataset import load_test_set, load_training_set

pytest_plugins = ["mnist_fixtures"]
pytestmark = pytest.mark.usefixtures("isolated")

# Read before the fixture hides it from the tests.
REAL_MNIST = os.environ.get("MNIST_STUDY_DATA")
TRAIN, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
Files = dict[str, bytes]
Wrap = Callable[[bytes], bytes]
Change = Callable[[NDArray[np.uint8]], NDArray[Any]]


def test_npz_and_every_idx_form_give_the_same_arrays_and_hash(
    arrays: Arrays, tmp_path: Path
) -> None:
    hashes = set()
    for form in ("npz", "raw", "dotted", "gz", "dotted gz"):
        place = tmp_path / form
        place.mkdir()
        if form == "npz":
            (place / "mnist.npz").write_bytes(npz_bytes(arrays))
        else:
            write_idx(place, arrays, dotted="dotted" in form, compressed="gz" in form)
        training_set, test_set = load_training_set("mnist", place), load_test_set("mnist", place)
        np.testing.assert_array_equal(training_set.images, arrays["x_train"])
        np.testing.assert_array_equal(training_set.labels, arrays["y_train"])
        np.testing.assert_array_equal(test_set.images, arrays["x_test"])
        np.testing.assert_array_equal(test_set.labels, arrays["y_test"])
        assert training_set.dataset == test_set.dataset == "mnist"
        assert str(place) in training_set.source
        hashes.add(training_set.content_hash)
    assert len(hashes) == 1


def test_an_npz_file_can_be_named_itself(arrays: Arrays, tmp_path: Path) -> None:
    path = tmp_path / "my copy.npz"
    path.write_bytes(npz_bytes(arrays))
    assert load_training_set("auto", path).dataset == "mnist"


def test_arrays_stored_in_fortran_order_are_the_same_arrays(arrays: Arrays, folder: Path) -> None:
    columns_first = {name: np.asfortranarray(array) for name, array in arrays.items()}
    (folder / "mnist.npz").write_bytes(npz_bytes(columns_first))
    np.testing.assert_array_equal(load_training_set("mnist", folder).images, arrays["x_train"])


def idx_names(arrays: Arrays) -> dict[str, NDArray[np.uint8]]:
    return {
        TRAIN: arrays["x_train"],
        LABELS: arrays["y_train"],
        "t10k-images-idx3-ubyte": arrays["x_test"],
        "t10k-labels-idx1-ubyte": arrays["y_test"],
    }


def idx(arrays: Arrays, name: Callable[[str], str] = str, wrap: Wrap = bytes) -> Files:
    """IDX files under other names, wrapped in something."""
    return {name(known): wrap(idx_bytes(array)) for known, array in idx_names(arrays).items()}


def npz(arrays: Arrays, images: Change = np.asarray, labels: Change = np.asarray) -> Files:
    """One npz with images and labels in other arrays of the same content."""
    return {
        "mnist.npz": npz_bytes(
            {name: (images if name[0] == "x" else labels)(one) for name, one in arrays.items()}
        )
    }


def renamed(arrays: Arrays, *names: str) -> Files:
    return {"data.npz": npz_bytes(dict(zip(names, arrays.values(), strict=True)))}


def joined(arrays: Arrays) -> Files:
    images = np.concatenate([arrays["x_train"], arrays["x_test"]]).reshape(-1, 784)
    labels = np.concatenate([arrays["y_train"], arrays["y_test"]])
    return {"openml.npz": npz_bytes({"X": images.astype(np.float32), "y": labels})}


def twice(content: bytes) -> bytes:
    return gzip.compress(gzip.compress(content, 1), 1)


def one_hot(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.eye(10, dtype=np.float32)[labels]


def typed(dtype: DTypeLike) -> Change:
    return lambda array: array.astype(dtype)


def turned(array: NDArray[Any]) -> bytes:
    """An IDX file all of whose numbers are little-endian."""
    content = idx_bytes(array)
    n_header = 4 + 4 * array.ndim
    header = np.frombuffer(content[:n_header], ">u4").astype("<u4").tobytes()
    values = np.frombuffer(content[n_header:], array.dtype.newbyteorder(">"))
    return header + values.astype(array.dtype.newbyteorder("<")).tobytes()


def packed(content: bytes) -> bytes:
    return gzip.compress(content, 1)


EMNIST = {
    TRAIN: "emnist-mnist-train-images-idx3-ubyte.gz",
    LABELS: "emnist-mnist-train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte": "emnist-mnist-test-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte": "emnist-mnist-test-labels-idx1-ubyte.gz",
}

FORMS: dict[str, Callable[[Arrays], Files]] = {
    "torchvision's folder": lambda a: idx(a, lambda name: f"raw/{name}"),
    "its parent": lambda a: idx(a, lambda name: f"MNIST/raw/{name}.gz", packed),
    "its grandparent": lambda a: idx(a, lambda name: f"torchvision/MNIST/raw/{name}"),
    "Kaggle's nested folders": lambda a: idx(a, lambda name: f"{name}/{name}"),
    "Kaggle's dotted names": lambda a: idx(a, lambda name: name.replace("-idx", ".idx")),
    "both": lambda a: idx(a, lambda n: f"archive/{n}/{n.replace('-idx', '.idx')}"),
    "EMNIST's names": lambda a: idx(a, lambda name: f"gzip/{EMNIST[name]}", packed),
    "capitals": lambda a: idx(a, lambda name: f"{name.upper()}.GZ", packed),
    "a browser's second copy": lambda a: idx(a, lambda name: f"{name} (1).gz", packed),
    "names that say nothing": lambda a: idx(a, lambda name: f"{crc32(name.encode())}.bin"),
    "gzip without .gz": lambda a: idx(a, wrap=packed),
    "raw with .gz": lambda a: idx(a, lambda name: f"{name}.gz"),
    "twice gzipped": lambda a: idx(a, lambda name: f"{name}.gz", twice),
    "twice gzipped, named so": lambda a: idx(a, lambda name: f"{name}.gz.gz", twice),
    "npz in gzip": lambda a: {"mnist.npz.gz": packed(npz(a)["mnist.npz"])},
    "gzip named npz": lambda a: {"mnist.npz": twice(npz(a)["mnist.npz"])},
    "npz of another name": lambda a: {"my copy.npz": npz(a)["mnist.npz"]},
    "npz without its ending": lambda a: {"mnist": npz(a)["mnist.npz"]},
    "train_images": lambda a: renamed(
        a, "train_images", "train_labels", "test_images", "test_labels"
    ),
    "X_train": lambda a: renamed(a, "X_train", "Y_train", "X_test", "Y_test"),
    "arr_0": lambda a: renamed(a, "arr_0", "arr_1", "arr_2", "arr_3"),
    "names that lie": lambda a: renamed(a, "x_test", "y_test", "x_train", "y_train"),
    "an npz a part": lambda a: {
        "train.npz": npz_bytes({"images": a["x_train"], "labels": a["y_train"]}),
        "test.npz": npz_bytes({"images": a["x_test"], "labels": a["y_test"]}),
    },
    "an npz an array": lambda a: {f"{n}.npz": npz_bytes({"arr_0": v}) for n, v in a.items()},
    "npy files": lambda a: {f"{name}.npy": npy_bytes(array) for name, array in a.items()},
    "npy files in gzip": lambda a: {f"{n}.npy.gz": packed(npy_bytes(v)) for n, v in a.items()},
    "int64 labels": lambda a: npz(a, labels=typed(np.int64)),
    "int64 throughout": lambda a: npz(a, typed(np.int64), typed(np.int64)),
    "big-endian": lambda a: npz(a, lambda x: x.astype(">u2"), lambda y: y.astype(">i4")),
    "float labels": lambda a: npz(a, labels=typed(np.float64)),
    "labels in a column": lambda a: npz(a, labels=lambda y: y.reshape(-1, 1)),
    "one-hot labels": lambda a: npz(a, labels=one_hot),
    "float16 0 to 1": lambda a: npz(a, lambda x: (x / 255).astype(np.float16)),
    "float32 0 to 1": lambda a: npz(a, lambda x: x.astype(np.float32) / 255),
    "float64 0 to 1": lambda a: npz(a, lambda x: x / 255),
    "float32 0 to 255": lambda a: npz(a, typed(np.float32)),
    "float64 0 to 1 by columns": lambda a: npz(a, lambda x: np.asfortranarray(x / 255)),
    "float32 0 to 255 by columns": lambda a: npz(a, lambda x: np.asfortranarray(x, np.float32)),
    "channels last": lambda a: npz(a, lambda x: x[..., None]),
    "channels first": lambda a: npz(a, lambda x: x[:, None]),
    "flat images": lambda a: npz(a, lambda x: x.reshape(-1, 784)),
    "flat by columns": lambda a: npz(a, lambda x: np.asfortranarray(x.reshape(-1, 784) / 255)),
    "one-hot truth values": lambda a: npz(a, labels=lambda y: one_hot(y).astype(bool)),
    "all rows in one": joined,
    "IDX of int32": lambda a: {n: idx_bytes(v.astype(np.int32)) for n, v in idx_names(a).items()},
    "IDX of double": lambda a: {n: idx_bytes(v.astype(float)) for n, v in idx_names(a).items()},
    "IDX of float 0 to 1": lambda a: {
        n: idx_bytes((v / 255).astype(np.float32) if v.ndim == 3 else v)
        for n, v in idx_names(a).items()
    },
    "little-endian IDX": lambda a: {n: turned(v) for n, v in idx_names(a).items()},
    "little-endian IDX of int32": lambda a: {
        n: turned(v.astype(np.int32)) for n, v in idx_names(a).items()
    },
    "a folder for each part": lambda a: {
        f"{name[2:]}/{'images' if name[0] == 'x' else 'labels'}.npy": npy_bytes(array)
        for name, array in a.items()
    },
    "half npz, half IDX": lambda a: {
        "images.npz": npz_bytes({"x_train": a["x_train"], "x_test": a["x_test"]}),
        LABELS: idx_bytes(a["y_train"]),
        "t10k-labels.gz": packed(idx_bytes(a["y_test"])),
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_mnist_is_read_in_every_form(arrays: Arrays, folder: Path, form: str) -> None:
    # One that begins with blank images, whose first values tell nothing.
    arrays["x_train"][:7] = 0
    with pytest.MonkeyPatch.context() as monkeypatch:
        install_table(monkeypatch, arrays)
        write(folder, FORMS[form](arrays))
        training_set, test_set = load_training_set("mnist", folder), load_test_set("mnist", folder)
    for found, part in ((training_set, "train"), (test_set, "test")):
        np.testing.assert_array_equal(found.images, arrays[f"x_{part}"])
        np.testing.assert_array_equal(found.labels, arrays[f"y_{part}"])
        assert found.dataset == "mnist"
        assert "passed over" not in found.source
        assert str(folder) in found.source
        for array in (found.images, found.labels):
            assert array.dtype == np.uint8
            assert not array.flags.writeable
            assert array.flags.c_contiguous


def test_a_float_is_read_alike_wherever_its_grey_levels_begin() -> None:
    """Values 0 and 1 alone leave open what they stand for; what follows decides."""
    made = synthetic_arrays()
    images = np.zeros((60, 28, 28), np.uint8)
    for first, scale in ((1, 1), (255, 255)):
        images[:30, 5, 5] = first
        images[59] = made["x_train"][59]
        made["x_train"] = images.copy()
        for order in ("C", "F"):
            with pytest.MonkeyPatch.context() as monkeypatch:
                monkeypatch.setattr("mnist_study.data.arrays._BLOCK_BYTES", 64)
                install_table(monkeypatch, made)
                stored = np.asarray(images / scale, np.float64, order=order)
                content = npz_bytes({**made, "x_train": stored})
                path = Path(os.environ["KERAS_HOME"]) / "datasets" / "mnist.npz"
                write(path.parent, {"mnist.npz": content})
                np.testing.assert_array_equal(load_training_set("mnist", path).images, images)


def test_images_of_black_and_white_floats_are_stretched() -> None:
    made = synthetic_arrays()
    made["x_train"] = np.where(made["x_train"] > 127, 255, 0).astype(np.uint8)
    with pytest.MonkeyPatch.context() as monkeypatch:
        install_table(monkeypatch, made)
        path = Path(os.environ["KERAS_HOME"])
        write(path, {"a.npz": npz_bytes({**made, "x_train": made["x_train"] / 255})})
        np.testing.assert_array_equal(load_training_set("mnist", path).images, made["x_train"])


# --- the folder


def test_one_file_of_several_can_be_named_itself(arrays: Arrays, folder: Path) -> None:
    write(folder, idx(arrays, wrap=packed))
    for name in (TRAIN, LABELS, "t10k-labels-idx1-ubyte"):
        training_set = load_training_set("mnist", folder / name)
        np.testing.assert_array_equal(training_set.labels, arrays["y_train"])


def test_tilde_is_expanded(arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "my data", npz(arrays))
    for given in ("~/my data", "~/my data/mnist.npz"):
        assert str(tmp_path) in load_training_set("mnist", Path(given)).source
        monkeypatch.setenv("MNIST_STUDY_DATA", given)
        assert str(tmp_path) in load_training_set("mnist").source
    assert f"{tmp_path}/none: found No such" in refusal(
        lambda: load_training_set("mnist", Path("~/none"))
    )


def test_the_right_one_of_several_data_sets_is_taken(arrays: Arrays, folder: Path) -> None:
    other = {name: array[::-1].copy() for name, array in arrays.items()}
    for name, content in (("FashionMNIST", other), ("MNIST", arrays), ("QMNIST", other)):
        write(folder, idx(content, lambda known, name=name: f"{name}/raw/{known}"))  # type: ignore[misc]
    training_set = load_training_set("mnist", folder)
    np.testing.assert_array_equal(training_set.images, arrays["x_train"])
    assert "Fashion" not in training_set.source


def test_what_macos_and_links_leave_behind_disturbs_nothing(arrays: Arrays, folder: Path) -> None:
    write(folder, idx(arrays, lambda name: f"blobs/{crc32(name.encode())}"))
    write(folder, idx(arrays, lambda name: f"__MACOSX/._{name}", lambda _: b"\0\5\x16\7"))
    write(folder, {".hidden/train.npz": b"junk", "README.md": b"# MNIST\n", "classes.txt": b"x"})
    (folder / "train-images.gz").symlink_to(folder / "gone")
    (folder / "round").symlink_to(folder)
    (folder / "snapshot").mkdir()
    for name in idx_names(arrays):
        target = folder / "blobs" / str(crc32(name.encode()))
        (folder / "snapshot" / name).symlink_to(target)
    source = load_training_set("mnist", folder).source
    assert f"snapshot/{TRAIN} and snapshot/{LABELS} in {folder}" in source


def test_a_large_folder_is_looked_through_in_bounded_time(
    arrays: Arrays, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "_MOST_FILES", 50)
    write(folder, {f"{i:04}.dat": b"x" for i in range(200)})
    message = refusal(lambda: load_training_set("mnist", folder))
    assert "(looked at 50 files, those of likely names)" in message
    write(folder, idx(arrays, lambda name: f"zzz/{name}"))  # by its name among the first
    assert load_training_set("mnist", folder).dataset == "mnist"
    monkeypatch.setattr(folders, "_MOST_ENTRIES", 100)
    assert "(looked at 50 files" in refusal(lambda: load_training_set("mnist", folder))


# --- a broken file beside an intact one


BROKEN: dict[str, bytes] = {
    "an HTML page": b"<!DOCTYPE html><html><body>404",
    "truncated": idx_bytes(synthetic_arrays()["x_train"])[:-9],
    "changed content": idx_bytes(synthetic_arrays()["x_train"] ^ 1),
    "an empty file": b"",
    "damaged file": packed(idx_bytes(synthetic_arrays()["x_train"]))[:900],
}


@pytest.mark.parametrize("found", BROKEN)
@pytest.mark.parametrize("intact", [f"{TRAIN}.gz", f"{TRAIN}/{TRAIN}", "mnist.npz", "x_train.npy"])
def test_the_intact_file_is_taken_and_the_broken_one_told(
    arrays: Arrays, folder: Path, found: str, intact: str
) -> None:
    forms = {
        ".gz": packed(idx_bytes(arrays["x_train"])),
        "npz": npz_bytes(arrays),
        "npy": npy_bytes(arrays["x_train"]),
    }
    write(folder, {intact: forms.get(intact[-3:], idx_bytes(arrays["x_train"]))})
    write(folder, {LABELS: idx_bytes(arrays["y_train"])})
    write(folder, {"train-images.idx3-ubyte": BROKEN[found]})
    training_set = load_training_set("mnist", folder)
    np.testing.assert_array_equal(training_set.images, arrays["x_train"])
    if intact != "mnist.npz":  # which comes first, and nothing beside it is asked
        assert "passed over train-images.idx3-ubyte: " in training_set.source
        assert found in training_set.source
    assert "\n" not in training_set.source


def test_a_broken_npz_beside_idx_files_is_told(arrays: Arrays, folder: Path) -> None:
    write(folder, {**idx(arrays), "mnist.npz": npz(arrays)["mnist.npz"][:5000]})
    source = load_training_set("mnist", folder).source
    assert source.count("passed over mnist.npz: a damaged file") == 1
    write(folder, npz(arrays, lambda x: x ^ 1))
    assert "passed over mnist.npz: x_train with changed content" in (
        load_training_set("mnist", folder).source
    )


# --- MNIST itself


@pytest.mark.skipif(
    REAL_MNIST is None, reason="needs MNIST: set MNIST_STUDY_DATA to a folder that has it"
)
@pytest.mark.parametrize(
    "form",
    [
        "its grandparent",
        "EMNIST's names",
        "twice gzipped",
        "int64 labels",
        "float16 0 to 1",
        "float32 0 to 1",
        "float32 0 to 255 by columns",
        "channels last",
        "one-hot labels",
    ],
)
def test_real_mnist_is_read_in_other_forms(folder: Path, form: str) -> None:
    """The test images, which are fewer; the training images are read alike."""
    real = load_test_set("mnist", Path(str(REAL_MNIST)))
    arrays = dict(synthetic_arrays(), x_test=real.images, y_test=real.labels)
    write(folder, FORMS[form](arrays))
    found = load_test_set("mnist", folder)
    assert found.content_hash == real.content_hash
    assert "x_train" in refusal(lambda: load_training_set("mnist", folder))
