"""What is like the images of a training set, and what is not."""

from __future__ import annotations

import numpy as np

from mnist_study.stats.familiarity import Familiarity, fit_familiarity


def bars(n: int, *, is_upright: bool, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, (n, 28, 28)).astype(np.uint8)
    for image in images:
        at = int(rng.integers(6, 20))
        target = image if is_upright else image.T
        target[4:24, at : at + 3] = 255
    return images


def classes_of(images: np.ndarray) -> np.ndarray:
    """Return whether an upright bar is in the left or the right half, as 0 or 1."""
    is_right: np.ndarray = images.max(axis=1).argmax(axis=1) >= 13
    return is_right.astype(np.uint8)


def fitted_to(images: np.ndarray, others: np.ndarray) -> Familiarity:
    return fit_familiarity(images, classes_of(images), others, seed=0)


def test_new_images_of_the_kind_are_familiar_and_others_are_not() -> None:
    fitted = fitted_to(bars(600, is_upright=True, seed=0), bars(600, is_upright=False, seed=1))
    assert (fitted.of(bars(100, is_upright=True, seed=2)) > 0.5).mean() > 0.95
    assert (fitted.of(bars(100, is_upright=False, seed=3)) < 0.5).mean() > 0.95


def test_it_is_the_same_after_it_was_written_and_read_and_when_it_is_fitted_again() -> None:
    images, others = bars(200, is_upright=True, seed=0), bars(200, is_upright=False, seed=1)
    fitted = fitted_to(images, others)
    again = Familiarity.from_arrays(fitted_to(images, others).as_arrays())
    shown = bars(20, is_upright=True, seed=4)
    np.testing.assert_array_equal(fitted.of(shown), again.of(shown))


def test_a_network_with_one_output_says_how_much_an_image_is_one_of_the_kind() -> None:
    weights, biases = np.zeros((784, 1), np.float32), np.array([np.log(3)], np.float32)
    familiar = Familiarity((weights,), (biases,)).of(bars(2, is_upright=True, seed=0))
    np.testing.assert_allclose(familiar, 0.75, rtol=1e-6)
