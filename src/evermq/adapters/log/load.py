"""Encoded messages of one topic on their way into a group: what they take, where they landed."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any, overload

from evermq.adapters.log.buffers import Buffers
from evermq.adapters.log.frame import SHARES, Kind, Part
from evermq.position import Position, Run

__all__ = ["DELAY_LANE", "DUE_LANE", "Load", "Placed", "TopicLanes"]

DELAY_LANE = 0xFFFF_FFFF  # messages that wait for their time
DUE_LANE = 0xFFFF_FFFE  # which of those were moved to their lanes


class TopicLanes:
    """What encoding needs to know of a topic. Messages without a key take the lanes in turn. `dropped`: nothing of it
    is written any more, since where its lanes end may be forgotten. `waiting`: by loop, the readers that wait."""

    __slots__ = ("_turn", "dropped", "lanes", "names", "number", "waiting")

    def __init__(self, number: int, lanes: int) -> None:
        self.number = number
        self.lanes = lanes
        self.dropped = False
        self.waiting: dict[AbstractEventLoop, dict[Any, None]] = {}
        self.names = {**{lane: str(lane) for lane in range(lanes)}, DELAY_LANE: "delay"}
        self._turn = 0

    def next_lane(self) -> int:
        self._turn += 1
        return self._turn % self.lanes


class Load:
    """Messages of one topic, encoded. `lanes`: of each message, None if all are in one. `bases`: the first offset in
    each lane, known once the group is made."""

    __slots__ = ("_borrowed", "_buffers", "_placed", "bases", "lanes", "parts", "size", "topic")

    def __init__(self, topic: TopicLanes, buffers: Buffers, lanes: Sequence[int] | None = None) -> None:
        self.topic = topic
        self.lanes = lanes
        self.parts: list[tuple[int, int, int, int, Sequence[Part], int]] = []  # lane, kind, flags, count, buffers, size
        self.bases: dict[int, int] = {}
        self.size = 0
        self._buffers = buffers
        self._borrowed: list[BytesIO] = []
        self._placed: list[Position] | None = None

    def add(self, lane: int, kind: int, count: int, buffers: list[Part]) -> None:
        """The next entry."""
        size = sum(map(len, buffers))
        self.parts.append((lane, kind, 0, count, buffers, size))
        self.size += size

    def add_shared(self, counts: Sequence[tuple[int, int]], buffers: list[Part]) -> None:
        """The next entries, (lane, count) each, of messages that are encoded together."""
        for lane, count in counts[:-1]:
            self.parts.append((lane, Kind.MESSAGES, SHARES, count, (), 0))
        self.add(counts[-1][0], Kind.MESSAGES, counts[-1][1], buffers)

    def take(self, size: int) -> BytesIO:
        """Memory to encode into, until `give_back`."""
        buffer = self._buffers.take(size)
        self._borrowed.append(buffer)
        return buffer

    def give_back(self) -> None:
        """It was written, or never will be: only `positions` is asked from now on; again is harmless."""
        if not self._borrowed:
            return
        for *_, buffers, _ in self.parts:
            for part in buffers:
                if type(part) is memoryview:
                    part.release()
        for buffer in self._borrowed:
            self._buffers.give(buffer)
        self._borrowed = []

    def positions(self, start: int, stop: int) -> Sequence[Position]:
        """Where the messages from `start` to `stop` landed."""
        if self.lanes is None:
            lane = self.parts[0][0]
            return Run(self.topic.names[lane], self.bases[lane] + start, stop - start)
        return Placed(self, start, stop)

    @property
    def placed(self) -> list[Position]:
        """Where each message landed, if they went to several lanes."""
        if self._placed is None:
            names, ends, placed = self.topic.names, dict(self.bases), []
            for lane in self.lanes or ():
                placed.append(Position(names[lane], ends[lane]))
                ends[lane] += 1
            self._placed = placed
        return self._placed


class Placed(Sequence[Position]):
    """Positions of messages that went to several lanes, worked out when somebody looks."""

    __slots__ = ("_load", "_span")

    def __init__(self, load: Load, start: int, stop: int) -> None:
        self._load = load
        self._span = slice(start, stop)

    def __len__(self) -> int:
        return self._span.stop - self._span.start

    def __iter__(self) -> Iterator[Position]:
        return iter(self._load.placed[self._span])

    @overload
    def __getitem__(self, index: int) -> Position: ...
    @overload
    def __getitem__(self, index: slice) -> list[Position]: ...
    def __getitem__(self, index: int | slice) -> Position | list[Position]:
        return self._load.placed[self._span][index]
