"""The embedded log while its wall clock is set back and forward."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from tests.adapters.test_log_mends import append, append_and_settle, drain, ids_of, place_on

from evermq.adapters.log.log_time import LogTime
from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.slots import LogSlots
from evermq.adapters.open import open_log
from evermq.message import MessageFactory
from evermq.port import Start
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk
from evermq.testing.simulation.loop import simulate

HOUR_MS = 3_600_000


def test_time_of_a_log_follows_the_wall_clock_forwards_and_never_back() -> None:
    async def main(clock: SimulatedClock) -> None:
        log_time = LogTime(clock, 0)
        began_ms = log_time.now_ms()
        assert began_ms == clock.now_ms()
        clock.skew_ms = -5 * HOUR_MS
        await clock.sleep(700)
        assert log_time.now_ms() == began_ms + 700
        clock.skew_ms = HOUR_MS
        assert log_time.now_ms() == clock.now_ms()
        clock.skew_ms = 0
        await clock.sleep(300)
        assert log_time.now_ms() == began_ms + 700 + HOUR_MS + 300
        await clock.sleep(2 * HOUR_MS)
        clock.skew_ms = 3 * HOUR_MS
        assert log_time.now_ms() == clock.now_ms()

    simulate(1, main)


def test_time_of_a_log_begins_where_what_is_stored_ends() -> None:
    async def main(clock: SimulatedClock) -> None:
        stored_ms = clock.now_ms() + HOUR_MS
        log_time = LogTime(clock, stored_ms)
        await clock.sleep(50)
        assert log_time.now_ms() == stored_ms + 50

    simulate(1, main)


def test_waiting_reader_notices_that_the_clock_was_set_forward() -> None:
    async def main(clock: SimulatedClock) -> None:
        place = place_on(FakeDisk(), clock)
        sent = await append(place, clock, 1, delay_ms=2 * HOUR_MS)
        reader = await (await place.queue("t")).reader("g")
        reading = asyncio.ensure_future(reader.read(count_max=1, wait_ms=HOUR_MS))
        await clock.sleep(5_000)
        assert not reading.done()
        clock.skew_ms = 2 * HOUR_MS
        await clock.sleep(2_000)
        assert reading.done()
        assert [delivery.message.id for delivery in await reading] == sent

    simulate(1, main)


@pytest.mark.parametrize("reopens", [False, True])
def test_released_message_comes_after_its_pause_though_the_clock_was_set_back(reopens: bool) -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock)
        sent = await append(place, clock, 3, key="k")
        reader = await (await place.queue("t")).reader("g")
        await reader.release(await drain(reader), delay_ms=30_000)
        clock.skew_ms = -5 * HOUR_MS
        if reopens:
            await place.close()
            place = place_on(disk, clock)
            reader = await (await place.queue("t")).reader("g")
        await clock.sleep(29_000)
        assert await reader.read(count_max=9, wait_ms=0) == []
        found = await reader.read(count_max=9, wait_ms=5_000)
        assert [delivery.message.id for delivery in found] == sent

    simulate(1, main)


def test_segments_grow_old_though_the_clock_was_years_ahead_once() -> None:
    async def main(clock: SimulatedClock) -> None:
        place = place_on(FakeDisk(), clock, retain_ms=HOUR_MS)
        clock.skew_ms = 10 * 365 * 24 * HOUR_MS
        await append(place, clock, 1)
        clock.skew_ms = 0
        await append_and_settle(place, clock, 40)
        place.tidy()
        assert len(place.journal.segments) > 2
        await clock.sleep(2 * HOUR_MS)
        place.tidy()
        assert len(place.journal.segments) == 1
        state = await place.describe("t")
        assert state.groups["g"].oldest_ms is None

    simulate(1, main)


def test_age_of_the_oldest_message_goes_on_though_the_clock_was_set_back() -> None:
    async def main(clock: SimulatedClock) -> None:
        place = place_on(FakeDisk(), clock)
        await (await place.queue("t")).reader("g")
        await append(place, clock, 1)
        clock.skew_ms = -5 * HOUR_MS
        await clock.sleep(60_000)
        assert (await place.describe("t")).groups["g"].oldest_ms == 60_000

    simulate(1, main)


def test_start_by_time_leaves_out_nothing_that_was_appended_then_or_later() -> None:
    async def main(clock: SimulatedClock) -> None:
        place = place_on(FakeDisk(), clock)
        await append(place, clock, 2)
        await clock.sleep(1_000)
        at_ms = clock.now_ms()
        clock.skew_ms = -2 * HOUR_MS
        later = await append(place, clock, 2)
        clock.skew_ms = HOUR_MS
        later += await append(place, clock, 2)
        clock.skew_ms = 0
        later += await append(place, clock, 2)
        reader = await (await place.queue("t")).reader("g", start=Start("time", at_ms))
        assert [delivery.message.id for delivery in await drain(reader)] == later
        assert len(await ids_of(place, group="all")) == 8

    simulate(1, main)


async def test_slot_that_was_wanted_before_the_clock_was_set_back_is_adopted(tmp_path: Path) -> None:
    def slots(producer: str | None = None) -> LogSlots:
        return LogSlots(tmp_path, "orders", open_log, options=LogOptions(segment_bytes=1 << 20), producer=producer)

    gone = slots("a")
    own = await gone.own()
    own.mark(empty=False)
    await (await own.queue()).append([MessageFactory()(b"x")])
    await gone.close()
    wanted = tmp_path / "=a" / "wanted"
    wanted.touch()
    os.utime(wanted, (time.time() + 3_600, time.time() + 3_600))
    others = slots()
    try:
        assert await others.orphan() is not None
    finally:
        await others.close()
