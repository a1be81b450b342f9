"""Digits found in photographs, and their ink without light, lines and dirt."""

from __future__ import annotations

import numpy as np
import picture_generator
import picture_non_digits
import pytest
from picture_generator import KINDS, encoded, photograph
from PIL import Image, ImageDraw

from mnist_study.data.dataset import TrainingSet
from mnist_study.data.pictures import lay_out, read_picture


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (picture_generator, picture_non_digits):
        monkeypatch.setattr(module, "picture_size", lambda rng: (320, 240))


def correlation(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the correlation up to a move by one pixel: the middle is met by whole pixels only."""
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    moved = (np.roll(found, move, axis=(0, 1)).ravel() for move in moves)
    return max(float(np.corrcoef(image, expected.ravel())[0, 1]) for image in moved)


@pytest.mark.parametrize("kind", KINDS)
def test_the_digit_of_a_photograph_is_the_one_that_was_drawn(
    kind: str, mnist_training_set: TrainingSet
) -> None:
    rng = np.random.default_rng([7, *kind.encode()])
    image = mnist_training_set.images[int(rng.integers(60_000))]
    _, content = encoded(photograph(kind, image, rng), rng)
    (digit,) = read_picture(content, kind).digits
    expected = lay_out(image.astype(float))
    assert expected is not None
    # A pen of even width draws another stroke than the training images have.
    assert correlation(digit.image, expected) > 0.7


def test_several_digits_are_found_left_to_right_with_their_boxes(
    mnist_training_set: TrainingSet,
) -> None:
    sheet = np.full((150, 420), 235.0)
    places = ((20, 10), (150, 40), (290, 25))
    images = mnist_training_set.images[:3]
    for (left, top), image in zip(places, images, strict=True):
        ink = np.asarray(Image.fromarray(image).resize((90, 90)), float) / 255
        sheet[top : top + 90, left : left + 90] -= 210 * ink
    picture = read_picture(picture_generator.as_png(sheet), "three")
    assert len(picture.digits) == 3
    for digit, (left, top), image in zip(picture.digits, places, images, strict=True):
        rows, columns = np.nonzero(image > 100)
        scale = 90 / 28
        expected = (
            left + columns.min() * scale, top + rows.min() * scale,
            left + (columns.max() + 1) * scale, top + (rows.max() + 1) * scale,
        )  # fmt: skip
        np.testing.assert_allclose(digit.box, expected, atol=7)
        laid_out = lay_out(image.astype(float))
        assert laid_out is not None
        assert correlation(digit.image, laid_out) > 0.8


@pytest.mark.parametrize("kind", ["noise alone", "blank", "landscapes"])
def test_in_most_pictures_of_nothing_no_digit_is_seen(kind: str) -> None:
    n_seen = 0
    for seed in (0, 3, 4, 5):
        rng = np.random.default_rng(seed)
        _, content = encoded(picture_non_digits.non_digit(kind, rng), rng)
        picture = read_picture(content, kind)
        assert bool(picture.reason) == (not picture.digits)
        n_seen += bool(picture.digits)
    assert n_seen <= 1


def test_a_digit_on_the_edge_of_a_shadow_is_not_taken_for_the_rim_of_something_dark(
    mnist_training_set: TrainingSet,
) -> None:
    sheet = np.full((240, 240), 220.0)
    six = mnist_training_set.images[int(np.flatnonzero(mnist_training_set.labels == 6)[0])]
    ink = np.asarray(Image.fromarray(six).resize((150, 150)), float) / 255
    sheet[40:190, 45:195] *= 1 - 0.8 * ink
    sheet[120:] *= 0.4
    (digit,) = read_picture(picture_generator.as_png(sheet), "six").digits
    expected = lay_out(six.astype(float))
    assert expected is not None
    assert correlation(digit.image, expected) > 0.8


def sheet_with(digit: np.ndarray, left: int = 45) -> np.ndarray:
    """Return a sheet of 240 pixels with a digit of 150 on it."""
    sheet = np.full((240, 240), 220.0)
    ink = np.asarray(Image.fromarray(digit).resize((150, 150)), float) / 255
    sheet[40:190, left : left + 150] *= 1 - 0.85 * ink
    return sheet


@pytest.mark.parametrize("strength", [0.4, 0.6])
def test_the_tip_of_a_shadow_that_touches_a_digit_is_no_part_of_it(
    mnist_training_set: TrainingSet, strength: float
) -> None:
    five = mnist_training_set.images[0]
    sheet = sheet_with(five)
    tip = Image.new("L", (240, 240), 0)
    ImageDraw.Draw(tip).polygon([(110, 120), (239, 90), (239, 150)], fill=255)
    sheet *= 1 - strength * np.asarray(tip, float) / 255
    (digit,) = read_picture(picture_generator.as_png(sheet), "five").digits
    expected = lay_out(five.astype(float))
    assert expected is not None
    assert correlation(digit.image, expected) > 0.8


def test_the_upper_stroke_of_a_five_belongs_to_it_and_the_digit_beside_does_not() -> None:
    image = Image.new("L", (480, 320), 225)
    pen = ImageDraw.Draw(image)
    bowl = [(100, 80), (95, 140), (150, 150), (165, 200), (130, 245), (85, 230)]
    pen.line(bowl, fill=30, width=12, joint="curve")
    pen.line([(128, 62), (190, 56)], fill=30, width=12)
    pen.line([(240, 60), (236, 245)], fill=30, width=12)
    digits = read_picture(picture_generator.as_png(np.asarray(image, float)), "51").digits
    assert len(digits) == 2
    five, one = (digit.box for digit in digits)
    np.testing.assert_allclose(five, (78, 50, 192, 252), atol=8)
    np.testing.assert_allclose(one, (230, 58, 248, 248), atol=8)


@pytest.mark.parametrize(("top", "n_digits"), [(70, 1), (145, 2)])
def test_a_dash_beside_the_top_of_a_digit_is_its_stroke_and_one_beside_its_middle_is_not(
    top: int, n_digits: int
) -> None:
    image = Image.new("L", (480, 320), 225)
    pen = ImageDraw.Draw(image)
    bowl = [(150, 85), (115, 140), (165, 180), (150, 240), (100, 235)]
    pen.line(bowl, fill=30, width=12, joint="curve")
    pen.line([(195, top), (320, top)], fill=30, width=12)
    digits = read_picture(picture_generator.as_png(np.asarray(image, float)), "5").digits
    assert len(digits) == n_digits
