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


def test_new_images_of_the_kind_are_familiar_and_others_are_not() -> None:
    fitted = fit_familiarity(
        bars(600, is_upright=True, seed=0), bars(600, is_upright=False, seed=1), seed=0
    )
    assert (fitted.of(bars(100, is_upright=True, seed=2)) > 0.5).mean() > 0.95
    assert (fitted.of(bars(100, is_upright=False, seed=3)) < 0.5).mean() > 0.95


def test_it_is_the_same_network_as_scikit_learns_and_as_its_arrays() -> None:
    images, others = bars(200, is_upright=True, seed=0), bars(200, is_upright=False, seed=1)
    fitted = fit_familiarity(images, others, seed=0)
    again = Familiarity.from_arrays(fit_familiarity(images, others, seed=0).as_arrays())
    shown = bars(20, is_upright=True, seed=4)
    np.testing.assert_array_equal(fitted.of(shown), again.of(shown))
