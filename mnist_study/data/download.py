"""MNIST from the network: Keras's file, or a mirror of it, checked before anyone sees it."""

import hashlib
import http.client
import os
import secrets
import ssl
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit

from mnist_study.data.files import DataError, Origin, one_line
from mnist_study.data.folder import inventory_of_bytes
from mnist_study.data.mnist import MNIST_ARRAYS, NPZ_NAME, read_mnist_part

DATA_VARIABLE = "MNIST_STUDY_DATA"
URL_VARIABLE = "MNIST_STUDY_URL"
CERTIFICATES_VARIABLE = "SSL_CERT_FILE"

DOWNLOAD_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
DOWNLOAD_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
DOWNLOAD_MAX_BYTES = 64 * 2**20
# A window without progress ends the download. Eight seconds leave two of the ten that an
# unreachable network may cost for everything else.
DOWNLOAD_WINDOW_SECONDS = 8.0
# After the first byte, a window must bring this much: a trickle would go on for hours.
DOWNLOAD_WINDOW_BYTES = 64 * 2**10
ABANDONED_PART_SECONDS = 3600.0


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


class DownloadFailed(Exception):
    """Why a download brought nothing usable, as a few words."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to download from.

    Attributes:
        url: of the file.
        shown: the same for messages, without what may be a secret.
        is_mirror: whether the user has named it.
    """

    url: str
    shown: str
    is_mirror: bool


def download_address() -> Address:
    """Return Keras's address, or the mirror that the environment names.

    Raises:
        DataError: the mirror is no address.
    """
    given = os.environ.get(URL_VARIABLE, "").strip()
    if not given:
        return Address(DOWNLOAD_URL, DOWNLOAD_URL, is_mirror=False)
    remedy = f"correct or unset it; files on this machine are named with {DATA_VARIABLE}"
    origin = Origin(URL_VARIABLE, remedy)
    expected = f"the address of {NPZ_NAME}, such as https://mirror.example/{NPZ_NAME}"
    try:
        parts = urlsplit(given)
        is_address = parts.scheme in ("http", "https", "file", "ftp") and parts.path != given
    except ValueError:
        is_address = False
    if not is_address:
        raise origin.error("no address", expected)
    if "@" in parts.netloc:
        raise origin.error("an address with a user's name or password", expected)
    # A folder is as good as the file in it; what has a query is whatever the server makes of it.
    if not parts.query and not parts.path.endswith(".npz"):
        parts = parts._replace(path=f"{parts.path.rstrip('/')}/{NPZ_NAME}")
    return Address(parts.geturl(), parts._replace(query="", fragment="").geturl(), is_mirror=True)


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


def download(address: Address) -> bytes:
    """Return the checked content of an npz file with MNIST.

    Raises:
        DownloadFailed: nothing came, or something else.
    """
    fetch = _Fetch(address.url)
    fetch.start()
    received, needed = 0, 1
    while not fetch.finished.wait(DOWNLOAD_WINDOW_SECONDS):
        progress = len(fetch.content) - received
        if progress < needed:
            fetch.abandoned = True
            stalled = (
                f"stalled after {received:,} bytes, {progress:,} more" if received else "no answer"
            )
            raise DownloadFailed(f"{stalled} within {DOWNLOAD_WINDOW_SECONDS:g} seconds")
        received += progress
        needed = DOWNLOAD_WINDOW_BYTES
    if isinstance(fetch.failure, (OSError, ValueError, http.client.HTTPException)):
        raise DownloadFailed(_reason(fetch.failure, address)) from fetch.failure
    if fetch.failure is not None:
        raise fetch.failure
    content = bytes(fetch.content)
    if hashlib.sha256(content).hexdigest() != DOWNLOAD_SHA256:
        _check_content(content, address)
    return content


def _check_content(content: bytes, address: Address) -> None:
    """Accept a mirror's own compression of MNIST; Keras's file is always the same."""
    if not address.is_mirror:
        raise DownloadFailed(
            f"the {len(content):,} bytes received do not have the published SHA-256"
        )
    origin = Origin("it", "name another mirror")
    try:
        for part in MNIST_ARRAYS:
            read_mnist_part(part, inventory_of_bytes(content, origin))
    except DataError as error:
        raise DownloadFailed(
            f"the {len(content):,} bytes received are not MNIST: {error}"
        ) from error


def _reason(failure: Exception, address: Address) -> str:
    """Say why a download failed, without the secrets of its address."""
    cause = failure.reason if isinstance(failure, URLError) else failure
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _certificate_reason(cause)
    text = one_line(failure)
    query = urlsplit(address.url).query
    return text.replace(query, "…") if query else text


def _certificate_reason(failure: ssl.SSLCertVerificationError) -> str:
    why = f"the server's certificate is not trusted here: {failure.verify_message}"
    given = os.environ.get(CERTIFICATES_VARIABLE)
    if given and not os.path.isfile(given):
        return f"{why}; {CERTIFICATES_VARIABLE}={given} is no file"
    return (
        f"{why}; if your network has a certificate authority of its own, let "
        f"{CERTIFICATES_VARIABLE} name the PEM file with its certificate"
    )
