"""Where the messages of a batch that went to several lanes landed, worked out when somebody looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from evermq.adapters.kafka.batch import LaneBatch
from evermq.position import Position, Run

__all__ = ["Positions", "run"]


def run(batch: LaneBatch, names: Sequence[str]) -> Sequence[Position]:
    """Those of one batch that was appended; without offsets where the broker only said that it had it already."""
    name = names[batch.lane]
    if batch.base is None or batch.base < 0:
        return [Position(name, None)] * len(batch.rows)
    return Run(name, batch.base, len(batch.rows))


class Positions(Sequence[Position]):
    """Of `count` messages, in the order in which they were appended."""

    def __init__(self, batches: Sequence[LaneBatch], names: Sequence[str], count: int) -> None:
        self._batches = batches
        self._names = names
        self._count = count
        self._every: list[Position] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Position: ...
    @overload
    def __getitem__(self, index: slice) -> list[Position]: ...
    def __getitem__(self, index: int | slice) -> Position | list[Position]:
        if self._every is None:
            found: dict[int, Position] = {}
            for batch in self._batches:
                found.update(zip(batch.rows, run(batch, self._names), strict=True))
            self._every = [found[row] for row in range(self._count)]
        return self._every[index]
