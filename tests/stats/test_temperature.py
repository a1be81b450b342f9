"""Temperature scaling against the temperature that the labels were drawn with."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from mnist_study.stats.calibration import expected_calibration_error
from mnist_study.stats.temperature import fit_temperature, with_temperature


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_fitted_temperature_is_the_one_that_the_labels_were_drawn_with(true: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (20_000, 10))
    honest = softmax(logits / true, axis=1)
    labels = (honest.cumsum(axis=1) < rng.random((len(logits), 1))).sum(axis=1)
    shown = softmax(logits, axis=1).astype(np.float32)
    fitted = fit_temperature(shown, labels)
    assert fitted == pytest.approx(true, rel=0.03)
    calibrated = with_temperature(shown, fitted)
    np.testing.assert_allclose(calibrated, honest, atol=0.02)
    assert expected_calibration_error(calibrated, labels) < 0.01


def test_temperature_1_changes_nothing_and_none_changes_the_order() -> None:
    shown = softmax(np.random.default_rng(1).normal(0, 5, (50, 10)), axis=1)
    np.testing.assert_array_equal(with_temperature(shown, 1.0), shown)
    for temperature in (0.3, 4.0):
        scaled = with_temperature(shown, temperature)
        np.testing.assert_allclose(scaled.sum(axis=1), 1)
        np.testing.assert_array_equal(scaled.argsort(axis=1), shown.argsort(axis=1))


def test_certainty_itself_can_be_scaled() -> None:
    certain = np.eye(10)
    assert np.isfinite(with_temperature(certain, 2.0)).all()
    assert np.isfinite(fit_temperature(certain, np.arange(10)))
