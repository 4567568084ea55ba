"""A device refuses writes with EIO and takes them again: the log goes on, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
from pathlib import Path

import pytest
from tests.e2e.failing_device import FailingDevice, why_not
from tests.e2e.rig import needs

from evermq.adapters.log.verify import verify
from evermq.adapters.open import open_log
from evermq.errors import EvermqError, Unavailable, Uncertain
from evermq.message import Message, MessageFactory
from evermq.port import Place, Queue

OPTIONS = {"segment_bytes": 256 << 10, "lanes": 2, "interval_ms": 20}


class Told:
    """What became of each message, by id."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self.errors: list[EvermqError] = []
        self._make = MessageFactory()

    async def append(self, queue: Queue) -> bool:
        """A few messages that no compression makes small; whether they were taken."""
        batch: list[Message] = [self._make(os.urandom(6_000), key=f"k{number}") for number in range(5)]
        try:
            await queue.append(batch)
        except (Unavailable, Uncertain) as error:
            self.errors.append(error)
            self.refused += [message.id for message in batch if isinstance(error, Unavailable)]
            return False
        self.acknowledged += [message.id for message in batch]
        return True

    async def until(self, queue: Queue, *, taken: bool) -> None:
        async with asyncio.timeout(60):
            while await self.append(queue) is not taken:
                await asyncio.sleep(0.02)


async def stored(place: Place) -> list[str]:
    reader = await (await place.queue("orders")).reader("audit")
    found: list[str] = []
    while more := await reader.read(count_max=500, wait_ms=0):
        found += [delivery.message.id for delivery in more]
        await reader.ack(more)
    await reader.close()
    return found


def agree(told: Told, found: list[str]) -> None:
    assert set(told.acknowledged) <= set(found), "acknowledged and lost"
    assert not set(told.refused) & set(found), "refused for certain, and stored"
    assert len(found) == len(set(found)), "stored twice"


async def test_log_on_a_device_that_fails_and_comes_back_goes_on_by_itself(tmp_path: Path) -> None:
    needs(why_not())
    told = Told()
    with FailingDevice(tmp_path, 64, has_journal=False) as device:
        place = await open_log(device.mount_point / "log", **OPTIONS)
        try:
            queue = await place.queue("orders")
            for _ in range(2):
                for _ in range(10):
                    assert await told.append(queue)
                told.errors.clear()
                device.fail()
                await told.until(queue, taken=False)
                assert isinstance(told.errors[0], Uncertain)
                for _ in range(10):
                    assert not await told.append(queue)
                assert isinstance(told.errors[-1], Unavailable)
                device.heal()
                await told.until(queue, taken=True)
            agree(told, await stored(place))
        finally:
            await place.close()
        assert verify(device.mount_point / "log").ok


async def test_file_system_that_is_read_only_afterwards_is_read_and_goes_on_once_it_is_mounted_again(
    tmp_path: Path,
) -> None:
    needs(why_not())
    told = Told()
    with FailingDevice(tmp_path, 64, has_journal=True) as device:
        await _life_that_ends_read_only(device, told)
        told.errors.clear()
        gc.collect()  # files whose flush failed are closed when nobody remembers the error
        device.unmount()
        device.mount()
        place = await open_log(device.mount_point / "log", **OPTIONS)
        assert await told.append(await place.queue("orders"))
        agree(told, await stored(place))
        await place.close()
        assert verify(device.mount_point / "log").ok


def _make_a_file(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


async def _life_that_ends_read_only(device: FailingDevice, told: Told) -> None:
    place = await open_log(device.mount_point / "log", **OPTIONS)
    try:
        queue = await place.queue("orders")
        for _ in range(10):
            assert await told.append(queue)
        reader = await queue.reader("meanwhile")
        device.fail()
        await told.until(queue, taken=False)
        with pytest.raises(OSError) as refused:  # its journal cannot be written: it gives up
            _make_a_file(device.mount_point / "mine")
        device.heal()
        assert refused.value.errno in (errno.EIO, errno.EROFS)
        with pytest.raises(OSError, match="Read-only"):
            _make_a_file(device.mount_point / "another")
        for _ in range(10):
            assert not await told.append(queue)
        assert isinstance(told.errors[-1], Unavailable)
        assert await reader.read(count_max=1, wait_ms=0)
    finally:
        with contextlib.suppress(Unavailable):  # what was read meanwhile could not be written down
            await place.close()
