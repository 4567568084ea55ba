"""A rung of a simulated ladder: lanes with offsets, owned by readers that are rebalanced, windows, appends that lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from evermq.errors import Closed, EvermqError, Partial, Rejected, Unavailable, Uncertain
from evermq.lanes import lane_of
from evermq.message import Message
from evermq.port import Delivery, Start
from evermq.position import Position
from evermq.testing.simulation.clock import SimulatedClock
from evermq.traits import Ack, Durable, Groups, Order, Traits

__all__ = ["REFUSED", "Cursor", "Rung", "RungReader"]

REFUSED = b"refused"  # a body that no rung takes
_POLL_MS = 15
_HANGS_MS = 2_500


@dataclass(slots=True)
class Cursor:
    """A group in one lane. low: all offsets below it are settled. at: the next one to hand out."""

    low: int = 0
    at: int = 0
    settled: set[int] = field(default_factory=set)
    out: set[int] = field(default_factory=set)
    owner: RungReader | None = None
    generation: int = 0
    due_ms: int = 0


class Rung:
    """See `Queue`. prefix: a reader that takes a lane over begins at the prefix that is settled, as with Kafka, so
    that what was settled behind it comes again. window: what a reader may have of a lane at most.

    is_up: while it is not, an append is refused, or has an unknown outcome: it landed, it did not, or it lands late.
    lies: how often that happens while it is up. hangs: asked while it is down, it keeps who asks waiting. is_readable:
    whether it hands anything out. back_ms: how long it takes at least until what was given back comes again.
    """

    def __init__(
        self, name: str, clock: SimulatedClock, *, lanes: int, window: int, prefix: bool, lies: float = 0.0
    ) -> None:
        self.name = name
        self.lanes: list[list[Message | None]] = [[] for _ in range(lanes)]
        self.is_up = True
        self.is_readable = True
        self.hangs = False
        self.back_ms = 0
        self.lies = lies
        self.clock = clock
        self.window = window
        self.prefix = prefix
        self.groups: dict[str, list[Cursor]] = {}
        self.readers: dict[str, list[RungReader]] = {}
        self._late: list[tuple[int, Message]] = []
        self._turn = 0
        self.traits = Traits(
            order=Order.KEY,
            ack=Ack.SINGLE,
            durable=Durable.REPLICATED,
            groups=Groups.MANY,
            lanes=lanes,
            replay=False,
            delay_ms_max=0,
            message_bytes_max=1 << 20,
            batch_count_max=500,
        )

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        """Each lane of the batch has an outcome of its own."""
        chance = self.clock.random
        await self.clock.sleep(3 + 10 * chance.random())
        fates: dict[int, tuple[EvermqError | None, int | None]] = {}
        outcomes: list[Position | EvermqError] = []
        for message in messages:
            lane = self._lane_of(message)
            if lane not in fates:
                fates[lane] = self._fate()
            outcomes.append(self._place(lane, message, fates[lane]))
        await self.clock.sleep(3 + 10 * chance.random())
        if any(isinstance(outcome, EvermqError) for outcome in outcomes):
            raise Partial(outcomes)
        return [outcome for outcome in outcomes if isinstance(outcome, Position)]

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> RungReader:
        await self.answer()
        if group not in self.groups:
            ends = [len(lane) if start.at == "newest" else 0 for lane in self.lanes]
            self.groups[group] = [Cursor(low=end, at=end) for end in ends]
        reader = RungReader(self, group)
        self.readers.setdefault(group, []).append(reader)
        self.rebalance(group)
        return reader

    async def backlog(self, group: str, lane: str | None = None) -> int:
        await self.answer()
        return self.left(group, lane)

    async def end(self, lane: str) -> int:
        await self.answer()
        return len(self.lanes[self._row_of(lane)])

    async def answer(self) -> None:
        """Raises Unavailable while it is down: at once, or after a while."""
        until_ms = self.clock.monotonic_ms() + _HANGS_MS
        while not self.is_up:
            if not self.hangs or self.clock.monotonic_ms() > until_ms:
                raise Unavailable(f"{self.name} is down")
            await self.clock.sleep(_POLL_MS)

    async def close(self) -> None:
        """It outlives those who use it."""

    def left(self, group: str, lane: str | None = None) -> int:
        """What the group has not settled, whoever is up; with a prefix also what it has settled behind that."""
        self._land_late()
        cursors = self.groups.get(group) or [Cursor() for _ in self.lanes]
        rows = range(len(self.lanes)) if lane is None else [self._row_of(lane)]
        return sum(
            message is not None and (self.prefix or offset not in cursors[row].settled)
            for row in rows
            for offset, message in enumerate(self.lanes[row])
            if offset >= cursors[row].low
        )

    def rebalance(self, group: str) -> None:
        """Deal the lanes of a group out anew."""
        readers = self.readers.get(group, [])
        for number, cursor in enumerate(self.groups.get(group, [])):
            owner = readers[(number + self._turn) % len(readers)] if readers else None
            if cursor.owner is not owner:
                self.revoke(cursor, owner)
        self._turn += 1

    def revoke(self, cursor: Cursor, owner: RungReader | None) -> None:
        """The lane is another one's, or the same one's again; what was handed out comes again."""
        cursor.owner = owner
        cursor.generation += 1
        cursor.at = cursor.low
        cursor.due_ms = self.clock.monotonic_ms() + self.back_ms if cursor.out else cursor.due_ms
        cursor.out.clear()
        if self.prefix:
            cursor.settled.clear()

    def remove(self, group: str) -> None:
        """Nobody reads as this group any more."""
        self.groups.pop(group, None)
        self.readers.pop(group, None)

    def lose_tail(self, group: str, count: int) -> set[str]:
        """What was acknowledged last and read by nobody is gone, as in a fail-over; returns the ids."""
        lost: set[str] = set()
        for lane, cursor in zip(self.lanes, self.groups.get(group, []), strict=False):
            for offset in range(max(cursor.at, len(lane) - count), len(lane)):
                if message := lane[offset]:
                    lost.add(message.id)
                lane[offset] = None
        return lost

    def _lane_of(self, message: Message) -> int:
        assert message.key is not None
        return lane_of(message.key, len(self.lanes))

    def _row_of(self, lane: str) -> int:
        return int(lane)

    def _name_of(self, row: int) -> str:
        return str(row)

    def _is_open(self, group: str, row: int) -> bool:
        """Whether the group may read this lane yet."""
        return True

    def _fate(self) -> tuple[EvermqError | None, int | None]:
        """What is said of the messages of one lane, and when they land: all of them, as engines do it, or none."""
        chance = self.clock.random
        if self.is_up and chance.random() >= self.lies:
            return None, 0
        if chance.random() < 0.5:
            return Unavailable(f"{self.name} refuses"), None
        late_ms = chance.choice((0, 0, None, None, chance.randrange(3_000)))
        return Uncertain(f"{self.name} does not answer"), late_ms

    def _place(
        self, lane: int, message: Message, fate: tuple[EvermqError | None, int | None]
    ) -> Position | EvermqError:
        error, late_ms = fate
        if message.body == REFUSED:
            return Rejected(f"{self.name} never takes this")
        if error is not None:
            if late_ms is not None:
                self._late.append((self.clock.monotonic_ms() + late_ms, message))
            return error
        self._land_late()
        self.lanes[lane].append(message)
        return Position(self._name_of(lane), len(self.lanes[lane]) - 1)

    def _land_late(self) -> None:
        now_ms = self.clock.monotonic_ms()
        due = [message for due_ms, message in self._late if due_ms <= now_ms]
        self._late = [each for each in self._late if each[0] > now_ms]
        for message in due:
            self.lanes[self._lane_of(message)].append(message)


class RungReader:
    """See `Reader`. A receipt is (lane, offset, generation)."""

    def __init__(self, rung: Rung, group: str) -> None:
        self._rung = rung
        self._group = group
        self._closed = False

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        until_ms = self._rung.clock.monotonic_ms() + wait_ms
        while True:
            if self._closed:
                raise Closed("closed")
            found = self._take(count_max) if self._rung.is_up and self._rung.is_readable else []
            if found or self._rung.clock.monotonic_ms() >= until_ms:
                return found
            await self._rung.clock.sleep(_POLL_MS)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            number, offset, generation = delivery.receipt
            cursor = self._rung.groups[self._group][number]
            if cursor.generation == generation and cursor.owner is self:
                cursor.out.discard(offset)
                cursor.settled.add(offset)
                while cursor.low in cursor.settled or self._is_gone(number, cursor.low):
                    cursor.settled.discard(cursor.low)
                    cursor.low += 1
        await self._rung.answer()  # the reader remembers, and tells the rung when it can

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        """The lane is read again from the first of these on."""
        for delivery in deliveries:
            number, offset, generation = delivery.receipt
            cursor = self._rung.groups[self._group][number]
            if cursor.generation == generation and cursor.owner is self:
                cursor.at = min(cursor.at, offset)
                cursor.out = {each for each in cursor.out if each < offset}
                cursor.due_ms = self._rung.clock.monotonic_ms() + max(delay_ms, self._rung.back_ms)
        await self._rung.answer()

    async def close(self) -> None:
        self.drop()

    def drop(self) -> None:
        """It is gone, orderly or not; others have its lanes."""
        if not self._closed:
            self._closed = True
            self._rung.readers[self._group].remove(self)
            self._rung.rebalance(self._group)

    def _is_gone(self, number: int, offset: int) -> bool:
        lane = self._rung.lanes[number]
        return offset < len(lane) and lane[offset] is None

    def _take(self, count_max: int) -> list[Delivery]:
        self._rung._land_late()
        found: list[Delivery] = []
        now_ms = self._rung.clock.monotonic_ms()
        for number, cursor in enumerate(self._rung.groups[self._group]):
            lane = self._rung.lanes[number]
            if not self._rung._is_open(self._group, number):
                continue
            while cursor.owner is self and cursor.at < len(lane) and cursor.due_ms <= now_ms:
                if len(cursor.out) >= self._rung.window or len(found) >= count_max:
                    break
                offset, message = cursor.at, lane[cursor.at]
                cursor.at += 1
                if message is not None and offset not in cursor.settled:
                    cursor.out.add(offset)
                    receipt = (number, offset, cursor.generation)
                    found.append(Delivery(message, Position(self._rung._name_of(number), offset), receipt, 1))
        return found
