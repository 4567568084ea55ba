"""Free loopback ports that stay free until the server that gets them binds them, and again while it is restarted."""

from __future__ import annotations

import random
import socket

__all__ = ["HOST", "answers", "free_port", "free_ports"]

HOST = "127.0.0.1"
_FIRST, _LAST = 15_000, 32_000  # under the range from which Linux takes the ports of outgoing connections
_SPACING = 10  # some servers open a second and a third port close to the one they are given
_held: list[socket.socket] = []


def free_port() -> int:
    """A port that nobody uses, with nine free ones behind it; held against other processes until this one ends."""
    while True:
        port = random.randrange(_FIRST, _LAST, _SPACING)
        if _hold(port) and not any(_taken(each) for each in range(port, port + _SPACING)):
            return port


def free_ports(count: int) -> list[int]:
    """Several of them."""
    return [free_port() for _ in range(count)]


def _hold(port: int) -> bool:
    """An abstract name is ours alone and goes when this process does, however it ends."""
    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind(f"\0evermq-port-{port}")
    except OSError:
        held.close()
        return False
    _held.append(held)
    return True


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def answers(port: int, request: bytes = b"", *, wait_s: float = 1.0) -> bytes | None:
    """What a server says to a request; None if it does not even accept, b"" for a request that was none."""
    try:
        with socket.create_connection((HOST, port), timeout=wait_s) as connection:
            connection.sendall(request)
            return connection.recv(4096) if request else b""
    except OSError:
        return None
