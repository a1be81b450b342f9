"""Levels fitted to what a network says of validation images."""

from __future__ import annotations

import numpy as np
import pytest
from picture_non_digits import letter_ink

from mnist_study.data.dataset import TrainingSet, split, take_rows
from mnist_study.data.other_drawings import other_drawings
from mnist_study.data.pens import digits_of_other_pens
from mnist_study.data.pictures import lay_out
from mnist_study.deployment import calibration
from mnist_study.deployment.answering import Answering


@pytest.fixture(scope="module")
def levels(mnist_training_set: TrainingSet) -> Answering:
    whole = split(mnist_training_set, validation_size=1000, split_seed=0)
    splits = take_rows(whole, n_rows=4000, subset_seed=0)
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (1000, 10)) + 6 * np.eye(10)[splits.validation_labels]
    said = np.exp(2 * logits) / np.exp(2 * logits).sum(axis=1, keepdims=True)
    return calibration.fit_levels(said, splits, "made up", ("zero", *map(str, range(1, 10))))


def test_97_percent_of_validation_images_are_answered_and_drawings_are_not(
    levels: Answering, mnist_training_set: TrainingSet
) -> None:
    assert levels.facts["answered"] >= 0.97
    assert levels.facts["calibration_error"] <= levels.facts["calibration_error_before"] + 0.005
    sure = np.eye(10)[np.zeros(200, int)]
    drawings = other_drawings(mnist_training_set.images, 200, 5)
    refused = [one.verdict == "not a digit" for one in levels.judge(drawings, sure)]
    assert np.mean(refused) > 0.6
    answered = [
        one.verdict == "digit" for one in levels.judge(mnist_training_set.images[:200], sure)
    ]
    assert np.mean(answered) > 0.9


def test_letters_of_unknown_fonts_are_refused_and_digits_of_other_pens_are_not(
    levels: Answering, mnist_training_set: TrainingSet
) -> None:
    rng = np.random.default_rng(3)
    letters = [lay_out(letter_ink(rng)) for _ in range(60)]
    some = slice(0, 2000)
    pens, _ = digits_of_other_pens(
        mnist_training_set.images[some], mnist_training_set.labels[some], 200, 9
    )
    for drawings, least, most in ((letters, 0.5, 1.0), (pens, 0.0, 0.05)):
        images = np.stack([image for image in drawings if image is not None])
        judged = levels.judge(images, np.eye(10)[np.zeros(len(images), int)])
        refused = np.mean([one.verdict == "not a digit" for one in judged])
        assert least <= refused <= most


def test_levels_are_the_same_after_they_were_written_and_read(levels: Answering) -> None:
    again = Answering.from_bytes(levels.to_bytes(), "levels")
    assert again.to_bytes() == levels.to_bytes()
    assert again.name_of(0) == "zero"
    unsure = np.full((1, 10), 0.1)
    (judged,) = again.judge(np.zeros((1, 28, 28), np.uint8), unsure)
    assert judged.verdict != "digit"
    assert judged.reason
