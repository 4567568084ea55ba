"""What a reader gave back, and how long it counts as there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest
from tests.policy.test_absence import Rung

from evermq.adapters.memory import MemoryQueue
from evermq.errors import Unavailable
from evermq.numbers import Number
from evermq.policy.gone import Gone, GoneWatch
from evermq.position import Position
from evermq.settled import Settled
from evermq.testing.progressing import HandClock

STREAM, LANE = "s.1", "1"
HALF_A_MINUTE_MS = 30_000
TEN_MINUTES_MS = 600_000


class Store:
    """The part of the progress that is asked: what is settled of the streams."""

    def __init__(self) -> None:
        self.settled = Settled()

    async def look(self, lanes: Collection[int], streams: Collection[str]) -> Mapping[int, Mapping[str, str]]:
        return {1: {STREAM: self.settled.pack()}}


class Watching:
    """Number 3 went back; it was read from a rung at offset 4 of its lane, of which 5 messages were appended."""

    def __init__(self, place: Position | None = None) -> None:
        self.clock = HandClock()
        self.rungs = {"primary": Rung(), "standby": Rung()}
        self.store = Store()
        self.gone = Gone()
        self.gone.add(STREAM, {3: place or Position(LANE, 4, ("primary",))}, self.clock.monotonic_ms())
        part: Any = self.store
        self.watch = GoneWatch(self.gone, part, self.rungs, "billing", self.clock)

    async def is_there_after(self, ms: int) -> bool:
        """Whether it counts as there all that time, in which the watch has its turns."""
        for _ in range(0, ms, 1_000):
            self.clock.ms += 1_000
            await self.watch.turn()
            if not self.gone.held(self.clock.monotonic_ms()):
                return False
        return True


@pytest.fixture
def watching() -> Watching:
    found = Watching()
    found.rungs["primary"].left = [1]  # the group's offset is that of the message
    return found


async def test_what_its_rung_has_yet_to_give_counts_as_there_for_longer(watching: Watching) -> None:
    assert await watching.is_there_after(4 * HALF_A_MINUTE_MS)


async def test_what_its_rung_has_given_to_others_counts_as_there_for_half_a_minute(watching: Watching) -> None:
    assert await watching.is_there_after(HALF_A_MINUTE_MS)
    watching.rungs["primary"].is_through = True
    assert await watching.is_there_after(HALF_A_MINUTE_MS - 6_000)
    assert not await watching.is_there_after(6_000)


async def test_what_a_rung_lost_with_its_end_counts_as_there_for_half_a_minute(watching: Watching) -> None:
    watching.rungs["primary"].ends_at = 4
    watching.rungs["primary"].left = [4]
    assert await watching.is_there_after(HALF_A_MINUTE_MS - 1_000)
    assert not await watching.is_there_after(1_000)


@pytest.mark.parametrize(
    "place", [Position(LANE, None, ("primary",)), Position(LANE, 4, ("other",)), Position(LANE, 4, ("primary", "a"))]
)
async def test_what_no_rung_can_be_asked_for_counts_as_there_for_half_a_minute(place: Position) -> None:
    watching = Watching(place)
    assert await watching.is_there_after(HALF_A_MINUTE_MS - 1_000)
    assert not await watching.is_there_after(1_000)


async def test_rung_that_tells_no_ends_keeps_nothing_for_longer(watching: Watching) -> None:
    class Endless(MemoryQueue):
        end = None  # type: ignore[assignment]

    rungs: dict[str, Any] = {"primary": Endless("t", lanes=1)}
    watching.watch._rungs = rungs
    assert await watching.is_there_after(HALF_A_MINUTE_MS - 1_000)
    assert not await watching.is_there_after(1_000)


async def test_rung_that_tells_an_end_only_now_and_then_is_asked_again(watching: Watching) -> None:
    primary = watching.rungs["primary"]
    calls = 0
    end = primary.end

    async def rarely(lane: str) -> int:
        nonlocal calls
        calls += 1
        if calls % 8:
            raise Unavailable("too much to do")
        return await end(lane)

    primary.end = rarely  # type: ignore[method-assign]
    assert await watching.is_there_after(4 * HALF_A_MINUTE_MS)


async def test_rung_that_has_it_to_give_for_ever_is_not_believed_for_ever(watching: Watching) -> None:
    assert await watching.is_there_after(TEN_MINUTES_MS)
    assert not await watching.is_there_after(HALF_A_MINUTE_MS)


async def test_what_came_again_or_is_settled_is_gone_no_longer(watching: Watching) -> None:
    watching.gone.seen(Number(STREAM, 3, 2, 0, True))
    assert not watching.gone
    again = Watching()
    again.store.settled.add(3)
    assert not await again.is_there_after(7_000)


async def test_more_lanes_than_are_asked_for_in_a_turn_are_all_asked_for(watching: Watching) -> None:
    many = {seq: Position(str(seq), 4, ("primary",)) for seq in range(100, 300)}
    watching.gone.add(STREAM, many, watching.clock.monotonic_ms())
    assert await watching.is_there_after(3 * HALF_A_MINUTE_MS)
    assert len(watching.gone.held(watching.clock.monotonic_ms())) == 201
