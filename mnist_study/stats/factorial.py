"""Main effects and interactions of a two-level full factorial.

Every cell is run with the same replicates, each with a seed and a split of its own, so a contrast
can be taken within each replicate, where everything that the cells share cancels. The replicates'
contrasts are independent: their mean has an ordinary t with n - 1 degrees of freedom, whatever the
variances of cells and effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from mnist_study.stats.estimates import FloatArray


def block_contrasts(values: ArrayLike, factors: Sequence[str]) -> dict[tuple[str, ...], FloatArray]:
    """Take every contrast within each replicate.

    All are on the scale of a main effect: the mean over half of the runs minus the mean over the
    other half. A two-way interaction is thus half of the difference between the effect of one
    factor with the other on and with the other off.

    Args:
        values: shape (2,) * n_factors + replicate, any replicate shape: (n_replicates,) for one
            outcome per run, (n_replicates, n_images) for one per image, bool and integer included.
        factors: names, one per leading axis, all different.

    Returns:
        From the factors involved to the contrast on the scale of a main effect, shape replicate.

    Raises:
        ValueError: a leading axis that is not of length two, or names that do not fit.
    """
    outcomes = np.asarray(values)
    n_factors = len(factors)
    if n_factors < 1 or len(set(factors)) != n_factors:
        raise ValueError(f"needs one name or more, all different, got {list(factors)}")
    if outcomes.ndim < n_factors or outcomes.shape[:n_factors] != (2,) * n_factors:
        raise ValueError(
            f"each of the {n_factors} leading axes needs the levels off and on, "
            f"got shape {outcomes.shape}"
        )
    cells = outcomes.reshape((2**n_factors, *outcomes.shape[n_factors:]))
    levels = np.stack(np.unravel_index(np.arange(2**n_factors), (2,) * n_factors))
    signs = 2.0 * levels - 1.0
    contrasts: dict[tuple[str, ...], FloatArray] = {}
    for order in range(1, n_factors + 1):
        for chosen in combinations(range(n_factors), order):
            weights = signs[list(chosen)].prod(axis=0) / 2 ** (n_factors - 1)
            total = np.zeros(cells.shape[1:])
            for weight, cell in zip(weights, cells, strict=True):
                total += weight * cell
            contrasts[tuple(factors[index] for index in chosen)] = total
    return contrasts
