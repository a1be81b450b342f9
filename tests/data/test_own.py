"""Other data of MNIST's form: read under its user's name, checked, and never called MNIST."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mnist_forms import (
    Arrays,
    idx_bytes,
    npy_bytes,
    npz_bytes,
    npz_with_member,
    refusal,
    synthetic_arrays,
    write,
    write_idx,
)
from numpy.typing import NDArray

from mnist_study.core.config import MAX_NAME, ConfigError, name_on
from mnist_study.core.datasets import described
from mnist_study.data.dataset import (
    content_hash,
    load_test_set,
    load_training_set,
    load_training_set_by_hash,
    split,
    validation_rows,
)

pytest_plugins = ["mnist_fixtures"]
pytestmark = pytest.mark.usefixtures("isolated")

NAMES = [f"class {digit}" for digit in "0123456789"]
TRAIN, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def fashion(seed: int = 11, n_train: int = 50, n_test: int = 30) -> Arrays:
    """Data that is not MNIST."""
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (n_train, 28, 28), np.uint8),
        "y_train": np.arange(n_train, dtype=np.uint8) % 10,
        "x_test": rng.integers(0, 256, (n_test, 28, 28), np.uint8),
        "y_test": np.arange(n_test, dtype=np.uint8) % 10,
    }


def kmnist(arrays: Arrays) -> dict[str, bytes]:
    names = ("train-imgs", "train-labels", "test-imgs", "test-labels")
    return {
        f"kmnist-{name}.npz": npz_bytes({"arr_0": array})
        for name, array in zip(names, arrays.values(), strict=True)
    }


def idx(arrays: Arrays, pattern: str = "{}") -> dict[str, bytes]:
    names = (TRAIN, LABELS, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    return {
        pattern.format(name): idx_bytes(array)
        for name, array in zip(names, arrays.values(), strict=True)
    }


def npz(arrays: Arrays, **changed: NDArray[Any]) -> dict[str, bytes]:
    return {"mine.npz": npz_bytes({**arrays, **changed})}


FORMS: dict[str, Callable[[Arrays], dict[str, bytes]]] = {
    "IDX": idx,
    "IDX in gzip": lambda a: {f"{n}.gz": gzip.compress(c) for n, c in idx(a).items()},
    "dotted": lambda a: {n.replace("-idx", ".idx"): c for n, c in idx(a).items()},
    "torchvision's parent": lambda a: idx(a, "FashionMNIST/raw/{}"),
    "Kaggle's nested folders": lambda a: idx(a, "{0}/{0}"),
    "EMNIST's names": lambda a: idx(a, "emnist-digits-{}"),
    "npz": npz,
    "npz of another name": lambda a: {"train.npz": npz(a)["mine.npz"]},
    "npz with other names": lambda a: {
        "digits.npz": npz_bytes(
            dict(
                zip(
                    ("train_images", "train_labels", "test_images", "test_labels"),
                    a.values(),
                    strict=True,
                )
            )
        )
    },
    "KMNIST's npz files": kmnist,
    "an npz a part": lambda a: {
        f"{part}.npz": npz_bytes({"images": a[f"x_{part}"], "labels": a[f"y_{part}"]})
        for part in ("train", "test")
    },
    "npy": lambda a: {f"{name}.npy": npy_bytes(array) for name, array in a.items()},
    "a folder a part": lambda a: {
        f"{name[2:]}ing/{'images' if name[0] == 'x' else 'labels'}.npy": npy_bytes(array)
        for name, array in a.items()
    },
    "float 0 to 1, one-hot": lambda a: npz(
        a,
        x_train=(a["x_train"] / 255).astype(np.float32)[..., None],
        y_train=np.eye(10)[a["y_train"]],
        y_test=a["y_test"].astype(np.int64),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_other_data_is_read_in_every_form_under_its_own_name(
    arrays: Arrays, folder: Path, form: str
) -> None:
    made = fashion()
    write(folder, FORMS[form](made))
    training_set = load_training_set("fashion-mnist", folder)
    test_set = load_test_set("fashion-mnist", folder)
    np.testing.assert_array_equal(training_set.images, made["x_train"])
    np.testing.assert_array_equal(training_set.labels, made["y_train"])
    np.testing.assert_array_equal(test_set.images, made["x_test"])
    np.testing.assert_array_equal(test_set.labels, made["y_test"])
    assert training_set.dataset == test_set.dataset == "fashion-mnist"
    assert training_set.class_names is None
    assert training_set.content_hash == content_hash(made["x_train"], made["y_train"])
    assert str(folder) in training_set.source
    assert "MNIST's" not in training_set.source
    splits = split(training_set, validation_size=10, split_seed=0)
    assert (splits.dataset, len(splits.train_labels)) == ("fashion-mnist", 40)
    assert training_set.record(n_validation=10, split_seed=0).name == "fashion-mnist"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("choice", ["mnist", "auto"])
def test_other_data_is_never_read_as_mnist(
    arrays: Arrays, folder: Path, form: str, choice: str
) -> None:
    # As many rows as MNIST, so that the content alone tells.
    write(folder, FORMS[form](fashion(n_train=60, n_test=20)))
    for load in (
        lambda: load_training_set(choice, folder),
        lambda: load_test_set("mnist", folder),
    ):
        message = refusal(load)
        assert "changed content" in message
        assert "--dataset NAME" in message


def test_rows_of_another_number_are_named_with_the_way_to_read_them(
    arrays: Arrays, folder: Path
) -> None:
    write(folder, npz(fashion()))
    message = refusal(lambda: load_training_set("mnist", folder))
    assert "x_train uint8 (50, 28, 28), expected x_train uint8 (60, 28, 28)" in message
    assert "--dataset NAME" in message


def test_mnist_under_another_name_keeps_that_name_and_is_told(arrays: Arrays, folder: Path) -> None:
    write(folder, npz(arrays))
    for found in (load_training_set("mine", folder), load_test_set("mine", folder)):
        assert found.dataset == "mine"
        assert "these are MNIST's images, under the name mine" in found.source
    assert described("mine") == "mine (not MNIST)"


def test_names_of_experiments_and_models_end_in_the_data_sets_name() -> None:
    assert name_on("mnist", "study") == "study"
    assert name_on("digits", "study") == "study-digits"
    assert name_on("fashion", "study") == "study-fashion"
    with pytest.raises(ConfigError, match=f"found {MAX_NAME} .* expected {MAX_NAME - 8} or fewer"):
        name_on("fashion", "x" * MAX_NAME)


def test_the_variable_names_the_folder_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = refusal(lambda: load_training_set("mine"))
    assert message.startswith("dataset mine: found no --data and no MNIST_STUDY_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    write(folder, npz(fashion()))
    monkeypatch.setenv("MNIST_STUDY_DATA", "~/mnist")
    assert load_training_set("mine").dataset == "mine"
    assert load_training_set("mine", folder / "mine.npz").dataset == "mine"


def test_the_other_part_is_not_read(folder: Path) -> None:
    made = idx(fashion())
    write(folder, {name: made[name][:16] if "t10k" in name else made[name] for name in made})
    assert load_training_set("mine", folder).dataset == "mine"
    assert "truncated" in refusal(lambda: load_test_set("mine", folder))
    for name in made:
        if "t10k" in name:
            (folder / name).unlink()
    message = refusal(lambda: load_test_set("mine", folder))
    assert "no test images of mine (names with 'test' or 't10k')" in message


def test_a_broken_file_beside_an_intact_one_is_passed_over_and_told(folder: Path) -> None:
    made = fashion()
    write(folder, idx(made))
    write(folder, {TRAIN: idx_bytes(made["x_train"])[:-1], f"{LABELS}.gz": b"<html>"})
    write(folder, {f"{TRAIN}.gz": gzip.compress(idx_bytes(made["x_train"]))})
    training_set = load_training_set("mine", folder)
    np.testing.assert_array_equal(training_set.images, made["x_train"])
    assert f"passed over {TRAIN}: an array truncated" in training_set.source
    assert f"{LABELS}.gz: an HTML page" in training_set.source


def test_a_record_is_believed_its_own_name_but_never_mnists(arrays: Arrays, folder: Path) -> None:
    made = fashion(n_train=60, n_test=20)
    write(folder, npz(made))
    hash_of_own = content_hash(made["x_train"], made["y_train"])
    found = load_training_set_by_hash(hash_of_own, folder, dataset="fashion")
    assert (found.dataset, found.content_hash) == ("fashion", hash_of_own)
    for name in ("mnist", "digits"):
        message = refusal(
            lambda name=name: load_training_set_by_hash(hash_of_own, folder, dataset=name)  # type: ignore[misc]
        )
        assert "changed content" in message
    message = refusal(lambda: load_training_set_by_hash("0" * 64, folder, dataset="fashion"))
    assert f"found the hash {hash_of_own[:12]}…" in message
    assert "expected 000000000000…" in message
    digits = load_training_set("digits").content_hash
    assert load_training_set_by_hash(digits, folder, dataset="fashion").dataset == "digits"


# --- several data sets in one folder


def test_of_several_data_sets_the_one_of_that_name_is_read(folder: Path) -> None:
    sets = {"FashionMNIST": fashion(1), "KMNIST": fashion(2), "QMNIST": fashion(3)}
    for name, made in sets.items():
        write(folder, idx(made, f"{name}/raw/{{}}"))
    for name, of_folder in (
        ("kmnist", "KMNIST"),
        ("fashion-mnist", "FashionMNIST"),
        ("fashion", "FashionMNIST"),
        ("Fashion_MNIST", "FashionMNIST"),
    ):
        found = load_training_set(name, folder)
        np.testing.assert_array_equal(found.images, sets[of_folder]["x_train"])
    message = refusal(lambda: load_training_set("mine", folder))
    assert "found 3 data sets with training images" in message
    assert f"FashionMNIST/raw/{TRAIN}" in message
    assert load_training_set("mine", folder / "KMNIST").dataset == "mine"


def test_a_data_set_that_lacks_a_file_is_not_replaced_by_another(folder: Path) -> None:
    for seed, name in enumerate(("FashionMNIST", "KMNIST")):
        write(folder, idx(fashion(seed), f"{name}/raw/{{}}"))
    (folder / "FashionMNIST" / "raw" / LABELS).unlink()
    assert "no training labels of fashion" in refusal(lambda: load_training_set("fashion", folder))
    # A letter is no name of KMNIST.
    write(folder, idx(fashion(2), "QMNIST/raw/{}"))
    assert "2 data sets" in refusal(lambda: load_training_set("k", folder))


def test_emnists_folder_gives_the_set_of_that_name(folder: Path) -> None:
    for seed, name in enumerate(("balanced", "digits", "mnist")):
        write(folder, idx(fashion(seed), f"gzip/emnist-{name}-{{}}"))
    found = load_training_set("emnist-digits", folder)
    np.testing.assert_array_equal(found.images, fashion(1)["x_train"])
    assert "3 data sets" in refusal(lambda: load_training_set("emnist", folder))
    assert "3 data sets" in refusal(lambda: load_training_set("mine", folder))


def test_images_are_never_given_another_sets_labels(folder: Path) -> None:
    write(folder, {f"first-{TRAIN}": idx_bytes(fashion()["x_train"])})
    write(folder, {f"second-{LABELS}": idx_bytes(fashion()["y_train"])})
    assert "no training labels of mine" in refusal(lambda: load_training_set("mine", folder))


# --- what is not of MNIST's form


def labels_of(n_classes: int, first: int = 0) -> NDArray[np.int64]:
    return np.arange(50) % n_classes + first


REFUSED: dict[str, tuple[dict[str, NDArray[Any]], str]] = {
    "26 letters": ({"y_train": labels_of(26, 1)}, "labels 1 to 26 (26 classes)"),
    "1 to 10": ({"y_train": labels_of(10, 1)}, "labels 1 to 10 (10 classes)"),
    "nine classes": ({"y_train": labels_of(9)}, "labels 0 to 8 (9 classes), expected the 10"),
    "one class": ({"y_train": labels_of(1)}, "labels 0 to 0 (1 class)"),
    "no rows": (
        {"x_train": np.zeros((0, 28, 28), np.uint8), "y_train": labels_of(10)[:0]},
        "no labels (0 classes)",
    ),
    "negative": ({"y_train": labels_of(10, -1)}, "y_train with values from -1 to 8"),
    "large": ({"y_train": labels_of(10, 300)}, "y_train with values from 300 to 309"),
    "fractions": ({"y_train": labels_of(10) / 2}, "y_train with a value 0.5"),
    "text": (
        {"y_train": labels_of(10).astype(str)},
        "y_train <U21 (50,), expected an array of numbers; save it as an array of numbers",
    ),
    "not one-hot": ({"y_train": np.ones((50, 10))}, "rows that are not one-hot"),
    "fewer labels": ({"y_train": labels_of(10)[:40]}, "40 training labels for 50 images"),
    "colour": ({"x_train": np.zeros((50, 32, 32, 3), np.uint8)}, "x_train uint8 (50, 32, 32, 3)"),
    "16 bits": ({"x_train": np.full((50, 28, 28), 65535, np.uint16)}, "from 65535 to 65535"),
    "truth values": ({"x_train": np.zeros((50, 28, 28), bool)}, "x_train bool (50, 28, 28)"),
    "0 and 1": ({"x_train": fashion()["x_train"] % 2}, "images with whole numbers 0 to 1"),
    "from -1": ({"x_train": fashion()["x_train"] / 127.5 - 1}, "x_train with "),
    "infinite": (
        {"x_train": np.where(fashion()["x_train"] == 7, np.inf, fashion()["x_train"] / 255)},
        "x_train with a value inf, expected multiples of 1/255",
    ),
    "standardized": ({"x_train": fashion()["x_train"] / 78.6}, "x_train with a value"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_of_mnists_form_is_refused_by_what_was_found(folder: Path, case: str) -> None:
    changed, found = REFUSED[case]
    write(folder, npz(fashion(), **changed))
    message = refusal(lambda: load_training_set("mine", folder))
    assert message.startswith(f"{folder}/mine.npz: found ")
    assert found in message
    assert load_test_set("mine", folder).dataset == "mine"


def test_what_an_archive_calls_its_arrays_cannot_break_the_line(folder: Path) -> None:
    name = "train\n\x1b[31m" + "x" * 5000
    write(folder, {"a.npz": npz_with_member(npy_bytes(np.zeros((9, 28, 28), "f8")), f"{name}.npy")})
    for dataset in ("mine", "mnist"):
        message = refusal(lambda dataset=dataset: load_training_set(dataset, folder))  # type: ignore[misc]
        assert message.isprintable()
        assert len(message) < 1200


def test_a_small_test_set_may_lack_a_class(folder: Path) -> None:
    write(folder, npz(fashion(n_test=7)))
    assert len(load_test_set("mine", folder).labels) == 7


def test_what_no_name_tells_training_from_test_is_refused(folder: Path) -> None:
    made = fashion()
    write(folder, {"mine.npz": npz_bytes({"images": made["x_train"], "labels": made["y_train"]})})
    message = refusal(lambda: load_training_set("mine", folder))
    assert "no training images of mine (names with 'train')" in message
    assert "mine.npz/images uint8 (50, 28, 28)" in message


def test_a_small_data_set_gives_mnists_share_for_validation(folder: Path) -> None:
    write(folder, npz(fashion(n_train=500)))
    training_set = load_training_set("mine", folder)
    assert validation_rows(12_000, training_set) == 100
    assert validation_rows(200, training_set) == 200


# --- the names of the classes


@pytest.mark.parametrize("where", ["", "FashionMNIST/", "FashionMNIST/raw/"])
@pytest.mark.parametrize("name", ["classes.txt", "Classes.TXT"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_class_names_come_from_a_file_beside_the_images_or_in_the_folder(
    folder: Path, where: str, name: str, encoding: str
) -> None:
    write(folder, idx(fashion(), "FashionMNIST/raw/{}"))
    names = [*NAMES[:8], "Ankle boot", "つ"]
    text = "\r\n".join(f"  {one}\t" for one in names) + "\r\n\r\n"
    write(folder, {f"{where}{name}": text.encode(encoding)})
    for found in (load_training_set("fashion", folder), load_test_set("fashion", folder)):
        assert found.class_names == tuple(names)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "0 lines"),
        ("\n".join(NAMES[:9]).encode(), "9 lines"),
        ("\n".join([*NAMES, "x"]).encode(), "11 lines"),
        ("\n".join([*NAMES[:9], NAMES[0]]).encode(), f"{NAMES[0]!r} twice"),
        ("\n".join([*NAMES[:4], "", *NAMES[5:]]).encode(), "a line ''"),
        ("\n".join([*NAMES[:9], "x" * 41]).encode(), "a line 'xxx"),
        ("\n".join([*NAMES[:9], "\x1b[31m"]).encode(), "a line '\\x1b[31m'"),
        (b"\xff\xfd" * 20, "no text in UTF-8"),
        (b"a" * 10_000, "1 lines"),
    ],
    ids=["empty", "nine", "eleven", "twice", "blank", "long", "escape", "bytes", "large"],
)
def test_class_names_that_cannot_be_used_are_refused(
    folder: Path, content: bytes, found: str
) -> None:
    write(folder, {**npz(fashion()), "classes.txt": content})
    message = refusal(lambda: load_training_set("mine", folder))
    assert message.startswith(f"{folder}/classes.txt: found ")
    assert found in message


def test_class_names_are_not_read_for_mnist_or_the_stand_in(arrays: Arrays, folder: Path) -> None:
    write_idx(folder, synthetic_arrays(), dotted=False, compressed=True)
    write(folder, {"classes.txt": b"\xff"})
    assert load_training_set("mnist", folder).class_names is None
    assert load_training_set("digits", folder).class_names is None
