"""What was acknowledged while writing it down failed."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable

import pytest

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.reader import LogReader
from evermq.errors import Unavailable, Uncertain
from evermq.message import MessageFactory
from evermq.port import Delivery
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk, Faults
from evermq.testing.simulation.loop import simulate

Play = Callable[[LogPlace, FakeDisk, LogReader, list[Delivery]], Awaitable[None]]


def left_after(play: Play, *, power: bool) -> int:
    """How many of four messages, of which the first was settled while all was well, come after a crash."""

    async def main(clock: SimulatedClock) -> int:
        disk = FakeDisk()
        place = place_on(disk, clock)
        queue = await place.queue("t")
        await queue.append([MessageFactory(clock)(b"x") for _ in range(4)])
        reader = await queue.reader("g")
        found = await reader.read(count_max=4, wait_ms=0)
        await reader.ack(found[:1])
        await play(place, disk, reader, found)
        end = disk.steps + 1
        left = disk.power_cut(end, clock.random) if power else disk.kill(end, clock.random)
        return await (await place_on(left, clock).queue("t")).backlog("g")

    return simulate(1, main).result


def place_on(disk: FakeDisk, clock: SimulatedClock) -> LogPlace:
    return LogPlace(disk, LogOptions(lanes=1, segment_bytes=4096), clock=clock, threaded=False)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_acknowledgement_that_failed_and_is_made_again_is_kept(code: int) -> None:
    async def play(place: LogPlace, disk: FakeDisk, reader: LogReader, found: list[Delivery]) -> None:
        disk.faults = Faults(fail_at=1, code=code, for_ever=True)
        with pytest.raises(Unavailable):
            await reader.ack(found)
        disk.faults = Faults()
        await reader.ack(found)

    assert left_after(play, power=False) == 0


def test_acknowledgement_that_goes_on_failing_goes_on_saying_so() -> None:
    async def play(place: LogPlace, disk: FakeDisk, reader: LogReader, found: list[Delivery]) -> None:
        disk.faults = Faults(fail_at=1, for_ever=True)
        for _ in range(3):
            with pytest.raises(Unavailable):
                await reader.ack(found)

    assert left_after(play, power=False) == 3


@pytest.mark.parametrize("power", [True, False])
def test_acknowledgements_whose_flush_failed_are_written_anew_from_time_to_time(power: bool) -> None:
    async def play(place: LogPlace, disk: FakeDisk, reader: LogReader, found: list[Delivery]) -> None:
        await reader.ack(found)
        disk.faults = Faults(fail_at=1, verbs=("sync",))
        place.tidy()
        assert disk.faults.bitten
        place.tidy()

    assert left_after(play, power=power) == 0


@pytest.mark.parametrize("power", [True, False])
def test_acknowledgements_whose_last_flush_fails_are_written_anew(power: bool) -> None:
    async def play(place: LogPlace, disk: FakeDisk, reader: LogReader, found: list[Delivery]) -> None:
        await reader.ack(found)
        disk.faults = Faults(fail_at=1, verbs=("sync",))
        await place.close()
        assert disk.faults.bitten

    assert left_after(play, power=power) == 0


def test_close_says_that_acknowledgements_may_come_again() -> None:
    async def play(place: LogPlace, disk: FakeDisk, reader: LogReader, found: list[Delivery]) -> None:
        await reader.ack(found)
        disk.faults = Faults(fail_at=1, verbs=("sync",), for_ever=True)
        with pytest.raises(Unavailable, match="may come again"):
            await place.close()

    assert left_after(play, power=False) == 4


def test_acknowledgement_counts_after_a_write_error_closed_the_log() -> None:
    async def play(place: LogPlace, disk: FakeDisk, reader: LogReader, found: list[Delivery]) -> None:
        disk.faults = Faults(fail_at=1)
        queue = await place.queue("t")
        with pytest.raises(Uncertain):
            await queue.append([found[0].message])
        assert place.journal.failure
        await reader.ack(found)

    assert left_after(play, power=False) == 0


def test_reader_that_has_nothing_to_give_back_closes_on_a_disk_that_fails() -> None:
    async def play(place: LogPlace, disk: FakeDisk, reader: LogReader, found: list[Delivery]) -> None:
        disk.faults = Faults(fail_at=1, for_ever=True)
        with pytest.raises(Unavailable):
            await reader.ack(found)
        await reader.close()

    assert left_after(play, power=False) == 3
