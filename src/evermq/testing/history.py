"""The history of a run: what each process tried and saw, a line an event, in files that survive a kill.

Events (`ev`): send_invoke, send_ok, send_fail (certainly not appended), send_unknown; deliver (handed to a consumer),
handler_ok (the effect took place), dead (dead-lettered), left (found behind when all was over), audit (found in a store
by an independent reader when all was over); switch, fault_on, heal (the fault is being undone), fault_off, crash,
recover.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec

from evermq.errors import Damaged

__all__ = ["Event", "Recorder", "body_of", "digest", "load", "merge"]


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
    """All events of these files, one a process, in an order in which they can have happened. Raises Damaged for a line
    that is none; a last line that was cut off is left out."""
    return merge([_read(path) for path in paths])


def merge(histories: Sequence[Sequence[Event]]) -> list[Event]:
    """One order of what several processes wrote down: by time, but clocks are coarse, so that the order of each
    process counts more, and a message is sent before anything else becomes of it."""
    timed: list[tuple[int, int, int]] = []
    sends: dict[str, tuple[int, int]] = {}
    for process, events in enumerate(histories):
        t = 0
        for place, event in enumerate(events):
            t = max(t, event.t)
            timed.append((t, process, place))
    timed.sort()
    for _, process, place in timed:
        event = histories[process][place]
        if event.ev == "send_invoke":
            sends.setdefault(event.id, (process, place))
    return _in_order(histories, timed, sends)


def _in_order(
    histories: Sequence[Sequence[Event]], timed: list[tuple[int, int, int]], sends: dict[str, tuple[int, int]]
) -> list[Event]:
    """Where an event comes before its send, the sender's events up to that are taken first."""
    taken = [0] * len(histories)  # how many events of each process
    order: list[Event] = []
    for _, process, place in timed:
        waiting = [(process, place)] if place >= taken[process] else []
        while waiting:
            process, place = waiting[-1]
            if taken[process] > place:
                waiting.pop()
                continue
            event = histories[process][taken[process]]
            sender, sent = sends.get(event.id, (process, 0))
            if taken[sender] <= sent and sender != process and (sender, sent) not in waiting:
                waiting.append((sender, sent))
                continue
            order.append(event)
            taken[process] += 1
    return order


def _read(path: Path) -> list[Event]:
    events: list[Event] = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            events.append(_decode(line))
        except msgspec.DecodeError as error:
            raise Damaged(f"{path}:{number}: not an event: {error}") from error
    return events


def digest(body: bytes) -> str:
    """A short fingerprint of a body."""
    return blake2b(body, digest_size=8).hexdigest()


def body_of(id: str, size: int) -> bytes:
    """A body that only this id has, so that a mixed-up one is recognised."""
    seed = f"{id}:".encode()
    return (seed * (size // len(seed) + 1))[:size]
