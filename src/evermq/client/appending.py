"""Appends a batch for callers who share nothing but the append: one outcome for each message of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from evermq.client.producer_batch import Outcome
from evermq.clock import Clock
from evermq.errors import Denied, EvermqError, NoSuchTopic, Partial, Rejected, Unavailable, Uncertain
from evermq.message import Message
from evermq.position import Position

__all__ = ["Append", "Beside", "outcomes_of", "outcomes_within"]

Append = Callable[[Sequence[Message]], Awaitable[Sequence[Position]]]
_PAUSE_MS_FIRST = 20
_PAUSE_MS_MAX = 1_000


async def outcomes_of(append: Append, messages: Sequence[Message]) -> Sequence[Outcome]:
    """Append them once. What is refused fails alone, and what is behind it goes in, of the same key as well, as if each
    had been appended by itself; behind what may yet succeed nothing is tried."""
    try:
        return await append(messages)
    except Partial as error:
        return error.outcomes
    except EvermqError as error:
        if _is_for_one(error, messages):
            return await _outcomes_of_halves(append, messages)
        return [error] * len(messages)


async def outcomes_within(
    retry_ms_max: int, append: Append, messages: Sequence[Message], clock: Clock
) -> Sequence[Outcome]:
    """As `outcomes_of`, and for so long what may still succeed is appended again until it does."""
    outcomes = await outcomes_of(append, messages)
    until_ms = clock.monotonic_ms() + retry_ms_max
    pause_ms = _PAUSE_MS_FIRST
    settled = list(outcomes)
    rows = [row for row, outcome in enumerate(settled) if _may_succeed(outcome)]
    while rows and clock.monotonic_ms() < until_ms:
        await clock.sleep(pause_ms)
        pause_ms = min(2 * pause_ms, _PAUSE_MS_MAX)
        heard = dict(zip(rows, await outcomes_of(append, [messages[row] for row in rows]), strict=True))
        for row, outcome in heard.items():
            # Whatever a later try says but yes, an earlier one may have stored it.
            if isinstance(outcome, Position) or not isinstance(settled[row], Uncertain):
                settled[row] = outcome
        rows = [row for row, outcome in heard.items() if _may_succeed(outcome)]
    return settled


class Beside:
    """`outcomes_of` for appends that are under way side by side, and land in the order in which they were called: while
    one is taken apart no other begins."""

    def __init__(self) -> None:
        self._begun = 0
        self._door = asyncio.Lock()  # who waits here is let in before who comes later
        self._whole = asyncio.Event()
        self._whole.set()

    async def outcomes_of(self, append: Append, messages: Sequence[Message]) -> Sequence[Outcome]:
        async with self._door:
            while not self._whole.is_set():
                await self._whole.wait()
            self._begun += 1
            number = self._begun
        try:
            return await append(messages)
        except Partial as error:
            return error.outcomes
        except EvermqError as error:
            if not _is_for_one(error, messages):
                return [error] * len(messages)
            if self._begun > number:
                why = f"refused for the sake of one of {len(messages)}, while later ones were on their way: {error}"
                return [Unavailable(why)] * len(messages)
        self._whole.clear()
        try:
            return await _outcomes_of_halves(append, messages)
        finally:
            self._whole.set()


def _is_for_one(error: EvermqError, messages: Sequence[Message]) -> bool:
    """Whether all of them were refused for the sake of one, perhaps."""
    return len(messages) > 1 and isinstance(error, Rejected) and not isinstance(error, Denied | NoSuchTopic)


async def _outcomes_of_halves(append: Append, messages: Sequence[Message]) -> Sequence[Outcome]:
    """Of what was refused together: the queue does not say which one is meant."""
    half = len(messages) // 2
    first = await outcomes_of(append, messages[:half])
    failed = next((outcome for outcome in first if _may_succeed(outcome)), None)
    if failed is None:
        return [*first, *await outcomes_of(append, messages[half:])]
    behind = Unavailable(f"not tried, since what was sent before it failed: {failed}")
    return [*first, *[behind] * (len(messages) - half)]


def _may_succeed(outcome: Outcome) -> bool:
    return isinstance(outcome, Unavailable | Uncertain)
