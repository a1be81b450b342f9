"""Names of data sets: MNIST, the stand-in, and any other that a user brings."""

from __future__ import annotations

import re

MNIST = "mnist"
DIGITS = "digits"
# What `--dataset` takes beside the name of a data set: MNIST where it is in reach.
AUTO = "auto"
_RESERVED = (AUTO, MNIST, DIGITS)

MAX_DATASET_NAME = 40
_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def is_mnist(dataset: str) -> bool:
    """Whether the documented numbers are about this data set."""
    return dataset == MNIST


def is_stand_in(dataset: str) -> bool:
    """Whether this is scikit-learn's digits in MNIST's place."""
    return dataset == DIGITS


def is_own(dataset: str) -> bool:
    """Whether this is data of the user's, under a name that the user gave."""
    return dataset not in _RESERVED


def name_problem(dataset: str) -> str | None:
    """Say what a data set's name should be; None if it is one, or a reserved name."""
    if dataset in _RESERVED:
        return None
    # A name that differs in case alone would be read as MNIST, and be one file with it on macOS.
    if dataset.lower() in _RESERVED:
        return f"{dataset.lower()}, or a name that differs in more than case"
    if len(dataset) > MAX_DATASET_NAME or not _PATTERN.fullmatch(dataset):
        return (
            f"auto, mnist, digits or a name of up to {MAX_DATASET_NAME} letters, digits, '_', '.' "
            "and '-' that begins with a letter or digit"
        )
    return None


def described(dataset: str) -> str:
    """Return how titles and sentences call the data, so that nothing else is taken for MNIST."""
    if is_mnist(dataset):
        return "MNIST"
    if is_stand_in(dataset):
        return "the digits stand-in (not MNIST)"
    return f"{dataset} (not MNIST)"


def suffix(dataset: str) -> str:
    """Return what the names of experiments and models end in, "" on MNIST."""
    return "" if is_mnist(dataset) else f"-{dataset}"
