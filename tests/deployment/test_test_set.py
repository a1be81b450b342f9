"""Who may read the test set, and that nobody else can."""

from __future__ import annotations

import ast
import gzip
import json
import os
import resource
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import mnist_study
from mnist_study.core.ledger import Ledger, LedgerError, Reading
from mnist_study.data.dataset import TrainingSet
from mnist_study.deployment.stored_answers import StoredAnswers, StoredAnswersError

PACKAGE = Path(mnist_study.__file__).parent
# The steps that the ledger knows: each writes its reading.
READERS = {"running.py:baseline", "running.py:ablation", "stored_answers.py:_ask"}


def _calls(path: Path, name: str) -> Iterator[str]:
    """Yield the functions of a module that call a function of this name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(name):
                    yield f"{path.name}:{function.name}"


def test_only_steps_that_write_to_the_ledger_load_the_test_set() -> None:
    found = {call for path in PACKAGE.rglob("*.py") for call in _calls(path, "load_test_set")}
    assert "stored_answers.py:_ask" in found
    assert found <= READERS


READING = Reading("2026-01-02T03:04:05", "mnist-study promote", "digits", "ab" * 32, {"loss": 0.5})


def test_a_full_disk_leaves_no_half_line_in_the_ledger(tmp_path: Path) -> None:
    ledger = Ledger(path := tmp_path / "ledger.jsonl")
    ledger.append(READING)
    # The file may grow by less than a line, as the last block of a full disk allows.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limits[1]))
    try:
        with pytest.raises(OSError, match=str(path)):
            ledger.append(READING)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert ledger.readings() == [READING]
    ledger.append(READING)
    assert ledger.readings() == [READING] * 2


@pytest.mark.parametrize("line", [b"\xff\xfe", b"{", b"3", b"{}"])
def test_a_line_that_is_no_reading_is_named(tmp_path: Path, line: bytes) -> None:
    ledger = Ledger(path := tmp_path / "ledger.jsonl")
    ledger.append(READING)
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(LedgerError, match=f"{path}, line 2: found no valid entry"):
        ledger.readings()


def test_stored_answers_with_any_damage_are_refused_or_the_same() -> None:
    answers, rows = np.arange(360, dtype=np.uint8) % 10, np.arange(3)
    confidences = np.linspace(0.5, 1, 360, dtype=np.float32)
    images = np.arange(3 * 784, dtype=np.uint8).reshape(3, 28, 28)
    about = (READING.when, "digits", "cd" * 32, READING.weights_sha256, 0.5)
    whole = StoredAnswers(*about, answers, answers, confidences, rows, images).to_bytes()
    random = np.random.default_rng(0)
    for n_bytes in random.integers(0, len(whole), 50):
        with pytest.raises(StoredAnswersError, match="not the stored answers of a model"):
            StoredAnswers.from_bytes(whole[:n_bytes], "answers.npz")
    for place, bit in zip(
        random.integers(0, len(whole), 500), random.integers(0, 8, 500), strict=True
    ):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        with suppress(StoredAnswersError):
            assert StoredAnswers.from_bytes(bytes(damaged), "answers.npz").to_bytes() == whole


@pytest.mark.slow
def test_study_and_confirmation_need_no_test_images_at_all(
    tmp_path: Path, mnist_training_set: TrainingSet
) -> None:
    """They run where MNIST's test files do not exist; baseline, which reads them, does not."""
    data = tmp_path / "data"
    data.mkdir()
    for name, array in (
        ("train-images-idx3-ubyte", mnist_training_set.images),
        ("train-labels-idx1-ubyte", mnist_training_set.labels),
    ):
        head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        with gzip.open(data / f"{name}.gz", "wb", compresslevel=1) as file:
            file.write(head + array.tobytes())
    experiment = tmp_path / "tiny.toml"
    smoke = (PACKAGE.parent / "experiments" / "smoke.toml").read_text()
    experiment.write_text(
        smoke.replace("validation_size = 287", "validation_size = 50000")
        .replace("epochs = 6", "epochs = 1")
        .replace("patience = 4", "patience = 1")
    )
    home = tmp_path / "home"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mnist_study", *arguments, "--dataset", "mnist", "--data",
             str(data), "--home", str(home), "--workers", "2"],
            capture_output=True, text=True, timeout=300, env={**os.environ},
        )  # fmt: skip

    for arguments in (
        ("study", str(experiment), "--trials", "2"),
        ("confirm", "--top", "1", "--seeds", "10"),
    ):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
    assert not (home / "test_set_ledger.jsonl").exists()
    done = run("baseline", "--seeds", "2")
    assert done.returncode == 1
    assert "t10k-images" in done.stderr or "x_test" in done.stderr, done.stderr
    status = subprocess.run(
        [sys.executable, "-m", "mnist_study", "status", "--json", "--home", str(home)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert {d["test_set_readings"] for d in json.loads(status.stdout)} == {0}
