"""Sources in their order, and test images kept apart."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mnist_forms import (
    N_TEST,
    N_TRAIN,
    Arrays,
    cache_path,
    idx_bytes,
    npz_bytes,
    refusal,
    write_idx,
)

from mnist_study.data import dataset
from mnist_study.data.dataset import load_test_set, load_training_set, split

pytest_plugins = ["mnist_fixtures"]
pytestmark = pytest.mark.usefixtures("isolated")

# Where other processes find the package without its being installed.
ROOT = Path(__file__).parents[2]


# --- what is read, and from where


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


@pytest.mark.parametrize("around", ["{}", " {} ", "{}\r", '"{}"', "'{}'\r", ' "{} " '])
def test_what_env_files_leave_around_the_variable_is_taken_off(
    arrays: Arrays, folder: Path, monkeypatch: pytest.MonkeyPatch, around: str
) -> None:
    (folder / "mnist.npz").write_bytes(npz_bytes(arrays))
    monkeypatch.setenv("HOME", str(folder.parent))
    for name in (str(folder), f"~/{folder.name}"):
        monkeypatch.setenv("MNIST_STUDY_DATA", around.format(name))
        assert load_training_set("mnist").source == f"MNIST_STUDY_DATA={folder}/mnist.npz"


def test_a_folder_whose_name_ends_in_a_space_is_found(
    arrays: Arrays, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaced = folder / "data "
    spaced.mkdir()
    (spaced / "mnist.npz").write_bytes(npz_bytes(arrays))
    monkeypatch.setenv("MNIST_STUDY_DATA", str(spaced))
    assert str(spaced) in load_training_set("mnist").source


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
    choice: str,
) -> None:
    cache_path(tmp_path).write_bytes(npz_bytes(arrays))  # intact, and must not be taken
    (folder / "foo.npz").write_bytes(npz_bytes({"a": arrays["x_train"][:7]}))
    assert "No such file" in refusal(lambda: load_training_set(choice, tmp_path / "nowhere"))
    message = refusal(lambda: load_training_set(choice, folder))
    assert "foo.npz/a uint8 (7, 28, 28)" in message
    assert "mnist.npz or the IDX files train-images-idx3-ubyte" in message
    monkeypatch.setenv("MNIST_STUDY_DATA", str(folder))
    assert "MNIST_STUDY_DATA" in refusal(lambda: load_training_set(choice))
    assert "MNIST_STUDY_DATA" in refusal(lambda: load_test_set("mnist"))


def test_a_corrupt_cache_is_an_error_that_says_delete(arrays: Arrays, tmp_path: Path) -> None:
    path = cache_path(tmp_path)
    for content in (npz_bytes(arrays)[:1000], b"<html>", npz_bytes({"a": arrays["x_test"]})):
        path.write_bytes(content)
        message = refusal(lambda: load_training_set("auto"))
        assert str(path.parent) in message
        assert "mnist.npz" in message
        assert "delete this file" in message
        assert "--dataset" not in message


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
