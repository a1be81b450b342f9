"""What the name of a file or array says about it: training or test, images or labels, which set.

Names only order what is looked at and make messages clear where the content decides. Where it
does not, they decide what is training and what is test, and which labels belong to which images.
"""

import re
from typing import Literal

Subset = Literal["train", "test"]
Kind = Literal["images", "labels"]

_PARTS: tuple[tuple[Subset, re.Pattern[str]], ...] = (
    ("train", re.compile(r"train")),
    ("test", re.compile(r"test|t10k")),
)
_KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("images", re.compile(r"image|img|pixel|feature|(?<![a-z])x(?![a-z])")),
    ("labels", re.compile(r"label|lbl|target|class|(?<![a-z])y(?![a-z])")),
)
# What tells arrays of one data set apart, and two data sets not.
_ROLE_WORDS = re.compile(
    r"training|train|testing|test|t10k|images?|imgs?|pixels?|features?|labels?|lbls?|targets?"
    r"|class(?:es)?|data|idx[13]|ubyte|gz|npz|npy|idx"
)
_ROLE_LETTERS = ("x", "y", "arr")
_SEPARATORS = re.compile(r"[^a-z0-9]+")
_LIKELY = re.compile(
    r"\.(?:npz|npy|gz|idx)$|ubyte|image|label|mnist|train|test|t10k", re.IGNORECASE
)


def part_of(name: str) -> Subset | None:
    """Return whether an array is for training or for testing, as far as its name tells.

    Args:
        name: path within the given folder, with the array's name in an npz at its end. The last
            component that tells decides.
    """
    for component in reversed(name.lower().split("/")):
        parts = [part for part, pattern in _PARTS if pattern.search(component)]
        if len(parts) == 1:
            return parts[0]
    return None


def kind_of(name: str) -> Kind | None:
    """Return whether an array is of images or labels, as far as its name tells."""
    for component in reversed(name.lower().split("/")):
        plain = component
        for _, pattern in _PARTS:  # x_train, xtrain and trainX
            plain = pattern.sub("-", plain)
        kinds = [kind for kind, pattern in _KINDS if pattern.search(plain)]
        if len(kinds) == 1:
            return kinds[0]
    return None


def set_of(name: str) -> str:
    """Return what a name says of the data set: equal for all arrays of one, "" for nothing."""
    words = _SEPARATORS.split(_ROLE_WORDS.sub("-", name.lower()))
    return "".join(word for word in words if word not in _ROLE_LETTERS and word != "0")


def is_likely(name: str) -> bool:
    """Whether a file's name is one that images or labels go by."""
    return _LIKELY.search(name.rpartition("/")[2]) is not None
