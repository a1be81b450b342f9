"""A mean over two crossed samples: runs x test images, or splits x seeds.

The value of run r on image m is

    value[r, m] = mean + run[r] + image[m] + residual[r, m]

and both runs and images are samples. The mean's variance is var_run / R + var_image / M +
var_residual / (R M); an interval over one axis alone misses a term (over the runs alone it covered
17 % in simulation where images dominate). `crossed_mean` takes the unbiased variance from the mean
squares of the two-way layout, with a t quantile at Satterthwaite's degrees of freedom: with 20 runs
and nominal 95 % it covered 94 to 96 %.

Tried and rejected: the pigeonhole bootstrap, which resamples both axes independently, covered 91 %
where runs dominate and 99.9 % where residuals do; a bootstrap-t on top of it covered 88 to 95 %,
percentiles rescaled to the right variance 92 to 95 %. No method tried is right for strongly skewed
runs: with exponential run effects and 20 runs it covered 92 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mnist_study.stats.estimates import FloatArray, TEstimate


@dataclass(frozen=True)
class CrossedMeanSquares:
    """Two-way layout with one value per cell: its mean and mean squares."""

    mean: float
    rows: float
    columns: float
    residual: float
    n_rows: int
    n_columns: int

    @property
    def df_rows(self) -> int:
        """Degrees of freedom between rows."""
        return self.n_rows - 1

    @property
    def df_columns(self) -> int:
        """Degrees of freedom between columns."""
        return self.n_columns - 1

    @property
    def df_residual(self) -> int:
        """Degrees of freedom of the residual."""
        return self.df_rows * self.df_columns


def crossed_mean_squares(values: ArrayLike) -> CrossedMeanSquares:
    """Return the mean squares of a two-way layout with one value per cell.

    Args:
        values: shape (n_rows, n_columns), both at least 2.

    Raises:
        ValueError: another shape, or a value that is not finite.

    References:
        Scheffé, The Analysis of Variance, 1959, chapter 4.
    """
    layout = _as_layout(values)
    n_rows, n_columns = layout.shape
    mean = float(layout.mean())
    row_part = layout.mean(axis=1) - mean
    column_part = layout.mean(axis=0) - mean
    residual = layout - mean - row_part[:, None] - column_part[None, :]
    return CrossedMeanSquares(
        mean=mean,
        rows=n_columns * float(row_part @ row_part) / (n_rows - 1),
        columns=n_rows * float(column_part @ column_part) / (n_columns - 1),
        residual=float(np.vdot(residual, residual)) / ((n_rows - 1) * (n_columns - 1)),
        n_rows=n_rows,
        n_columns=n_columns,
    )


def crossed_mean(values: ArrayLike) -> TEstimate:
    """Estimate the mean over two crossed random samples.

    Args:
        values: shape (n_rows, n_columns), both at least 2: per-image differences of runs
            (n_runs, n_images), or contrasts (n_splits, n_seeds).

    Returns:
        The grand mean; its variance (MS_rows + MS_columns - MS_residual) / (n_rows n_columns),
        unbiased, kept at or above the smaller of the first two; Satterthwaite's degrees of
        freedom, not below the smaller of (n_rows, n_columns) - 1.

    Raises:
        ValueError: another shape, or a value that is not finite.

    References:
        Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1, 2007 (the variance).
        Satterthwaite, An approximate distribution of estimates of variance components,
        Biometrics Bulletin 2, 1946.
        Hillis, A comparison of denominator degrees of freedom methods for multiple observer ROC
        analysis, Statistics in Medicine 26, 2007 (the same layout, readers x cases; the formula
        proposed there keeps only the readers' mean square in the denominator).
    """
    squares = crossed_mean_squares(values)
    combined = _combined(squares.rows, squares.columns, squares.residual)
    n_cells = squares.n_rows * squares.n_columns
    lowest = min(squares.df_rows, squares.df_columns)
    spread = (
        squares.rows**2 / squares.df_rows
        + squares.columns**2 / squares.df_columns
        + squares.residual**2 / squares.df_residual
    )
    degrees_of_freedom = combined**2 / spread if spread > 0.0 else float(lowest)
    return TEstimate(
        squares.mean, math.sqrt(combined / n_cells), max(degrees_of_freedom, float(lowest))
    )


def _combined(rows: float, columns: float, residual: float) -> float:
    """Return rows + columns - residual, which noise can push below zero in a small layout."""
    return max(rows + columns - residual, min(rows, columns))


def _as_layout(values: ArrayLike) -> FloatArray:
    layout = np.asarray(values, dtype=np.float64)
    if layout.ndim != 2 or min(layout.shape) < 2:
        raise ValueError(f"values needs shape (n, m) with n, m >= 2, got {layout.shape}")
    if not np.isfinite(layout).all():
        raise ValueError(f"values must be finite, got {layout[~np.isfinite(layout)][0]}")
    return layout
