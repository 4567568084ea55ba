"""Sends that came together: they go in one append, and what became of them is told at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from evermq.errors import EvermqError
from evermq.message import Message
from evermq.position import Position
from evermq.ticket import Ticket

__all__ = ["Outcome", "ProducerBatch"]

Outcome = Position | EvermqError


class ProducerBatch:
    """messages: in the order in which they were sent. size: bytes of their bodies. one_way: the rows that nobody waits
    for. ticket: what everybody else waits for. outcomes: one a message, as soon as the ticket is settled."""

    __slots__ = ("messages", "one_way", "outcomes", "size", "ticket")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.messages: list[Message] = []
        self.size = 0
        self.one_way: list[int] = []
        self.ticket = Ticket(loop)
        self.outcomes: Sequence[Outcome] = ()

    async def settled(self) -> None:
        """Wait for the outcomes."""
        try:
            await self.ticket.future
        except asyncio.CancelledError:
            await self.ticket.wait_on()

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """They are known."""
        self.outcomes = outcomes
        self.ticket.settle()
