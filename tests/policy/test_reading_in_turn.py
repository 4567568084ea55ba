"""Readers of a ladder whose rungs hand out in ways of their own: lanes scattered, paused, or changed in number."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.adapters.memory.reader import MemoryReader
from evermq.errors import Damaged
from evermq.ha.failover import Failover
from evermq.message import Message, MessageFactory
from evermq.numbers import FLAGGED, SEQ
from evermq.policy.ordered import Ordered
from evermq.policy.ordered_reader import OrderedReader
from evermq.port import Delivery, Queue, Start
from evermq.progress.memory import MemoryProgress
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.loop import simulate
from evermq.testing.worlds.order_lanes import RelanedRung
from evermq.testing.worlds.order_rung import Rung

make = MessageFactory()
Act = Callable[[SimulatedClock], Awaitable[None]]
SECONDS = 1_000


class Scattered(MemoryQueue):
    """Says that any reader may be handed any lane."""

    scatters = True


def numbered(stream: str, seq: int, prev: int, opened: int) -> Message:
    header = f"{stream} {seq} {seq - prev if prev else 0} {seq - opened}"
    return Message(f"{stream}:{seq}", b"k", b"x", {SEQ: header}, 0)


def ladder(clock: SimulatedClock, store: MemoryProgress, primary: Queue, standby: Queue) -> Ordered:
    rungs = {"primary": primary, "standby": standby}
    return Ordered(Failover(**rungs, clock=clock), progress=store, rungs=rungs, lanes=1, clock=clock)  # type: ignore[arg-type]


async def reading(clock: SimulatedClock, reader: OrderedReader, for_ms: int) -> list[str]:
    """The messages that come meanwhile, each with its flag."""
    found: list[str] = []
    until_ms = clock.monotonic_ms() + for_ms
    while clock.monotonic_ms() < until_ms:
        for delivery in await reader.read(count_max=10, wait_ms=200):
            found.append(f"{delivery.message.id} {delivery.message.headers.get(FLAGGED, '')}".strip())
            await reader.ack([delivery])
    return found


def played(act: Act) -> None:
    async def main(clock: SimulatedClock) -> None:
        await act(clock)

    simulate(1, main)


def test_turn_of_one_that_reads_no_more_is_the_next_ones_with_all_that_came_for_it() -> None:
    async def act(clock: SimulatedClock) -> None:
        primary, standby = Scattered("t", clock=clock), MemoryQueue("t", clock=clock)
        store = MemoryProgress(clock=clock)
        idle, busy = [await ladder(clock, store, primary, standby).reader("g") for _ in range(2)]
        assert await reading(clock, idle, SECONDS) == []  # it has the turn, and its poll of the primary is under way
        assert await reading(clock, busy, 5 * SECONDS) == []
        for seq in range(1, 4):
            await primary.append([numbered("s.0", seq, seq - 1, seq)])
        expected = [f"s.0:{seq}" for seq in range(1, 4)]
        assert await reading(clock, busy, 20 * SECONDS) == expected
        assert await primary.backlog("g") == 0
        for reader in (idle, busy):
            await reader.close()

    played(act)


def test_lanes_that_are_asked_for_leave_one_that_reads_no_more_with_what_it_was_not_given_yet() -> None:
    async def act(clock: SimulatedClock) -> None:
        primary, standby = MemoryQueue("t", lanes=1, clock=clock), MemoryQueue("t", lanes=1, clock=clock)
        store = MemoryProgress(clock=clock)
        elsewhere = MemoryQueue("t", lanes=1, clock=clock)  # so that nobody but the busy one reads the standby
        idle, busy = [await ladder(clock, store, primary, rung).reader("g") for rung in (elsewhere, standby)]
        await primary.append([numbered("s.0", seq, seq - 1, 1) for seq in (2, 3)])
        assert await idle.read(count_max=10, wait_ms=SECONDS) == []
        await primary.append([numbered("s.0", 1, 0, 1)])
        [first] = await idle.read(count_max=1, wait_ms=SECONDS)  # the others are ready, and never asked for
        await idle.ack([first])
        await standby.append([numbered("s.0", 4, 3, 4)])
        assert await reading(clock, busy, 30 * SECONDS) == ["s.0:2", "s.0:3", "s.0:4"]
        for reader in (idle, busy):
            await reader.close()

    played(act)


def test_damage_that_was_found_while_nobody_read_is_told_to_the_next_read() -> None:
    class Damaging(MemoryQueue):
        async def reader(self, group: str, *, start: Start = Start.OLDEST) -> MemoryReader:
            reader = await super().reader(group, start=start)
            read, reads = reader.read, 0

            async def damaged_then(*, count_max: int, wait_ms: int) -> list[Delivery]:
                nonlocal reads
                reads += 1
                if reads == 1:
                    await clock_of[0].sleep(SECONDS)
                    raise Damaged("three messages are gone")
                return await read(count_max=count_max, wait_ms=wait_ms)

            reader.read = damaged_then  # type: ignore[method-assign]
            return reader

    clock_of: list[SimulatedClock] = []

    async def act(clock: SimulatedClock) -> None:
        clock_of.append(clock)
        primary, standby = Damaging("t", clock=clock), MemoryQueue("t", clock=clock)
        reader = await ladder(clock, MemoryProgress(clock=clock), primary, standby).reader("g")
        assert await reader.read(count_max=1, wait_ms=100) == []
        await clock.sleep(15 * SECONDS)  # a handler that takes its time
        with pytest.raises(Damaged):
            await reading(clock, reader, SECONDS)
        await reader.close()

    played(act)


def test_rung_that_hangs_while_it_gets_something_back_does_not_silence_its_reader() -> None:
    class Hanging(MemoryQueue):
        async def reader(self, group: str, *, start: Start = Start.OLDEST) -> MemoryReader:
            reader = await super().reader(group, start=start)

            async def hang(deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
                await clock_of[0].sleep(20 * SECONDS)

            reader.release = hang  # type: ignore[method-assign]
            return reader

    clock_of: list[SimulatedClock] = []

    async def act(clock: SimulatedClock) -> None:
        clock_of.append(clock)
        primary, standby = Hanging("t", lanes=1, clock=clock), MemoryQueue("t", lanes=1, clock=clock)
        elsewhere, store = MemoryQueue("t", lanes=1, clock=clock), MemoryProgress(clock=clock)
        busy, other = [await ladder(clock, store, primary, rung).reader("g") for rung in (elsewhere, standby)]
        await primary.append([numbered("s.0", seq, seq - 1, 1) for seq in (2, 3)])
        assert await busy.read(count_max=10, wait_ms=SECONDS) == []
        await primary.append([numbered("s.0", 1, 0, 1)])
        [first] = await busy.read(count_max=1, wait_ms=SECONDS)
        await standby.append([numbered("s.0", 4, 3, 4)])
        assert await reading(clock, other, 30 * SECONDS) == []  # the first is being handled, and stays so
        await busy.ack([first])
        for reader in (busy, other):
            await reader.close()

    played(act)


@pytest.mark.parametrize("primary_type", [MemoryQueue, Scattered])
def test_one_long_read_hands_out_what_comes_meanwhile_and_keeps_the_turn(primary_type: type[MemoryQueue]) -> None:
    async def act(clock: SimulatedClock) -> None:
        primary, standby = primary_type("t", clock=clock), primary_type("t", clock=clock)
        store = MemoryProgress(clock=clock)
        reader, other = [await ladder(clock, store, primary, standby).reader("g") for _ in range(2)]
        others = asyncio.create_task(reading(clock, other, 60 * SECONDS))
        reads = asyncio.create_task(reader.read(count_max=5, wait_ms=60 * SECONDS))
        await clock.sleep(30 * SECONDS)
        sent = make("x", key="k")
        await primary.append([sent])
        if primary_type is Scattered:
            assert [each.message.id for each in await reads] == [sent.id]
        await clock.sleep(2 * SECONDS)
        found = [each.message.id for each in reads.result()] if reads.done() else []
        assert [*found, *await others] == [sent.id]
        reads.cancel()
        for each in (reader, other):
            await each.close()

    played(act)


def test_number_in_an_old_lane_is_not_taken_for_absent_where_a_later_one_came_in_a_new_lane() -> None:
    """What waits in the old lane fills its window, so that the number behind it is still to be read."""

    async def act(clock: SimulatedClock) -> None:
        primary = Rung("primary", clock=clock, lanes=1, window=10, prefix=False)
        standby = RelanedRung("standby", clock=clock, lanes=1, window=3, prefix=False)
        reader = await ladder(clock, MemoryProgress(clock=clock), primary, standby).reader("g")
        await standby.append([numbered("t.0", seq, seq - 1, 1) for seq in (2, 3, 4)])
        await standby.append([numbered("s.0", 1, 0, 1)])
        assert await reading(clock, reader, 2 * SECONDS) == []
        standby.relane(1)
        await standby.append([numbered("s.0", 2, 1, 2)])
        await primary.append([numbered("s.0", 3, 2, 2)])
        assert await reading(clock, reader, 3 * SECONDS) == []
        await primary.append([numbered("t.0", 1, 0, 1)])
        found = await reading(clock, reader, 5 * SECONDS)
        assert sorted(found) == [*(f"s.0:{seq}" for seq in (1, 2, 3)), *(f"t.0:{seq}" for seq in (1, 2, 3, 4))]
        assert [each for each in found if each.startswith("s")] == ["s.0:1", "s.0:2", "s.0:3"]
        await reader.close()

    played(act)
