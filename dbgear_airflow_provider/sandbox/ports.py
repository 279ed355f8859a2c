"""Free TCP ports of this machine."""

from __future__ import annotations

import socket

HOST = "127.0.0.1"
_TRIES = 100


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port now; a port in TIME_WAIT is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def any_free() -> int:
    """Return a free port of the system's choice."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def free_from(first: int) -> int:
    """Return the first free port from `first` on; after 100 taken ones, any free one."""
    return next((port for port in range(first, min(first + _TRIES, 65536)) if is_free(port)), any_free())
