"""What a log does with a directory that a disk gave back older than it said, piece by piece."""

from __future__ import annotations

import pytest
from tests.adapters.test_log_mends import append, append_and_settle, ids_of, place_on

from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.segment import HEADER_BYTES, name_of
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk
from evermq.testing.simulation.loop import simulate

CATALOGS = ("catalog-a", "catalog-b")


def content(disk: FakeDisk, name: str) -> bytes:
    return disk.open(name).pread(1 << 30, 0)


async def fill(place: LogPlace, clock: SimulatedClock) -> list[str]:
    """Append until another segment is begun; returns the messages that are in the old one."""
    sent: list[str] = []
    begun = len(place.journal.segments)
    while len(place.journal.segments) == begun:
        sent += await append(place, clock, 1)
    return sent[:-1]


@pytest.mark.parametrize("gone_bytes", [0, HEADER_BYTES, HEADER_BYTES + 300])
def test_segment_whose_name_was_forgotten_is_not_taken_for_the_next_of_its_number(gone_bytes: int) -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock, spares_max=0)
        await append(place, clock, 1)
        kept = [*await ids_of(place), *await fill(place, clock)]
        await fill(place, clock)
        await place.close()
        disk.remove(name_of(3))
        disk.damage(name_of(2), bytes(gone_bytes) + content(disk, name_of(2))[gone_bytes:])
        disk.rename(name_of(2), "spare-new-00000001")
        place = place_on(disk, clock)
        while len(place.journal.segments) < 2:
            kept += await append(place, clock, 1)
        await place.close()
        assert await ids_of(place_on(disk, clock), group="later") == kept

    simulate(1, main)


def test_number_of_a_forgotten_topic_is_not_given_again() -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock)
        await append(place, clock, 1, "kept")
        older = {name: content(disk, name) for name in CATALOGS}
        await append(place, clock, 2, "forgotten")
        await place.close()
        for name in CATALOGS:
            disk.damage(name, older[name])
        place = place_on(disk, clock)
        sent = await append(place, clock, 1, "new")
        assert await ids_of(place, "new") == sent

    simulate(1, main)


def test_number_of_a_forgotten_group_is_not_given_again() -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock)
        sent = await append(place, clock, 3)
        older = {name: content(disk, name) for name in CATALOGS}
        await append_and_settle(place, clock, 0)
        await place.close()
        for name in CATALOGS:
            disk.damage(name, older[name])
        place = place_on(disk, clock)
        assert await ids_of(place, group="other") == sent
        await place.close()
        assert await ids_of(place_on(disk, clock), group="other") == sent

    simulate(1, main)
