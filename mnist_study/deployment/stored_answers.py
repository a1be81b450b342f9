"""A model's answers to the test set, read once and kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import Home
from mnist_study.core.ledger import Reading
from mnist_study.data.dataset import load_test_set
from mnist_study.data.files import DAMAGE
from mnist_study.deployment.npz_files import from_npz, to_npz

if TYPE_CHECKING:
    from mnist_study.stats import Interval

ANSWERS = "test_answers.npz"
"""Name of the file with the answers, in the folder below among the artifacts of a run."""
PROMOTION_FOLDER = "promotion"
ANSWERS_TAG = "test_answers_sha256"
N_ERRORS_KEPT = 24


class StoredAnswersError(UserFacingError):
    """Stored answers that cannot be used."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredAnswers:
    """A model's answers to all test images.

    Attributes:
        when: local time of the reading, ISO 8601, as in the ledger.
        dataset: "mnist", "digits", or the name of a user's own data.
        test_sha256: content hash of the test set.
        weights_sha256: identity of the model.
        test_loss: mean cross-entropy in nats.
        labels: true digits, uint8 (n,).
        predicted: predicted digits, uint8 (n,).
        confidences: probability of the predicted digit, float32 (n,).
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
        correct: np.ndarray = self.predicted == self.labels
        return correct

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
        arrays = {k: v for k, v in fields.items() if isinstance(v, np.ndarray)}
        return to_npz({k: v for k, v in fields.items() if k not in arrays}, arrays)

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> StoredAnswers:
        """Read the answers from an npz file written by `to_bytes`.

        Args:
            content: of the file.
            name: of the file, for the message.

        Raises:
            StoredAnswersError: the file is damaged or something else.
        """
        try:
            about, arrays = from_npz(content)
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
    dataset: str,
    data_dir: Path | None,
    say: Callable[[str], None],
) -> StoredAnswers:
    """Return a model's answers to the test set, which is read once per model.

    The answers are on disk, whole, before the ledger has its line: if a driver is killed in
    between, the next one enters the line and reads nothing.

    Args:
        home: keeps the ledger and the answers.
        command: as typed, for the ledger.
        keras_model: with verified weights.
        weights_sha256: of its weights.
        dataset: that it was trained on.
        data_dir: as for `load_test_set`.
        say: shows progress, a line each.

    Raises:
        UserFacingError: the test set is out of reach, or stored answers are damaged.
    """
    path = home.readouts / f"{dataset}-{weights_sha256[:16]}.npz"
    if path.exists():
        answers = StoredAnswers.from_bytes(path.read_bytes(), str(path))
        if (answers.weights_sha256, answers.dataset) != (weights_sha256, dataset):
            raise StoredAnswersError(
                f"{path}: holds the answers of model {answers.weights_sha256[:12]}…, expected "
                f"those of {weights_sha256[:12]}…; remove the file to have the test set read again"
            )
        say(f"the test set was read for this model on {answers.when}; it is not read again")
    else:
        say("reading the test set…")
        answers = _ask(keras_model, weights_sha256, dataset, data_dir)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, answers.to_bytes())
    readings = home.ledger.readings()
    if (answers.when, weights_sha256) not in {(r.when, r.weights_sha256) for r in readings}:
        reading = Reading(answers.when, command, dataset, weights_sha256, answers.metrics)
        home.ledger.append(reading)
        say(f"reading {len(readings) + 1} of the test set, entered in the ledger")
    return answers


def _ask(
    keras_model: object, weights_sha256: str, dataset: str, data_dir: Path | None
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
    """Write a file as a whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
