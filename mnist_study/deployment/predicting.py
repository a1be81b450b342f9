"""The champion asked about picture files: an answer for each digit in them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnist_study.core.home import Home
from mnist_study.data.pictures import ImageError, Picture, read_picture
from mnist_study.deployment.answering import Answering, Verdict
from mnist_study.deployment.champion import champion_of, read_answering
from mnist_study.tracking.checked_models import KERAS_FILE
from mnist_study.training.process import prepare_tensorflow


@dataclass(frozen=True, slots=True)
class Answer:
    """The champion's answer to what it saw in a picture.

    Attributes:
        image: the file.
        answer: "digit", "unsure" for a digit below the stated level, or "not a digit".
        label: the class; None for what is no digit.
        name: of the class, where the data has names.
        probability: of the label, calibrated, in [0, 1].
        runner_up, runner_up_probability: the second class.
        box: left, top, right, bottom in pixels of the picture; None where nothing was seen.
        reason: why it is unsure or no digit, else "".
        model, version: of the champion.
    """

    image: str
    answer: Verdict
    label: int | None
    name: str | None
    probability: float | None
    runner_up: int | None
    runner_up_probability: float | None
    box: tuple[int, int, int, int] | None
    reason: str
    model: str
    version: str

    def __str__(self) -> str:
        if self.label is None or self.probability is None:
            return f"{self.image}: not a digit ({self.reason})"
        said = str(self.label) + (f" {self.name}" if self.name else "")
        unsure = "unsure, " if self.answer == "unsure" else ""
        return (
            f"{self.image}: {unsure}{said} ({100 * self.probability:.2f} %), then "
            f"{self.runner_up} ({100 * (self.runner_up_probability or 0):.2f} %)"
            + (f"; {self.reason}" if self.reason else "")
        )

    def as_document(self) -> dict[str, Any]:
        """Return everything under the names above."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Predictions:
    """The answers to several files.

    Attributes:
        answers: file by file, left to right in each.
        errors: one for each file that could not be read.
        shown: files with what the network saw.
    """

    answers: list[Answer]
    errors: list[ImageError]
    shown: list[Path]


def predict_files(
    home: Home,
    dataset: str,
    paths: Sequence[Path],
    output: Path | None,
    say: Callable[[str], None],
) -> Predictions:
    """Ask the champion about the digits in picture files.

    Args:
        home: whose champion.
        dataset: as for `registry_of`.
        paths: the files; one that cannot be read costs its own answer alone.
        output: folder for figures of what the network saw; None draws none.
        say: shows progress, a line each.

    Raises:
        UserFacingError: no champion.
    """
    # All files first, so that a bad one is reported before TensorFlow's import.
    pictures: list[tuple[Path, Picture]] = []
    errors: list[ImageError] = []
    for path in paths:
        try:
            pictures.append((path, read_picture(path, str(path))))
        except ImageError as error:
            errors.append(error)
    if not pictures:
        return Predictions([], errors, [])
    registry, version = champion_of(home, dataset, say)
    with registry.store, tempfile.TemporaryDirectory(prefix="mnist-study-") as folder:
        content = (registry.fetch(version, Path(folder)) / KERAS_FILE).read_bytes()
        answering = read_answering(registry, version, say)
    prepare_tensorflow()
    from mnist_study.training import model

    images = [digit.image for _, picture in pictures for digit in picture.digits]
    probabilities = np.zeros((0, 10))
    if images:
        probabilities = model.probabilities(model.model_from_bytes(content), np.stack(images))
    answers: list[Answer] = []
    shown: list[Path] = []
    begin = 0
    for path, picture in pictures:
        end = begin + len(picture.digits)
        rows, begin = probabilities[begin:end], end
        named = (str(path), registry.name, str(version.version))
        own = answers_to(picture, rows, answering, *named)
        answers += own
        if output is not None:
            shown.append(_draw(picture, own, output, path, shown))
    return Predictions(answers, errors, shown)


def answers_to(
    picture: Picture,
    probabilities: np.ndarray,
    answering: Answering,
    name: str,
    model: str,
    version: str,
) -> list[Answer]:
    """Return the answers to one picture, left to right.

    Marks that are no digits are left out beside digits; a picture without digits has one answer.

    Args:
        picture: with n digits seen.
        probabilities: of the network, (n, 10).
        answering: the champion's calibration and levels.
        name: of the picture.
        model: the champion's name.
        version: of it.
    """
    images = np.array([digit.image for digit in picture.digits], np.uint8)
    judged = answering.judge(images, probabilities)
    answers = []
    for digit, one in zip(picture.digits, judged, strict=True):
        if one.verdict == "not a digit":
            continue
        answers.append(
            Answer(
                image=name,
                answer=one.verdict,
                label=one.label,
                name=answering.name_of(one.label),
                probability=one.probability,
                runner_up=one.runner_up,
                runner_up_probability=one.runner_up_probability,
                box=digit.box,
                reason=one.reason,
                model=model,
                version=version,
            )
        )
    if answers:
        return answers
    reason = picture.reason or judged[0].reason
    box = picture.digits[0].box if len(picture.digits) == 1 else None
    nothing = Answer(name, "not a digit", None, None, None, None, None, box, reason, model, version)
    return [nothing]


def _draw(
    picture: Picture, answers: Sequence[Answer], folder: Path, path: Path, taken: Sequence[Path]
) -> Path:
    """Write a figure of a picture, its boxes, and what the network saw; return its file."""
    from mnist_study.plots import to_png
    from mnist_study.plots.answers import seen_picture

    by_box = {answer.box: answer for answer in answers}
    captions = [_caption(by_box.get(digit.box)) for digit in picture.digits]
    figure = seen_picture(
        picture.grey.brightness,
        size=(picture.grey.width, picture.grey.height),
        boxes=[digit.box for digit in picture.digits],
        images=[digit.image for digit in picture.digits],
        captions=captions,
        title=picture.reason or "What the network saw",
    )
    folder.mkdir(parents=True, exist_ok=True)
    target, number = folder / f"{path.stem}-seen.png", 2
    while target in taken:
        target, number = folder / f"{path.stem}-seen-{number}.png", number + 1
    target.write_bytes(to_png(figure))
    return target


def _caption(answer: Answer | None) -> str:
    if answer is None or answer.label is None or answer.probability is None:
        return "not a digit"
    unsure = "\nunsure" if answer.answer == "unsure" else ""
    return f"{answer.name or answer.label}: {100 * answer.probability:.2f} %{unsure}"
