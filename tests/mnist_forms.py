"""A small MNIST with a published table of its own, written in the forms that people have."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import io
import ssl
import struct
import threading
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_study.data import mnist
from mnist_study.data.dataset import DataError

N_TRAIN, N_TEST = 60, 20
Arrays = dict[str, NDArray[np.uint8]]
Answer = Callable[[http.server.BaseHTTPRequestHandler], None]
IDX_CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def synthetic_arrays() -> Arrays:
    rng = np.random.default_rng(7)
    return {
        "x_train": rng.integers(0, 256, (N_TRAIN, 28, 28), np.uint8),
        "y_train": np.arange(N_TRAIN, dtype=np.uint8) % 10,
        "x_test": rng.integers(0, 256, (N_TEST, 28, 28), np.uint8),
        "y_test": np.arange(N_TEST, dtype=np.uint8) % 10,
    }


def idx_bytes(array: NDArray[Any]) -> bytes:
    """Write IDX independently of the code under test."""
    code = IDX_CODES[array.dtype.newbyteorder("=").str[1:]]
    header = struct.pack(">HBB", 0, code, array.ndim)
    values = array.astype(array.dtype.newbyteorder(">")).tobytes()
    return header + b"".join(struct.pack(">I", n) for n in array.shape) + values


def npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # numpy's keywords
    return stream.getvalue()


def npz_with_member(member: bytes, name: str = "x_train.npy") -> bytes:
    """An npz whose `name` has exactly these bytes; the labels are intact."""
    stream = io.BytesIO()
    labels = io.BytesIO()
    np.save(labels, synthetic_arrays()["y_train"])
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, member)
        archive.writestr("y_train.npy", labels.getvalue())
    return stream.getvalue()


def npy_bytes(array: NDArray[np.generic], *, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def npy_header(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


def install_table(monkeypatch: pytest.MonkeyPatch, arrays: Arrays) -> None:
    """Make `arrays` the published MNIST."""
    for part, known in list(mnist.MNIST_ARRAYS.items()):
        entries = tuple(
            dataclasses.replace(
                one,
                shape=arrays[one.npz_member].shape,
                sha256=hashlib.sha256(idx_bytes(arrays[one.npz_member])).hexdigest(),
            )
            for one in known
        )
        monkeypatch.setitem(mnist.MNIST_ARRAYS, part, entries)


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files, by path within the folder, and return the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def write_idx(folder: Path, arrays: Arrays, *, dotted: bool, compressed: bool) -> None:
    for known in (*mnist.MNIST_ARRAYS["train"], *mnist.MNIST_ARRAYS["test"]):
        name = known.idx_name.replace("-idx", ".idx") if dotted else known.idx_name
        content = idx_bytes(arrays[known.npz_member])
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


def cache_path(tmp_path: Path) -> Path:
    path = tmp_path / "keras" / "datasets" / "mnist.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def refusal(load: Callable[[], object]) -> str:
    """Return the message of the DataError that `load` must raise: one line, three parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy on old headers
        with pytest.raises(DataError) as caught:
            load()
    message = str(caught.value)
    assert "\n" not in message
    assert "found " in message
    assert "expected " in message
    assert "; " in message
    return message


class Server:
    """A real server on 127.0.0.1; `answer` is called with each request's output stream."""

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # clients that go away are what some tests are about

        self._server = Quiet(("127.0.0.1", 0), Handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = (
            f"{'https' if context else 'http'}://127.0.0.1:{self._server.server_port}/mnist.npz"
        )

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.socket.close()


def send(request: http.server.BaseHTTPRequestHandler, content: bytes, claimed: int = 0) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(claimed or len(content)))
    request.end_headers()
    request.wfile.write(content)
    request.wfile.flush()
