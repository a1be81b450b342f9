"""Every contrast of a factorial, as the ablation estimates them one by one."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from mnist_study import stats


def factorial_contrasts(values: ArrayLike, factors: Sequence[str]) -> list[stats.Contrast]:
    """Estimate every main effect and interaction, the error term being over seeds.

    Args:
        values: one outcome per run, shape (2,) * n_factors + (n_splits, n_seeds).
        factors: names, one per leading axis.
    """
    return [
        stats.contrast_of_blocks(blocks, names)
        for names, blocks in stats.block_contrasts(values, factors).items()
    ]
