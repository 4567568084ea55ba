"""The history of a run: what each process tried and saw, a line an event, in files that survive a kill.

Events (`ev`): send_invoke, send_ok, send_fail (certainly not appended), send_unknown; deliver (handed to a consumer),
handler_ok (the effect took place), dead (dead-lettered), left (found behind when all was over); switch, fault_on,
fault_off, crash, recover.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec

from evermq.errors import Damaged

__all__ = ["Event", "Recorder", "body_of", "digest", "load"]


class Event(msgspec.Struct, omit_defaults=True, frozen=True):
    """t: nanoseconds of a clock that all processes share. key and kseq: the key, and the message's number in it for
    its producer. sha: digest of the body. via: the child that took or gave it. detail: words."""

    t: int
    ev: str
    proc: str = ""
    id: str = ""
    key: str = ""
    kseq: int = 0
    producer: str = ""
    sha: str = ""
    group: str = ""
    attempt: int = 1
    via: str = ""
    detail: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode


class Recorder:
    """Appends to one file, whole lines in one write call each, so a kill cuts at most the last one."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        # A process that was killed may have left half a line: it never counted, and must not spoil the next one.
        os.ftruncate(self._fd, path.read_bytes().rfind(b"\n") + 1)

    def record(self, events: Sequence[Event]) -> None:
        """Write these down; they survive the process from now on."""
        if events:
            lines = memoryview(b"\n".join([*map(_encode, events), b""]))
            while lines:
                lines = lines[os.write(self._fd, lines) :]

    def close(self) -> None:
        os.close(self._fd)


def load(paths: Iterable[Path]) -> list[Event]:
    """All events of these files in the order of their times. Raises Damaged for a line that is none; a last line that
    was cut off is left out."""
    events: list[Event] = []
    for path in paths:
        lines = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1], 1):
            try:
                events.append(_decode(line))
            except msgspec.DecodeError as error:
                raise Damaged(f"{path}:{number}: not an event: {error}") from error
    events.sort(key=lambda event: event.t)
    return events


def digest(body: bytes) -> str:
    """A short fingerprint of a body."""
    return blake2b(body, digest_size=8).hexdigest()


def body_of(id: str, size: int) -> bytes:
    """A body that only this id has, so that a mixed-up one is recognised."""
    seed = f"{id}:".encode()
    return (seed * (size // len(seed) + 1))[:size]
