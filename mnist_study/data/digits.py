"""The stand-in: scikit-learn's digits in MNIST's form, for where MNIST is not in reach."""

import numpy as np
from numpy.typing import NDArray

from mnist_study.data.names import Subset
from mnist_study.data.stratified import stratified_choice
from mnist_study.data.values import UInt8Array

# The stand-in has no published test images. This seed and number are its definition: a change
# would let a study train on what another one was tested with.
DIGITS_TEST_SEED = 20_240_229
DIGITS_TEST_SIZE = 360


def read_digits(part: Subset) -> tuple[UInt8Array, UInt8Array]:
    """Return one part of the stand-in, laid out as MNIST is: 20x20 centred in 28x28."""
    from sklearn.datasets import load_digits  # seconds to import

    ink, digit = load_digits(return_X_y=True)  # float64 (1797, 64), whole numbers 0 to 16
    labels = digit.astype(np.uint8)
    in_test = stratified_choice(labels, DIGITS_TEST_SIZE, DIGITS_TEST_SEED)
    chosen = in_test if part == "test" else ~in_test
    images = _enlarged(ink[chosen].astype(np.int64).reshape(-1, 8, 8))
    labels = labels[chosen]
    for array in (images, labels):
        array.flags.writeable = False
    return images, labels


def _enlarged(ink: NDArray[np.int64]) -> UInt8Array:
    """Scale (n, 8, 8), 0 to 16, bilinearly to uint8 (n, 28, 28), 0 to 255.

    In whole numbers, so that every machine gets the same bytes: the centre of pixel i of 20 lies
    at (4 i - 3) / 10 of the 8, so all weights are tenths.
    """
    tenths = np.clip(4 * np.arange(20) - 3, 0, 10 * 7)
    left = np.minimum(tenths // 10, 6)
    weights = np.zeros((20, 8), np.int64)
    weights[np.arange(20), left] = 10 * (left + 1) - tenths
    weights[np.arange(20), left + 1] = tenths - 10 * left
    scaled = weights @ ink @ weights.T  # 0 to 16 * 100
    values = (scaled * 255 + 800) // 1600
    return np.pad(values.astype(np.uint8), ((0, 0), (4, 4), (4, 4)))
