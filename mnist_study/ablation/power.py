"""What the design of an ablation could find, before anything is run."""

from __future__ import annotations

from mnist_study import stats
from mnist_study.ablation.config import FACTORS, AblationConfig


def smallest_effect(ablation: AblationConfig) -> float:
    """Return the smallest main effect on test accuracy, in [0, 1], that the design would find."""
    planned = ablation.power
    sd = stats.contrast_sd(
        planned.run_sd,
        len(FACTORS),
        len(ablation.split_seeds),
        correlation=planned.correlation,
    )
    return stats.smallest_detectable_effect(
        sd, ablation.n_seeds, alpha=ablation.statistics.alpha, power=planned.power
    )


def power_line(ablation: AblationConfig) -> str:
    """Say what the design could detect; it is computed from the file alone."""
    planned = ablation.power
    return (
        f"smallest main effect on test accuracy found with {planned.power:.0%} power: "
        f"{100 * smallest_effect(ablation):.3f} points ({ablation.n_seeds} seeds x "
        f"{len(ablation.split_seeds)} splits x 8 cells; standard deviation of a run "
        f"{100 * planned.run_sd:.2f} points, {planned.source})"
    )
