"""The proof that a number is nowhere, step by step: what is asked in which order, without any engine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest
from tests.policy.test_gate import LANE, STREAM, claimed, delivery

from evermq.adapters.memory import MemoryQueue
from evermq.errors import Fenced, Unavailable
from evermq.policy.absence import Absence
from evermq.policy.gate import Gate
from evermq.policy.read_to import places
from evermq.settling import COPY, SENT, Held, Report, Wanted
from evermq.testing.progressing import HandClock

RUNGS = ("primary", "standby")
LATER_MS = 1_000


class Rung(MemoryQueue):
    """One lane, of which `ends_at` messages were appended, and nothing is left for the group where `is_through`."""

    def __init__(self) -> None:
        super().__init__("t", lanes=1)
        self.ends_at = 5
        self.is_through = False
        self.is_up = True
        self.left = [9]  # for the group, each time it is asked; then what it was last

    async def end(self, lane: str) -> int:
        if not self.is_up:
            raise Unavailable("down")
        return self.ends_at

    async def backlog(self, group: str, lane: str | None = None) -> int:
        if not self.is_up:
            raise Unavailable("down")
        return 0 if self.is_through else self.left.pop(0) if len(self.left) > 1 else self.left[0]


class Claims:
    """The part of the progress that a proof asks: whether claims still hold."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def settle(self, states: Mapping[int, Mapping[str, str]]) -> None:
        if self.error:
            raise self.error


class Searching:
    """A reader that holds number 3, since 2 never came although it has landed."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.gate: Gate = claimed()
        early = delivery(3, opened=0)  # all before it had landed when it left
        assert self.gate.offer([early], self.clock.monotonic_ms()) == []
        self.rungs = {key: Rung() for key in RUNGS}
        self.claims = Claims()
        part: Any = self.claims
        self.absence = Absence(self.gate, part, self.rungs, "billing", self.clock)

    async def begun(self, *reports: Report) -> None:
        """The search has begun: after a while, since what is early mostly comes by itself."""
        assert await self.absence.prove([], self.clock.monotonic_ms()) == []
        assert self.gate.lanes[LANE].proof is None
        self.clock.ms += LATER_MS
        await self.absence.prove(reports, self.clock.monotonic_ms())
        assert self.gate.lanes[LANE].proof is not None

    async def proves(self, *reports: Report, asked_after_ms: int = 10) -> bool:
        self.clock.ms += 20
        began_ms = self.gate.lanes[LANE].proof.began_ms
        return bool(await self.absence.prove(reports, began_ms + asked_after_ms))


def read_to(offset: int, held: Collection[Held] = ()) -> Report:
    return Report({f"{key}/0": offset for key in RUNGS}, held)


@pytest.fixture
async def search() -> Searching:
    found = Searching()
    await found.begun()
    return found


async def test_number_is_nowhere_once_all_rungs_were_read_to_their_ends(search: Searching) -> None:
    assert not await search.proves(read_to(4))
    assert await search.proves(read_to(5))
    assert [each.message.id for each in search.gate.woken(search.gate.lanes[LANE])] == ["m3"]


async def test_report_that_was_asked_for_before_the_search_proves_nothing(search: Searching) -> None:
    """What its reader had given back, or left behind, when the lane was claimed here is not in it yet."""
    assert not await search.proves(read_to(5), asked_after_ms=0)
    assert await search.proves(read_to(5), asked_after_ms=1)


async def test_search_that_was_begun_before_the_lane_was_claimed_proves_nothing() -> None:
    """What another reader had of the lane may be on its way back: reports of before the claim do not tell of it."""
    search = Searching()
    primary = search.rungs["primary"]
    asked = primary.end

    async def end(lane: str) -> int:
        search.gate.lost(LANE)
        search.gate.offer([delivery(3, opened=0)], search.clock.monotonic_ms())
        search.gate.claimed(LANE, {})
        return await asked(lane)

    search.clock.ms += LATER_MS
    primary.end = end  # type: ignore[method-assign]
    await search.absence.prove([], search.clock.monotonic_ms())
    assert search.gate.lanes[LANE].proof is None


async def test_number_that_some_reader_holds_is_somewhere(search: Searching) -> None:
    assert not await search.proves(read_to(5), Report(held=[Held(STREAM, 2, 0, "")]))
    await search.absence.prove([], search.clock.monotonic_ms())  # all was read, so that another search begins
    assert await search.proves(read_to(5), Report())


async def test_what_a_sender_has_a_copy_of_is_asked_for_and_not_passed_over(search: Searching) -> None:
    copies = Report(held=[Held(STREAM, 1, 0, COPY, 3)])
    assert not await search.proves(read_to(5), copies)
    assert search.absence.wanted == [Wanted(STREAM, 2, 2)]
    await search.absence.prove([read_to(5), copies], search.clock.monotonic_ms())  # another search begins
    assert search.absence.wanted == []


async def test_what_nobody_waits_for_any_more_is_asked_for_no_longer(search: Searching) -> None:
    assert not await search.proves(read_to(5), Report(held=[Held(STREAM, 1, 0, COPY, 3)]))
    assert search.absence.wanted
    [parked] = search.gate.lanes[LANE].parked
    search.gate.lost(LANE)
    search.gate.lanes[LANE].parked.remove(parked)
    await search.absence.prove([], search.clock.monotonic_ms())
    assert search.absence.wanted == []


async def test_what_was_sent_again_is_looked_for_to_the_ends_that_there_are_since(search: Searching) -> None:
    """It lies behind what was read before, so an older search says nothing of it."""
    sent = Report(held=[Held(STREAM, 2, 0, SENT, 2)])
    assert not await search.proves(read_to(5), sent)
    assert search.absence.wanted == []
    for rung in search.rungs.values():
        rung.ends_at = 6
    search.clock.ms += 20
    await search.absence.prove([sent], search.clock.monotonic_ms())
    assert not await search.proves(read_to(5), sent)
    assert await search.proves(read_to(6), sent)


async def test_rung_that_is_away_proves_nothing(search: Searching) -> None:
    only_one = Report({"primary/0": 5})
    search.rungs["standby"].is_up = False
    assert not await search.proves(only_one)
    search.rungs["standby"].is_up = search.rungs["standby"].is_through = True
    assert await search.proves(only_one)


@pytest.mark.parametrize("error", [Fenced("another reader has it"), Unavailable("no answer")])
async def test_reader_that_is_not_sure_of_its_claim_passes_nothing_over(search: Searching, error: Exception) -> None:
    search.claims.error = error
    assert not await search.proves(read_to(5))
    search.claims.error = None
    assert await search.proves(read_to(5))


async def is_through(search: Searching, key: str = "primary") -> bool:
    return await search.absence._is_through(key, "0")


async def test_lane_of_which_only_what_is_held_is_left_was_read_to_its_end(search: Searching) -> None:
    """Its end may never be reached: what is settled already is not handed out again, and a tail may be lost."""
    search.rungs["primary"].left = [1]
    assert await is_through(search)


@pytest.mark.parametrize("left", [[2], [1, 2], [2, 1]])
async def test_lane_of_which_more_is_left_before_or_after_was_not(search: Searching, left: list[int]) -> None:
    search.rungs["primary"].left = left
    assert not await is_through(search)


async def test_lane_that_is_perhaps_another_readers_says_nothing_of_what_is_left(search: Searching) -> None:
    search.rungs["primary"].left = [1]
    search.claims.error = Fenced("another reader has it")
    assert not await is_through(search)
    search.claims.error = None
    search.gate.lost(LANE)
    assert not await is_through(search)


async def test_what_is_held_of_another_rung_says_nothing_of_this_one(search: Searching) -> None:
    search.rungs["standby"].left = [1]
    assert not await is_through(search, "standby")
    search.gate.offer([delivery(3, rung="standby")], search.clock.monotonic_ms())
    assert await is_through(search, "standby")


class Scattered(Searching):
    """Of the numbers of the producer nobody knew how many lanes the primary has: three, and not one."""

    def __init__(self) -> None:
        super().__init__()
        self.rungs["primary"].traits = MemoryQueue("t", lanes=3).traits


async def test_stream_that_may_be_anywhere_on_a_rung_is_looked_for_in_all_its_lanes() -> None:
    search = Scattered()
    await search.begun()
    assert not await search.proves(read_to(5))
    assert not await search.proves(Report({**read_to(5).at, "primary/1": 5}))
    assert await search.proves(Report({**read_to(5).at, "primary/1": 5, "primary/2": 5}))


@pytest.mark.parametrize("lanes", [1, 3])
async def test_what_left_later_lies_behind_only_in_the_same_lane_of_a_rung(lanes: int) -> None:
    search = Searching() if lanes == 1 else Scattered()
    await search.begun()
    later = [Held(STREAM, 9, 5, key) for key in RUNGS]
    assert await search.proves(Report(held=later)) == (lanes == 1)


async def test_rung_that_tells_only_now_how_many_lanes_it_has_proves_nothing_by_those_it_was_thought_to_have() -> None:
    search = Searching()
    rung = search.rungs["primary"]
    end = rung.end

    async def opened(lane: str) -> int:
        rung.traits = MemoryQueue("t", lanes=3).traits
        return await end(lane)

    rung.end = opened  # type: ignore[method-assign]
    await search.absence.prove([], search.clock.monotonic_ms())
    search.clock.ms += LATER_MS
    await search.absence.prove([], search.clock.monotonic_ms())
    assert search.gate.lanes[LANE].proof is None


async def test_who_has_read_further_than_a_rung_goes_has_read_another_topic_of_its_name() -> None:
    """It was made anew, or lost its end, and a reader that has read nothing of it since says so still."""
    search, before = Searching(), read_to(7)
    await search.begun(before)
    assert not await search.proves(before)
    for rung in search.rungs.values():
        rung.is_through = True
    assert await search.proves(before)


async def test_report_of_another_topic_of_that_name_proves_nothing() -> None:
    search = Searching()
    search.rungs["standby"].topic_id = "anew"  # type: ignore[attr-defined]
    await search.begun()
    assert not await search.proves(read_to(5))
    name = places(search.rungs)["standby"]
    assert await search.proves(Report({**read_to(5).at, f"{name}/0": 5}))
