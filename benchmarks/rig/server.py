"""A peer that is a server: started for the run on a port of the loopback interface, ended with it."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from rig.contender import NotThere

__all__ = ["free_port", "serving"]

_START_LIMIT_S = 10
_END_LIMIT_S = 10


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(command: Sequence[str], port: int) -> Iterator[None]:
    """Run a server until the context is left. Raises NotThere where it does not listen in time."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(process, command[0], port)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], name: str, port: int) -> None:
    end = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise NotThere(f"{name} ended at once with status {process.returncode}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise NotThere(f"{name} did not listen within {_START_LIMIT_S} s")
