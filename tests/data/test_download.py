"""The download: whole and checked or not at all, from Keras's server or a mirror."""

from __future__ import annotations

import datetime
import http.server
import io
import ipaddress
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mnist_forms import Arrays, Server, cache_path, npz_bytes, refusal, send, synthetic_arrays

from mnist_study.data import download
from mnist_study.data.dataset import load_training_set

pytest_plugins = ["mnist_fixtures"]
pytestmark = pytest.mark.usefixtures("isolated")

INTACT_NPZ = npz_bytes(synthetic_arrays())
# Where other processes find the package without its being installed.
ROOT = Path(__file__).parents[2]


def test_the_download_is_kept_in_the_cache_for_the_next_time(
    arrays: Arrays, tmp_path: Path, serve: Callable[..., str]
) -> None:
    n_requests = 0

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        nonlocal n_requests
        n_requests += 1
        send(request, npz_bytes(arrays))

    url = serve(answer)
    training_set = load_training_set("auto")
    assert training_set.dataset == "mnist"
    assert f"downloaded from {url}" in training_set.source
    np.testing.assert_array_equal(training_set.images, arrays["x_train"])
    assert "Keras's cache" in load_training_set("auto").source
    assert n_requests == 1
    assert [one.name for one in cache_path(tmp_path).parent.iterdir()] == ["mnist.npz"]


def test_a_cache_that_cannot_be_written_does_not_cost_the_download(
    arrays: Arrays, tmp_path: Path, serve: Callable[..., str]
) -> None:
    serve(lambda request: send(request, npz_bytes(arrays)))
    (tmp_path / "keras").write_bytes(b"a file where the folder should be")
    training_set = load_training_set("auto")
    assert training_set.dataset == "mnist"
    assert "not kept" in training_set.source


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda request: send(request, b"<html>sign in</html>"), "published SHA-256"),
        (lambda request: send(request, INTACT_NPZ[:9000], len(INTACT_NPZ)), "9,000 bytes"),
        (lambda request: request.send_error(403), "403"),
        (lambda request: request.wfile.write(b"nonsense\r\n\r\n"), "nonsense"),
    ],
    ids=["captive portal", "cut off", "refused", "not http"],
)
def test_a_download_without_mnist_is_told_and_leaves_no_file(
    arrays: Arrays,
    tmp_path: Path,
    serve: Callable[..., str],
    answer: Callable[[http.server.BaseHTTPRequestHandler], None],
    reason: str,
) -> None:
    serve(answer)
    assert reason in refusal(lambda: load_training_set("mnist"))
    assert load_training_set("auto").dataset == "digits"
    assert list(cache_path(tmp_path).parent.iterdir()) == []


def test_a_network_that_never_answers_costs_at_most_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
        port = silent.getsockname()[1]
        monkeypatch.setattr(download, "DOWNLOAD_URL", f"http://127.0.0.1:{port}/mnist.npz")
        started = time.monotonic()
        message = refusal(lambda: load_training_set("mnist"))
        assert time.monotonic() - started < 10
    assert "no answer within 8 seconds" in message


def test_a_name_lookup_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(*_: object, **__: object) -> None:
        released.wait(20)
        raise socket.gaierror("released")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(download, "DOWNLOAD_WINDOW_SECONDS", 0.3)
    started = time.monotonic()
    message = refusal(lambda: load_training_set("mnist"))
    assert time.monotonic() - started < 3
    assert "no answer within 0.3 seconds" in message
    released.set()


@pytest.mark.parametrize("trickle", [False, True])
def test_a_download_that_stalls_or_trickles_ends_with_its_reason(
    arrays: Arrays,
    tmp_path: Path,
    serve: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    trickle: bool,
) -> None:
    finished = threading.Event()

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        send(request, INTACT_NPZ[:9000], len(INTACT_NPZ))
        while not finished.wait(0.05):
            if trickle:
                request.wfile.write(b"x")

    serve(answer)
    monkeypatch.setattr(download, "DOWNLOAD_WINDOW_SECONDS", 1.5)
    message = refusal(lambda: load_training_set("mnist"))
    finished.set()
    assert "stalled after 9,0" in message
    assert list(cache_path(tmp_path).parent.iterdir()) == []


def downloader(url: str, sha256: str) -> str:
    """A program that downloads as the package does, for processes of their own."""
    return textwrap.dedent(f"""
        from mnist_study.data import download, sources
        download.DOWNLOAD_URL, download.DOWNLOAD_SHA256 = {url!r}, {sha256!r}
        content = download.download(download.download_address())
        download.write_atomically(sources.keras_cache_path(), content)
    """)


def test_a_download_killed_on_its_way_leaves_nothing(
    arrays: Arrays, tmp_path: Path, serve: Callable[..., str]
) -> None:
    half_sent, finished = threading.Event(), threading.Event()

    def half(request: http.server.BaseHTTPRequestHandler) -> None:
        send(request, INTACT_NPZ[:20_000], len(INTACT_NPZ))
        half_sent.set()
        finished.wait(20)

    url = serve(half)
    program = downloader(url, download.DOWNLOAD_SHA256)
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    assert half_sent.wait(20)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished.set()
    assert list(cache_path(tmp_path).parent.iterdir()) == []
    serve(lambda request: send(request, npz_bytes(arrays)))
    assert load_training_set("mnist").dataset == "mnist"


def test_a_write_killed_on_its_way_is_never_taken_for_mnist(
    arrays: Arrays, tmp_path: Path, serve: Callable[..., str]
) -> None:
    # The kill comes at the last moment: all is written, nothing renamed yet.
    program = textwrap.dedent("""
        import os, signal
        from mnist_study.data import download, sources
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        download.write_atomically(sources.keras_cache_path(), b"half of it")
    """)
    killed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    cached = cache_path(tmp_path)
    (litter,) = cached.parent.iterdir()
    assert litter.name.endswith(".part")
    serve(lambda request: send(request, npz_bytes(arrays)))
    assert "downloaded" in load_training_set("mnist").source
    assert litter.exists()  # it may be a parallel download's
    cached.unlink()
    os.utime(litter, (time.time() - 7200,) * 2)
    load_training_set("mnist")
    assert [one.name for one in cached.parent.iterdir()] == ["mnist.npz"]


def test_parallel_downloads_leave_one_whole_file(
    arrays: Arrays, tmp_path: Path, serve: Callable[..., str]
) -> None:
    together = threading.Barrier(2)

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        together.wait(20)  # both have found no cache
        send(request, npz_bytes(arrays))

    url = serve(answer)
    program = downloader(url, download.DOWNLOAD_SHA256)
    processes = [subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) for _ in range(2)]
    assert [process.wait(20) for process in processes] == [0, 0]
    cached = cache_path(tmp_path)
    assert [one.name for one in cached.parent.iterdir()] == ["mnist.npz"]
    assert cached.read_bytes() == npz_bytes(arrays)


# --- a mirror, and certificates


@pytest.mark.parametrize("given", ["{}", "{}?token=s3cret", "{folder}", "{folder}/", " {} "])
def test_a_mirror_is_asked_in_place_of_kerass_server(
    arrays: Arrays,
    tmp_path: Path,
    serve: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    given: str,
) -> None:
    asked = []

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        send(request, npz_bytes(arrays))

    url = serve(answer)
    monkeypatch.setattr(download, "DOWNLOAD_URL", "http://127.0.0.1:9/not-asked.npz")
    folder = url.removesuffix("/mnist.npz")
    monkeypatch.setenv("MNIST_STUDY_URL", given.format(url, folder=folder))
    source = load_training_set("mnist").source
    assert f"downloaded from {url} (kept as {cache_path(tmp_path)})" in source
    assert asked == [f"/mnist.npz{'?token=s3cret' * ('token' in given)}"]


def test_a_mirrors_own_compression_of_mnist_is_taken_by_its_content(
    arrays: Arrays, tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = io.BytesIO()
    np.savez(stored, **arrays)  # type: ignore[arg-type]  # numpy's keywords
    url = serve(lambda request: send(request, stored.getvalue()))
    assert "published SHA-256" in refusal(lambda: load_training_set("mnist"))
    monkeypatch.setenv("MNIST_STUDY_URL", url)
    np.testing.assert_array_equal(load_training_set("mnist").images, arrays["x_train"])
    assert cache_path(tmp_path).read_bytes() == stored.getvalue()


@pytest.mark.parametrize("name", ["x_train", "y_train", "x_test", "y_test"])
def test_a_mirror_with_other_content_is_told_and_leaves_no_file(
    arrays: Arrays,
    tmp_path: Path,
    serve: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    changed = npz_bytes({**arrays, name: arrays[name] ^ 1})
    monkeypatch.setenv("MNIST_STUDY_URL", serve(lambda request: send(request, changed)))
    message = refusal(lambda: load_training_set("mnist"))
    assert f"{name} with changed content" in message
    assert "MNIST_STUDY_URL" in message
    assert list(cache_path(tmp_path).parent.iterdir()) == []
    assert load_training_set("auto").dataset == "digits"


def test_the_secrets_of_a_mirrors_address_are_not_shown(
    serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve(lambda request: request.send_error(403, "no token=s3cret"))
    for given in (f"{url}?token=s3cret", f"{url}?token=s3cret and a space"):
        monkeypatch.setenv("MNIST_STUDY_URL", given)
        assert "s3cret" not in refusal(lambda: load_training_set("mnist"))
    for given in (
        url.replace("//", "//me:s3cret@"),
        "s3cret",
        "/data/s3cret.npz",
        "http://[s3cret",
    ):
        monkeypatch.setenv("MNIST_STUDY_URL", given)
        message = refusal(lambda: load_training_set("mnist"))
        assert message.startswith("MNIST_STUDY_URL: found ")
        assert "s3cret" not in message


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that no authority has signed, with its key."""
    now = datetime.datetime.now(datetime.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mirror")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "authority.pem"
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def test_a_certificate_that_is_not_trusted_is_told_with_what_to_set(
    arrays: Arrays, tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = Server(lambda request: send(request, npz_bytes(arrays)), context)
    try:
        monkeypatch.setenv("MNIST_STUDY_URL", server.url)
        message = refusal(lambda: load_training_set("mnist"))
        assert "the server's certificate is not trusted here: self-signed" in message
        assert "let SSL_CERT_FILE name the PEM file" in message
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
        message = refusal(lambda: load_training_set("mnist"))
        assert f"SSL_CERT_FILE={tmp_path}/gone.pem is no file" in message
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert load_training_set("mnist").dataset == "mnist"
    finally:
        server.close()
