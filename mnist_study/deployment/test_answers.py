"""One reading of the test set by one model, kept so that nobody has to read it again for it."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import Home
from mnist_study.core.ledger import Reading
from mnist_study.data.dataset import Dataset, load_test_set
from mnist_study.data.files import DAMAGE

if TYPE_CHECKING:
    from mnist_study.stats import Interval

PROMOTION_FOLDER = "promotion"
"""Of a run's artifacts: what its promotion stored."""
ANSWERS = "test_answers.npz"
ANSWERS_TAG = "test_answers_sha256"
N_ERRORS_KEPT = 24


class StoredAnswersError(UserFacingError):
    """A stored reading that cannot be used."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredAnswers:
    """What a model answered to every test image.

    Attributes:
        when: local time of the reading, ISO 8601, as in the ledger.
        dataset: "mnist" or "digits".
        test_sha256: content hash of the test set.
        weights_sha256: identity of the model.
        test_loss: mean cross-entropy in nats.
        labels: the truth, uint8 (n,).
        predicted: the answers, uint8 (n,).
        confidences: probability given to the answer, float32 (n,).
        error_rows: positions of the most confidently wrong images, the most confident first.
        error_images: these images, uint8 (k, 28, 28), so that a picture needs no further reading.
    """

    when: str
    dataset: str
    test_sha256: str
    weights_sha256: str
    test_loss: float
    labels: np.ndarray
    predicted: np.ndarray
    confidences: np.ndarray
    error_rows: np.ndarray
    error_images: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Whether each answer is right, bool (n,)."""
        found: np.ndarray = self.predicted == self.labels
        return found

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers that go to the ledger and to the run."""
        return {"test/accuracy": float(self.correct.mean()), "test/loss": self.test_loss}

    @property
    def accuracy(self) -> Interval:
        """Test accuracy with its Wilson interval."""
        from mnist_study.stats import wilson_interval

        return wilson_interval(int(self.correct.sum()), len(self.labels))

    def to_bytes(self) -> bytes:
        """Return the answers as an npz file; the same answers gives the same bytes."""
        fields = {name: getattr(self, name) for name in StoredAnswers.__slots__}
        arrays: dict[str, Any] = {k: v for k, v in fields.items() if isinstance(v, np.ndarray)}
        about = {k: v for k, v in fields.items() if k not in arrays}
        arrays["about"] = np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> StoredAnswers:
        """Read what `to_bytes` wrote.

        Args:
            content: of the file.
            name: of the file, for the message.

        Raises:
            StoredAnswersError: it is something else.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays: dict[str, Any] = {key: file[key] for key in file.files}
            about = json.loads(arrays.pop("about").tobytes())
            return cls(**about, **arrays)
        except (*DAMAGE, KeyError, TypeError) as error:
            raise StoredAnswersError(
                f"{name}: not the stored answers of a model ({error}); restore the file from a "
                "copy, or remove it to have the test set read again"
            ) from error


def read_test_answers(
    home: Home,
    command: str,
    keras_model: object,
    weights_sha256: str,
    dataset: Dataset,
    data_dir: Path | None,
    say: Callable[[str], None],
) -> StoredAnswers:
    """Return the model's answers to the test set, from the one reading that it ever needs.

    The answers are on disk, whole, before the ledger has its line: of a driver killed in between,
    the next one enters the line and reads nothing.

    Args:
        home: keeps the ledger and the answers.
        command: as typed, for the ledger.
        keras_model: whose weights were checked.
        weights_sha256: of its weights.
        dataset: that it was trained on.
        data_dir: as for `load_test_set`.
        say: told what happens, a line each.

    Raises:
        UserFacingError: the test set is out of reach, or stored answers are damaged.
    """
    path = home.readouts / f"{dataset}-{weights_sha256[:16]}.npz"
    ledger = home.ledger
    n_before = len(ledger.readings())
    if path.exists():
        answers = StoredAnswers.from_bytes(path.read_bytes(), str(path))
        if (answers.weights_sha256, answers.dataset) != (weights_sha256, dataset):
            raise StoredAnswersError(
                f"{path}: holds the answers of model {answers.weights_sha256[:12]}…, expected "
                f"those of {weights_sha256[:12]}…; remove the file to have the test set read again"
            )
        say(f"the test set was read for this model on {answers.when}; it is not read again")
    else:
        say(f"reading the test set (reading {n_before + 1}, entered in the ledger)…")
        answers = _ask(keras_model, weights_sha256, dataset, data_dir)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, answers.to_bytes())
    reading = Reading(answers.when, command, dataset, weights_sha256, answers.metrics)
    known = {(r.when, r.weights_sha256) for r in ledger.readings()}
    if (reading.when, reading.weights_sha256) not in known:
        ledger.append(reading)
    return answers


def _ask(
    keras_model: object, weights_sha256: str, dataset: Dataset, data_dir: Path | None
) -> StoredAnswers:
    from mnist_study.training import model

    test_set = load_test_set(dataset, data_dir)
    probabilities = model.probabilities(keras_model, test_set.images)
    predicted = probabilities.argmax(axis=1).astype(np.uint8)
    confidences = probabilities.max(axis=1).astype(np.float32)
    wrong = np.flatnonzero(predicted != test_set.labels)
    rows = wrong[np.argsort(-confidences[wrong], kind="stable")][:N_ERRORS_KEPT]
    return StoredAnswers(
        when=time.strftime("%Y-%m-%dT%H:%M:%S"),
        dataset=dataset,
        test_sha256=test_set.content_hash,
        weights_sha256=weights_sha256,
        test_loss=model.measure_probabilities(probabilities, test_set)["test/loss"],
        labels=np.array(test_set.labels),
        predicted=predicted,
        confidences=confidences,
        error_rows=rows.astype(np.int64),
        error_images=np.array(test_set.images[rows]),
    )


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there with all its content or not at all."""
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
