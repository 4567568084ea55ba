"""The number that a message carries through a ladder: its stream, its place in it, and what must come before it.

It is one header, `STREAM SEQ BACK OPEN`, the last three as decimal numbers:

STREAM  producer, how many lanes its numbers have, and the lane, `TOKEN.LANES.LANE`, both in hexadecimal; numbers are
        dense in a stream, and begin at 1
BACK    how far back the message before it of the same key bucket is; 0: none; -: a message without a key, which only
        carries one so that it keeps to its lane
OPEN    how far back the first number is that had not landed when this one was sent: what is older has landed for good
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from evermq.lanes import lane_of
from evermq.message import HOPS, NO_HEADERS, Message

__all__ = [
    "BEHIND_ALL",
    "FLAGGED",
    "RESET",
    "SEQ",
    "VOID",
    "Number",
    "chain_of",
    "key_of_lane",
    "lane_of_stream",
    "lanes_of_stream",
    "number_of",
    "plain",
    "producer_of",
    "void",
    "void_of",
]

SEQ = "evermq-seq"
VOID = "evermq-void"  # it takes a number that no message will have; readers settle it and hand it to nobody
BEHIND_ALL = "all"  # the value for one that waits for all numbers before it
FLAGGED = "evermq-flagged"  # handed out although its order is not known; the value says why
RESET = "reset"  # the counters of its producer were: what that sent before may come later

_LANES_MAX = 65_536


class Number(NamedTuple):
    """prev: the number before it of its bucket, 0 for none. open: numbers below it had landed when this one left."""

    stream: str
    seq: int
    prev: int
    open: int
    has_key: bool


def number_of(message: Message) -> Number | None:
    """The number of a message, None for a foreign one (or where the header is not what evermq writes)."""
    text = message.headers.get(SEQ)
    if text is None:
        return None
    try:
        stream, seq_text, back_text, open_text = text.split(" ")
        seq, opened = int(seq_text), int(open_text)
        back = 0 if back_text == "-" else int(back_text)
        lane_of_stream(stream)
    except ValueError:
        return None
    if not 0 <= back < seq or not 0 <= opened < seq:
        return None
    return Number(stream, seq, seq - back if back else 0, seq - opened, back_text != "-")


def chain_of(message: Message) -> str | bytes | None:
    """What a message must not overtake: its stream, or its key where it has no number; None: nothing."""
    text = message.headers.get(SEQ)
    return message.key if text is None else text.partition(" ")[0]


@lru_cache(maxsize=65_536)
def lane_of_stream(stream: str) -> int:
    """The lane that a stream is in. Raises ValueError."""
    lane = int(stream.rpartition(".")[2], 16)
    if not 0 <= lane < _LANES_MAX:
        raise ValueError(f"lane {lane} of stream {stream!r} is over {_LANES_MAX}")
    return lane


@lru_cache(maxsize=65_536)
def lanes_of_stream(stream: str) -> int:
    """How many lanes the numbers of its producer have; 1 where the stream does not say so. A lane lies in one lane of a
    rung where this is a multiple of how many the rung has; else anywhere."""
    try:
        return max(1, int(stream.split(".")[-2], 16))
    except (IndexError, ValueError):
        return 1


def producer_of(stream: str) -> str:
    """What all streams of a producer have in common, in whichever lanes they are."""
    return stream.rpartition(".")[0]


@lru_cache(maxsize=65_536)
def key_of_lane(lane: int, lanes: int) -> bytes:
    """A key that lies in this lane, for what has none of its own."""
    attempt = 0
    while lane_of(key := b"%x.%x" % (lane, attempt), lanes) != lane:
        attempt += 1
    return key


def plain(message: Message, number: Number, why: str) -> Message:
    """The message as the application sent it. why: what it is flagged with, if anything."""
    id, key, body, headers, created_ms = message
    if len(headers) == 1 and not why:
        headers = NO_HEADERS
    else:
        headers = {name: value for name, value in headers.items() if name != SEQ and name != HOPS}
        if why:
            headers[FLAGGED] = why
    return Message(id, key if number.has_key else None, body, headers, created_ms)


def void(stream: str, seq: int, *, key: bytes | None, opened: int, created_ms: int) -> Message:
    """What takes the place of a number that no message has, where its bucket is not known any more."""
    headers = {SEQ: f"{stream} {seq} {1 if seq > 1 else 0} {opened}", VOID: BEHIND_ALL}
    return Message(f"{stream}-{seq}-void", key, b"", headers, created_ms)


def void_of(message: Message) -> Message | None:
    """The void that takes the number of a message which was refused; None for a foreign message."""
    if number_of(message) is None:
        return None
    headers = {SEQ: message.headers[SEQ], VOID: "1"}
    return Message(f"{message.id}-void", message.key, b"", headers, message.created_ms)
