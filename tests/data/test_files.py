"""Damaged and foreign files: refused in one clear line, without unpacking or unpickling them."""

from __future__ import annotations

import bz2
import errno
import functools
import gzip
import io
import lzma
import os
import pickle
import struct
import tarfile
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mnist_forms import (
    Arrays,
    idx_bytes,
    npy_bytes,
    npy_header,
    npz_bytes,
    npz_with_member,
    refusal,
    synthetic_arrays,
    write,
    write_idx,
)

from mnist_study.data import arrays as stored_arrays
from mnist_study.data.dataset import DataError, load_test_set, load_training_set

pytest_plugins = ["mnist_fixtures"]
pytestmark = pytest.mark.usefixtures("isolated")

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
    "empty": (b"", "an empty file"),
    "truncated": (INTACT_NPZ[:-3000], "damaged file"),
    "text": (b"<html>sign in to this network</html>", "an HTML page"),
    "wrong shape": (npz_with_member(npy_bytes(IMAGES.reshape(-1, 392))), "(120, 392)"),
    "wrong dtype": (npz_with_member(npy_bytes(IMAGES.astype(np.complex64))), "complex64"),
    "values over 255": (npz_with_member(npy_bytes(IMAGES.astype(np.int16) * 2)), "0 to 510"),
    "negative values": (npz_with_member(npy_bytes(IMAGES.astype(np.int8))), "from -128 to 127"),
    "standardized": (npz_with_member(npy_bytes((IMAGES - 33.3) / 78.6)), "x_train with a value"),
    "not a number": (npz_with_member(npy_bytes(np.full(IMAGES.shape, np.nan))), "a value nan"),
    "infinite": (npz_with_member(npy_bytes(np.full(IMAGES.shape, -np.inf))), "a value -inf"),
    "pickled": (
        npz_with_member(npy_bytes(np.array([print] * 3, object), allow_pickle=True)),
        "x_train object (3,), a pickle, which is never opened",
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
    "empty": ("", b"", "an empty file"),
    "truncated": ("", IDX_IMAGES[:-5], "truncated to 47,035 bytes"),
    "too long": ("", IDX_IMAGES + b"0", "more than 47,040 bytes"),
    "header cut": ("", IDX_IMAGES[:9], "damaged file"),
    "labels under the name": ("", idx_bytes(np.zeros(60, np.uint8)), "uint8 (60,)"),
    "truncated gz": (".gz", gzip.compress(IDX_IMAGES)[:-500], "damaged file"),
    "gz with bad checksum": (".gz", gzip.compress(IDX_IMAGES)[:-8] + b"\0" * 8, "CRC"),
    "gzip four times": (
        "",
        functools.reduce(lambda c, _: gzip.compress(c), range(4), IDX_IMAGES),
        "more than 3 layers of gzip",
    ),
    "wrong dtype": ("", b"\0\0\x0d\x03" + IDX_IMAGES[4:], "an array truncated"),
    "unknown dtype": ("", b"\0\0\x0a\x03" + IDX_IMAGES[4:], "no known form (00 00 0a 03"),
    "declares 2^32 images": ("", IDX_IMAGES[:4] + b"\xff" * 4 + IDX_IMAGES[8:], "4294967295"),
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


# --- files of other kinds


class Bomb:
    """Its unpickling would be seen."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("unpickled",)


def archive(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w") as packing:
            packing.writestr("train-images-idx3-ubyte", IDX_IMAGES)
    elif kind == "torch":
        with zipfile.ZipFile(stream, "w") as packing:
            packing.writestr("training/data.pkl", pickle.dumps(Bomb()))
    else:
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tape:
            member = tarfile.TarInfo("train-images-idx3-ubyte")
            member.size = len(IDX_IMAGES)
            tape.addfile(member, io.BytesIO(IDX_IMAGES))
    return stream.getvalue()


CSV = b"label,1x1,1x2\n5,0,0\n"
FOREIGN: dict[str, tuple[str, bytes, str, str]] = {
    **{
        f"pickle protocol {number}": (
            "mnist.pkl",
            pickle.dumps({"x": Bomb(), "n": [1, 2]}, number),
            "a pickle, which is never opened",
            "where you trust its author, convert it",
        )
        for number in range(6)
    },
    **{
        f"pickle protocol {number} under another name": (
            "mnist.npz",
            pickle.dumps([Bomb()], number),
            "a pickle, which is never opened",
            "convert it",
        )
        for number in range(6)
    },
    "pickle in gzip": (
        "mnist.pkl.gz",
        gzip.compress(pickle.dumps([IMAGES], 1)),
        "a pickle, which is never opened",
        "convert it",
    ),
    "pickled array": (
        "x_train.npy",
        npy_bytes(np.array([Bomb()], object), allow_pickle=True),
        "an array object (1,), a pickle, which is never opened",
        "save it as an array of numbers",
    ),
    "torch": ("training.pt", archive("torch"), "a PyTorch file, which is a pickle", "convert it"),
    "old torch": ("training.pt", b"\x8a\nl\xfc\x9cF\xf9 j", "a PyTorch file", "convert it"),
    "csv": ("mnist_train.csv", CSV, "CSV text", "convert it to npz"),
    "csv in gzip": (
        "mnist_train.csv.gz",
        gzip.compress(CSV * 500),
        "CSV text",
        "convert it to npz",
    ),
    "csv with tabs": ("train.csv", b"5\t0\t0\t3\n", "CSV text", "convert it to npz"),
    "csv of Excel": ("train.csv", "label;1x1;1x2\n5;0;0".encode("utf-16"), "CSV text", "convert"),
    "parquet": ("train.parquet", b"PAR1" + b"\0" * 99, "a Parquet file", "convert it to npz"),
    "html": (
        "train-images-idx3-ubyte.gz",
        b"\n\n<!DOCTYPE html>\n<html>Sign in</html>",
        "an HTML page, as servers send for an error",
        "download the file again",
    ),
    "xml": ("mnist.npz", b"<?xml version='1.0'?><Error/>", "XML text", "download the file again"),
    "json": ("mnist.npz", b'{"error": "gone"}', "JSON text", "convert it"),
    "zip": (
        "archive.zip",
        archive("zip"),
        "a zip archive with 'train-images-idx3-ubyte'",
        "unpack it first",
    ),
    "zip under the name": ("mnist.npz", archive("zip"), "a zip archive with", "unpack it first"),
    "tar": ("mnist.tar", archive("tar"), "a tar archive", "unpack it first"),
    "tar.gz": ("mnist.tar.gz", gzip.compress(archive("tar")), "a tar archive", "unpack it first"),
    "bzip2": ("x_train.npy.bz2", bz2.compress(b"x" * 99), "a bzip2 file", "unpack it first"),
    "xz": ("train-images-idx3-ubyte.xz", lzma.compress(IDX_IMAGES), "an xz file", "unpack it"),
    "matlab": ("mnist.mat", b"MATLAB 5.0 MAT-file, 2012" + b" " * 99, "a MATLAB file", "convert"),
    "hdf5": ("mnist.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "an HDF5 file", "convert it"),
    "arff": ("mnist_784.arff", b"@RELATION mnist_784\n", "an ARFF file", "convert it"),
    "arff of OpenML": ("mnist.arff", b"% **Author**: Yann LeCun\n%\n" * 40, "an ARFF", "convert"),
    "arff under another name": ("mnist", b"% by\n@RELATION m\n", "an ARFF file", "convert it"),
    "libsvm": ("mnist.scale", b"5 153:0.0117647 154:0.0705882 \n", "LIBSVM text", "convert it"),
    "tfrecord": ("mnist-train.tfrecord-00000-of-00001", b"\xa8\1\0\0", "a TFRecord", "convert"),
    "lfs": (
        "mnist.npz",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n",
        "a Git LFS pointer",
        "git lfs pull",
    ),
}


@pytest.mark.parametrize("dataset", ["mnist", "fashion"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_another_kind_is_named_and_never_opened(
    arrays: Arrays, folder: Path, kind: str, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, content, found, remedy = FOREIGN[kind]
    write(folder, {"README": b"digits", name: content})
    monkeypatch.chdir(folder)
    for place in (folder, folder / name):
        message = refusal(lambda place=place: load_training_set(dataset, place))  # type: ignore[misc]
        assert message.startswith(f"{folder / name}: found {found}"), message
        assert remedy in message
    assert not Path("unpickled").exists()


def test_bytes_of_no_known_form_are_shown(arrays: Arrays, folder: Path) -> None:
    write(folder, {"mnist.npz": b"\xe7\1\2\3\4"})
    assert "found 5 bytes of no known form (e7 01 02 03 …)" in refusal(
        lambda: load_training_set("mnist", folder)
    )


def test_files_of_something_else_in_folders_below_are_not_blamed(
    arrays: Arrays, folder: Path
) -> None:
    write(folder, {"doc/settings.json": b"{}", "doc/table.csv": CSV, "notes": b"x"})
    message = refusal(lambda: load_training_set("mnist", folder))
    assert message.startswith(f"{folder}: found a folder with 'doc', 'notes'")
    write(folder, {"MNIST/processed/training.pt": archive("torch")})
    message = refusal(lambda: load_training_set("mnist", folder))
    assert message.startswith(f"{folder}/MNIST/processed/training.pt: found a PyTorch file")


def test_the_only_file_of_a_folder_is_named_whatever_is_wrong_with_it(
    arrays: Arrays, folder: Path
) -> None:
    write(folder, {"download (1)": npz_bytes(arrays)[:-1000]})
    for dataset in ("mnist", "mine"):
        message = refusal(lambda dataset=dataset: load_training_set(dataset, folder))  # type: ignore[misc]
        assert message.startswith(f"{folder}/download (1): found a damaged file")


def test_a_folder_of_pictures_is_named(arrays: Arrays, folder: Path) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + b"\0" * 99
    write(folder, {f"train/{digit}/{digit}.png": picture for digit in range(10)})
    write(folder, {"README.md": b"digits"})
    for dataset in ("mnist", "mine"):
        message = refusal(lambda dataset=dataset: load_training_set(dataset, folder))  # type: ignore[misc]
        assert message.startswith(f"{folder}/train/0/0.png: found a PNG image")
        assert "put all images into an npz" in message


def test_a_folder_that_is_closed_is_named(
    arrays: Arrays, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = folder / "MNIST"
    write(closed, {"mnist.npz": npz_bytes(arrays)})
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refusing)  # root, as whom tests may run, reads every folder
        message = refusal(lambda: load_training_set("mnist", folder))
    assert message.startswith(f"{closed}: found Permission denied, expected a readable folder")


def test_a_name_cannot_break_the_line_or_the_terminal(arrays: Arrays, tmp_path: Path) -> None:
    folder = tmp_path / "two\nlines \x1b[31m"
    folder.mkdir()
    (folder / os.fsdecode(b"mnist\xff\n.npz")).write_bytes(b"<html>")
    message = refusal(lambda: load_training_set("mnist", folder))
    assert message.isprintable()
    assert "two\\nlines" in message
    message.encode("ascii")


# --- what a header claims


def peak_bytes(load: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        refusal(load)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_long_npy_header_is_refused_before_it_is_unpacked(arrays: Arrays, folder: Path) -> None:
    header = b"\x93NUMPY\x02\x00" + struct.pack("<I", 200_000_000) + b" " * 50_000_000
    write(folder, {"mnist.npz": npz_with_member(header)})
    assert "200,000,000 bytes" in refusal(lambda: load_training_set("mnist", folder))
    assert peak_bytes(lambda: load_training_set("mnist", folder)) < 10_000_000


def test_a_long_index_is_refused_before_it_is_read(arrays: Arrays, folder: Path) -> None:
    """An archive's end may claim that all before it is its index, which zipfile reads at once."""
    n_bytes = 100_000_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9999, 9999, n_bytes, 0, 0)
    with (folder / "mnist.npz").open("wb") as stream:
        stream.write(b"PK\3\4")
        stream.truncate(n_bytes)
        stream.seek(n_bytes)
        stream.write(end)
    assert "an index of more than" in refusal(lambda: load_training_set("mnist", folder))
    assert peak_bytes(lambda: load_training_set("mnist", folder)) < 20_000_000


def test_gzip_around_npz_is_bounded(
    arrays: Arrays, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_arrays, "UNPACKED_NPZ_MAX_BYTES", 1_000_000)
    bomb = gzip.compress(INTACT_NPZ + bytes(50_000_000), 1)
    write(folder, {"mnist.npz.gz": bomb})
    assert "gzip around more than 1,000,000 bytes" in refusal(
        lambda: load_training_set("mnist", folder)
    )
    assert peak_bytes(lambda: load_training_set("mnist", folder)) < 10_000_000


@pytest.mark.parametrize("dtype", ["<f8", "|u1"])
def test_other_data_takes_memory_only_for_what_is_there(folder: Path, dtype: str) -> None:
    header = f"{{'descr':'{dtype}','fortran_order':False,'shape':(400000,28,28)}}"
    member = npy_header(header.ljust(117) + "\n") + bytes(10_000)
    write(folder, {"mine.npz": npz_with_member(member)})
    assert "truncated to 10,000 bytes" in refusal(lambda: load_training_set("mine", folder))
    assert peak_bytes(lambda: load_training_set("mine", folder)) < 10_000_000


def test_other_data_has_a_largest_size(folder: Path) -> None:
    header = "{'descr':'|u1','fortran_order':False,'shape':(500001,28,28)}"
    member = npy_header(header.ljust(117) + "\n") + bytes(60_000_000)
    write(folder, {"mine.npz": npz_with_member(member)})
    assert "with 500,001 rows, expected 500,000" in refusal(
        lambda: load_training_set("mine", folder)
    )
    assert peak_bytes(lambda: load_training_set("mine", folder)) < 10_000_000
