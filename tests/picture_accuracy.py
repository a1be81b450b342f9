"""How many photographs are answered rightly, by kind, and how many pictures of no digit refused.

    python tests/picture_accuracy.py --model FILE.keras --pictures 40 --seed 1000

The network has to be trained on the training rows of MNIST's split 0, whose 12,000 validation rows
give its levels and the digits of the pictures. Without --model, one is trained (minutes).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from picture_generator import KINDS, encoded, photograph
from picture_non_digits import NON_DIGITS, non_digit

from mnist_study.core.config import NetworkParams, TrainingConfig
from mnist_study.core.trials import derive_seeds
from mnist_study.data.dataset import Splits, load_training_set, split
from mnist_study.data.pictures import read_picture
from mnist_study.deployment.answering import Answering
from mnist_study.deployment.calibration import fit_levels
from mnist_study.deployment.predicting import Answer, answers_to
from mnist_study.training.process import prepare_tensorflow


@dataclass(frozen=True, slots=True)
class Row:
    """What became of the pictures of one kind.

    Attributes:
        kind: of picture.
        n: number of pictures.
        right: answered with one digit, the right one; of no digits: refused, or unsure.
        unsure: answered with doubt.
        nothing: "not a digit".
        several: more than one answer.
    """

    kind: str
    n: int
    right: int
    unsure: int
    nothing: int
    several: int

    def __str__(self) -> str:
        return (
            f"{self.kind:<16} {self.right:>4} of {self.n:<4} {self.right / self.n:7.1%}   "
            f"unsure {self.unsure}, not a digit {self.nothing}, several {self.several}"
        )


class Asked:
    """A network with its levels, asked about pictures."""

    def __init__(self, network: Any, answering: Answering) -> None:  # noqa: ANN401
        self._network, self._answering = network, answering

    def answers(self, content: bytes) -> list[Answer]:
        from mnist_study.training import model

        picture = read_picture(content, "picture")
        images = np.array([digit.image for digit in picture.digits], np.uint8)
        probabilities = np.zeros((0, 10))
        if len(images):
            probabilities = model.probabilities(self._network, images)
        return answers_to(picture, probabilities, self._answering, "picture", "", "")


def measure(asked: Asked, splits: Splits, n: int, seed: int) -> Iterator[Row]:
    """Yield a row for each kind of photograph, then for each kind without a digit.

    Args:
        asked: the network.
        splits: whose validation images are drawn.
        n: pictures of a kind.
        seed: of every draw.
    """
    for kind in KINDS:
        found = []
        for number in range(n):
            rng = np.random.default_rng([seed, number, *kind.encode()])
            row = int(rng.integers(len(splits.validation_labels)))
            _, content = encoded(photograph(kind, splits.validation_images[row], rng), rng)
            answers = asked.answers(content)
            is_right = [a.label for a in answers] == [int(splits.validation_labels[row])]
            found.append((answers, is_right and answers[0].answer == "digit"))
        yield _row(kind, found)
    for kind in NON_DIGITS:
        found = []
        for number in range(n):
            rng = np.random.default_rng([seed, number, *kind.encode()])
            _, content = encoded(non_digit(kind, rng), rng)
            answers = asked.answers(content)
            found.append((answers, all(a.answer != "digit" for a in answers)))
        yield _row(kind, found)


def _row(kind: str, found: list[tuple[list[Answer], bool]]) -> Row:
    def count(verdict: str) -> int:
        return sum(any(a.answer == verdict for a in answers) for answers, _ in found)

    return Row(
        kind,
        len(found),
        sum(is_right for _, is_right in found),
        count("unsure"),
        count("not a digit"),
        sum(len(answers) > 1 for answers, _ in found),
    )


def trained(splits: Splits) -> Any:  # noqa: ANN401
    """Train a network as good as a champion."""
    from mnist_study.training import model, trainer

    params = NetworkParams(
        units_1=640, units_2=320, units_3=160, dropout_1=0.3, dropout_2=0.3, l2=0.0,
        learning_rate=0.0015,
    )  # fmt: skip
    config = TrainingConfig(batch_size=128, epochs=20, schedule="cosine")
    result = trainer.train(params, derive_seeds(0), config, splits)
    network = model.build_model(params, derive_seeds(0))
    network.set_weights(list(result.weights))
    return network


def asked_on_split_0(file: Path | None) -> tuple[Asked, Answering, Splits]:
    """Return a network with levels fitted on the validation rows of split 0, and the split."""
    prepare_tensorflow()
    from mnist_study.training import model

    splits = split(load_training_set("mnist"), validation_size=12_000, split_seed=0)
    network = trained(splits) if file is None else model.model_from_bytes(file.read_bytes())
    raw = model.probabilities(network, splits.validation_images)
    answering = fit_levels(raw, splits, "the validation rows of split 0", None)
    return Asked(network, answering), answering, splits


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1000)
    options = parser.parse_args()
    asked, answering, splits = asked_on_split_0(options.model)
    for name, value in {"temperature": answering.temperature, **answering.facts}.items():
        print(f"{name}: {value}", flush=True)
    rows = []
    for row in measure(asked, splits, options.pictures, options.seed):
        print(row, flush=True)
        rows.append(row)
    others = [row for row in rows if row.kind in KINDS and row.kind != "clean"]
    refused = [row for row in rows if row.kind in NON_DIGITS]
    print(
        f"all kinds but clean: {share(others):.1%} right; no digits: {share(refused):.1%} refused"
    )


def share(rows: list[Row]) -> float:
    """Return the share of pictures with the right answer."""
    return sum(row.right for row in rows) / sum(row.n for row in rows)


if __name__ == "__main__":
    main()
