"""Picture files as arrays of brightness, reduced while they are read."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mnist_study.core.errors import UserFacingError

FloatImage = NDArray[np.float64]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
EXPECTED = "PNG, JPEG, WebP, GIF, BMP or TIFF"
LEAST_SIDE = 480
"""A larger picture is reduced by a whole number, to no less than this longest side."""
# What a decoded picture may take in memory; JPEG is reduced before it is decoded.
_MOST_BYTES = 256_000_000
_STRIP_BYTES = 8_000_000
# A progressive JPEG keeps all of its coefficients: two bytes for each of up to three colours.
_BYTES_OF_PROGRESSIVE_PIXEL = 6
# WebP and TIFF hold the picture twice while they decode it.
_COPIES = {"WEBP": 2, "TIFF": 2}
_BYTES_OF_PIXEL = {"1": 1, "L": 1, "P": 1, "LA": 4, "PA": 4, "I;16": 2, "I;16B": 2, "I;16L": 2}
_TRANSPARENT_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
_ORIENTATION, _ON_ITS_SIDE = 0x0112, 5


class ImageError(UserFacingError):
    """A file that cannot be read as a picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Grey:
    """A picture's brightness.

    Attributes:
        brightness: (height, width), 0 to 255; possibly reduced.
        width, height: of the picture as it is looked at, in pixels.
    """

    brightness: FloatImage
    width: int
    height: int


def read_grey(source: Path | bytes, name: str) -> Grey:
    """Read a picture's brightness; of several frames, the first.

    Args:
        source: a file or its content: PNG, JPEG, WebP, GIF, BMP or TIFF, grey, colour or palette,
            with or without alpha.
        name: for the message.

    Returns:
        The brightness, turned as EXIF says. What is transparent is paper. The longest side is less
        than twice `LEAST_SIDE`, unless the picture was smaller.

    Raises:
        ImageError: it cannot be read, or not within the memory that a picture may take.
    """
    try:
        with _opened(source) as stream:
            return _read(stream, name)
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file, expected a {EXPECTED} image") from None
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        why = why.split(" <_io.", maxsplit=1)[0]
        raise ImageError(
            f"{name}: cannot be read as an image ({why}); expected a whole {EXPECTED} file"
        ) from error


def _opened(source: Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _read(stream: BinaryIO, name: str) -> Grey:
    _refuse_by_name(stream.read(32), name)
    stream.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(stream, formats=FORMATS) as image:
            width, height = image.size
            if image.format in ("JPEG", "MPO") and not image.info.get("progressive"):
                # The decoder itself reduces by 2, 4 or 8.
                image.draft("L", (LEAST_SIDE, LEAST_SIDE))
            _check_memory(image, name)
            reduced = _reduced(image)
            # Only now: of a PNG, Pillow decodes the picture to find what may stand behind it.
            orientation = image.getexif().get(_ORIENTATION)
    if orientation in range(2, 9):
        reduced.getexif()[_ORIENTATION] = orientation
        reduced = ImageOps.exif_transpose(reduced)
        if orientation >= _ON_ITS_SIDE:
            width, height = height, width
    return Grey(np.asarray(reduced, np.float64), width, height)


def _refuse_by_name(head: bytes, name: str) -> None:
    """Refuse what phones write and Pillow does not read, saying what to do."""
    brand = head[8:12]
    if head[4:8] == b"ftyp" and brand in (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"):
        raise ImageError(
            f"{name}: a HEIC picture, expected {EXPECTED}; save or export it as JPEG (iPhone: "
            "Settings, Camera, Formats, Most Compatible)"
        )
    if head[4:8] == b"ftyp" and brand in (b"avif", b"avis"):
        raise ImageError(f"{name}: an AVIF picture, expected {EXPECTED}; save it as JPEG")
    if head[:5] == b"%PDF-":
        raise ImageError(f"{name}: a PDF, expected {EXPECTED}; export the page as PNG")


def _check_memory(image: Image.Image, name: str) -> None:
    pixels = image.width * image.height
    n_bytes = pixels * _BYTES_OF_PIXEL.get(image.mode, 4) * _COPIES.get(image.format or "", 1)
    if image.info.get("progressive"):
        n_bytes += pixels * _BYTES_OF_PROGRESSIVE_PIXEL
    if n_bytes > _MOST_BYTES:
        kind = "progressive JPEG" if image.info.get("progressive") else image.format
        raise ImageError(
            f"{name}: {pixels / 1e6:.0f} megapixels as {kind}, expected one that takes at most "
            f"{_MOST_BYTES / 1e6:.0f} MB decoded, found {n_bytes / 1e6:.0f}; save it as a "
            "baseline JPEG, or smaller"
        )


def _reduced(image: Image.Image) -> Image.Image:
    """Return the brightness as floats, reduced by a whole number, converted in strips."""
    factor = max(1, max(image.size) // LEAST_SIDE)
    image.load()
    on_white = _is_light_paper(image) if _has_alpha(image) else True
    height = max(factor, _STRIP_BYTES // (4 * image.width) // factor * factor)
    strips = []
    for top in range(0, image.height, height):
        strip = image.crop((0, top, image.width, min(top + height, image.height)))
        grey = Image.fromarray(_grey(strip, on_white=on_white).astype(np.float32))
        strips.append(np.asarray(grey.reduce(factor) if factor > 1 else grey))
    return Image.fromarray(np.concatenate(strips))


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in _TRANSPARENT_MODES or "transparency" in image.info


def _is_light_paper(image: Image.Image) -> bool:
    """Whether transparent ink is dark, so that white paper shows it."""
    small = image.convert("RGBA") if max(image.size) <= LEAST_SIDE else _small_rgba(image)
    alpha = np.asarray(small.getchannel("A"), np.float64) / 255
    grey = np.asarray(small.convert("RGB").convert("L"), np.float64)
    return not float((alpha * grey).sum()) > 127.5 * float(alpha.sum())


def _small_rgba(image: Image.Image) -> Image.Image:
    """Return every n-th pixel; the mean colour needs no more."""
    shape = (LEAST_SIDE, max(1, round(LEAST_SIDE * image.height / image.width)))
    return image.resize(shape, Image.Resampling.NEAREST).convert("RGBA")


def _grey(image: Image.Image, *, on_white: bool) -> FloatImage:
    """Return brightness, 0 to 255; what is transparent becomes paper."""
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image, np.float64)
        return values * (255 / 65535) if image.mode.startswith("I") else values
    if not _has_alpha(image):
        return np.asarray(image.convert("L"), np.float64)
    rgba = image.convert("RGBA")
    alpha = np.asarray(rgba.getchannel("A"), np.float64) / 255
    grey = np.asarray(rgba.convert("RGB").convert("L"), np.float64)
    if alpha.min() == 1:
        return grey
    mixed: FloatImage = np.round(alpha * grey + (1 - alpha) * (255.0 if on_white else 0.0))
    return mixed
