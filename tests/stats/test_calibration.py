"""The calibration error, against scikit-learn and a worked example."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from stats_oracles import EXACT

from mnist_study import stats


def test_calibration_error_of_a_worked_example() -> None:
    """Two bins: |1/2 - 0.65| over two images, |2/2 - 0.95| over two, so 0.075 + 0.025."""
    probabilities = [[0.6, 0.4], [0.7, 0.3], [0.9, 0.1], [0.0, 1.0]]
    error = stats.expected_calibration_error(probabilities, [0, 1, 0, 1], n_bins=5)
    # Five bins of width 0.2: 0.6 falls into (0.4, 0.6], 0.7 alone into (0.6, 0.8].
    assert error == pytest.approx((abs(1 - 0.6) + abs(0 - 0.7) + abs(2 - 1.9)) / 4)
    wide = stats.expected_calibration_error(probabilities, [0, 1, 0, 1], n_bins=1)
    assert wide == pytest.approx(abs(0.75 - 0.8))


def test_calibration_error_is_that_of_scikit_learns_curve() -> None:
    rng = np.random.default_rng(5)
    probabilities = rng.dirichlet(np.full(10, 0.2), size=2000)
    labels = rng.integers(10, size=2000)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    accuracy, mean_confidence = calibration_curve(correct, confidence, n_bins=15)
    counts = np.histogram(confidence, bins=np.linspace(0, 1, 16))[0]
    oracle = np.average(np.abs(accuracy - mean_confidence), weights=counts[counts > 0])
    assert stats.expected_calibration_error(probabilities, labels) == pytest.approx(oracle, **EXACT)


@pytest.mark.parametrize(
    ("probabilities", "labels", "received"),
    [
        ([[0.5, 0.4]], [0], "off by 0.0999"),
        ([[1.5, -0.5]], [0], "got -0.5 to 1.5"),
        ([[0.5, 0.5]], [2], "from 2 to 2"),
        ([[0.5, 0.5]], [0, 1], r"got \(1, 2\) and \(2,\)"),
    ],
)
def test_what_is_no_distribution_over_classes_is_refused(
    probabilities: list[list[float]], labels: list[int], received: str
) -> None:
    with pytest.raises(ValueError, match=received):
        stats.expected_calibration_error(probabilities, labels)
