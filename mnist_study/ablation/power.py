"""What the design of an ablation could find, before anything is run."""

from __future__ import annotations

from mnist_study.ablation.config import FACTORS, AblationConfig
from mnist_study.ablation.words import planned_effect, planned_effects


def smallest_effect(ablation: AblationConfig) -> float:
    """Return the smallest main effect on test accuracy, in [0, 1], that its own test would find."""
    return planned_effect(
        ablation.power,
        n_factors=len(FACTORS),
        n_seeds=ablation.n_seeds,
        n_splits=len(ablation.split_seeds),
        alpha=ablation.statistics.alpha,
    )


def power_line(ablation: AblationConfig) -> str:
    """Say what the design could detect; it is computed from the file alone."""
    planned, n_splits = ablation.power, len(ablation.split_seeds)
    found = planned_effects(
        planned,
        n_seeds=ablation.n_seeds,
        n_splits=n_splits,
        n_claims=sum(h.family == "primary" for h in ablation.hypotheses),
        alpha=ablation.statistics.alpha,
    )
    return (
        f"{found} ({ablation.n_seeds} seeds x {n_splits} splits x 8 cells; standard deviation of a "
        f"run {100 * planned.run_sd:.2f} points, {planned.source})"
    )
