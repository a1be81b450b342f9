"""Where a server of this program listens, and for whom: this machine alone, unless asked."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

import psutil

from mnist_study.core.errors import UserFacingError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address to listen at, and the names under which a server there may be asked for.

    The names keep out pages of other sites, whose names can be made to lead here.

    Attributes:
        port: 0 takes any free port.
        host: address or name of a network interface of this machine; 0.0.0.0 is all of them.
        allowed_hosts: names beside those that this machine knows itself by.
    """

    port: int
    host: str = LOOPBACK
    allowed_hosts: tuple[str, ...] = ()

    @classmethod
    def parse(cls, port: int, host: str, allowed_hosts: str | None) -> Endpoint:
        """Return the endpoint that options name; `allowed_hosts` has names with commas between."""
        names = [name.strip() for name in (allowed_hosts or "").split(",")]
        return cls(port, host, tuple(name for name in names if name))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        address = self._address()[4][0]
        return ipaddress.ip_address(str(address).partition("%")[0]).is_loopback

    @property
    def family(self) -> socket.AddressFamily:
        """Of sockets, IPv4 or IPv6."""
        return self._address()[0]

    def free_port(self) -> int:
        """Return the port if it is free; for 0, any free port.

        Raises:
            UserFacingError: it is taken, or the host is none of this machine.
        """
        with self.listener() as probe:
            return int(probe.getsockname()[1])

    def listener(self) -> socket.socket:
        """Return a socket that is bound here; as for `free_port`."""
        listener = socket.socket(self.family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.host, self.port))
        except OSError as error:
            listener.close()
            if self.port and self.host == LOOPBACK:
                raise UserFacingError(
                    f"port {self.port} is taken ({error.strerror}); choose another with --port, "
                    "0 for any"
                ) from error
            raise UserFacingError(
                f"--host {self.host}, --port {self.port}: cannot listen there ({error.strerror}); "
                "expected an address of this machine, or 0.0.0.0 for all of them, and a free port"
            ) from error
        return listener

    def url(self, port: int, *, local: bool = False) -> str:
        """Return the address for users; with `local`, the one that this machine reaches it by."""
        host = self.host
        if host in ("0.0.0.0", "::"):
            host = (LOOPBACK if host == "0.0.0.0" else "::1") if local else socket.gethostname()
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def names(self) -> list[str]:
        """Return every name under which the server may be asked for, without ports."""
        own = ["localhost", LOOPBACK, "[::1]"]
        if not self.is_loopback:
            addresses = [a for found in psutil.net_if_addrs().values() for a in found]
            own += [a.address for a in addresses if a.family == socket.AF_INET]
            own += [
                f"[{a.address.partition('%')[0]}]" for a in addresses if a.family == socket.AF_INET6
            ]
            own += [socket.gethostname(), self.host]
        return list(dict.fromkeys([*own, *self.allowed_hosts]))

    def warning(self, what: str) -> str | None:
        """Return what to tell the user about other machines; None if they cannot reach it.

        Args:
            what: they can do, as "read and change all runs".
        """
        if self.is_loopback:
            return None
        return (
            f"WARNING: listening on {self.host}: whoever reaches this machine can {what}; no "
            "password is asked for and nothing is encrypted. The README's section on shared "
            "machines says how to put a server with both before it"
        )

    def _address(self) -> tuple[socket.AddressFamily, int, int, str, tuple[object, ...]]:
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise UserFacingError(
                f"--host {self.host}: no address of this machine ({error}); expected one, or "
                "0.0.0.0 for all of them"
            ) from error
        family, kind, protocol, name, address = found[0]
        return family, kind, protocol, name, address
