"""The data rules: sources in order, nothing damaged accepted, test images kept apart."""

import dataclasses
import gzip
import hashlib
import http.server
import io
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_study.data import dataset, files, sources
from mnist_study.data.dataset import DataError, load_test_set, load_training_set, split

# Read before the fixture below hides it from the other tests.
REAL_MNIST = os.environ.get("MNIST_STUDY_DATA")

N_TRAIN, N_TEST = 60, 20
Arrays = dict[str, NDArray[np.uint8]]
# Where other processes find the package without its being installed.
ROOT = Path(__file__).parents[2]


def synthetic_arrays() -> Arrays:
    rng = np.random.default_rng(7)
    return {
        "x_train": rng.integers(0, 256, (N_TRAIN, 28, 28), np.uint8),
        "y_train": np.arange(N_TRAIN, dtype=np.uint8) % 10,
        "x_test": rng.integers(0, 256, (N_TEST, 28, 28), np.uint8),
        "y_test": np.arange(N_TEST, dtype=np.uint8) % 10,
    }


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """Write IDX independently of the code under test."""
    header = struct.pack(">HBB", 0, 8, array.ndim)
    return header + b"".join(struct.pack(">I", n) for n in array.shape) + array.tobytes()


def npz_bytes(arrays: Arrays) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # numpy's keywords
    return stream.getvalue()


def npz_with_member(member: bytes, name: str = "x_train.npy") -> bytes:
    """An npz whose `name` has exactly these bytes; the labels are intact."""
    stream = io.BytesIO()
    labels = io.BytesIO()
    np.save(labels, synthetic_arrays()["y_train"])
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, member)
        archive.writestr("y_train.npy", labels.getvalue())
    return stream.getvalue()


def npy_bytes(array: NDArray[np.generic], *, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def npy_header(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


def install_table(monkeypatch: pytest.MonkeyPatch, arrays: Arrays) -> None:
    """Make `arrays` the published MNIST."""
    for part, known in list(files.MNIST_ARRAYS.items()):
        entries = tuple(
            dataclasses.replace(
                one,
                shape=arrays[one.npz_member].shape,
                sha256=hashlib.sha256(idx_bytes(arrays[one.npz_member])).hexdigest(),
            )
            for one in known
        )
        monkeypatch.setitem(files.MNIST_ARRAYS, part, entries)


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads this user's data, or speaks to another machine."""
    monkeypatch.delenv("MNIST_STUDY_DATA", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setattr(sources, "DOWNLOAD_URL", f"http://127.0.0.1:{port}/mnist.npz")


@pytest.fixture
def arrays(monkeypatch: pytest.MonkeyPatch) -> Arrays:
    made = synthetic_arrays()
    install_table(monkeypatch, made)
    monkeypatch.setattr(sources, "DOWNLOAD_SHA256", hashlib.sha256(npz_bytes(made)).hexdigest())
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mnist"
    made.mkdir()
    return made


def write_idx(folder: Path, arrays: Arrays, *, dotted: bool, compressed: bool) -> None:
    for known in (*files.MNIST_ARRAYS["train"], *files.MNIST_ARRAYS["test"]):
        name = known.idx_name.replace("-idx", ".idx") if dotted else known.idx_name
        content = idx_bytes(arrays[known.npz_member])
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


def cache_path(tmp_path: Path) -> Path:
    path = tmp_path / "keras" / "datasets" / "mnist.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def refusal(load: Callable[[], object]) -> str:
    """Return the message of the DataError that `load` must raise: one line, three parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy on old headers
        with pytest.raises(DataError) as caught:
            load()
    message = str(caught.value)
    assert "\n" not in message
    assert "found " in message
    assert "expected " in message
    assert "; " in message
    return message


# --- what is read, and from where


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


def test_content_hash_is_sha256_of_the_two_idx_files(arrays: Arrays) -> None:
    images, labels = arrays["x_train"], arrays["y_train"]
    expected = hashlib.sha256(idx_bytes(images) + idx_bytes(labels)).hexdigest()
    assert dataset.content_hash(images, labels) == expected
    assert dataset.content_hash(np.asfortranarray(images), labels) == expected
    with pytest.raises(ValueError, match="int64"):
        dataset.content_hash(images, labels.astype(np.int64))


def test_argument_goes_before_variable_before_cache(
    arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argument, variable = tmp_path / "argument", tmp_path / "variable"
    for place in (argument, variable):
        place.mkdir()
        (place / "mnist.npz").write_bytes(npz_bytes(arrays))
    cache_path(tmp_path).write_bytes(npz_bytes(arrays))
    assert "Keras's cache" in load_training_set("auto").source
    monkeypatch.setenv("MNIST_STUDY_DATA", str(variable))
    assert f"MNIST_STUDY_DATA={variable}" in load_training_set("auto").source
    assert str(argument) in load_training_set("auto", argument).source
    monkeypatch.setenv("MNIST_STUDY_DATA", "")
    assert "Keras's cache" in load_training_set("auto").source


def test_cache_is_found_in_the_home_without_keras_home(
    arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".keras" / "datasets" / "mnist.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(npz_bytes(arrays))
    assert str(path) in load_training_set("mnist").source


@pytest.mark.parametrize("choice", ["auto", "mnist"])
def test_a_named_place_that_is_bad_is_never_passed_over(
    arrays: Arrays,
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    choice: dataset.DatasetChoice,
) -> None:
    cache_path(tmp_path).write_bytes(npz_bytes(arrays))  # intact, and must not be taken
    (folder / "foo.npz").write_bytes(npz_bytes(arrays))
    assert "No such file" in refusal(lambda: load_training_set(choice, tmp_path / "nowhere"))
    message = refusal(lambda: load_training_set(choice, folder))
    assert "'foo.npz'" in message
    assert "mnist.npz or the IDX files train-images-idx3-ubyte" in message
    monkeypatch.setenv("MNIST_STUDY_DATA", str(folder))
    assert "MNIST_STUDY_DATA" in refusal(lambda: load_training_set(choice))
    assert "MNIST_STUDY_DATA" in refusal(lambda: load_test_set("mnist"))


def test_a_corrupt_cache_is_an_error_that_says_delete(arrays: Arrays, tmp_path: Path) -> None:
    path = cache_path(tmp_path)
    path.write_bytes(npz_bytes(arrays)[:1000])
    message = refusal(lambda: load_training_set("auto"))
    assert str(path) in message
    assert "delete this file" in message


def test_loading_training_rows_does_not_touch_the_test_arrays(
    arrays: Arrays, folder: Path, tmp_path: Path
) -> None:
    only_training = {name: arrays[name] for name in ("x_train", "y_train")}
    (folder / "mnist.npz").write_bytes(npz_bytes(only_training))
    assert len(load_training_set("mnist", folder).labels) == N_TRAIN
    assert "x_test" in refusal(lambda: load_test_set("mnist", folder))
    only_test = {name: arrays[name] for name in ("x_test", "y_test")}
    (folder / "mnist.npz").write_bytes(npz_bytes(only_test))
    assert len(load_test_set("mnist", folder).labels) == N_TEST

    idx = tmp_path / "idx"
    idx.mkdir()
    write_idx(idx, arrays, dotted=False, compressed=False)
    for path in idx.glob("t10k*"):
        path.write_bytes(b"not read")
    assert len(load_training_set("mnist", idx).labels) == N_TRAIN


def test_no_test_pixel_is_held_by_training_set_or_splits(arrays: Arrays, folder: Path) -> None:
    (folder / "mnist.npz").write_bytes(npz_bytes(arrays))
    mnist = load_training_set("mnist", folder)
    digits = load_training_set("digits")
    digits_test = load_test_set("digits").images
    for training_set, tests in ((mnist, arrays["x_test"]), (digits, digits_test)):
        splits = split(training_set, validation_size=20, split_seed=0)
        for holder in (training_set, splits):
            # Pickling is how splits travel; views would carry their whole base in memory.
            pickled = pickle.dumps(holder)
            assert not any(image.tobytes() in pickled for image in tests)
            for name in (one.name for one in dataclasses.fields(holder)):
                base = getattr(getattr(holder, name), "base", None)
                while isinstance(base, np.ndarray):
                    assert base.nbytes == getattr(holder, name).nbytes
                    base = base.base


def test_importing_the_module_loads_nothing_slow() -> None:
    code = (
        "import sys; import mnist_study.data;"
        "print([m for m in ('keras', 'tensorflow', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# --- damaged and foreign files


@pytest.mark.parametrize("name", ["x_train", "y_train", "x_test", "y_test"])
def test_one_changed_value_is_refused_by_the_name_of_its_array(
    arrays: Arrays, folder: Path, name: str
) -> None:
    changed = {key: array.copy() for key, array in arrays.items()}
    changed[name].flat[0] ^= 1
    (folder / "mnist.npz").write_bytes(npz_bytes(changed))
    if name.endswith("train"):
        message = refusal(lambda: load_training_set("auto", folder))
        assert load_test_set("mnist", folder).dataset == "mnist"
    else:
        message = refusal(lambda: load_test_set("mnist", folder))
    assert f"found {name} with changed content" in message


IMAGES = synthetic_arrays()["x_train"]
INTACT_NPZ = npz_bytes(synthetic_arrays())
BAD_NPZ = {
    "empty": (b"", "not a zip file"),
    "truncated": (INTACT_NPZ[:-3000], "damaged file"),
    "text": (b"<html>sign in to this network</html>", "not a zip file"),
    "gzip under the name": (gzip.compress(idx_bytes(IMAGES)), "not a zip file"),
    "no such member": (npz_with_member(npy_bytes(IMAGES), "images.npy"), "'images.npy'"),
    "wrong shape": (npz_with_member(npy_bytes(IMAGES.reshape(-1, 784))), "(60, 784)"),
    "wrong dtype": (npz_with_member(npy_bytes(IMAGES.astype(np.float32))), "float32"),
    "big-endian dtype": (npz_with_member(npy_bytes(IMAGES.astype(">u2"))), ">u2"),
    "pickled": (
        npz_with_member(npy_bytes(np.array([print] * 3, object), allow_pickle=True)),
        "x_train object (3,)",
    ),
    "bare pickle": (npz_with_member(pickle.dumps(IMAGES)), "damaged file"),
    "truncated member": (npz_with_member(npy_bytes(IMAGES)[:-10]), "truncated to 47,030 bytes"),
    "member too long": (npz_with_member(npy_bytes(IMAGES) + b"0"), "more than 47,040 bytes"),
    "empty member": (npz_with_member(b""), "damaged file"),
    "declares 784 TB": (
        npz_with_member(
            npy_header(f"{{'descr':'|u1','fortran_order':False,'shape':({10**12},28,28)}}\n")
        ),
        "1000000000000",
    ),
    "nested header": (npz_with_member(npy_header("-" * 9000 + "1\n")), "damaged file"),
    "unclosed header": (npz_with_member(npy_header("{'descr': (((\n")), "damaged file"),
    "list as key": (npz_with_member(npy_header("{[]: 1}\n")), "damaged file"),
    "keys of two types": (npz_with_member(npy_header("{1: 1, 'descr': 2}\n")), "damaged file"),
    "empty descr": (
        npz_with_member(npy_header("{'descr':(),'fortran_order':False,'shape':(1,)}\n")),
        "damaged file",
    ),
    "shape of true": (
        npz_with_member(npy_header("{'descr':'|u1','fortran_order':False,'shape':(True,)}\n")),
        "(True,)",
    ),
    "future npy version": (npz_with_member(b"\x93NUMPY\x09\x00" + b"\0" * 99), "damaged file"),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_a_bad_npz_ends_in_one_clear_line(arrays: Arrays, folder: Path, case: str) -> None:
    content, found = BAD_NPZ[case]
    path = folder / "mnist.npz"
    path.write_bytes(content)
    message = refusal(lambda: load_training_set("auto", folder))
    assert message.startswith(f"{path}: found ")
    assert found in message


def test_npz_compressed_as_numpy_never_does_is_refused(arrays: Arrays, folder: Path) -> None:
    with zipfile.ZipFile(folder / "mnist.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x_train.npy", npy_bytes(IMAGES))
    assert "compression method 14" in refusal(lambda: load_training_set("mnist", folder))


IDX_IMAGES = idx_bytes(IMAGES)
BAD_IDX = {
    "empty": ("", b"", "no bytes"),
    "truncated": ("", IDX_IMAGES[:-5], "truncated to 47,035 bytes"),
    "too long": ("", IDX_IMAGES + b"0", "more than 47,040 bytes"),
    "labels under the name": ("", idx_bytes(np.zeros(60, np.uint8)), "00000801"),
    "gzip without .gz": ("", gzip.compress(IDX_IMAGES), "1f8b"),
    "raw with .gz": (".gz", IDX_IMAGES, "Not a gzipped file"),
    "truncated gz": (".gz", gzip.compress(IDX_IMAGES)[:-500], "damaged file"),
    "gz with bad checksum": (".gz", gzip.compress(IDX_IMAGES)[:-8] + b"\0" * 8, "CRC"),
    "wrong dtype": ("", b"\0\0\x0d\x03" + IDX_IMAGES[4:], "00000d03"),
    "declares 2^32 images": ("", IDX_IMAGES[:4] + b"\xff" * 4 + IDX_IMAGES[8:], "ffffffff"),
    "changed pixel": ("", IDX_IMAGES[:-1] + bytes([IDX_IMAGES[-1] ^ 1]), "changed content"),
}


@pytest.mark.parametrize("case", BAD_IDX)
def test_a_bad_idx_file_ends_in_one_clear_line(arrays: Arrays, folder: Path, case: str) -> None:
    suffix, content, found = BAD_IDX[case]
    path = folder / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(content)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(arrays["y_train"]))
    message = refusal(lambda: load_training_set("auto", folder))
    assert message.startswith(f"{path}: found ")
    assert found in message


def test_a_missing_label_file_is_named(arrays: Arrays, folder: Path) -> None:
    (folder / "train-images-idx3-ubyte").write_bytes(IDX_IMAGES)
    assert "no train-labels-idx1-ubyte" in refusal(lambda: load_training_set("mnist", folder))


@pytest.mark.parametrize("form", ["npz", "gz"])
def test_a_bomb_is_refused_without_unpacking_it(arrays: Arrays, folder: Path, form: str) -> None:
    zeros = bytes(60_000_000)
    if form == "npz":
        start = npy_bytes(IMAGES)[:128]
        (folder / "mnist.npz").write_bytes(npz_with_member(start + zeros))
    else:
        packed = gzip.compress(IDX_IMAGES[:16] + zeros, 1)
        (folder / "train-images-idx3-ubyte.gz").write_bytes(packed)
        (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(arrays["y_train"]))
    tracemalloc.start()
    try:
        message = refusal(lambda: load_training_set("mnist", folder))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "more than 47,040 bytes" in message
    assert peak_bytes < 5_000_000


def test_an_oversized_npz_is_refused_before_it_is_read(arrays: Arrays, folder: Path) -> None:
    with (folder / "mnist.npz").open("wb") as stream:
        stream.truncate(10**12)  # sparse
    assert "1,000,000,000,000 bytes" in refusal(lambda: load_training_set("mnist", folder))


def test_folder_pipe_and_broken_link_in_place_of_a_file(arrays: Arrays, folder: Path) -> None:
    path = folder / "mnist.npz"
    path.mkdir()
    assert "found a folder" in refusal(lambda: load_training_set("auto", folder))
    path.rmdir()
    os.mkfifo(path)
    assert "a pipe or device" in refusal(lambda: load_training_set("auto", folder))
    path.unlink()
    path.symlink_to(path)
    assert "symbolic links" in refusal(lambda: load_training_set("auto", folder))


def test_folders_named_like_the_files_beside_them_do_not_hide_them(
    arrays: Arrays, folder: Path
) -> None:
    (folder / "train-images-idx3-ubyte").mkdir()
    (folder / "mnist.npz").mkdir()
    write_idx(folder, arrays, dotted=True, compressed=False)
    assert load_training_set("mnist", folder).dataset == "mnist"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_an_unreadable_file_is_named(arrays: Arrays, folder: Path) -> None:
    (folder / "mnist.npz").write_bytes(INTACT_NPZ)
    (folder / "mnist.npz").chmod(0)
    assert "Permission denied" in refusal(lambda: load_training_set("auto", folder))


def test_random_damage_is_refused_or_harmless(arrays: Arrays, folder: Path) -> None:
    rng = np.random.default_rng(0)
    compressed = gzip.compress(IDX_IMAGES)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(arrays["y_train"]))
    for name, intact in (("mnist.npz", INTACT_NPZ), ("train-images-idx3-ubyte.gz", compressed)):
        # Names, headers and the index lie at both ends.
        places = np.r_[0:200, len(intact) - 400 : len(intact)]
        for _ in range(250):
            damaged = bytearray(intact)
            for place in rng.choice(places, 2):
                damaged[place] = rng.integers(256)
            (folder / name).write_bytes(damaged)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    training_set = load_training_set("mnist", folder)
                except DataError as error:
                    assert "\n" not in str(error)  # noqa: PT017  # either outcome is right
                else:
                    np.testing.assert_array_equal(training_set.images, arrays["x_train"])
        (folder / name).unlink()


# --- the stand-in


def test_auto_without_mnist_takes_digits_and_says_why() -> None:
    training_set = load_training_set("auto")
    assert training_set.dataset == "digits"
    assert "handwritten digits" in training_set.source
    assert "MNIST is not in reach" in training_set.source


def test_mnist_without_mnist_lists_what_was_tried(tmp_path: Path) -> None:
    for load in (lambda: load_training_set("mnist"), lambda: load_test_set("mnist")):
        message = refusal(load)
        assert "MNIST_STUDY_DATA" in message
        assert str(tmp_path / "keras" / "datasets" / "mnist.npz") in message
        assert sources.DOWNLOAD_URL in message
        assert "Connection refused" in message


def test_digits_look_for_nothing_else(
    arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_path(tmp_path).write_bytes(b"corrupt")
    monkeypatch.setenv("MNIST_STUDY_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr(sources, "DOWNLOAD_URL", "unused")
    assert load_training_set("digits").dataset == load_test_set("digits").dataset == "digits"


def test_digits_are_laid_out_as_mnist_and_the_same_on_every_machine() -> None:
    training_set, test_set = load_training_set("digits"), load_test_set("digits")
    for part, n_rows in ((training_set, 1437), (test_set, 360)):
        assert part.images.shape == (n_rows, 28, 28)
        assert part.images.dtype == part.labels.dtype == np.uint8
        assert part.images.max() == 255
        margin = part.images.copy()
        margin[:, 4:24, 4:24] = 0
        assert not margin.any()  # background is 0, strokes are bright
        assert part.images.any(axis=(1, 2)).all()
        shares = np.bincount(part.labels, minlength=10) / n_rows
        assert np.ptp(shares) < 0.01
    assert training_set.content_hash == (
        "d6fc7562b41bad53faf01acf1ef3944a7d7ae6d83a3f28d6e54db52a5bb8fb49"
    )


def test_digits_test_rows_and_training_rows_are_different_rows() -> None:
    from sklearn.datasets import load_digits

    training_set, test_set = load_training_set("digits"), load_test_set("digits")
    together = np.concatenate([training_set.images, test_set.images])
    labels = np.concatenate([training_set.labels, test_set.labels])
    assert len(together) == 1797
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(load_digits().target))
    # scikit-learn's 1797 images are all different.
    assert len({image.tobytes() for image in together}) == 1797


def test_an_unknown_dataset_is_refused() -> None:
    assert "'cifar'" in refusal(lambda: load_training_set("cifar"))  # type: ignore[arg-type]
    assert "'auto'" in refusal(lambda: load_test_set("auto"))  # type: ignore[arg-type]


# --- the splits


@pytest.fixture
def numbered() -> dataset.TrainingSet:
    """997 rows of unequal classes, each with its row number as its first two pixels."""
    rng = np.random.default_rng(3)
    images = np.zeros((997, 28, 28), np.uint8)
    rows = np.arange(997)
    images[:, 0, 0], images[:, 0, 1] = rows // 256, rows % 256
    labels = rng.choice(10, 997, p=np.arange(1, 11) / 55).astype(np.uint8)
    return dataset.TrainingSet(images, labels, "digits", "made", "hash")


def rows_of(images: NDArray[np.uint8]) -> list[int]:
    return [int(one[0, 0]) * 256 + int(one[0, 1]) for one in images]


@pytest.mark.parametrize("validation_size", [1, 10, 200, 500, 996])
def test_splits_are_disjoint_and_cover_all_rows(
    numbered: dataset.TrainingSet, validation_size: int
) -> None:
    splits = split(numbered, validation_size=validation_size, split_seed=5)
    training, validation = rows_of(splits.train_images), rows_of(splits.validation_images)
    assert len(validation) == validation_size
    assert sorted(training + validation) == list(range(997))
    np.testing.assert_array_equal(splits.train_labels, numbered.labels[training])
    np.testing.assert_array_equal(splits.validation_labels, numbered.labels[validation])
    assert (splits.dataset, splits.content_hash) == ("digits", "hash")


def test_same_seed_same_split_other_seed_other_split(numbered: dataset.TrainingSet) -> None:
    np.random.seed(1)  # global state must not matter
    first = split(numbered, validation_size=200, split_seed=5)
    np.random.seed(2)
    again = split(numbered, validation_size=200, split_seed=5)
    other = split(numbered, validation_size=200, split_seed=6)
    assert rows_of(first.validation_images) == rows_of(again.validation_images)
    assert rows_of(first.validation_images) != rows_of(other.validation_images)


def test_each_part_holds_each_label_in_proportion(numbered: dataset.TrainingSet) -> None:
    for split_seed in range(20):
        splits = split(numbered, validation_size=300, split_seed=split_seed)
        share = np.bincount(numbered.labels, minlength=10) * 300 / 997
        found = np.bincount(splits.validation_labels, minlength=10)
        assert np.abs(found - share).max() <= 1


def test_every_row_is_as_likely_a_validation_row(numbered: dataset.TrainingSet) -> None:
    n_splits = 400
    counts = np.zeros(997)
    for split_seed in range(n_splits):
        splits = split(numbered, validation_size=300, split_seed=split_seed)
        counts[rows_of(splits.validation_images)] += 1
    share = 300 / 997
    deviation = (counts / n_splits - share) / np.sqrt(share * (1 - share) / n_splits)
    assert np.abs(deviation).max() < 5  # 997 rows: the largest is near 3.3 when all are alike
    halves = counts[: 997 // 2].mean() - counts[997 // 2 :].mean()
    assert abs(halves) < 0.05 * n_splits * share


@pytest.mark.parametrize("validation_size", [-1, 0, 997, 5000])
def test_a_validation_size_out_of_range_is_refused(
    numbered: dataset.TrainingSet, validation_size: int
) -> None:
    message = refusal(lambda: split(numbered, validation_size=validation_size, split_seed=0))
    assert f"found {validation_size}, expected 1 to 996" in message


def test_a_negative_split_seed_is_refused(numbered: dataset.TrainingSet) -> None:
    assert "found -3" in refusal(lambda: split(numbered, validation_size=9, split_seed=-3))


# --- the download


class Server:
    """A real server on 127.0.0.1; `answer` is called with each request's output stream."""

    def __init__(self, answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # clients that go away are what some tests are about

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/mnist.npz"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.socket.close()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    servers = []

    def start(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> str:
        servers.append(Server(answer))
        monkeypatch.setattr(sources, "DOWNLOAD_URL", servers[-1].url)
        return servers[-1].url

    yield start
    for server in servers:
        server.close()


def send(request: http.server.BaseHTTPRequestHandler, content: bytes, claimed: int = 0) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(claimed or len(content)))
    request.end_headers()
    request.wfile.write(content)
    request.wfile.flush()


def test_the_download_is_kept_in_the_cache_for_the_next_time(
    arrays: Arrays, tmp_path: Path, serve: Callable[..., str]
) -> None:
    n_requests = 0

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        nonlocal n_requests
        n_requests += 1
        send(request, npz_bytes(arrays))

    url = serve(answer)
    training_set = load_training_set("auto")
    assert training_set.dataset == "mnist"
    assert f"downloaded from {url}" in training_set.source
    np.testing.assert_array_equal(training_set.images, arrays["x_train"])
    assert "Keras's cache" in load_training_set("auto").source
    assert n_requests == 1
    assert [one.name for one in cache_path(tmp_path).parent.iterdir()] == ["mnist.npz"]


def test_a_cache_that_cannot_be_written_does_not_cost_the_download(
    arrays: Arrays, tmp_path: Path, serve: Callable[..., str]
) -> None:
    serve(lambda request: send(request, npz_bytes(arrays)))
    (tmp_path / "keras").write_bytes(b"a file where the folder should be")
    training_set = load_training_set("auto")
    assert training_set.dataset == "mnist"
    assert "not kept" in training_set.source


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda request: send(request, b"<html>sign in</html>"), "published SHA-256"),
        (lambda request: send(request, INTACT_NPZ[:9000], len(INTACT_NPZ)), "9,000 bytes"),
        (lambda request: request.send_error(403), "403"),
        (lambda request: request.wfile.write(b"nonsense\r\n\r\n"), "nonsense"),
    ],
    ids=["captive portal", "cut off", "refused", "not http"],
)
def test_a_download_without_mnist_is_told_and_leaves_no_file(
    arrays: Arrays,
    tmp_path: Path,
    serve: Callable[..., str],
    answer: Callable[[http.server.BaseHTTPRequestHandler], None],
    reason: str,
) -> None:
    serve(answer)
    assert reason in refusal(lambda: load_training_set("mnist"))
    assert load_training_set("auto").dataset == "digits"
    assert list(cache_path(tmp_path).parent.iterdir()) == []


def test_a_network_that_never_answers_costs_at_most_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
        port = silent.getsockname()[1]
        monkeypatch.setattr(sources, "DOWNLOAD_URL", f"http://127.0.0.1:{port}/mnist.npz")
        started = time.monotonic()
        message = refusal(lambda: load_training_set("mnist"))
        assert time.monotonic() - started < 10
    assert "no answer within 8 seconds" in message


def test_a_name_lookup_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(*_: object, **__: object) -> None:
        released.wait(20)
        raise socket.gaierror("released")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(sources, "DOWNLOAD_WINDOW_SECONDS", 0.3)
    started = time.monotonic()
    message = refusal(lambda: load_training_set("mnist"))
    assert time.monotonic() - started < 3
    assert "no answer within 0.3 seconds" in message
    released.set()


@pytest.mark.parametrize("trickle", [False, True])
def test_a_download_that_stalls_or_trickles_ends_with_its_reason(
    arrays: Arrays,
    tmp_path: Path,
    serve: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    trickle: bool,
) -> None:
    finished = threading.Event()

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        send(request, INTACT_NPZ[:9000], len(INTACT_NPZ))
        while not finished.wait(0.05):
            if trickle:
                request.wfile.write(b"x")

    serve(answer)
    monkeypatch.setattr(sources, "DOWNLOAD_WINDOW_SECONDS", 1.5)
    message = refusal(lambda: load_training_set("mnist"))
    finished.set()
    assert "stalled after 9,0" in message
    assert list(cache_path(tmp_path).parent.iterdir()) == []


def downloader(url: str, sha256: str) -> str:
    """A program that downloads as the package does, for processes of their own."""
    return textwrap.dedent(f"""
        from mnist_study.data import sources
        sources.DOWNLOAD_URL, sources.DOWNLOAD_SHA256 = {url!r}, {sha256!r}
        content = sources._download(sources.DOWNLOAD_URL)
        sources.write_atomically(sources.keras_cache_path(), content)
    """)


def test_a_download_killed_on_its_way_leaves_nothing(
    arrays: Arrays, tmp_path: Path, serve: Callable[..., str]
) -> None:
    half_sent, finished = threading.Event(), threading.Event()

    def half(request: http.server.BaseHTTPRequestHandler) -> None:
        send(request, INTACT_NPZ[:20_000], len(INTACT_NPZ))
        half_sent.set()
        finished.wait(20)

    url = serve(half)
    program = downloader(url, sources.DOWNLOAD_SHA256)
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    assert half_sent.wait(20)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished.set()
    assert list(cache_path(tmp_path).parent.iterdir()) == []
    serve(lambda request: send(request, npz_bytes(arrays)))
    assert load_training_set("mnist").dataset == "mnist"


def test_a_write_killed_on_its_way_is_never_taken_for_mnist(
    arrays: Arrays, tmp_path: Path, serve: Callable[..., str]
) -> None:
    # The kill comes at the last moment: all is written, nothing renamed yet.
    program = textwrap.dedent("""
        import os, signal
        from mnist_study.data import sources
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        sources.write_atomically(sources.keras_cache_path(), b"half of it")
    """)
    killed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    cached = cache_path(tmp_path)
    (litter,) = cached.parent.iterdir()
    assert litter.name.endswith(".part")
    serve(lambda request: send(request, npz_bytes(arrays)))
    assert "downloaded" in load_training_set("mnist").source
    assert litter.exists()  # it may be a parallel download's
    cached.unlink()
    os.utime(litter, (time.time() - 7200,) * 2)
    load_training_set("mnist")
    assert [one.name for one in cached.parent.iterdir()] == ["mnist.npz"]


def test_parallel_downloads_leave_one_whole_file(
    arrays: Arrays, tmp_path: Path, serve: Callable[..., str]
) -> None:
    together = threading.Barrier(2)

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        together.wait(20)  # both have found no cache
        send(request, npz_bytes(arrays))

    url = serve(answer)
    program = downloader(url, sources.DOWNLOAD_SHA256)
    processes = [subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) for _ in range(2)]
    assert [process.wait(20) for process in processes] == [0, 0]
    cached = cache_path(tmp_path)
    assert [one.name for one in cached.parent.iterdir()] == ["mnist.npz"]
    assert cached.read_bytes() == npz_bytes(arrays)


# --- MNIST itself


@pytest.mark.skipif(
    REAL_MNIST is None, reason="needs MNIST: set MNIST_STUDY_DATA to a folder that has it"
)
def test_real_mnist_is_read_and_has_the_published_content(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MNIST_STUDY_DATA", str(REAL_MNIST))
    training_set, test_set = load_training_set("auto"), load_test_set("mnist")
    assert training_set.dataset == "mnist"
    assert training_set.images.shape == (60000, 28, 28)
    assert training_set.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert test_set.labels[:5].tolist() == [7, 2, 1, 0, 4]
    splits = split(training_set, validation_size=12000, split_seed=0)
    assert len(splits.train_labels) == 48000
    share = np.bincount(training_set.labels) * 0.2
    assert np.abs(np.bincount(splits.validation_labels) - share).max() <= 1


def test_the_table_of_published_hashes_is_mnists() -> None:
    table = files.MNIST_ARRAYS
    shapes = [known.shape for part in ("train", "test") for known in table[part]]
    assert shapes == [(60000, 28, 28), (60000,), (10000, 28, 28), (10000,)]
    # Sizes and hashes as published with the IDX files.
    assert [known.sha256[:8] for part in ("train", "test") for known in table[part]] == [
        "ba891046",
        "65a50cbb",
        "0fa7898d",
        "ff7bcfd4",
    ]
