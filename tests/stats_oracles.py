"""What the tests of several statistics share: their tolerance, noise and one oracle."""

from typing import Any

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from numpy.typing import NDArray
from statsmodels.stats.anova import anova_lm

EXACT: dict[str, Any] = {"rel": 1e-8, "abs": 1e-12}


def gaussian(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    """Draw standard normal noise of this shape, the same for the same seed."""
    return np.random.default_rng(seed).standard_normal(shape)


def two_way_table(layout: NDArray[np.float64]) -> pd.DataFrame:
    """Return statsmodels' analysis of variance of rows and columns, one value per cell."""
    rows = [(*index, layout[index]) for index in np.ndindex(layout.shape)]
    frame = pd.DataFrame(rows, columns=["row", "column", "y"])
    return anova_lm(smf.ols("y ~ C(row) + C(column)", frame).fit())
