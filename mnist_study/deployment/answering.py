"""How sure a champion's answer has to be: its temperature, its levels, and what is no digit.

They are fitted at promotion on validation rows and kept with the run of the model as one file,
whose hash is a tag of the version. The test set has no part in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from mnist_study.core.errors import UserFacingError
from mnist_study.data.files import DAMAGE
from mnist_study.deployment.npz_files import from_npz, to_npz
from mnist_study.stats.familiarity import Familiarity
from mnist_study.stats.temperature import with_temperature

ANSWERING = "answering.npz"
"""Name of the file, beside the model card among the artifacts of the run."""
ANSWERING_TAG = "answering_sha256"
Verdict = Literal["digit", "unsure", "not a digit"]


class AnsweringError(UserFacingError):
    """A file of levels that cannot be used."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What is made of one image.

    Attributes:
        verdict: "digit", "unsure" or "not a digit".
        label: the most probable class.
        probability: of it, calibrated.
        runner_up, runner_up_probability: the second class.
        reason: why it is not "digit", else "".
        probabilities: of all classes, calibrated.
    """

    verdict: Verdict
    label: int
    probability: float
    runner_up: int
    runner_up_probability: float
    reason: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Answering:
    """A champion's calibration and levels.

    Attributes:
        temperature: that divides the network's logits.
        least_probability: below it, an answer is unsure.
        least_familiarity: below it, an image is no digit.
        familiarity: how much an image is like the training images; None takes all for digits.
        class_names: of the ten classes, where the data has them.
        facts: what was measured on validation rows, for the model card.
    """

    temperature: float = 1.0
    least_probability: float = 0.0
    least_familiarity: float = 0.0
    familiarity: Familiarity | None = None
    class_names: tuple[str, ...] | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def judge(self, images: np.ndarray, probabilities: np.ndarray) -> list[Judged]:
        """Judge what a network says of images.

        Args:
            images: uint8 (n, 28, 28).
            probabilities: of the network, (n, 10).
        """
        if not len(images):
            return []
        calibrated = with_temperature(probabilities, self.temperature)
        familiar = np.ones(len(images))
        if self.familiarity is not None:
            familiar = self.familiarity.of(images)
        return [self._one(row, float(f)) for row, f in zip(calibrated, familiar, strict=True)]

    def _one(self, row: np.ndarray, familiarity: float) -> Judged:
        second, first = (int(i) for i in np.argsort(row, kind="stable")[-2:])
        verdict: Verdict = "digit"
        reason = ""
        if familiarity < self.least_familiarity:
            verdict = "not a digit"
            reason = (
                f"unlike the images it was trained on: familiarity {familiarity:.3f}, level "
                f"{self.least_familiarity:.3f}"
            )
        elif row[first] < self.least_probability:
            verdict, reason = "unsure", f"below the level of {100 * self.least_probability:.2f} %"
        return Judged(
            verdict, first, float(row[first]), second, float(row[second]), reason,
            tuple(float(p) for p in row),
        )  # fmt: skip

    def name_of(self, label: int) -> str | None:
        """Return the name of a class, where the data has names."""
        return None if self.class_names is None else self.class_names[label]

    def to_bytes(self) -> bytes:
        """Return the file; the same levels give the same bytes."""
        about = {
            "temperature": self.temperature,
            "least_probability": self.least_probability,
            "least_familiarity": self.least_familiarity,
            "class_names": self.class_names,
            "facts": self.facts,
        }
        return to_npz(about, {} if self.familiarity is None else self.familiarity.as_arrays())

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> Answering:
        """Read a file written by `to_bytes`.

        Args:
            content: of the file.
            name: of the file, for the message.

        Raises:
            AnsweringError: the file is damaged or something else.
        """
        try:
            about, arrays = from_npz(content)
            names = about.pop("class_names")
            return cls(
                **about,
                familiarity=Familiarity.from_arrays(arrays) if arrays else None,
                class_names=None if names is None else tuple(names),
            )
        except (*DAMAGE, KeyError, TypeError, AttributeError) as error:
            raise AnsweringError(
                f"{name}: not the levels of a model ({error}); restore the file from a copy, or "
                "promote the model again"
            ) from error
