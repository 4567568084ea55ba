"""From entries to deliveries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat

from evermq.adapters.redis.entry import decode
from evermq.adapters.redis.lane import Lane
from evermq.adapters.redis.window import LaneWindow, Mark
from evermq.message import Message
from evermq.port import Delivery
from evermq.position import Position

__all__ = ["deliver", "fresh", "picked", "wanted"]


def fresh(lane: Lane, window: LaneWindow, entries: Iterable[bytes], count_max: int) -> list[Delivery]:
    """Hand out what was never handed out. entries: from the one in which the window stands."""
    marks: list[Mark] = []
    messages: list[Message] = []
    number, base = window.entry, window.base
    for entry in entries:
        some = decode(entry)
        marks.append(Mark(number, base, len(some)))
        messages += some
        number, base = number + 1, base + len(some)
    begin = window.next
    messages = messages[begin - window.base :][:count_max]
    stop = begin + len(messages)
    offsets = window.take_new([mark for mark in marks if mark.base < stop], [m[1] for m in messages], stop)
    if len(offsets) < len(messages):
        messages = [messages[offset - begin] for offset in offsets]
    return deliver(lane, window, offsets, messages)


def deliver(lane: Lane, window: LaneWindow, offsets: Sequence[int], messages: Sequence[Message]) -> list[Delivery]:
    """Deliveries of messages at these offsets, with what attempt each is."""
    positions = list(map(Position, repeat(lane.name), offsets))
    attempts = map(window.attempt, offsets) if window.attempts else repeat(1)
    return list(map(Delivery, messages, positions, repeat(lane), attempts))


def wanted(window: LaneWindow, offsets: Iterable[int]) -> list[Mark]:
    """The entries that hold these offsets."""
    return sorted({window.mark_of(offset) for offset in offsets})


def picked(marks: Iterable[Mark], entries: Iterable[bytes | None]) -> dict[int, Message]:
    """Messages by their offsets; an entry that is gone has none."""
    found: dict[int, Message] = {}
    for mark, entry in zip(marks, entries, strict=True):
        if entry:
            found.update(enumerate(decode(entry), mark.base))
    return found
