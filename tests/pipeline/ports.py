"""A free port for a server that a test starts."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Return a port of the loopback address that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
