"""Where a message landed: positions, and sequences of them that are built only when somebody looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import overload

import msgspec

__all__ = ["Position", "Run", "Span", "Via"]


class Position(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """An address of a message. Made for every message that is read, so the collector of cycles does not know it.

    lane: name of the lane. offset: its number there, None where the engine has none.
    via: configuration keys of the children that took it, outermost first; empty for a bare engine.
    """

    lane: str
    offset: int | None
    via: tuple[str, ...] = ()

    def under(self, child: str) -> Position:
        """As a parent reports it: with the configuration key of its child in front."""
        return Position(self.lane, self.offset, (child, *self.via))


class Run(Sequence[Position]):
    """`count` positions that follow each other in one lane, from `offset` on."""

    __slots__ = ("_count", "lane", "offset")

    def __init__(self, lane: str, offset: int, count: int) -> None:
        self.lane = lane
        self.offset = offset
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Position]:
        offsets = range(self.offset, self.offset + self._count)
        return map(Position, repeat(self.lane), offsets)

    @overload
    def __getitem__(self, index: int) -> Position: ...
    @overload
    def __getitem__(self, index: slice) -> list[Position]: ...
    def __getitem__(self, index: int | slice) -> Position | list[Position]:
        if isinstance(index, slice):
            return [Position(self.lane, self.offset + i) for i in range(self._count)[index]]
        return Position(self.lane, self.offset + range(self._count)[index])


class Via(Sequence[Position]):
    """The positions of a child as its parent reports them: with the child's configuration key in front."""

    __slots__ = ("_child", "_inner")

    def __init__(self, child: str, inner: Sequence[Position]) -> None:
        self._child = child
        self._inner = inner

    def __len__(self) -> int:
        return len(self._inner)

    def __iter__(self) -> Iterator[Position]:
        child = self._child
        return (position.under(child) for position in self._inner)

    @overload
    def __getitem__(self, index: int) -> Position: ...
    @overload
    def __getitem__(self, index: slice) -> list[Position]: ...
    def __getitem__(self, index: int | slice) -> Position | list[Position]:
        if isinstance(index, slice):
            return [position.under(self._child) for position in self._inner[index]]
        return self._inner[index].under(self._child)


class Span(Sequence[Position]):
    """Some of the positions of a larger append, from `begin` to before `end`."""

    __slots__ = ("_begin", "_count", "_whole")

    def __init__(self, whole: Sequence[Position], begin: int, end: int) -> None:
        self._whole = whole
        self._begin = begin
        self._count = end - begin

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Position]:
        return iter(self._whole[self._begin : self._begin + self._count])

    @overload
    def __getitem__(self, index: int) -> Position: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Position]: ...
    def __getitem__(self, index: int | slice) -> Position | Sequence[Position]:
        found = range(self._begin, self._begin + self._count)[index]
        return self._whole[found] if isinstance(found, int) else [self._whole[at] for at in found]
