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


def test_rename_takes_along_its_own_file_whatever_else_is_forgotten() -> None:
    disk = FakeDisk()
    disk.create("a", 0).pwrite([b"old"], 0, sync=True)
    disk.sync_names()
    disk.remove("a")
    disk.create("a", 0).pwrite([b"new"], 0, sync=True)
    disk.rename("a", "b")
    assert after_cuts(disk, "a") == {b"old", b"new", b"(no name)"}
    assert after_cuts(disk, "b") == {b"new", b"(no name)"}


def test_kill_keeps_all_that_was_written() -> None:
    disk = FakeDisk()
    disk.create("a", 0).pwrite([b"one"], 0, sync=False)
    assert disk.kill(disk.steps + 1, random.Random(1)).open("a").pread(9, 0) == b"one"


def test_kill_leaves_what_was_written_as_volatile_as_it_was() -> None:
    disk = FakeDisk()
    disk.create("a", 4).sync()
    disk.sync_names()
    disk.open("a").pwrite([b"next"], 0, sync=False)
    assert after_cuts(disk.kill(disk.steps + 1, random.Random(1)), "a") == {bytes(4), b"next"}


def test_rot_is_in_the_cache_and_on_the_device() -> None:
    disk = FakeDisk()
    disk.create("a", 4).sync()
    disk.sync_names()
    disk.rot("a", 1, 0)
    file = disk.open("a")
    assert file.pread(4, 0) == file.pread(4, 0, uncached=True) == b"\0\1\0\0"
    assert after_cuts(disk, "a") == {b"\0\1\0\0"}


@pytest.mark.parametrize("for_ever", [False, True])
@pytest.mark.parametrize("verb", ["create", "write", "sync", "rename", "remove", "sync_names"])
def test_every_kind_of_call_can_fail_once_and_for_ever(verb: str, for_ever: bool) -> None:
    disk = FakeDisk(faults=Faults(fail_at=1, for_ever=for_ever, verbs=(verb,)))

    def round_of_everything() -> None:
        file = disk.create("a", 0)
        try:
            file.pwrite([b"one"], 0, sync=False)
            file.sync()
        finally:
            disk.rename("a", "b")
            disk.remove("b")
        disk.sync_names()

    with pytest.raises(OSError, match="Input/output"):
        round_of_everything()
    for name in disk.names():
        disk.faults.fail_at, fail_at = 0, disk.faults.fail_at
        disk.remove(name)
        disk.faults.fail_at = fail_at
    if for_ever:
        with pytest.raises(OSError, match="Input/output"):
            round_of_everything()
    else:
        round_of_everything()
    assert disk.faults.bitten == 1 + for_ever


def test_lying_sync_loses() -> None:
    disk = FakeDisk(faults=Faults(lying_sync=1.0))
    file = disk.create("a", 0)
    file.pwrite([b"one"], 0, sync=True)
    file.sync()
    disk.sync_names()
    assert b"" in after_cuts(disk, "a")
    assert disk.faults.bitten == 3


def test_sync_lies_now_and_then() -> None:
    disk = FakeDisk(faults=Faults(lying_sync=0.5))
    file = disk.create("a", 100)
    file.sync()
    file.sync()
    disk.sync_names()
    disk.sync_names()
    for at in range(100):
        file.pwrite([b"x"], at, sync=True)
    assert 20 < disk.faults.bitten < 80
    disk.faults.lying_sync = 0.0
    file.sync()
    disk.sync_names()
    assert after_cuts(disk, "a") == {b"x" * 100}


def test_failed_flush_shows_the_new_data_and_keeps_the_old() -> None:
    disk = FakeDisk()
    file = disk.create("a", 0)
    file.pwrite([b"old"], 0, sync=True)
    disk.sync_names()
    disk.faults.verbs, disk.faults.fail_at = ("sync",), 1
    disk.faults.calls = 0
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
