"""Pictures of digits as a user has them, made what MNIST would have made of them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mnist_study.data.dataset import TrainingSet, load_test_set
from mnist_study.data.pictures import ImageError, read_picture


def read_digit(path: Path) -> np.ndarray:
    """Return the one digit of a picture."""
    (digit,) = read_picture(path, str(path)).digits
    return digit.image


def saved(tmp_path: Path, image: Image.Image, name: str = "digit.png") -> Path:
    path = tmp_path / name
    image.save(path)
    return path


def drawing(size: int = 120, ink: int = 0, paper: int = 255, mode: str = "L") -> Image.Image:
    """A slanted seven, off the middle, on its paper."""
    image = Image.new("L", (size, size), paper)
    pen = ImageDraw.Draw(image)
    s = size / 120
    points = [(x * s, y * s) for x, y in ((20, 15), (75, 15), (40, 100))]
    pen.line(points, fill=ink, width=max(1, round(9 * s)), joint="curve")
    return image.convert(mode)


@pytest.fixture
def laid_out(tmp_path: Path) -> np.ndarray:
    return read_digit(saved(tmp_path, drawing()))


def centre_of_mass(image: np.ndarray) -> np.ndarray:
    weights = image.astype(float)
    places = np.indices(image.shape)
    found: np.ndarray = (places * weights).sum((1, 2)) / weights.sum()
    return found


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Mean over pixels, up to a move by one: the middle is met by whole pixels only."""
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    moved = (np.roll(found, move, axis=(0, 1)).astype(int) for move in moves)
    return min(float(np.abs(image - expected).mean()) for image in moved)


def box(image: np.ndarray) -> tuple[int, int]:
    rows, columns = np.nonzero(image)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def test_the_longest_side_becomes_20_and_the_centre_of_mass_the_middle(
    laid_out: np.ndarray,
) -> None:
    assert laid_out.shape == (28, 28)
    assert laid_out.dtype == np.uint8
    assert max(box(laid_out)) == 20
    # MNIST's own lie at (14, 14), by whole pixels.
    assert np.abs(centre_of_mass(laid_out) - 14).max() <= 0.55
    assert laid_out.max() == 255
    assert len(np.unique(laid_out)) > 20  # antialiased


def test_an_image_laid_out_as_mnists_goes_through_unchanged_both_ways(
    tmp_path: Path, laid_out: np.ndarray
) -> None:
    for image in (laid_out, 255 - laid_out):
        again = read_digit(saved(tmp_path, Image.fromarray(image)))
        np.testing.assert_array_equal(again, laid_out)


def test_every_training_image_of_mnist_goes_through_unchanged(
    tmp_path: Path, mnist_training_set: TrainingSet
) -> None:
    for number in range(0, 60_000, 400):
        image = mnist_training_set.images[number]
        shown = image if number % 800 else 255 - image
        np.testing.assert_array_equal(read_digit(saved(tmp_path, Image.fromarray(shown))), image)


def test_a_28_pixel_image_that_is_off_the_middle_is_centred(
    tmp_path: Path, laid_out: np.ndarray
) -> None:
    moved = np.roll(laid_out, (-3, 2), axis=(0, 1))
    found = read_digit(saved(tmp_path, Image.fromarray(moved)))
    assert np.abs(centre_of_mass(found) - 14).max() <= 0.55
    assert difference(found, laid_out) < 3


def opaque(image: Image.Image) -> Image.Image:
    return image.convert("RGBA")


def transparent(image: Image.Image) -> Image.Image:
    """Ink on nothing: what is paper in the drawing becomes transparent."""
    ink = image.convert("L")
    is_dark = ink.getpixel((0, 0)) == 255
    alpha = Image.eval(ink, lambda v: 255 - v) if is_dark else ink
    return Image.merge("LA", (Image.new("L", ink.size, 0 if is_dark else 255), alpha)).convert(
        "RGBA"
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: drawing(ink=255, paper=0),
        lambda: drawing(ink=30, paper=190),
        lambda: drawing(ink=170, paper=60),
        lambda: drawing(mode="RGB"),
        lambda: drawing(mode="P"),
        lambda: drawing(mode="1"),
        lambda: opaque(drawing()),
        lambda: transparent(drawing()),
        lambda: transparent(drawing(ink=255, paper=0)),
        lambda: Image.fromarray(np.asarray(drawing(), np.uint16) * 257),
    ],
    ids=[
        "light on dark", "grey paper", "grey on grey", "rgb", "palette", "black and white",
        "opaque alpha", "dark on nothing", "light on nothing", "16 bits",
    ],
)  # fmt: skip
def test_polarity_colour_and_alpha_make_no_difference(
    tmp_path: Path, laid_out: np.ndarray, make: Callable[[], Image.Image]
) -> None:
    found = read_digit(saved(tmp_path, make()))
    assert np.abs(found.astype(int) - laid_out).max() <= 3


@pytest.mark.parametrize("size", [40, 64, 300, 1500])
def test_size_makes_little_difference(tmp_path: Path, laid_out: np.ndarray, size: int) -> None:
    found = read_digit(saved(tmp_path, drawing(size)))
    assert max(box(found)) == 20
    # A pen's width is a whole number of pixels, so a small drawing is another one.
    assert difference(found, laid_out) < (8 if size < 50 else 3)


def test_a_jpeg_a_wide_one_and_one_that_lies_on_its_side(
    tmp_path: Path, laid_out: np.ndarray
) -> None:
    wide = Image.new("L", (400, 150), 255)
    wide.paste(drawing(), (250, 20))
    found = read_digit(saved(tmp_path, wide, "wide.jpg"))
    assert difference(found, laid_out) < 5
    turned = drawing().transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned back by the viewer
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    found = read_digit(tmp_path / "turned.jpg")
    assert difference(found, laid_out) < 5


def truncated() -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()[:2000]


def with_broken_exif() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (30, 30), 200).save(buffer, "PNG", exif=b"II*\x00")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (b"", "cannot be read as an image"),
        (b"no image at all", "cannot be read as an image"),
        (truncated(), "cannot be read as an image"),
        (with_broken_exif(), "cannot be read as an image"),
    ],
    ids=["missing", "empty", "text", "cut off", "broken EXIF"],
)
def test_a_file_that_is_no_image_is_refused_in_one_line(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "digit.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=words) as caught:
        read_picture(path, str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_refused_and_an_empty_sheet_shows_nothing(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read as an image"):
        read_picture(tmp_path, "folder")
    for size in (50, 90):
        for mode, color in (("L", 255), ("L", 0), ("RGB", (120,) * 3), ("RGBA", (0, 0, 0, 0))):
            path = saved(tmp_path, Image.new(mode, (size, size), color))
            picture = read_picture(path, "blank")
            assert picture.digits == ()
            assert "nothing stands out from the background" in picture.reason
    assert read_picture(saved(tmp_path, Image.new("L", (1, 1), 0)), "dot").digits == ()


@pytest.mark.parametrize("suffix", ["webp", "gif", "bmp", "tiff", "png", "jpg"])
def test_every_format_shows_the_same_digit(
    tmp_path: Path, laid_out: np.ndarray, suffix: str
) -> None:
    path = saved(tmp_path, drawing(), f"digit.{suffix}")
    assert difference(read_digit(path), laid_out) < 3


def test_of_several_frames_the_first_is_read(tmp_path: Path, laid_out: np.ndarray) -> None:
    blank = Image.new("L", (120, 120), 255)
    for suffix in ("gif", "webp", "tiff"):
        path = tmp_path / f"frames.{suffix}"
        drawing().save(path, save_all=True, append_images=[blank])
        assert difference(read_digit(path), laid_out) < 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC picture.*save or export it as JPEG"),
        (b"\0\0\0\x18ftypmif1" + bytes(40), "HEIC picture.*save or export it as JPEG"),
        (b"\0\0\0\x18ftypavif" + bytes(40), "AVIF picture.*save it as JPEG"),
        (b"%PDF-1.7" + bytes(40), "a PDF.*export the page as PNG"),
    ],
    ids=["heic", "mif1", "avif", "pdf"],
)
def test_what_phones_write_and_nobody_reads_is_named(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=words):
        read_picture(path, str(path))


def test_a_png_that_would_take_too_much_memory_is_refused_before_it_is_decoded(
    tmp_path: Path,
) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (1, 1)).save(path)
    content = bytearray(path.read_bytes())
    # Its header alone says how large it is.
    content[16:24] = struct.pack(">II", 9000, 9000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"81 megapixels as PNG.*save it as a baseline JPEG"):
        read_picture(path, str(path))


def test_a_picture_that_is_reduced_while_it_is_read_has_boxes_in_its_own_pixels(
    tmp_path: Path,
) -> None:
    large = Image.new("L", (4000, 3000), 230)
    large.paste(drawing(1200, ink=20, paper=230), (2500, 500))
    exif = large.getexif()
    exif[0x0112] = 6
    turned = large.transpose(Image.Transpose.ROTATE_90)
    for path in (tmp_path / "large.jpg", tmp_path / "large.png"):
        turned.save(path, exif=exif)
        picture = read_picture(path, str(path))
        assert max(picture.grey.brightness.shape) < 1000
        (digit,) = picture.digits
        # The pen is 90 pixels wide; its line begins at (200, 150) of the drawing.
        np.testing.assert_allclose(digit.box, (2700, 605, 3300, 1520), atol=25)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_accuracy_at_28_pixels_is_the_models_own_and_within_3_points_at_others(
    tmp_path: Path, mnist_training_set: TrainingSet
) -> None:
    from mnist_study.core.config import NetworkParams, TrainingConfig
    from mnist_study.core.trials import derive_seeds
    from mnist_study.data.dataset import split
    from mnist_study.training import model, trainer

    params = NetworkParams(
        units_1=128, units_2=64, units_3=32, dropout_1=0.0, dropout_2=0.0, l2=0.0,
        learning_rate=0.002,
    )  # fmt: skip
    splits = split(mnist_training_set, validation_size=12_000, split_seed=0)
    config = TrainingConfig(batch_size=128, epochs=4, schedule="cosine")
    trained = trainer.train(params, derive_seeds(0), config, splits)
    network = model.build_model(params, derive_seeds(0))
    network.set_weights(list(trained.weights))
    # The images that the promise is about; this model is nobody's candidate.
    test_set = load_test_set("mnist")
    images, labels = test_set.images[:100], test_set.labels[:100]

    def accuracy(shown: np.ndarray) -> float:
        return float((model.probabilities(network, shown).argmax(axis=1) == labels).mean())

    own = accuracy(images)
    for size in (28, 64, 200):
        for is_inverted in (False, True):
            seen = []
            for image in images:
                shown = Image.fromarray(255 - image if is_inverted else image)
                path = saved(tmp_path, shown.resize((size, size)) if size != 28 else shown)
                seen.append(read_digit(path))
            found = accuracy(np.stack(seen))
            print(f"{size} pixels, inverted {is_inverted}: {found:.2f}, the model's own {own:.2f}")
            if size == 28:
                np.testing.assert_array_equal(np.stack(seen), images)
            assert abs(found - own) <= (0.0 if size == 28 else 0.03)
