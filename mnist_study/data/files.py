"""A file that someone brings: opened safely, its gzip taken off, and what is wrong with it.

Every file is treated as untrusted: only ordinary files are opened, no more is read than is asked
for, and whatever the bytes are, the only error is an `Unfit`, which becomes a `DataError` that
names the file.
"""

import gzip
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

from mnist_study.core.errors import UserFacingError
from mnist_study.core.safe_text import printable

Opener = Callable[[], IO[bytes]]

# Enough to tell a tar archive, whose mark lies at byte 257.
HEAD_BYTES = 512
GZIP_LAYERS = 3

# What damaged or foreign bytes make gzip and zipfile raise.
DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class DataError(UserFacingError):
    """A data set that cannot be used: what was found, what was expected, what to do."""


class Unfit(Exception):
    """What is wrong with a file, or an array in it, before anyone says which file it is.

    Attributes:
        found: what the file is or holds.
        expected: what would be right; None where that depends on what is looked for.
        remedy: what to do about it; None if there is nothing better than the origin's remedy.
        is_whole: whether it is intact, and may be right for something else.
    """

    def __init__(
        self,
        found: str,
        expected: str | None = None,
        remedy: str | None = None,
        *,
        is_whole: bool = False,
    ) -> None:
        super().__init__(found)
        self.found = found
        self.expected = expected
        self.remedy = remedy
        self.is_whole = is_whole


@dataclass(frozen=True, slots=True)
class Origin:
    """A file or folder as an error message names it, and what its user can do about it.

    Attributes:
        label: its path, in words.
        remedy: what to do about a damaged one.
        other_data: added to the remedy where the content may be another data set's.
        is_ours: whether the remedy is right whatever the file is, as a copy of ours is replaced.
    """

    label: str
    remedy: str
    other_data: str = ""
    is_ours: bool = False

    def error(self, found: str, expected: str, remedy: str | None = None) -> DataError:
        """Return the error for this file, ready to be raised."""
        better = None if self.is_ours else remedy
        message = f"{self.label}: found {found}, expected {expected}; {better or self.remedy}"
        return DataError(printable(message))

    def inside(self, name: str) -> "Origin":
        """Return the origin of a file in this folder; this one for "", content in memory."""
        if not name:
            return self
        return replace(self, label=f"{self.label.rstrip('/')}/{printable(name)}")


def open_regular(path: Path) -> IO[bytes]:
    """Open an ordinary file for reading.

    Raises:
        Unfit: it is something else, or cannot be read.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            return path.open("rb")
    except (OSError, ValueError) as error:
        raise Unfit(one_line(error), "a readable file") from error
    # Opening a pipe would wait for ever.
    raise Unfit("a folder" if stat.S_ISDIR(mode) else "a pipe or device", "an ordinary file")


def unwrapped(file: IO[bytes]) -> tuple[IO[bytes], bytes]:
    """Take off the gzip that a file is wrapped in, whatever its name says.

    Returns:
        The content, at its beginning, and its first bytes.

    Raises:
        Unfit: there are more layers of gzip than anyone makes by mistake.
    """
    stream = file
    for _ in range(GZIP_LAYERS + 1):
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
        if not head.startswith(b"\x1f\x8b"):
            return stream, head
        stream = cast("IO[bytes]", gzip.GzipFile(mode="rb", fileobj=stream))
    raise Unfit(f"more than {GZIP_LAYERS} layers of gzip", "one layer or none")


@contextmanager
def damage_reported() -> Iterator[None]:
    """Turn what damaged bytes make the readers raise into an `Unfit`."""
    try:
        yield
    except DAMAGE as error:
        raise Unfit(f"a damaged file ({one_line(error)})", "an intact one") from error


def shown(names: Iterable[str], most: int = 5) -> str:
    """List a few names for a message, quoted: they come from outside and may hold anything."""
    ordered = sorted(names)
    quoted = [repr(name[:60]) for name in ordered[:most]]
    if len(ordered) > most:
        quoted.append(f"and {len(ordered) - most} more")
    return ", ".join(quoted) or "nothing"


def one_line(error: BaseException) -> str:
    """Return what an exception says, in one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__
