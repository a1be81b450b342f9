"""The way to a running scheduler: encrypted where certificates are named, warned of otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dask
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from study_process import wait_until

from mnist_study.execution.scheduler import ClusterError, check_scheduler, warnings_about


@pytest.mark.parametrize(
    ("address", "warned"),
    [
        ("tcp://10.0.0.1:8786", True),
        ("10.0.0.1:8786", True),
        ("scheduler.example:8786", True),
        ("tcp://[2001:db8::1]:8786", True),
        ("tcp://127.0.0.1:8786", False),
        ("127.0.0.2:8786", False),
        ("tcp://[::1]:8786", False),
        ("localhost:8786", False),
        ("tls://10.0.0.1:8786", False),
    ],
)
def test_an_unencrypted_way_off_this_machine_is_warned_of(address: str, warned: bool) -> None:
    lines = warnings_about(address)
    assert len(lines) == warned
    assert all(line.startswith(f"WARNING: --cluster {address}: ") for line in lines)


def certificate(folder: Path, name: str) -> dict[str, str]:
    """Write a self-signed certificate and its key; return Dask's variables that name them."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    files = {"cert": folder / f"{name}.pem", "key": folder / f"{name}.key"}
    files["cert"].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files["key"].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    prefix = "DASK_DISTRIBUTED__COMM__TLS__"
    variables = {f"{prefix}CA_FILE": str(files["cert"])}
    for role in ("CLIENT", "SCHEDULER", "WORKER"):
        for part, path in files.items():
            variables[f"{prefix}{role}__{part.upper()}"] = str(path)
    return variables


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A scheduler that speaks TLS alone, and the folder of its certificate."""
    folder = tmp_path_factory.mktemp("tls")
    file = folder / "scheduler.json"
    with subprocess.Popen(
        [
            sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "tls://127.0.0.1",
            "--port", "0", "--no-dashboard", "--scheduler-file", str(file),
        ],
        env={**os.environ, **certificate(folder, "studies")}, stderr=subprocess.DEVNULL,
    ) as scheduler:  # fmt: skip
        try:
            assert wait_until(file.exists)
            yield file.read_text().partition('"address": "')[2].partition('"')[0], folder
        finally:
            scheduler.kill()


def configured(folder: Path, name: str) -> dask.config.set:
    """Configure Dask as a client with the certificate of this name in this folder."""
    return dask.config.set(
        {
            "distributed.comm.tls.ca-file": str(folder / f"{name}.pem"),
            "distributed.comm.tls.client.cert": str(folder / f"{name}.pem"),
            "distributed.comm.tls.client.key": str(folder / f"{name}.key"),
        }
    )


def test_the_certificates_that_dask_is_configured_with_open_a_tls_scheduler(
    secured: tuple[str, Path],
) -> None:
    address, folder = secured
    assert address.startswith("tls://")
    with configured(folder, "studies"):
        check_scheduler(address)


def test_without_its_certificates_a_tls_scheduler_is_refused_with_the_variables_to_set(
    secured: tuple[str, Path], tmp_path: Path
) -> None:
    address, _ = secured
    with pytest.raises(ClusterError, match="DASK_DISTRIBUTED__COMM__TLS__CA_FILE") as refused:
        check_scheduler(address)
    assert "\n" not in str(refused.value)
    certificate(tmp_path, "stranger")
    with (
        configured(tmp_path, "stranger"),
        pytest.raises(ClusterError, match="no TLS connection"),
    ):
        check_scheduler(address)
