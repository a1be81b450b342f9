"""Main effects and interactions of a two-level full factorial over splits and seeds.

The error term. Every cell is run with the same splits crossed with the same seeds, so a contrast
(a main effect or an interaction) can be taken within each (split, seed) block, where everything
that the cells share cancels. What is left of block (i, j) is

    contrast[i, j] = effect + split[i] + seed[j] + residual[i, j]

because an effect may differ between splits and between seeds. The blocks that share a seed, or a
split, are therefore not independent, and a t-test over all n_splits x n_seeds blocks has too short
intervals whenever the seed or the split terms are not nil. Here seeds are drawn and splits are
fixed: the contrast is averaged over splits within each seed; these n_seeds averages are
independent, and an ordinary t with n_seeds - 1 degrees of freedom is exact for normal values
whatever the variances of the terms. It speaks of the average over the splits that were used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from mnist_study.stats.crossed import crossed_mean_squares
from mnist_study.stats.estimates import FloatArray, Interval, TEstimate, mean_estimate
from mnist_study.stats.paired import cohens_dz, probability_positive


@dataclass(frozen=True)
class Contrast:
    """One main effect or interaction.

    All are on the scale of a main effect: the mean over half of the runs minus the mean over the
    other half. A two-way interaction is thus half of the difference between the effect of one
    factor with the other on and with the other off.

    Attributes:
        name: factor names joined by ":", in the order of the design.
        factors: the factors involved; one for a main effect.
        estimate: effect, standard error and degrees of freedom, in the unit of the outcome.
        interval: t interval of the effect.
        p_value: two-sided, of no effect.
        cohens_dz: of the per-seed contrasts.
        probability_positive: of a fresh seed's contrast, ties counting half.
        split_p_value: F test that the effect is the same on all splits; NaN with a single split.
    """

    name: str
    factors: tuple[str, ...]
    estimate: TEstimate
    interval: Interval
    p_value: float
    cohens_dz: Interval
    probability_positive: Interval
    split_p_value: float


def block_contrasts(values: ArrayLike, factors: Sequence[str]) -> dict[tuple[str, ...], FloatArray]:
    """Take every contrast within each replicate block.

    Args:
        values: shape (2,) * n_factors + replicate, any replicate shape: (n_splits, n_seeds) for
            one outcome per run, (n_splits, n_seeds, n_images) for one per image, bool and integer
            included.
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


def contrast_of_blocks(
    blocks: ArrayLike,
    factors: Sequence[str],
    *,
    confidence: float = 0.95,
) -> Contrast:
    """Estimate one effect from its per-block contrasts.

    Args:
        blocks: shape (n_splits, n_seeds), as `block_contrasts` returns them, or any paired
            difference on the same layout.
        factors: the factors involved, for the name.
        confidence: of all intervals, in (0, 1).

    Raises:
        ValueError: another shape, or fewer than two seeds.
    """
    per_block = np.asarray(blocks, dtype=np.float64)
    if per_block.ndim != 2 or per_block.shape[1] < 2 or per_block.shape[0] < 1:
        raise ValueError(
            f"blocks needs shape (n_splits, n_seeds) with two seeds or more, got {per_block.shape}"
        )
    per_seed = per_block.mean(axis=0)
    estimate = mean_estimate(per_seed)
    return Contrast(
        name=":".join(factors),
        factors=tuple(factors),
        estimate=estimate,
        interval=estimate.interval(confidence),
        p_value=estimate.p_value,
        cohens_dz=cohens_dz(per_seed, confidence=confidence),
        probability_positive=probability_positive(per_seed, confidence=confidence),
        split_p_value=_split_p_value(per_block),
    )


def _split_p_value(blocks: FloatArray) -> float:
    """Test that the effect does not differ between splits: MS(splits) over MS(residual)."""
    if blocks.shape[0] < 2:
        return float("nan")
    squares = crossed_mean_squares(blocks)
    if squares.residual == 0.0:
        return 1.0 if squares.rows == 0.0 else 0.0
    ratio = squares.rows / squares.residual
    return float(special.fdtrc(squares.df_rows, squares.df_residual, ratio))
