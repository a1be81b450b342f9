"""Drawing rows at random with every label in its proportion."""

import numpy as np
from numpy.typing import NDArray

from mnist_study.data.values import UInt8Array


def stratified_choice(labels: UInt8Array, size: int, seed: int) -> NDArray[np.bool_]:
    """Choose `size` rows at random, of each label its share to within one row.

    Each row is placed at (rank + 1/2) / count within its label, ranks at random; the `size` rows
    placed lowest are chosen.
    """
    order = np.random.default_rng(np.random.SeedSequence(seed)).permutation(len(labels))
    shuffled = labels[order]
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(shuffled == label)
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    # Stable: rows of equal place stay in their random order.
    chosen = np.zeros(len(labels), np.bool_)
    chosen[order[np.argsort(place, kind="stable")[:size]]] = True
    return chosen
