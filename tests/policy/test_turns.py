"""One reader of a group at a time reads a rung that hands a lane to whoever asks first."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

import pytest

from evermq import MessageFactory
from evermq.adapters.memory import MemoryQueue
from evermq.clock import SystemClock
from evermq.errors import Unavailable
from evermq.ha.merged import Merged
from evermq.policy.turns import Turns
from evermq.port import Delivery
from evermq.progress.memory import MemoryPart, MemoryProgress
from evermq.settling import Report

make = MessageFactory()
RUNGS = ("primary", "standby", "standby2")


class Hand(SystemClock):
    """A clock that is turned by hand."""

    at_ms = 1_000_000

    def monotonic_ms(self) -> int:
        return self.at_ms


class Scattered(MemoryQueue):
    """Says that any reader may be handed any lane."""

    scatters = True


class Inner:
    """A reader of rungs that can be told which of them to leave alone."""

    def __init__(self) -> None:
        self.paused: Collection[str] = ()

    def pause(self, keys: Collection[str]) -> list[Delivery]:
        self.paused = keys
        return []

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        return []

    async def ack(self, deliveries: Collection[Delivery]) -> None: ...
    async def release(self, deliveries: Collection[Delivery], *, delay_ms: int = 0) -> None: ...
    async def close(self) -> None: ...


class Member:
    """One reader of the group."""

    def __init__(self, part: MemoryPart, clock: Hand, *scattered: str) -> None:
        self.part, self.clock, self.inner = part, clock, Inner()
        rungs = {key: (Scattered if key in scattered else MemoryQueue)("t") for key in RUNGS}
        self.turns = Turns(self.inner, part, rungs, clock, list.clear)

    async def tend(self, *, after_ms: int = 600, reads: bool = True) -> Collection[str]:
        """What it leaves alone, after another turn."""
        self.clock.at_ms += after_ms
        if reads:
            self.turns.begin()
            self.turns.end()
        await self.turns.turn((await self.part.renew(Report())).wanted)
        return self.inner.paused


async def members(*scattered: str) -> tuple[Member, Member]:
    clock = Hand()
    store = MemoryProgress(clock=clock)
    one, other = [Member(await store.join("g"), clock, *scattered) for _ in range(2)]
    return one, other


async def test_the_first_reads_until_it_leaves_and_then_the_next_does() -> None:
    one, other = await members("primary", "standby2")
    assert set(one.inner.paused) == {"primary", "standby2"}
    assert not await one.tend()
    for _ in range(3):
        assert await other.tend() == {"primary", "standby2"}
        assert not await one.tend()
    await one.part.leave()
    assert not await other.tend()


async def test_rung_that_deals_its_lanes_out_is_read_by_all() -> None:
    one, other = await members("standby")
    await one.tend()
    assert await other.tend() == {"standby"}
    one, other = await members()
    assert not one.inner.paused
    assert not other.inner.paused


async def test_turn_of_one_that_reads_nothing_goes_to_one_that_waits_for_it() -> None:
    one, other = await members("primary")
    await one.tend()
    await other.tend()
    for _ in range(20):
        await one.tend(reads=False)
        await other.tend()
    assert one.inner.paused == {"primary"}
    assert not other.inner.paused
    await one.tend()
    assert one.inner.paused == {"primary"}


async def test_turn_that_was_given_to_one_that_reads_no_more_is_given_on() -> None:
    clock = Hand()
    store = MemoryProgress(clock=clock)
    one, idle, other = [Member(await store.join("g"), clock, "primary") for _ in range(3)]
    await one.tend()
    await idle.tend()  # it asks, before the third one
    for _ in range(40):
        await one.tend()
        await idle.tend(reads=False)
        await other.tend()
    await one.part.leave()
    for _ in range(3):
        await idle.tend(reads=False)
        await other.tend()
    assert not other.inner.paused


async def test_turn_that_could_not_be_given_up_is_given_up_later(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = await members("primary")
    await one.tend()
    await other.tend()
    give_back, calls = one.part.give_back, []

    async def once(lanes: Collection[int]) -> None:
        calls.append(lanes)
        if len(calls) == 1:
            raise Unavailable("the store is away")
        await give_back(lanes)

    monkeypatch.setattr(one.part, "give_back", once)
    for _ in range(20):
        with suppress(Unavailable):
            await one.tend(reads=False)
        await other.tend()
    assert len(calls) > 1
    assert not other.inner.paused


async def test_turn_stays_where_nobody_reads() -> None:
    one, other = await members("primary")
    await one.tend(after_ms=20_000)
    for _ in range(40):
        await one.tend(reads=False)
        await other.tend(reads=False)
    assert not one.inner.paused


async def test_one_that_was_silent_for_too_long_reads_no_more_until_it_has_the_turn_again() -> None:
    one, other = await members("primary")
    await one.tend()
    await other.tend(after_ms=6_000)
    one.turns.lost()
    assert one.inner.paused == {"primary"}


async def test_lanes_that_others_ask_for_are_told_from_turns() -> None:
    one, _ = await members("primary")
    assert one.turns.lanes(frozenset({-1, 0, 7})) == {0, 7}


async def test_merged_reader_leaves_alone_what_it_is_told_to() -> None:
    children = {"a": MemoryQueue("t"), "b": MemoryQueue("t")}
    reader = await Merged.open(children, "g")
    assert not reader.pause({"a"})
    for queue in children.values():
        await queue.append([make("x")])
    found = [each for _ in range(3) for each in await reader.read(count_max=10, wait_ms=20)]
    assert [each.position.via for each in found] == [("b",)]
    assert not reader.pause(())
    found = await reader.read(count_max=10, wait_ms=1_000)
    assert [each.position.via for each in found] == [("a",)]
    await reader.close()
