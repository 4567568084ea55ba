"""A segment that cannot be made for a moment: no descriptor is left, or the directory may not be written to."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.queue import LogQueue
from evermq.errors import Overloaded, Unavailable, Uncertain
from evermq.message import MessageFactory
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk, FakeFile, Faults
from evermq.testing.simulation.loop import simulate

PASSING = [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM, errno.EROFS]
CALLS = ["create", "rename", "open", "sync_names"]


def place_on(disk: FakeDisk, clock: SimulatedClock) -> LogPlace:
    return LogPlace(disk, LogOptions(lanes=1, segment_bytes=4096, spares_max=2), clock=clock, threaded=False)


@contextmanager
def refused(disk: FakeDisk, call: str, code: int) -> Iterator[None]:
    """Each such call fails and does nothing; some need a descriptor, others leave to write to the directory."""

    def refuse(name: str) -> FakeFile:
        raise disk.faults.error(name)

    if call == "open":
        disk.faults = Faults(code=code)
        disk.open = refuse  # type: ignore[method-assign]
    else:
        disk.faults = Faults(fail_at=1, code=code, for_ever=True, verbs=(call,))
    yield
    disk.faults = Faults()
    disk.__dict__.pop("open", None)


async def append_until_refused(queue: LogQueue, make: MessageFactory) -> list[str]:
    """The bodies of what went in before an append was Unavailable."""
    stored: list[str] = []
    while len(stored) < 1_000:
        body = f"{len(stored)}".ljust(300, "x")
        try:
            await queue.append([make(body)])
        except Overloaded:
            raise
        except Unavailable:
            return stored
        stored.append(body)
    raise AssertionError("nothing was refused")


async def bodies(queue: LogQueue, group: str) -> list[str]:
    reader = await queue.reader(group)
    found = await reader.read(count_max=1_000, wait_ms=0)
    await reader.close()
    return [str(bytes(each.message.body), "ascii") for each in found]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", PASSING, ids=errno.errorcode.get)
def test_append_that_meets_a_passing_shortage_is_unavailable_and_the_next_one_goes_in(call: str, code: int) -> None:
    async def main(clock: SimulatedClock) -> None:
        disk, make = FakeDisk(), MessageFactory(clock)
        place = place_on(disk, clock)
        queue = await place.queue("t")
        await queue.append([make("first")])
        with refused(disk, call, code):
            stored = await append_until_refused(queue, make)
            for _ in range(3):
                with pytest.raises(Unavailable):
                    await queue.append([make("y" * 300)])
            assert not [name for name in disk.names() if name.endswith("-unready")]
            left = disk.kill(disk.steps + 1, random.Random(1))
        await queue.append([make("later")])
        assert await bodies(queue, "g") == ["first", *stored, "later"]
        await place.close()
        again = place_on(FakeDisk(disk.image()), clock)
        assert await bodies(await again.queue("t"), "h") == ["first", *stored, "later"]
        assert not again.damages
        killed = place_on(left, clock)
        assert await bodies(await killed.queue("t"), "h") == ["first", *stored]
        assert not killed.damages

    simulate(1, main)


def test_spare_that_could_not_be_given_its_name_is_not_forgotten() -> None:
    async def main(clock: SimulatedClock) -> None:
        disk, make = FakeDisk(), MessageFactory(clock)
        place = place_on(disk, clock)
        queue = await place.queue("t")
        with refused(disk, "rename", errno.EROFS), pytest.raises(Unavailable):
            await queue.append([make("x")])
        await queue.append([make("x")])
        place.journal.spares.make()
        with refused(disk, "rename", errno.EROFS):
            await append_until_refused(queue, make)
        assert not place.journal.spares.wanted

    simulate(1, main)


def test_write_that_fails_still_closes_the_log() -> None:
    """What was written is not known then, as little as what a flush did."""

    async def main(clock: SimulatedClock) -> None:
        disk, make = FakeDisk(), MessageFactory(clock)
        place = place_on(disk, clock)
        queue = await place.queue("t")
        await queue.append([make("first")])
        disk.faults = Faults(fail_at=1, code=errno.EROFS, verbs=("write",))
        with pytest.raises(Uncertain):
            await queue.append([make("second")])
        with pytest.raises(Unavailable, match="open the directory again"):
            await queue.append([make("third")])

    simulate(1, main)


def test_others_are_read_while_messages_that_are_due_meet_a_passing_shortage(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async def main(clock: SimulatedClock) -> None:
        make, delayed = MessageFactory(clock), "delayed".ljust(300)
        place = place_on(FakeDisk(), clock)
        queue = await place.queue("t")
        await queue.append([make(delayed, delay_ms=1_000)])
        with monkeypatch.context() as patch:
            patch.setattr(place.journal.spares, "before_make", refuse)
            stored = await append_until_refused(queue, make)
            await clock.sleep(2_000)
            assert await bodies(queue, "g") == stored
        await clock.sleep(2_000)
        assert await bodies(queue, "g") == [*stored, delayed]

    simulate(1, main)
