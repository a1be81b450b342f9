"""The way to a Dask scheduler, and errors of its workers in the user's terms."""

from __future__ import annotations

import ipaddress
import logging

from distributed import Client, LocalCluster

from mnist_study.core.errors import UserFacingError
from mnist_study.core.text import first_line

CONNECT_SECONDS = 6
_TLS_VARIABLES = ", ".join(
    f"DASK_DISTRIBUTED__COMM__TLS__{name}" for name in ("CA_FILE", "CLIENT__CERT", "CLIENT__KEY")
)


class ClusterError(UserFacingError):
    """Workers that cannot be started or reached."""


def advice_on(error: Exception) -> str:
    """Return what to do about an error of a worker, by its cause."""
    text = f"{type(error).__name__}: {error}"
    if any(sign in text for sign in ("MemoryError", "Cannot allocate memory", "bad_alloc")):
        return (
            "its memory does not suffice; expected about 1 GB for each worker; take fewer workers, "
            "or give them more memory"
        )
    if any(sign in text for sign in ("CommClosedError", "Stream is closed")):
        return (
            "it died meanwhile; expected workers that are left alone and have about 1 GB of memory "
            "each; look for what kills them, then run the same command again"
        )
    if any(sign in text for sign in ("ModuleNotFoundError", "ImportError", "No module named")):
        return (
            "expected mnist-study, of the driver's version and with its packages, in every "
            "worker's environment; install it there and start the worker again"
        )
    return (
        "expected workers that run mnist-study of the driver's version, with about 1 GB of memory "
        "each; look into their log, then run the same command again"
    )


def warnings_about(address: str) -> list[str]:
    """Return what to tell the user about the way to a scheduler, a line each.

    Args:
        address: as given with --cluster.
    """
    protocol, separator, rest = address.rpartition("://")
    if (separator and protocol != "tcp") or _is_loopback(rest):
        return []
    return [
        f"WARNING: --cluster {address}: nothing on the way is encrypted or asks who it is, so "
        "whoever reaches that scheduler or its workers runs code there and here; start them with "
        "TLS certificates and give a tls:// address (README, shared machines), or keep that "
        "network to yourself"
    ]


def _is_loopback(location: str) -> bool:
    """Whether HOST:PORT is on this machine; a name other than localhost counts as elsewhere."""
    host = location.rpartition(":")[0].strip("[]") or location
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_scheduler(address: str) -> None:
    """Check that a Dask scheduler answers at an address.

    Raises:
        ClusterError: it does not.
    """
    connect(address).close()


def connect(cluster: LocalCluster | str) -> Client:
    """Connect to the scheduler of local workers, or at an address.

    Raises:
        ClusterError: none answers.
    """
    # Dask gives the second logger a level of its own.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return Client(cluster, timeout=CONNECT_SECONDS, set_as_default=False)
    # TypeError: a protocol that is not set up, such as tls without a certificate.
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        target = f"--cluster {cluster}" if isinstance(cluster, str) else "the local workers"
        reason = first_line(error) or type(error).__name__
        if isinstance(cluster, str) and cluster.startswith("tls://"):
            raise ClusterError(
                f"{target}: no TLS connection within {CONNECT_SECONDS} s ({reason}); expected a "
                f"scheduler there, and its certificates named by {_TLS_VARIABLES} or in Dask's "
                "configuration files"
            ) from error
        raise ClusterError(
            f"{target}: no Dask scheduler answered within {CONNECT_SECONDS} s ({reason}); expected "
            "an address such as tcp://host:8786, where `dask scheduler` runs; start it there, or "
            "leave --cluster out to use local workers"
        ) from error
