"""Read here, append there, acknowledge: in order, at least once, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from evermq.clock import SYSTEM, Clock
from evermq.errors import EvermqError, Partial, Rejected, Unavailable, Uncertain
from evermq.message import HOPS, Message
from evermq.port import Delivery, Queue, Reader
from evermq.position import Position

__all__ = ["Pump", "PumpCounts"]

_HOPS_MAX = 8
_WAIT_MS = 1_000
_PAUSE_MS_FIRST = 20
_PAUSE_MS_MAX = 2_000


@dataclass(slots=True)
class PumpCounts:
    """What a pump did. uncertain: appends whose outcome was not known and that were repeated, each a possible
    double; stuck: refused messages for which there is no dead-letter queue."""

    carried: int = 0
    dead: int = 0
    uncertain: int = 0
    stuck: int = 0


class Pump:
    """Carries the messages of `group` from `source` to `target`.

    What the target refuses for ever goes to `dead`, before it is acknowledged; without `dead` it stays in the
    source and what follows it waits. A message that was carried more than 8 times is refused: pumps form a ring.
    A batch is repeated, under the same ids, until every message of it is acknowledged, so order is kept and a
    crash or an uncertain append makes doubles, never a loss.
    """

    def __init__(
        self,
        source: Queue,
        target: Queue,
        *,
        group: str = "pump",
        dead: Queue | None = None,
        batch_count_max: int = 500,
        clock: Clock = SYSTEM,
    ) -> None:
        self._source = source
        self._target = target
        self._group = group
        self._dead = dead
        self._batch_count_max = batch_count_max
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self.counts = PumpCounts()

    def start(self) -> None:
        """Run in a task of its own until `close`."""
        if self._task is None:
            self._task = asyncio.create_task(self.run())

    async def run(self) -> None:
        """Carry until cancelled; a source or target that fails is tried again."""
        while True:
            try:
                await self._carry_all()
            except EvermqError:
                await self._clock.sleep(_PAUSE_MS_MAX / 4)

    async def close(self) -> None:
        """Stop; what was not acknowledged stays in the source."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _carry_all(self) -> None:
        reader = await self._source.reader(self._group)
        try:
            while True:
                found = await reader.read(count_max=self._batch_count_max, wait_ms=_WAIT_MS)
                if found:
                    await self._carry(reader, found)
        finally:
            await asyncio.shield(asyncio.ensure_future(_close(reader)))

    async def _carry(self, reader: Reader, deliveries: list[Delivery]) -> None:
        pause_ms = _PAUSE_MS_FIRST
        while deliveries:
            outcomes = await self._append([_hopped(delivery.message) for delivery in deliveries])
            done, deliveries = await self._settle(deliveries, outcomes)
            await reader.ack(done)
            if deliveries:
                await self._clock.sleep(pause_ms)
                pause_ms = min(2 * pause_ms, _PAUSE_MS_MAX)

    async def _append(self, messages: list[Message]) -> Sequence[Position | EvermqError]:
        """One outcome per message, all in order."""
        looping = [int(message.headers[HOPS]) > _HOPS_MAX for message in messages]
        if any(looping):
            refused = Rejected(f"carried by more than {_HOPS_MAX} pumps: they form a ring")
            if all(looping):
                return [refused] * len(messages)
            good = iter(await self._append([m for m, loops in zip(messages, looping, strict=True) if not loops]))
            return [refused if loops else next(good) for loops in looping]
        try:
            return await self._target.append(messages)
        except Partial as error:
            return error.outcomes
        except Rejected as error:
            if len(messages) == 1:
                return [error]
            # The target said no to the batch, not which message is meant: ask one by one.
            return [(await self._append([message]))[0] for message in messages]
        except (Unavailable, Uncertain) as error:
            return [error] * len(messages)

    async def _settle(
        self, deliveries: list[Delivery], outcomes: Sequence[Position | EvermqError]
    ) -> tuple[list[Delivery], list[Delivery]]:
        """Which are done, and which must be sent again: with one that failed, all behind it of its key."""
        done, again = [], []
        late: set[bytes] = set()
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            key = delivery.message.key
            if isinstance(outcome, Uncertain):
                self.counts.uncertain += 1
            is_done = not isinstance(outcome, EvermqError)
            if isinstance(outcome, Rejected):
                is_done = await self._bury(delivery.message, outcome)
            if is_done and key not in late:
                done.append(delivery)
            else:
                again.append(delivery)
                if key is not None:
                    late.add(key)
        self.counts.carried += len(done)
        return done, again

    async def _bury(self, message: Message, why: Rejected) -> bool:
        if self._dead is None:
            self.counts.stuck += 1
            return False
        headers = {**message.headers, "evermq-dead-reason": str(why)}
        try:
            await self._dead.append([message._replace(headers=headers)])
        except EvermqError:
            return False
        self.counts.dead += 1
        self.counts.carried -= 1
        return True


def _hopped(message: Message) -> Message:
    hops = message.headers.get(HOPS, "0")
    carried = int(hops) + 1 if hops.isdigit() else 1
    return message._replace(headers={**message.headers, HOPS: str(carried)})


async def _close(reader: Reader) -> None:
    try:
        await reader.close()
    except EvermqError:
        pass  # it is gone, and its messages with it to the next reader
