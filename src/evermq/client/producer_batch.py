"""Sends that came together: they go in one append, and what became of them is told at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from reprlib import repr as short

from evermq.batch import Columns
from evermq.errors import EvermqError, Partial, Rejected, Unavailable, Uncertain
from evermq.fields import NOT_A_MESSAGE, refusal
from evermq.message import NO_HEADERS, Message, MessageFactory
from evermq.position import Position
from evermq.ticket import Ticket

__all__ = ["Outcome", "ProducerBatch", "made_of", "own", "position_of", "positions_of", "size_of"]
__all__ += ["size_of_all"]

Outcome = Position | EvermqError


class ProducerBatch:
    """messages: in the order in which they were sent. size: bytes of their bodies, keys and headers. one_way: the rows
    that nobody waits for. ticket: what everybody else waits for. outcomes: one a message, as soon as the ticket is
    settled."""

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


def size_of(message: Message) -> int:
    """Bytes of its body, key and headers, roughly: of text as many as it has characters. Raises Rejected."""
    try:
        size = len(message.body) + len(message.key or b"")
        return size + _size_of_headers(message.headers) if message.headers else size
    except NOT_A_MESSAGE as error:
        raise refusal((message,), error) from error


def size_of_all(messages: Sequence[Message]) -> int:
    """The sum of their sizes, of one message at least: in columns, since most have nothing but a body. Raises
    Rejected."""
    try:
        _, keys, bodies, headers, _ = Columns.of(messages)
        size = sum(map(len, bodies))
        if any(keys):
            size += sum(map(len, filter(None, keys)))
        if headers.count(NO_HEADERS) < len(headers):
            size += sum(map(_size_of_headers, headers))
    except NOT_A_MESSAGE as error:
        raise refusal(messages, error) from error
    return size


def made_of(given: Sequence[Message | bytes | str], make: MessageFactory) -> list[Message]:
    """Messages of what was given to `send_many`. Raises Rejected."""
    if isinstance(given, str | bytes | Message) or not isinstance(given, Iterable):
        raise Rejected(f"messages = {short(given)}: give a sequence of messages or bodies; send takes a single one")
    return [each if isinstance(each, Message) else make(each) for each in given]


def position_of(outcome: Outcome) -> Position:
    """Where it landed, for one caller. Raises what it failed with."""
    if isinstance(outcome, EvermqError):
        raise own(outcome)
    return outcome


def positions_of(outcomes: Sequence[Outcome]) -> Sequence[Position]:
    """Where they landed, for one caller. Raises Partial where only some did, or they failed by errors of different
    kinds; else what all of them failed with, though several appends may each have an error of their own."""
    errors = [outcome for outcome in outcomes if isinstance(outcome, EvermqError)]
    if not errors:
        return outcomes  # type: ignore[return-value]
    alike = tuple(kind for kind in (Unavailable, Uncertain) if isinstance(errors[0], kind))
    if len(errors) == len(outcomes) and all(error is errors[0] or isinstance(error, alike) for error in errors):
        raise own(errors[0])
    raise Partial(outcomes)


def own(error: EvermqError) -> EvermqError:
    """For one caller: one error may be what became of many calls, and grows by a traceback wherever it is raised."""
    copied = copy(error).with_traceback(error.__traceback__)
    copied.__cause__ = error.__cause__
    return copied


def _size_of_headers(headers: Mapping[str, str]) -> int:
    return sum([len(f"{name}{value}") for name, value in headers.items()])
