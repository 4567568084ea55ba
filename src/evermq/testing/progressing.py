"""What every store of progress must do: checks for the stores of evermq, and for those of others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from evermq.clock import Clock
from evermq.errors import Fenced
from evermq.settled import Settled
from evermq.settling import COPY, Held, Part, Progress, Report, Wanted

__all__ = ["CHECKS", "SILENT_MS", "HandClock", "check", "packed", "passes"]

SILENT_MS = 300
_LIMIT_S = 60
_WRITES = 20


class HandClock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.ms = 1_000
        self.tokens = 0

    def now_ms(self) -> int:
        return self.ms

    def monotonic_ms(self) -> int:
        return self.ms

    async def sleep(self, wait_ms: float) -> None:
        self.ms += int(wait_ms)

    def token(self) -> str:
        self.tokens += 1
        return f"reader-{self.tokens}"


Opens = Callable[[Clock], Progress]
Check = Callable[[Progress, HandClock], Awaitable[None]]
CHECKS: dict[str, Check] = {}


async def check(name: str, opens: Opens) -> None:
    """Run one check. opens: a store that nobody used before, with this clock and `SILENT_MS`. AssertionError if it
    fails."""
    clock = HandClock()
    progress = opens(clock)
    try:
        async with asyncio.timeout(_LIMIT_S):
            await CHECKS[name](progress, clock)
    finally:
        await progress.close()


def packed(*numbers: int) -> str:
    """The state of a stream of which these are settled."""
    settled = Settled()
    for number in numbers:
        settled.add(number)
    return settled.pack()


def _check(act: Check) -> Check:
    CHECKS[getattr(act, "__name__", "?").lstrip("_")] = act
    return act


async def passes(wait_ms: int, clock: HandClock, *parts: Part) -> None:
    """Time, in which these are heard of."""
    while wait_ms > 0:
        step_ms = min(wait_ms, SILENT_MS // 2)
        wait_ms -= step_ms
        clock.ms += step_ms
        for part in parts:
            await part.renew(Report())


async def _fenced(act: Awaitable[object]) -> None:
    try:
        await act
    except Fenced:
        return
    raise AssertionError("Fenced was not raised")


@_check
async def _lane_belongs_to_one_reader_until_it_gives_it_back(progress: Progress, clock: HandClock) -> None:
    one, two = await progress.join("g"), await progress.join("g")
    assert await one.claim([1, 2]) == {1: {}, 2: {}}
    assert await two.claim([1, 3]) == {3: {}}
    assert (await one.renew(Report())).wanted == {1}
    await one.settle({1: {"s.1": packed(1, 2, 5)}})
    await one.give_back([1])
    assert await two.claim([1]) == {1: {"s.1": packed(1, 2, 5)}}
    assert await one.claim([1]) == {}
    await _fenced(one.settle({1: {"s.1": packed(1)}}))
    assert await one.look([1]) == {1: {"s.1": packed(1, 2, 5)}}


@_check
async def _groups_know_nothing_of_each_other(progress: Progress, clock: HandClock) -> None:
    one, two = await progress.join("g"), await progress.join("h")
    await one.claim([1])
    await one.settle({1: {"s.1": packed(1)}})
    assert await two.claim([1]) == {1: {}}


@_check
async def _silent_reader_loses_its_lanes_and_one_that_lives_does_not(progress: Progress, clock: HandClock) -> None:
    one, two = await progress.join("g"), await progress.join("g")
    await one.claim([1])
    await two.renew(Report())
    await passes(SILENT_MS, clock, two)
    await one.renew(Report())
    await two.renew(Report())
    await passes(SILENT_MS, clock, two)
    assert await two.claim([1]) == {}
    await passes(SILENT_MS + 1, clock, two)
    assert await two.claim([1]) == {1: {}}
    await _fenced(one.settle({1: {"s.1": packed(1)}}))


@_check
async def _reader_is_told_how_long_it_may_be_silent(progress: Progress, clock: HandClock) -> None:
    assert (await progress.join("g")).silent_ms_max == SILENT_MS


@_check
async def _reader_that_just_joined_is_not_taken_for_gone(progress: Progress, clock: HandClock) -> None:
    one = await progress.join("g")
    two = await progress.join("g")
    await two.claim([1])
    assert await one.claim([1]) == {}
    await two.settle({1: {"s.1": packed(1)}})


@_check
async def _reader_that_stood_still_itself_takes_nothing_from_one_that_lives(
    progress: Progress, clock: HandClock
) -> None:
    one, two = await progress.join("g"), await progress.join("g")
    await two.claim([1])
    await one.renew(Report())
    await passes(2 * SILENT_MS, clock, two)
    assert await one.claim([1]) == {}
    await two.settle({1: {"s.1": packed(1)}})


@_check
async def _readers_that_all_could_not_reach_the_store_take_nothing_from_each_other(
    progress: Progress, clock: HandClock
) -> None:
    """Whoever is the first to reach it again knows nothing of what the others would have said meanwhile."""
    one, two = await progress.join("g"), await progress.join("g")
    await one.claim([1])
    await one.renew(Report())
    await two.renew(Report())
    clock.ms += 5 * SILENT_MS
    await two.renew(Report())
    assert await two.claim([1]) == {}
    await one.settle({1: {"s.1": packed(1)}})
    clock.ms += 5 * SILENT_MS
    assert await two.claim([1]) == {}
    await one.renew(Report())
    await passes(2 * SILENT_MS, clock, two)
    assert await two.claim([1]) == {1: {"s.1": packed(1)}}


@_check
async def _reader_whose_lanes_were_taken_hears_of_it_and_may_claim_anew(progress: Progress, clock: HandClock) -> None:
    one, two = await progress.join("g"), await progress.join("g")
    await one.claim([1, 2])
    await one.renew(Report({"primary/1": 7}))
    await passes(2 * SILENT_MS, clock, two)
    assert await two.claim([1]) == {1: {}}
    assert not [each for each in (await two.renew(Report())).reports if each.at]
    await _fenced(one.renew(Report()))
    await one.give_back([1, 2])
    await one.renew(Report())
    assert await one.claim([1, 2]) == {2: {}}
    await _fenced(one.settle({1: {"s.1": packed(1)}}))


@_check
async def _states_go_with_a_lane_to_whoever_has_it_next_and_back(progress: Progress, clock: HandClock) -> None:
    """By a claim of a silent reader's lane and by a hand-over; what the silent one still knew never counts again."""
    one, two = await progress.join("g"), await progress.join("g")
    await one.claim([1, 2])
    await one.settle({1: {"s.1": packed(1)}, 2: {"s.2": packed(1)}})
    await two.renew(Report())
    await passes(SILENT_MS + 1, clock, two)
    assert await two.claim([1]) == {1: {"s.1": packed(1)}}
    await two.settle({1: {"s.1": packed(1, 2)}})
    await _fenced(one.settle({1: {"s.1": packed(1)}, 2: {"s.2": packed(1, 2)}}))
    assert await one.look([1, 2]) == {1: {"s.1": packed(1, 2)}, 2: {"s.2": packed(1)}}
    await _fenced(one.renew(Report()))
    await one.give_back([1, 2])
    await one.renew(Report())
    assert await one.claim([1, 2]) == {2: {"s.2": packed(1)}}  # the other is asked for
    await one.settle({2: {"s.2": packed(1, 2, 3)}})
    await two.give_back([1])
    assert await one.claim([1, 2]) == {1: {"s.1": packed(1, 2)}, 2: {"s.2": packed(1, 2, 3)}}
    await one.settle({1: {"s.1": packed(1, 2, 3)}})
    await one.leave()
    assert await two.claim([1, 2]) == {1: {"s.1": packed(1, 2, 3)}, 2: {"s.2": packed(1, 2, 3)}}


@_check
async def _reader_that_lost_a_lane_does_not_write_it_whatever_it_does_in_its_others(
    progress: Progress, clock: HandClock
) -> None:
    """It may not have heard of the loss yet: its renewal hangs, say, while its other calls go through."""
    lost = {1: {"s.1": packed(1, 2)}}
    acts: list[Callable[[Part], Awaitable[object]]] = [
        lambda part: part.settle({2: {"s.2": packed(1, 2)}}),
        lambda part: part.collect({2: ["s.2"]}, 90),
        lambda part: part.give_back([2, 3]),
        lambda part: part.claim([4]),
    ]
    for number, act in enumerate(acts):
        one, two = await progress.join(f"g{number}"), await progress.join(f"g{number}")
        await one.claim([1, 2, 3])
        await one.settle({lane: {f"s.{lane}": packed(1)} for lane in (1, 2, 3)})
        await two.renew(Report())
        await passes(SILENT_MS + 1, clock, two)
        assert await two.claim([1]) == {1: {"s.1": packed(1)}}
        with suppress(Fenced):  # a store may take all that a silent reader has
            await act(one)
        for _ in range(2):
            await _fenced(one.settle(lost))
        await two.settle({1: {"s.1": packed(1, 2, 3)}})
        await _fenced(one.settle(lost))
        assert await two.look([1]) == {1: {"s.1": packed(1, 2, 3)}}


@_check
async def _many_streams_of_many_lanes_are_kept(progress: Progress, clock: HandClock) -> None:
    """More of them than are kept in one row."""
    part = await progress.join("g")
    lanes = range(50)
    await part.claim(lanes)
    expected: dict[int, dict[str, str]] = {lane: {} for lane in lanes}
    for producer in range(60):
        found = {lane: {f"p{producer}.{lane:x}": packed(*range(1, producer + 2))} for lane in lanes}
        await part.settle(found)
        for lane, streams in found.items():
            expected[lane].update(streams)
    last = {7: {"p0.7": packed(1, 2, 3)}}
    await part.settle(last)
    expected[7].update(last[7])
    assert await part.look(lanes) == expected
    await part.leave()
    assert await (await progress.join("g")).claim(lanes) == expected


@_check
async def _reader_that_leaves_gives_everything_back(progress: Progress, clock: HandClock) -> None:
    one, two = await progress.join("g"), await progress.join("g")
    await one.claim([1, 2])
    await one.leave()
    await one.leave()
    assert await two.claim([1, 2]) == {1: {}, 2: {}}


@_check
async def _reports_are_those_of_readers_that_are_there(progress: Progress, clock: HandClock) -> None:
    one, two = await progress.join("g"), await progress.join("g")
    held = {Held("s.1", 3, 2, "primary"), Held("s.1", 4, 0, COPY, 9)}
    report = Report({"primary/1": 7}, held, [Wanted("s.1", 4, 6)])
    await one.renew(report)
    found = (await two.renew(Report())).reports
    assert [dict(each.at) for each in found if each.at] == [{"primary/1": 7}]
    assert [set(each.held) for each in found if each.held] == [held]
    assert [list(each.wanted) for each in found if each.wanted] == [report.wanted]
    await one.leave()
    assert not [each for each in (await two.renew(Report())).reports if each.at]


def _written(day: int, *numbers: int) -> str:
    state = Settled.unpack(packed(*numbers))
    state.day = day
    return state.pack()


@_check
async def _streams_of_producers_that_are_gone_are_forgotten(progress: Progress, clock: HandClock) -> None:
    """Not those of one that was heard in another lane, whoever has that: written down for good, or not yet."""
    one, two, three = [await progress.join("g") for _ in range(3)]
    await three.claim([3])
    await three.settle({3: {"here_.3": _written(100, 1)}})
    await three.leave()
    await two.claim([2])
    await two.settle({2: {"there.2": _written(100, 1), "gone.2": _written(50, 1)}})
    await one.claim([1])
    old = ["gone.1", "here_.1", "there.1", "hereX.1"]
    await one.settle({1: {**{name: _written(50, 1) for name in old}, "new.1": _written(100, 1)}})
    assert set(await one.collect({1: old}, 90)) == {"gone.1", "hereX.1"}
    assert (await one.look([1])).keys() == {1}
    assert set((await one.look([1]))[1]) == {"here_.1", "there.1", "new.1"}
    await one.settle({1: {"gone.1": _written(101, 7)}})
    await one.leave()
    assert set((await two.look([1]))[1]) == {"here_.1", "there.1", "new.1", "gone.1"}


@_check
async def _streams_of_another_readers_lane_are_not_forgotten(progress: Progress, clock: HandClock) -> None:
    one, two = await progress.join("g"), await progress.join("g")
    await one.claim([1])
    await one.settle({1: {"s.1": _written(50, 1)}})
    await _fenced(two.collect({1: ["s.1"]}, 90))
    assert await one.look([1]) == {1: {"s.1": _written(50, 1)}}


@_check
async def _names_that_differ_in_case_alone_are_others(progress: Progress, clock: HandClock) -> None:
    """Streams are named by base64; a database that takes A for a mixes two of them up."""
    part, other = await progress.join("g"), await progress.join("G")
    await part.claim([1])
    await part.settle({1: {"aB.1": packed(1), "Ab.1": packed(1, 2)}})
    assert await other.claim([1]) == {1: {}}
    await part.leave()
    assert await (await progress.join("g")).claim([1]) == {1: {"aB.1": packed(1), "Ab.1": packed(1, 2)}}


@_check
async def _nothing_is_lost_among_many_readers_at_once(progress: Progress, clock: HandClock) -> None:
    """Each adds one to what it finds in a lane whenever it gets it, and gives it back."""
    parts = [await progress.join("g") for _ in range(4)]
    written = sum(await asyncio.gather(*[_add_to_lanes(part) for part in parts]))
    found = await (await progress.join("g")).claim([0, 1])
    assert sum(Settled.unpack(streams[f"s.{lane}"]).next - 1 for lane, streams in found.items()) == written


async def _add_to_lanes(part: Part) -> int:
    written = 0
    while written < _WRITES:
        await asyncio.sleep(0)
        granted = await part.claim([0, 1])
        for lane, streams in granted.items():
            state = Settled.unpack(streams.get(f"s.{lane}", packed()))
            state.add(state.next)
            await part.settle({lane: {f"s.{lane}": state.pack()}})
            written += 1
        await part.give_back(granted)
    await part.leave()
    return written
