"""Optuna's Parzen estimator with vectorized normal tails from SciPy.

Optuna computes the logarithm of the normal distribution function number by number in Python. With
integer parameters and 1,000 trials that is 38,000 calls and 85 % of the time of a proposal.
"""

from __future__ import annotations

import numpy as np
from optuna.samplers._tpe import _truncnorm
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from scipy.special import log_ndtr


class ParzenEstimator(_ParzenEstimator):
    """For `TPESampler._parzen_estimator_cls`: the same densities to rounding, so the same choice.

    Candidates are drawn by Optuna's own code. Only which of them is the best is decided by these
    densities, and two candidates would have to be as close as the rounding is for it to matter.
    """

    def log_pdf(self, samples_dict: dict[str, np.ndarray]) -> np.ndarray:
        """Return the log density at each sample, float64, shape (n_samples,)."""
        scalar_log_ndtr = _truncnorm._log_ndtr
        _truncnorm._log_ndtr = log_ndtr
        try:
            return super().log_pdf(samples_dict)
        finally:
            _truncnorm._log_ndtr = scalar_log_ndtr
