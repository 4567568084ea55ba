"""The fake disk forgets what a real one may forget, and nothing else."""

import errno
import random

import pytest

from evermq.testing.simulation.disk import FakeDisk, Faults


def after_cuts(disk: FakeDisk, name: str) -> set[bytes]:
    return {
        bytes(cut.open(name).pread(9999, 0)) if name in cut.names() else b"(no name)"
        for cut in (disk.power_cut(disk.steps + 1, random.Random(seed)) for seed in range(60))
    }


def test_synced_write_and_name_survive_every_power_cut() -> None:
    disk = FakeDisk()
    file = disk.create("a", 0)
    file.pwrite([b"one"], 0, sync=False)
    file.sync()
    disk.sync_names()
    assert after_cuts(disk, "a") == {b"one"}


def test_unsynced_write_may_or_may_not_survive() -> None:
    disk = FakeDisk()
    file = disk.create("a", 4)
    file.sync()
    disk.sync_names()
    file.pwrite([b"next"], 0, sync=False)
    assert after_cuts(disk, "a") == {bytes(4), b"next"}


def test_write_tears_at_sectors() -> None:
    disk = FakeDisk()
    file = disk.create("a", 1024)
    file.sync()
    disk.sync_names()
    file.pwrite([b"x" * 1024], 0, sync=False)
    found = after_cuts(disk, "a")
    assert {bytes(1024), b"x" * 1024, b"x" * 512 + bytes(512), bytes(512) + b"x" * 512} == found


def test_name_without_a_directory_sync_may_be_gone() -> None:
    disk = FakeDisk()
    disk.create("a", 0).sync()
    assert b"(no name)" in after_cuts(disk, "a")


def test_kill_keeps_all_that_was_written() -> None:
    disk = FakeDisk()
    disk.create("a", 0).pwrite([b"one"], 0, sync=False)
    assert disk.kill(disk.steps + 1, random.Random(1)).open("a").pread(9, 0) == b"one"


def test_lying_sync_loses() -> None:
    disk = FakeDisk(faults=Faults(lying_sync=True))
    file = disk.create("a", 0)
    file.pwrite([b"one"], 0, sync=True)
    file.sync()
    disk.sync_names()
    assert b"" in after_cuts(disk, "a")


def test_failed_flush_shows_the_new_data_and_keeps_the_old() -> None:
    disk = FakeDisk()
    file = disk.create("a", 0)
    file.pwrite([b"old"], 0, sync=True)
    disk.sync_names()
    disk.faults.eio_syncs.add(disk.faults.syncs + 1)
    file.pwrite([b"new"], 0, sync=False)
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    file.sync()  # says OK
    assert file.pread(9, 0) == b"new"
    assert file.pread(9, 0, uncached=True) == b"old"
    assert after_cuts(disk, "a") == {b"old"}


def test_full_disk_refuses_to_grow() -> None:
    disk = FakeDisk()
    file = disk.create("a", 10)
    disk.faults.full = True
    file.pwrite([b"fits"], 0, sync=False)
    with pytest.raises(OSError) as caught:
        disk.create("b", 1)
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(OSError) as caught:
        file.pwrite([b"grows"], 8, sync=False)
    assert caught.value.errno == errno.ENOSPC
