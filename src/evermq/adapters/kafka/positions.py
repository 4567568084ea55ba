"""Where the messages of a batch that went to several lanes landed, worked out when somebody looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from evermq.adapters.kafka.batch import Share
from evermq.position import Position, Run

__all__ = ["Positions", "run"]


def run(share: Share, names: Sequence[str]) -> Sequence[Position]:
    """Those of one share that was appended; without offsets where the broker only said that it had it already."""
    name = names[share.lane]
    if share.base is None or share.base < 0:
        return [Position(name, None)] * len(share.rows)
    return Run(name, share.base, len(share.rows))


class Positions(Sequence[Position]):
    """Of `count` messages, in the order in which they were appended."""

    def __init__(self, shares: Sequence[Share], names: Sequence[str], count: int) -> None:
        self._runs = [(share.rows, run(share, names)) for share in shares]
        self._count = count
        self._every: list[Position] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Position: ...
    @overload
    def __getitem__(self, index: slice) -> list[Position]: ...
    def __getitem__(self, index: int | slice) -> Position | list[Position]:
        return self._all()[index]

    def __iter__(self) -> Iterator[Position]:
        return iter(self._all())

    def _all(self) -> list[Position]:
        if self._every is None:
            found: dict[int, Position] = {}
            for rows, positions in self._runs:
                found.update(zip(rows, positions, strict=True))
            self._every = [found[row] for row in range(self._count)]
        return self._every
