"""Where MNIST comes from: the user's folder, Keras's cache or Keras's download."""

import hashlib
import http.client
import io
import os
import secrets
import threading
import time
import urllib.request
from pathlib import Path

from mnist_study.data.files import (
    MNIST_ARRAYS,
    DataError,
    MnistPart,
    Origin,
    Subset,
    idx_file_names,
    one_line,
    read_idx_file,
    read_npz,
    read_npz_file,
    shown,
)

DATA_VARIABLE = "MNIST_STUDY_DATA"
NPZ_NAME = "mnist.npz"

DOWNLOAD_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
DOWNLOAD_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
DOWNLOAD_MAX_BYTES = 64 * 2**20
# A window without progress ends the download. Eight seconds leave two of the ten that an
# unreachable network may cost for everything else.
DOWNLOAD_WINDOW_SECONDS = 8.0
# After the first byte, a window must bring this much: a trickle would go on for hours.
DOWNLOAD_WINDOW_BYTES = 64 * 2**10
ABANDONED_PART_SECONDS = 3600.0


class MnistNotInReachError(DataError):
    """No source has MNIST, and none of them is broken either."""


def read_mnist(part: Subset, data_dir: Path | None) -> MnistPart:
    """Read one part of MNIST from the first source that has it.

    Args:
        part: "train" or "test"; the arrays of the other part are not read.
        data_dir: a folder with MNIST, or an npz file; before all other sources.

    Returns:
        The images, uint8 (n, 28, 28), and labels, uint8 (n,).

    Raises:
        DataError: a source is there but cannot be used. No later source is tried then: whoever
            names a folder wants that one.
        MnistNotInReachError: no source has MNIST; the message says what was tried.
    """
    if data_dir is not None:
        remedy = "name a folder with an intact MNIST"
        return _read_given(part, data_dir, Origin(str(data_dir), remedy))
    if given := os.environ.get(DATA_VARIABLE):
        remedy = f"let {DATA_VARIABLE} name a folder with an intact MNIST, or unset it"
        return _read_given(part, Path(given), Origin(f"{DATA_VARIABLE}={given}", remedy))

    cached = keras_cache_path()
    origin = Origin(f"Keras's cache {cached}", "delete this file, and it is downloaded again")
    if _is_there(cached, origin):
        return read_npz_file(part, cached, origin)

    try:
        content = _download(DOWNLOAD_URL)
    except _DownloadFailed as failure:
        raise MnistNotInReachError(
            f"MNIST is not in reach: found no {DATA_VARIABLE}, no file {cached}, and the download "
            f"of {DOWNLOAD_URL} failed ({failure}); expected one of them; put {NPZ_NAME} or the "
            f"IDX files into a folder and name it with {DATA_VARIABLE} or --data"
        ) from failure
    try:
        write_atomically(cached, content)
        kept = f"kept as {cached}"
    except OSError as error:
        # The bytes in hand are complete and checked; a read-only home only costs the next download.
        kept = f"not kept: {one_line(error)}"
    origin = Origin(DOWNLOAD_URL, f"name a folder with an intact MNIST by {DATA_VARIABLE}")
    source = f"downloaded from {DOWNLOAD_URL} ({kept})"
    return read_npz(part, io.BytesIO(content), origin, source)


def keras_cache_path() -> Path:
    """Return where Keras keeps its copy of MNIST, whether or not the file exists."""
    if keras_home := os.environ.get("KERAS_HOME"):
        folder = Path(os.path.expanduser(keras_home))
    else:
        home = os.path.expanduser("~")
        # Keras's own fallback, for a user without a writable home. A copy in the home still counts.
        in_home = Path(home, ".keras")
        usable = os.access(home, os.W_OK) or os.path.lexists(in_home / "datasets" / NPZ_NAME)
        folder = in_home if usable else Path("/tmp/.keras")
    return folder / "datasets" / NPZ_NAME


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that every reader sees all of it or nothing.

    Parallel writers and a kill at any moment leave a whole file. What a kill can leave beside it
    is a hidden `.part` file, which a later call removes once it is an hour old.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for part in path.parent.glob(f".{path.name}.*.part"):
        try:
            if time.time() - part.stat().st_mtime > ABANDONED_PART_SECONDS:
                part.unlink()
        except FileNotFoundError:
            continue  # its own writer finished, or another one cleared it up
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


class _DownloadFailed(Exception):
    """Why a download brought nothing usable, as a few words."""


class _Fetch(threading.Thread):
    """Fetches a URL into memory, in a thread because a hanging name look-up has no time limit."""

    def __init__(self, url: str) -> None:
        super().__init__(name="mnist-download", daemon=True)
        self.url = url
        self.content = bytearray()
        self.failure: Exception | None = None
        self.finished = threading.Event()
        self.abandoned = False

    def run(self) -> None:
        try:
            # A stall is told after two windows at most: this only ends an abandoned thread.
            limit = 3 * DOWNLOAD_WINDOW_SECONDS
            with urllib.request.urlopen(self.url, timeout=limit) as response:
                while not self.abandoned and len(self.content) <= DOWNLOAD_MAX_BYTES:
                    # read1 returns what has come, so that the count below shows every progress.
                    if not (piece := response.read1(2**16)):
                        break
                    self.content += piece
        except Exception as error:  # raised again, or told, by the thread that waits
            self.failure = error
        finally:
            self.finished.set()


def _download(url: str) -> bytes:
    """Return the checked content of Keras's MNIST file, or raise `_DownloadFailed`."""
    fetch = _Fetch(url)
    fetch.start()
    received, needed = 0, 1
    while not fetch.finished.wait(DOWNLOAD_WINDOW_SECONDS):
        progress = len(fetch.content) - received
        if progress < needed:
            fetch.abandoned = True
            stalled = (
                f"stalled after {received:,} bytes, {progress:,} more" if received else "no answer"
            )
            raise _DownloadFailed(f"{stalled} within {DOWNLOAD_WINDOW_SECONDS:g} seconds")
        received += progress
        needed = DOWNLOAD_WINDOW_BYTES
    if isinstance(fetch.failure, (OSError, ValueError, http.client.HTTPException)):
        raise _DownloadFailed(one_line(fetch.failure)) from fetch.failure
    if fetch.failure is not None:
        raise fetch.failure
    if hashlib.sha256(fetch.content).hexdigest() != DOWNLOAD_SHA256:
        raise _DownloadFailed(
            f"the {len(fetch.content):,} bytes received do not have the published SHA-256"
        )
    return bytes(fetch.content)


def _read_given(part: Subset, location: Path, origin: Origin) -> MnistPart:
    """Read from the folder, or the npz file, that the user has named."""
    wanted = f"a folder with {NPZ_NAME} or the IDX files {_idx_names(part)}, raw or .gz"
    try:
        if not location.is_dir():
            os.stat(location)  # says why a path that cannot be reached is no folder
            return read_npz_file(part, location, origin)
        names = {name: (location / name).is_dir() for name in os.listdir(location)}
    except (OSError, ValueError) as error:
        raise origin.error(one_line(error), wanted) from error

    # Kaggle's archive has folders named like the files beside the files: a file goes first.
    known_names = [[NPZ_NAME], *(idx_file_names(known) for known in MNIST_ARRAYS[part])]
    chosen = [
        min((name for name in candidates if name in names), key=names.__getitem__, default=None)
        for candidates in known_names
    ]
    npz_name, *idx_names = chosen
    if npz_name and not (names[npz_name] and any(idx_names)):
        return read_npz_file(part, location / npz_name, origin.inside(npz_name))
    if not any(idx_names):
        raise origin.error(f"a folder with {shown(names)}", wanted)
    arrays = []
    for known, idx_name in zip(MNIST_ARRAYS[part], idx_names, strict=True):
        if idx_name is None:
            raise origin.error(f"no {known.idx_name}", f"the IDX files {_idx_names(part)}")
        arrays.append(read_idx_file(known, location / idx_name, origin.inside(idx_name)))
    return MnistPart(arrays[0], arrays[1], f"IDX files in {origin.label}")


def _is_there(path: Path, origin: Origin) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise origin.error(one_line(error), "a readable file or none") from error
    return True


def _idx_names(part: Subset) -> str:
    return " and ".join(known.idx_name for known in MNIST_ARRAYS[part])
