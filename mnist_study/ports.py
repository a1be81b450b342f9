"""Ports of 127.0.0.1, where everything that this program serves is."""

from __future__ import annotations

import socket

from mnist_study.errors import UserFacingError


def free_port(port: int) -> int:
    """Return the port if nobody listens at it; 0 takes any free one.

    Raises:
        UserFacingError: it is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserFacingError(
                f"port {port} is taken ({error.strerror}); choose another with --port, 0 for any"
            ) from error
        return int(probe.getsockname()[1])
