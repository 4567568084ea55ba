"""Bugs planted in the techniques made of queues, for each rule of the checker that their worlds must see broken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.mutants.planted import Mutant, caught, passes

from evermq.errors import EvermqError, Rejected, Unavailable, Uncertain
from evermq.ha import buffered, pump, route
from evermq.ha.buffered import Buffered
from evermq.ha.failover import Failover
from evermq.ha.host_rung import HostRung
from evermq.ha.leg import Leg
from evermq.ha.merged import Merged
from evermq.ha.outcomes import Outcome, Outcomes
from evermq.ha.pump import _BURIED, Pump
from evermq.ha.route import Route
from evermq.ha.spooled import Spooled
from evermq.message import Message
from evermq.port import Delivery, Queue, Reader, Start
from evermq.position import Position
from evermq.slot import HeldSlot
from evermq.testing.worlds.composite_slots import SimulatedSlots

Patch = pytest.MonkeyPatch
_NOWHERE = Position("0", None)
_NEVER_MS = 10**9


class Counted:
    """A local queue whose backlog is what this process has put there and not yet carried away."""

    def __init__(self, queue: Queue, carried: Callable[[], int]) -> None:
        self._queue = queue
        self._carried = carried
        self._count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self._count += len(messages)
        return await self._queue.append(messages)

    async def backlog(self, group: str, lane: str | None = None) -> int:
        return max(0, self._count - self._carried())


def pump_acknowledges_before_it_appends(patch: Patch) -> None:
    real = Pump._carry

    async def carry(self: Pump, reader: Reader, deliveries: list[Delivery]) -> None:
        await reader.ack(deliveries)
        await real(self, reader, deliveries)

    patch.setattr(Pump, "_carry", carry)


def pump_takes_an_uncertain_append_for_done(patch: Patch) -> None:
    real = Pump._settle

    async def settle(self: Pump, deliveries: list[Delivery], outcomes: Sequence[Outcome]) -> Any:
        return await real(self, deliveries, [_NOWHERE if isinstance(each, Uncertain) else each for each in outcomes])

    patch.setattr(Pump, "_settle", settle)


def pump_drops_what_is_refused(patch: Patch) -> None:
    real = Pump._bury

    async def bury(self: Pump, message: Message, why: Rejected) -> Outcome:
        return await real(self, message, why) if self._dead else _BURIED

    patch.setattr(Pump, "_bury", bury)


def pump_asks_the_dead_letters_once(patch: Patch) -> None:
    real = Pump._bury

    async def bury(self: Pump, message: Message, why: Rejected) -> Outcome:
        outcome = await real(self, message, why)
        return _BURIED if self._dead else outcome

    patch.setattr(Pump, "_bury", bury)


def pump_goes_past_a_failed_message_of_a_key(patch: Patch) -> None:
    async def halves(append: Any, messages: Sequence[Message]) -> Sequence[Outcome]:
        half = len(messages) // 2
        return [*await append(messages[:half]), *await append(messages[half:])]

    patch.setattr(pump, "of_halves", halves)


def pump_ends_with_the_first_error(patch: Patch) -> None:
    patch.setattr(Pump, "run", Pump._carry_all)


def route_takes_uncertain_for_acknowledged(patch: Patch) -> None:
    real = Route._offer

    async def offer(self: Route, key: str, messages: Sequence[Message]) -> Sequence[Position]:
        try:
            return await real(self, key, messages)
        except Uncertain:
            return [_NOWHERE] * len(messages)

    patch.setattr(Route, "_offer", offer)


def route_takes_uncertain_for_not_done(patch: Patch) -> None:
    real = Route._offer

    async def offer(self: Route, key: str, messages: Sequence[Message]) -> Sequence[Position]:
        try:
            return await real(self, key, messages)
        except Uncertain as error:
            raise Unavailable(str(error)) from error

    patch.setattr(Route, "_offer", offer)


def route_sends_on_with_new_ids(patch: Patch) -> None:
    class Renamed(Outcomes):
        @property
        def rest(self) -> Sequence[Message]:
            rest = super().rest
            return [message._replace(id=f"{message.id}-again") for message in rest] if self._heard else rest

    patch.setattr(route, "Outcomes", Renamed)


def route_sends_on_what_was_acknowledged(patch: Patch) -> None:
    class Whole(Outcomes):
        def failed(self, child: str | None, error: Any) -> None:
            rows = self._rows
            super().failed(child, error)
            if self._rows:
                self._rows = rows

        def result(self) -> Sequence[Position]:
            self._rows = [row for row in self._rows if self._placed[row] is None]
            return super().result()

    patch.setattr(route, "Outcomes", Whole)


def route_promises_the_order_of_its_children(patch: Patch) -> None:
    patch.setattr(Route, "traits", property(lambda self: next(iter(self._children.values())).traits))


def outcomes_forget_uncertain_after_a_refusal(patch: Patch) -> None:
    class Forgetful(Outcomes):
        def failed(self, child: str | None, error: Any) -> None:
            heard, self._heard = self._heard, {}
            super().failed(child, error)
            self._heard = {**self._heard, **heard}

    patch.setattr(route, "Outcomes", Forgetful)
    patch.setattr(buffered, "Outcomes", Forgetful)


def failover_reads_the_active_rung_alone(patch: Patch) -> None:
    async def reader(self: Failover, group: str, *, start: Start = Start.OLDEST) -> Merged:
        key = self._order()[0]
        return await Merged.open({key: self._children[key]}, group, start=start, clock=self._clock)

    patch.setattr(Failover, "reader", reader)


def merged_reads_a_rung_that_failed_no_more(patch: Patch) -> None:
    async def poll(self: Leg, count_max: int) -> list[Delivery]:
        try:
            reader = await self.open()
            while not (found := await reader.read(count_max=count_max, wait_ms=5_000)):
                pass
        except (Unavailable, Uncertain):
            await self.clock.sleep(_NEVER_MS)
        return self._wrap(found)

    patch.setattr(Leg, "poll", poll)


def merged_acknowledges_what_it_found(patch: Patch) -> None:
    real = Leg.poll

    async def poll(self: Leg, count_max: int) -> list[Delivery]:
        found = await real(self, count_max)
        if self.reader:
            await self.reader.ack([delivery.receipt[-1] for delivery in found])
        return found

    patch.setattr(Leg, "poll", poll)


def merged_closes_without_its_surplus(patch: Patch) -> None:
    real = Merged.close

    async def close(self: Merged) -> None:
        if not self.closed:
            self._collect()
            try:
                await self.ack(self._surplus)
            except EvermqError:
                pass
        await real(self)

    patch.setattr(Merged, "close", close)


def spooled_reads_the_local_queue_as_well(patch: Patch) -> None:
    async def reader(self: Spooled, group: str, *, start: Start = Start.OLDEST) -> Merged:
        both: dict[str, Queue] = {"local": self._local, "remote": self._remote}
        return await Merged.open(both, group, start=start, clock=self._clock)

    patch.setattr(Spooled, "reader", reader)


def buffered_overtakes_its_backlog(patch: Patch) -> None:
    async def is_behind(self: Buffered) -> bool:
        return False

    patch.setattr(Buffered, "_is_behind", is_behind)


def buffered_counts_in_memory(patch: Patch) -> None:
    real = Buffered.__init__

    def init(self: Buffered, **options: Any) -> None:
        real(self, **options)
        self._local = Counted(self._local, lambda: self.counts.carried + self.counts.dead)

    patch.setattr(Buffered, "__init__", init)


def slots_of_the_dead_are_left_alone(patch: Patch) -> None:
    async def orphan(self: SimulatedSlots) -> None:
        return None

    patch.setattr(SimulatedSlots, "orphan", orphan)


def slot_is_marked_behind_the_append(patch: Patch) -> None:
    async def append(self: HostRung, messages: Sequence[Message]) -> Sequence[Position]:
        queue, slot = await self._open(), await self.slot()
        positions = await queue.append(messages)
        await self._clock.sleep(20)
        slot.mark(empty=False)
        return positions

    patch.setattr(HostRung, "append", append)


def adopter_leaves_before_the_slot_is_empty(patch: Patch) -> None:
    real = HostRung._empty

    async def empty(self: HostRung, slot: HeldSlot) -> None:
        task = asyncio.ensure_future(real(self, slot))
        await self._clock.sleep(30)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        slot.mark(empty=True)

    patch.setattr(HostRung, "_empty", empty)


ROUTE, FAILOVER, SPOOLED, BUFFERED, PUMP, LADDER = (
    f"composite-{kind}" for kind in ("route", "failover", "spooled", "buffered", "pump", "ladder")
)
MUTANTS = [
    Mutant("pump acknowledges before it appends", "lost", PUMP, pump_acknowledges_before_it_appends),
    Mutant("pump takes an uncertain append for done", "lost", SPOOLED, pump_takes_an_uncertain_append_for_done),
    Mutant("pump drops what is refused", "lost", PUMP, pump_drops_what_is_refused, first=7),
    Mutant("pump asks the dead letters once", "lost", PUMP, pump_asks_the_dead_letters_once, first=14),
    Mutant("pump goes past a failed message of a key", "inversions", PUMP, pump_goes_past_a_failed_message_of_a_key),
    Mutant("pump ends with the first error", "stranded", SPOOLED, pump_ends_with_the_first_error),
    Mutant("route takes uncertain for acknowledged", "lost", ROUTE, route_takes_uncertain_for_acknowledged),
    Mutant(
        "route takes uncertain for not done", "failed_but_delivered", ROUTE, route_takes_uncertain_for_not_done, first=5
    ),
    Mutant("route sends on with new ids", "phantom", ROUTE, route_sends_on_with_new_ids),
    Mutant(
        "route sends on what was acknowledged", "duplicates_raw", ROUTE, route_sends_on_what_was_acknowledged, first=4
    ),
    Mutant(
        "route promises the order of its children",
        "inversions",
        ROUTE,
        route_promises_the_order_of_its_children,
        first=6,
    ),
    Mutant(
        "outcomes forget uncertain after a refusal",
        "failed_but_delivered",
        BUFFERED,
        outcomes_forget_uncertain_after_a_refusal,
        first=6,
    ),
    Mutant("failover reads the active rung alone", "stranded", FAILOVER, failover_reads_the_active_rung_alone),
    Mutant(
        "merged reads a rung that failed no more", "stranded", ROUTE, merged_reads_a_rung_that_failed_no_more, first=4
    ),
    Mutant("merged acknowledges what it found", "lost", FAILOVER, merged_acknowledges_what_it_found),
    Mutant("merged closes without its surplus", "lost", ROUTE, merged_closes_without_its_surplus),
    Mutant("spooled reads the local queue as well", "duplicates_raw", SPOOLED, spooled_reads_the_local_queue_as_well),
    Mutant("buffered overtakes its backlog", "inversions", BUFFERED, buffered_overtakes_its_backlog),
    Mutant("buffered counts in memory", "inversions", BUFFERED, buffered_counts_in_memory, first=6),
    Mutant("slots of the dead are left alone", "stranded", LADDER, slots_of_the_dead_are_left_alone, 60, first=7),
    Mutant("slot is marked behind the append", "stranded", LADDER, slot_is_marked_behind_the_append, 60, first=19),
    Mutant("adopter leaves too early", "stranded", LADDER, adopter_leaves_before_the_slot_is_empty),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_planted_bug_is_caught(mutant: Mutant, record_property: Callable[[str, object], None]) -> None:
    seed = caught(mutant)
    record_property("caught_by_seed", seed)
    assert seed, f"{mutant.world} plays {mutant.seeds_max} seeds and does not notice: {mutant.name}"
    assert passes(mutant.world, seed)
