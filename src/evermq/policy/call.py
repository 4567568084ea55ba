"""One append of an application under way, and those that send the same messages again."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from evermq.errors import EvermqError
from evermq.position import Position

__all__ = ["Call", "Outcome"]

Outcome = Position | EvermqError


class Call:
    """One append of an application: the outcome of each message, and a future for all of them. queued: the rows that
    have not left. followers: by row, rows of later calls that are sends of the same message again."""

    __slots__ = ("done", "expired", "followers", "left", "outcomes", "positions", "queued")

    def __init__(self, count: int) -> None:
        self.outcomes: list[Outcome | None] = [None] * count
        self.positions: Sequence[Position] | None = None
        self.left = count
        self.expired = False
        self.queued: Collection[int] = ()
        self.followers: dict[int, list[tuple[Call, int]]] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def follow(self, row: int, first: Call, other: int) -> None:
        """This row is another send of one of an earlier call: whoever gave up meanwhile need not hear of it."""
        waiting = [each for each in first.followers.get(other, ()) if not each[0].expired]
        first.followers[other] = [*waiting, (self, row)]

    def tell(self, row: int, outcome: Outcome) -> None:
        """The outcome of one message; the first one counts. Followers may have followers: a loop, as deep as it is."""
        todo = [(self, row)]
        while todo:
            call, row = todo.pop()
            if call.outcomes[row] is None:
                call.outcomes[row] = outcome
                call.left -= 1
                todo += call.followers.pop(row, ())
                if not call.left:
                    call.finish()

    def land(self, positions: Sequence[Position]) -> None:
        """All of it has landed at once."""
        self.positions = positions
        for row, followers in self.followers.items():
            for call, other in followers:
                call.tell(other, positions[row])
        self.finish()

    def known(self, row: int) -> Outcome | None:
        """What has become of a message, if that is certain by now."""
        return self.outcomes[row] if self.positions is None else self.positions[row]

    def finish(self) -> None:
        """All is told."""
        if not self.done.done():
            self.done.set_result(None)
