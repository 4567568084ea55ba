"""Catalogs: of another shape, of the format before, torn, rotten, and with many topics."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Sequence
from pathlib import Path

import crc32c
import pytest

from evermq.adapters.log import catalog
from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.verify import verify
from evermq.errors import Damaged, Unavailable
from evermq.message import MessageFactory
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk, FakeFile, Faults
from evermq.testing.simulation.loop import simulate

_GROUP = b'{"number":2,"topic":1,"name":"g","starts":[0]}'
_TOPIC = b'{"number":1,"name":"t","lanes":1,"created_ms":0}'
SHAPES = [
    b"[]",
    b"7",
    b"no json",
    b'{"format":"x"}',
    b'{"generation":9}',
    b'{"format":1,"topics":7}',
    b'{"format":1,"generation":9,"groups":[%s]}' % _GROUP,
    b'{"format":1,"generation":9,"topics":[%s],"groups":[%s]}' % (_TOPIC, _GROUP.replace(b"[0]", b"[]")),
    b'{"format":1,"generation":9,"topics":[%s]}' % _TOPIC.replace(b'"lanes":1', b'"lanes":-1'),
]


_FORMAT_1 = b"""{
 "format": 1,
 "generation": 3,
 "numbers": 2,
 "topics": [{"number": 1, "name": "t", "lanes": 1, "created_ms": 0}],
 "groups": [{"number": 2, "topic": 1, "name": "g", "starts": [0]}]
}"""


def write(directory: Path, copy: str, content: bytes) -> None:
    (directory / copy).write_bytes(b"%08x\n%s\n" % (crc32c.crc32c(content), content))


async def log_in(directory: Path) -> None:
    place = await LogPlace.open(directory, lanes=1)
    await (await place.queue("t")).append([MessageFactory()(b"body")])
    await place.close()


@pytest.mark.parametrize("content", SHAPES)
async def test_catalog_of_another_shape_is_damaged(tmp_path: Path, content: bytes) -> None:
    await log_in(tmp_path)
    for copy in ("catalog-a", "catalog-b"):
        write(tmp_path, copy, content)
    with pytest.raises(Damaged, match="catalog-a and catalog-b are both damaged"):
        await LogPlace.open(tmp_path)
    assert not verify(tmp_path).ok


@pytest.mark.parametrize("content", SHAPES)
async def test_one_copy_of_another_shape_is_made_up_for_by_the_other(tmp_path: Path, content: bytes) -> None:
    await log_in(tmp_path)
    write(tmp_path, "catalog-a", content)
    place = await LogPlace.open(tmp_path)
    assert await place.topics() == ["t"]
    assert place.catalog.damaged == ["catalog-a"]
    await place.close()


async def test_catalog_of_format_1_is_read_and_goes_on(tmp_path: Path) -> None:
    await log_in(tmp_path)
    for copy in ("catalog-a", "catalog-b"):
        write(tmp_path, copy, _FORMAT_1)
    for _ in range(2):
        assert verify(tmp_path).ok
        place = await LogPlace.open(tmp_path, lanes=1)
        assert not place.catalog.damaged
        assert "t" in await place.topics()
        assert set((await place.describe("t")).groups) == {"g"}
        await place.create("another", groups=["h"])
        await place.close()


async def make_many(disk: FakeDisk, clock: SimulatedClock, count: int) -> list[str]:
    place = LogPlace(disk, LogOptions(lanes=2), clock=clock, threaded=False)
    names = [f"topic-{number}" for number in range(count)]
    for name in names:
        await place.create(name, groups=["g"])
    for name in names[::3]:
        await place.drop(name)
        names.remove(name)
    await place.close()
    return sorted(names)


def test_each_topic_and_group_writes_what_is_new_and_not_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    real, written = FakeFile.pwrite, [0]

    def pwrite(self: FakeFile, parts: Sequence[bytes | bytearray | memoryview], offset: int, *, sync: bool) -> None:
        written[-1] += sum(map(len, parts))
        real(self, parts, offset, sync=sync)

    async def main(clock: SimulatedClock) -> None:
        for count in (100, 400):
            disk = FakeDisk()
            written.append(0)
            names = await make_many(disk, clock, count)
            assert await LogPlace(disk, LogOptions(), clock=clock, threaded=False).topics() == names
        _, few, many = written
        assert many < 10 * few  # where each wrote all that is there it would be 16 times as much

    monkeypatch.setattr(FakeFile, "pwrite", pwrite)
    simulate(1, main)


def test_crash_at_any_step_keeps_every_topic_that_was_made_and_none_that_was_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalog, "_CHANGES_BYTES", 300)  # so that it is written anew now and then

    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = LogPlace(disk, LogOptions(lanes=1), clock=clock, threaded=False)
        there: dict[int, set[str]] = {0: set()}
        for number in range(24):
            await (place.drop(f"t{number - 9}") if number % 4 == 3 and number > 8 else place.create(f"t{number}"))
            there[disk.steps] = set(await place.topics())
        for step in range(1, disk.steps + 2):
            before = max(each for each in there if each < step)
            after = min((each for each in there if each >= step), default=before)
            for crash in (disk.power_cut, disk.kill):
                left = crash(step, clock.random)
                again = LogPlace(left, LogOptions(), clock=clock, threaded=False)
                found = set(await again.topics())
                assert found in (there[before], there[after]), step
                await again.create("later")
                assert set(await LogPlace(left, LogOptions(), clock=clock, threaded=False).topics()) == {
                    *found,
                    "later",
                }

    simulate(1, main)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_topic_that_was_refused_is_not_there_and_those_that_were_not_are(code: int) -> None:
    async def main(clock: SimulatedClock) -> None:
        for call in range(1, 60):
            disk = FakeDisk(faults=Faults(fail_at=call + 20, code=code))
            place = LogPlace(disk, LogOptions(lanes=1), clock=clock, threaded=False)
            made = set()
            for number in range(12):
                with contextlib.suppress(Unavailable):
                    await place.create(f"t{number}")
                    made.add(f"t{number}")
            assert set(await place.topics()) == made
            left = disk.power_cut(disk.steps + 1, clock.random)
            again = LogPlace(left, LogOptions(), clock=clock, threaded=False)
            found = set(await again.topics())
            assert made <= found, call
            assert len(found - made) <= (f"t{number}" not in made), call  # the last one may be in the first copy

    simulate(1, main)


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
async def test_bit_that_flips_in_a_change_is_made_up_for_by_the_other_copy_and_told_in_both(
    tmp_path: Path, where: float
) -> None:
    await log_in(tmp_path)
    place = await LogPlace.open(tmp_path, lanes=1)
    for number in range(5):
        await place.create(f"topic-{number}")
    await place.close()
    paths = [tmp_path / "catalog-a", tmp_path / "catalog-b"]
    whole = paths[0].read_bytes()
    assert whole == paths[1].read_bytes()
    begin = int(whole.split(maxsplit=2)[1])
    at = begin + int((len(whole) - begin) * where)
    rotten = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    paths[0].write_bytes(rotten)
    place = await LogPlace.open(tmp_path)
    assert place.catalog.damaged == ["catalog-a"]
    assert len(await place.topics()) == 6
    await place.close()
    paths[1].write_bytes(rotten)
    with pytest.raises(Damaged, match="both damaged"):
        await LogPlace.open(tmp_path)
