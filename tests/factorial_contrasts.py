"""Every contrast of a factorial, as the ablation estimates them one by one."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from mnist_study import stats


def factorial_contrasts(values: ArrayLike, factors: Sequence[str]) -> dict[str, stats.PairedEffect]:
    """Estimate every main effect and interaction, the error term being over replicates.

    Args:
        values: one outcome per run, shape (2,) * n_factors + (n_replicates,).
        factors: names, one per leading axis.
    """
    return {
        ":".join(names): stats.mean_effect(per_replicate)
        for names, per_replicate in stats.block_contrasts(values, factors).items()
    }
