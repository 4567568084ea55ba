"""Read here, append there, acknowledge: in order, at least once, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evermq.clock import SYSTEM, Clock
from evermq.errors import EvermqError, Partial, Rejected, Unavailable, Uncertain
from evermq.ha.outcomes import Outcome, of_halves, of_message
from evermq.message import HOPS, Message
from evermq.numbers import chain_of
from evermq.port import Delivery, Queue, Reader
from evermq.position import Position

__all__ = ["HOPS_BYTES_MAX", "Pump", "PumpCounts"]

HOPS_BYTES_MAX = 64  # what the header of the pump takes of the target's limit at most
_HOPS_MAX = 8
_HOPS_DIGITS_MAX = 4  # of what may stand in a header
_WAIT_MS = 1_000
_PAUSE_MS_FIRST = 20
_PAUSE_MS_MAX = 2_000
_CLOSE_MS_MAX = 5_000
_FINISH_MS_MAX = 1_000
_REASON_CHARS_MAX = 500

_BURIED = Position("dead", None, ("dead",))
_LANDED = Position("landed", None)  # in an earlier round


@dataclass(slots=True)
class PumpCounts:
    """What a pump did. uncertain: appends whose outcome was not known and that were repeated, each a possible
    double; stuck: refusals for which there is no dead-letter queue, or which that refused as well; failed: rounds that
    began again from the source, after an error of which the last is in `error`."""

    carried: int = 0
    dead: int = 0
    uncertain: int = 0
    stuck: int = 0
    failed: int = 0
    error: str = ""


class Pump:
    """Carries the messages of `group` from `source` to `target`.

    What the target refuses for ever goes to `dead`, before it is acknowledged; without `dead` it stays in the
    source and what follows it waits. A target that may not be used, or is not there, refuses no message: it is waited
    for. A message that was carried more than 8 times is refused: pumps form a ring.
    A batch is repeated, under the same ids, until every message of it is acknowledged, and nothing is sent past a
    message of its key (or its number's stream) that failed, so order is kept and a crash or an uncertain append makes
    doubles, never a loss.
    Nothing stops a pump but `close`: an error that nobody listed is taken for an uncertain append. void_of: what goes
    to the target in the place of a message that went to `dead`, if anything.
    """

    def __init__(
        self,
        source: Queue,
        target: Queue,
        *,
        group: str = "pump",
        dead: Queue | None = None,
        batch_count_max: int = 500,
        void_of: Callable[[Message], Message | None] = lambda message: None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._source = source
        self._target = target
        self._group = group
        self._dead = dead
        self._void_of = void_of
        self._batch_count_max = batch_count_max
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._is_carrying = False
        self._buried: set[str] = set()  # ids of those that are among the dead letters and not acknowledged yet
        self._landed: set[str] = set()  # ids of those that the target has, while one before them of their chain failed
        self.counts = PumpCounts()

    def start(self) -> None:
        """Run in a task of its own until `close`."""
        if self._task is None:
            self._stopping = False
            self._task = asyncio.create_task(self.run())

    async def run(self) -> None:
        """Carry until `close`, or cancelled; a source or target that fails is tried again."""
        while not self._stopping:
            try:
                await self._carry_all()
            except Exception as error:  # a pump that died of something unforeseen would strand what is acknowledged
                self.counts.failed += 1
                self.counts.error = repr(error)
                await self._clock.sleep(_PAUSE_MS_MAX / 4)

    async def close(self) -> None:
        """Stop, a second at most after what is under way; what was not acknowledged stays in the source."""
        self._stopping = True
        task = self._task  # another close that is under way may be the first to end
        if task:
            if self._is_carrying:  # cancelled now, it would be carried twice
                await asyncio.wait([task], timeout=_FINISH_MS_MAX / 1000)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._task = None

    async def _carry_all(self) -> None:
        reader = await self._source.reader(self._group)
        self._landed.clear()
        try:
            while not self._stopping:
                count_max = min(self._batch_count_max, self._target.traits.batch_count_max)
                found = await reader.read(count_max=count_max, wait_ms=_WAIT_MS)
                if found:
                    await self._carry(reader, found)
        finally:
            await asyncio.shield(asyncio.ensure_future(_close(reader)))

    async def _carry(self, reader: Reader, deliveries: list[Delivery]) -> None:
        pause_ms = _PAUSE_MS_FIRST
        while deliveries and not self._stopping:
            self._is_carrying = True
            try:
                outcomes = await self._append_rest([delivery.message for delivery in deliveries])
                done, deliveries = await self._settle(deliveries, outcomes)
                await reader.ack(done)
            finally:
                self._is_carrying = False
            if done:
                pause_ms = _PAUSE_MS_FIRST
            if deliveries and not self._stopping:
                await self._clock.sleep(pause_ms)
                pause_ms = min(2 * pause_ms, _PAUSE_MS_MAX)

    async def _append_rest(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """As `_append`, of those that did not land yet."""
        rest = [message for message in messages if message.id not in self._landed]
        outcomes = iter(await self._append(rest) if rest else ())
        return [_LANDED if message.id in self._landed else next(outcomes) for message in messages]

    async def _append(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """One outcome per message, all in order."""
        looping = [_hops(message) >= _HOPS_MAX for message in messages]
        if any(looping):
            refused = Rejected(f"carried by more than {_HOPS_MAX} pumps: they form a ring")
            straight = [message for message, loops in zip(messages, looping, strict=True) if not loops]
            good = iter(await self._append(straight) if straight else ())
            return [refused if loops else next(good) for loops in looping]
        try:
            return await self._target.append([_hopped(message) for message in messages])
        except Partial as error:
            return [of_message(outcome) for outcome in error.outcomes]
        except (Rejected, Unavailable, Uncertain) as error:
            said = of_message(error)
            if not isinstance(said, Rejected):
                return [said] * len(messages)
            if len(messages) > 1:
                return await of_halves(self._append, messages)
            return [await self._bury(messages[0], said) if self._dead else said]
        except Exception as error:  # nobody listed it
            return [Uncertain(f"perhaps stored: {error!r}")] * len(messages)

    async def _settle(
        self, deliveries: list[Delivery], outcomes: Sequence[Outcome]
    ) -> tuple[list[Delivery], list[Delivery]]:
        """Which are done, and which are not: with one that failed, all behind it of its chain.

        What of these has landed is sent again only once the other has as well: it is done if that one is buried.
        """
        done, again = [], []
        late: set[str | bytes] = set()
        landing: set[str | bytes] = set()
        repeated: set[str | bytes] = set()
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            chain, id = chain_of(delivery.message), delivery.message.id
            if isinstance(outcome, Uncertain):
                self.counts.uncertain += 1
            if isinstance(outcome, Rejected) and chain not in late:
                outcome = await self._bury(delivery.message, outcome)
            failed = isinstance(outcome, EvermqError)
            if failed or chain in repeated or (outcome is _LANDED and chain in landing):
                again.append(delivery)
                self._landed.discard(id)
                if chain is not None:
                    (late if failed else repeated).add(chain)
            elif chain in late:
                again.append(delivery)
                self._landed.add(id)
            else:
                done.append(delivery)
                self._buried.discard(id)
                self._landed.discard(id)
                if chain is not None and outcome not in (_BURIED, _LANDED):
                    landing.add(chain)
                self.counts.carried += outcome is not _BURIED
        return done, again

    async def _bury(self, message: Message, why: Rejected) -> Outcome:
        """Put it to the dead letters, and a void in its place, in that order: what has a void in its place is nowhere
        else to be seen. The reason comes back where that fails; what is among the dead letters is not put there again.
        """
        if self._dead is None:
            self.counts.stuck += 1
            return why
        headers = {**message.headers, "evermq-dead-reason": str(why)[:_REASON_CHARS_MAX]}
        try:
            if message.id not in self._buried:
                await self._dead.append([message._replace(headers=headers)])
                self._buried.add(message.id)
            if void := self._void_of(message):
                await self._target.append([_hopped(void)])
        except EvermqError as error:
            self.counts.stuck += isinstance(error, Rejected)
            return Unavailable(f"refused ({why}), and the dead letters, or the void in its place, failed: {error}")
        self.counts.dead += 1
        return _BURIED


def _hops(message: Message) -> int:
    hops = message.headers.get(HOPS, "0")
    return int(hops) if hops.isdecimal() and len(hops) <= _HOPS_DIGITS_MAX else 0


def _hopped(message: Message) -> Message:
    return message._replace(headers={**message.headers, HOPS: str(_hops(message) + 1)})


async def _close(reader: Reader) -> None:
    try:
        async with asyncio.timeout(_CLOSE_MS_MAX / 1000):
            await reader.close()
    except (EvermqError, TimeoutError):
        pass  # it is gone, and its messages with it to the next reader
