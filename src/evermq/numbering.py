"""The counters of one producer, in memory that survives its process: which numbers it gave, which of them landed.

Layout, in words of 8 bytes of the machine's order: the head (magic, incarnation, lanes, buckets a lane, token, day of
the last number, whether there were streams before these); for each lane the next number and the first that may not have
landed; for each bucket its last number. A number is taken before anything else is written, so that a process killed at
any point leaves at worst a number that never left, which the next one voids.
"""

from __future__ import annotations

import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import lcm
from zlib import crc32

from evermq.errors import Misconfigured
from evermq.lanes import lane_of, murmur2
from evermq.message import Message
from evermq.numbers import FLAGGED, RESET, SEQ, key_of_lane, void

__all__ = ["LANES_MAX", "Numbering", "in_flight", "land_all", "lanes_for", "voids_in_flight"]

LANES_MAX = 65_536
_BUCKETS = 65_536
_LANES = 384  # at least: most counts of partitions and lists divide it
_MAGIC = int.from_bytes(b"evermqN2", "little")
_HEAD = 8  # some of them free
_IDLE_DAYS_MAX = 30  # half of what readers keep of a producer that is silent
_PLACES_MAX = 131_072

Place = tuple[int, int]


def _buckets(lanes: int) -> int:
    return max(1, _BUCKETS // lanes)


class Numbering:
    """memory: of `size_bytes(lanes)`, zeros at first. incarnation: a change begins new streams, since what the memory
    says was not true any more. token: sixteen hexadecimal characters, to name the new streams. shuns: which lanes of
    the first rung, of which there are `lanes_of_first`, messages without a key should not be given now.

    lanes: best a multiple of those of every rung. Where one of these was not known, the numbers keep the order all the
    same: streams say how many lanes there are, so that readers know where to look for what is missing.

    tells_reset: where these streams are not the first ones of their producer, the first message of each bucket is
    flagged, since nothing keeps it behind what was sent in earlier ones."""

    def __init__(
        self,
        memory: memoryview,
        *,
        lanes: int,
        incarnation: int,
        token: Callable[[], str],
        tells_reset: bool = False,
    ) -> None:
        if not 1 <= lanes <= LANES_MAX:
            raise Misconfigured(f"lanes = {lanes}: numbers need 1 to {LANES_MAX} lanes")
        self.lanes = lanes
        self._incarnation = incarnation
        self._token = token
        self._tells_reset = tells_reset
        self._words = words = memory.cast("B").cast("Q")
        self._per_lane = _buckets(lanes)
        if [words[0], words[1], words[2]] != [_MAGIC, incarnation, lanes]:
            self._begin()
        self._next = words[_HEAD : _HEAD + lanes]
        self._landed = words[_HEAD + lanes : _HEAD + 2 * lanes]
        self._last = words[_HEAD + 2 * lanes : _HEAD + 2 * lanes + lanes * self._per_lane]
        self._streams = [_stream(words[4], lanes, lane) for lane in range(lanes)]
        self._places: dict[bytes, Place] = {}
        self._turn = 0
        self.shuns: Callable[[], Collection[int]] = tuple
        self.lanes_of_first: Callable[[], int] = lambda: 1
        self._shunned: Collection[int] = ()

    @staticmethod
    def size_bytes(lanes: int) -> int:
        """How much memory it needs."""
        return 8 * (_HEAD + 2 * lanes + lanes * _buckets(lanes))

    def places(self, messages: Iterable[Message]) -> list[Place]:
        """Lane and bucket of each; messages without a key take lanes in turn, and have bucket -1."""
        known, find = self._places, self._find
        self._shunned = self.shuns()
        return [(known.get(m[1]) or find(m[1])) if m[1] is not None else self._next_turn() for m in messages]

    def number(self, messages: Sequence[Message], places: Sequence[Place]) -> list[Message]:
        """Number what leaves now; nothing of the same lanes may be under way."""
        following, landed, last, streams, lanes = self._next, self._landed, self._last, self._streams, self.lanes
        is_reset = self._tells_reset and self._words[6]
        numbered = []
        new = tuple.__new__  # half the cost of Message(...)
        for (id, key, body, headers, created_ms), (lane, bucket) in zip(messages, places, strict=True):
            seq = following[lane]
            following[lane] = seq + 1
            if bucket < 0:
                key = key_of_lane(lane, lanes)
                text = f"{streams[lane]} {seq} - {seq - landed[lane]}"
            else:
                before = last[bucket]
                last[bucket] = seq
                text = f"{streams[lane]} {seq} {seq - before if before else 0} {seq - landed[lane]}"
                if is_reset and not before:
                    headers = {**headers, FLAGGED: RESET}
            headers = {**headers, SEQ: text} if headers else {SEQ: text}
            numbered.append(new(Message, (id, key, body, headers, created_ms)))
        return numbered

    def landed(self, lanes: Iterable[int]) -> None:
        """Every number given in these lanes so far has landed."""
        for lane in lanes:
            self._landed[lane] = self._next[lane]

    def advance(self, lanes: Iterable[int]) -> None:
        """The first number that had not landed has: once for each time a lane is given."""
        for lane in lanes:
            self._landed[lane] += 1

    def use(self, day: int, *, is_idle: bool) -> None:
        """Numbers are given on this day. After a month without any, new streams begin: readers may have forgotten the
        old ones. is_idle: nothing is under way; else they begin some other time."""
        before = self._words[5]
        if before and day - before > _IDLE_DAYS_MAX:
            if not is_idle:
                return
            self._begin()
            self._streams = [_stream(self._words[4], self.lanes, lane) for lane in range(self.lanes)]
        self._words[5] = max(before, day)

    def close(self) -> None:
        """Let go of the memory, which may be another's from now on: nothing is numbered any more."""
        for words in (self._words, self._next, self._landed, self._last):
            words.release()

    def _next_turn(self) -> Place:
        self._turn += 1
        if self._shunned:
            well = (turn for turn in range(self._turn, self._turn + self.lanes) if not self._is_shunned(turn))
            self._turn = next(well, self._turn)
        return self._turn % self.lanes, -1

    def _is_shunned(self, turn: int) -> bool:
        return lane_of(key_of_lane(turn % self.lanes, self.lanes), self.lanes_of_first()) in self._shunned

    def _find(self, key: bytes) -> Place:
        lane = (murmur2(key) & 0x7FFFFFFF) % self.lanes
        if len(self._places) >= _PLACES_MAX:
            self._places.clear()
        found = self._places[key] = (lane, lane * self._per_lane + crc32(key) % self._per_lane)
        return found

    def _begin(self) -> None:
        words, lanes = self._words, self.lanes
        words[6] = int(words[0] == _MAGIC or self._incarnation > 1)
        words[0] = 0
        words[_HEAD : _HEAD + 2 * lanes] = memoryview(bytes(_ones(2 * lanes))).cast("Q")
        end = _HEAD + 2 * lanes + lanes * self._per_lane
        words[_HEAD + 2 * lanes : end] = memoryview(bytes(8 * lanes * self._per_lane)).cast("Q")
        words[1], words[2], words[3], words[4] = self._incarnation, lanes, self._per_lane, int(self._token(), 16)
        words[5] = 0
        words[0] = _MAGIC


def lanes_for(memory: memoryview, rungs: Mapping[str, int]) -> int:
    """How many lanes the numbers of a producer have: a multiple of those of every rung, and what they were before where
    that still is one. memory: of 64 bytes at least. Raises Misconfigured where that would be too many."""
    words = _words_of(memory)
    wanted = lcm(*rungs.values())
    if words is not None and words[2] % wanted == 0:
        return words[2]
    lanes = lcm(wanted, _LANES)
    if lanes > LANES_MAX:
        counts = ", ".join(f"{name} {count}" for name, count in rungs.items())
        raise Misconfigured(
            f"order needs a common multiple of the rungs' lanes ({counts}) up to {LANES_MAX}: give them counts that "
            "have one, as 6 and 128"
        )
    return lanes


def in_flight(memory: memoryview) -> dict[int, range]:
    """By lane, the numbers that were given and may not have landed. Nothing for memory that was never used."""
    words = memory.cast("B").cast("Q")
    if not words or words[0] != _MAGIC:
        return {}
    lanes = words[2]
    pairs = ((lane, words[_HEAD + lanes + lane], words[_HEAD + lane]) for lane in range(lanes))
    return {lane: range(landed, following) for lane, landed, following in pairs if landed < following}


def voids_in_flight(memory: memoryview) -> list[Message]:
    """What must land before anything else does, where a producer went while numbers were under way: a void for each.

    Each waits for all numbers before it, whatever their buckets, since its own is not known any more: the next message
    of that bucket waits for it alone."""
    words = _words_of(memory)
    voids: list[Message] = []
    if words is None:
        return voids
    for lane, numbers in in_flight(memory).items():
        for seq in numbers:
            opened, key = seq - numbers.start, key_of_lane(lane, words[2])
            voids.append(void(_stream(words[4], words[2], lane), seq, key=key, opened=opened, created_ms=0))
    return voids


def land_all(memory: memoryview) -> None:
    """The voids have landed."""
    words = memory.cast("B").cast("Q")
    if words and words[0] == _MAGIC:
        lanes = words[2]
        words[_HEAD + lanes : _HEAD + 2 * lanes] = words[_HEAD : _HEAD + lanes]


def _words_of(memory: memoryview) -> memoryview | None:
    """None for memory that was never used."""
    size = memory.nbytes // 8 * 8
    words = memory.cast("B")[:size].cast("Q")
    return words if len(words) >= _HEAD and words[0] == _MAGIC else None


def _stream(token: int, lanes: int, lane: int) -> str:
    return f"{urlsafe_b64encode(token.to_bytes(8, 'big')).rstrip(b'=').decode()}.{lanes:x}.{lane:x}"


def _ones(count: int) -> bytes:
    return (1).to_bytes(8, sys.byteorder) * count
