"""Names of data sets: MNIST, the stand-in, and any other that a user brings."""

from __future__ import annotations

import re

MNIST = "mnist"
DIGITS = "digits"
# A value of `--dataset` that names no data set: MNIST where it is available, else the digits.
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
    """Whether this is the user's own data, under a name that the user chose."""
    return dataset not in _RESERVED


def name_problem(dataset: str) -> str | None:
    """Return what was expected of a data set's name; None if the name is valid or reserved."""
    if dataset in _RESERVED:
        return None
    # "MNIST" would be taken for mnist by readers, and by file systems that ignore case.
    if dataset.lower() in _RESERVED:
        return f"{dataset.lower()}, or a name that differs in more than case"
    if len(dataset) > MAX_DATASET_NAME or not _PATTERN.fullmatch(dataset):
        return (
            f"auto, mnist, digits or a name of up to {MAX_DATASET_NAME} letters, digits, '_', '.' "
            "and '-' that begins with a letter or digit"
        )
    return None


def described(dataset: str) -> str:
    """Return the data's name in titles and sentences, so that nothing else is taken for MNIST."""
    if is_mnist(dataset):
        return "MNIST"
    if is_stand_in(dataset):
        return "the digits stand-in (not MNIST)"
    return f"{dataset} (not MNIST)"


def suffix(dataset: str) -> str:
    """Return the ending of the names of experiments and models, "" on MNIST."""
    return "" if is_mnist(dataset) else f"-{dataset}"
