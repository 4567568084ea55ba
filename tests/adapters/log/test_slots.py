"""Slots of a host: their memory survives a kill and not a power loss, and names find their own again."""

import asyncio
import errno
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.slot_memory import SlotMemory, is_marked_empty
from evermq.adapters.log.slots import LogSlots
from evermq.adapters.open import open_log
from evermq.errors import Closed, Misconfigured, Unavailable
from evermq.message import MessageFactory

OPTIONS = LogOptions(segment_bytes=1 << 20)
BOOT, LATER = b"a" * 16, b"b" * 16
FORKING = """
import asyncio, os, sys
from pathlib import Path
from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.slots import LogSlots
from evermq.adapters.open import open_log

slot = asyncio.run(LogSlots(Path(sys.argv[1]), "orders", open_log, options=LogOptions(), producer="till/7").own())
if os.fork() == 0:
    slot.mark(empty=False)
    print("forked", flush=True)
    sys.stdin.read()
os._exit(0)
"""


def slots(directory: Path, producer: str | None = None) -> LogSlots:
    opened = partial(open_log, segment_bytes=OPTIONS.segment_bytes)
    return LogSlots(directory, "orders", opened, options=OPTIONS, producer=producer, own_ms_max=200)


def test_memory_is_as_it_was_left(tmp_path: Path) -> None:
    first = SlotMemory(tmp_path / "memory", boot=BOOT)
    first.area(32)[:5] = b"first"
    first.is_empty = False
    first.close()
    second = SlotMemory(tmp_path / "memory", boot=BOOT)
    assert bytes(second.area(64)) == b"first".ljust(64, b"\0")
    assert (second.incarnation, second.was_kept, second.is_empty) == (1, True, False)
    assert second.token == first.token


def test_memory_that_was_closed_holds_no_file_and_marks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    memory = SlotMemory(path, boot=BOOT)
    memory.is_empty = False
    memory.area(32)[:5] = b"first"
    memory.close()
    memory.close()
    assert path not in [each.resolve() for each in Path("/proc/self/fd").iterdir()]
    memory.is_empty = True  # the slot may be another's by now
    assert not SlotMemory(path, boot=BOOT).is_empty


def test_memory_after_another_start_of_the_machine_is_zeros_and_a_new_incarnation(tmp_path: Path) -> None:
    first = SlotMemory(tmp_path / "memory", boot=BOOT)
    first.area(32)[:5] = b"first"
    first.close()
    second = SlotMemory(tmp_path / "memory", boot=LATER)
    assert bytes(second.area(32)) == bytes(32)
    assert (second.incarnation, second.was_kept, second.is_empty) == (2, False, False)


@pytest.mark.parametrize("rest", [b"", b"torn", bytes(64), b"\xff" * 64], ids=["gone", "short", "zeros", "rubbish"])
def test_memory_that_was_lost_is_a_new_incarnation(tmp_path: Path, rest: bytes) -> None:
    for _ in range(2):
        SlotMemory(tmp_path / "memory", boot=BOOT).close()
    (tmp_path / "memory").write_bytes(rest)
    found = SlotMemory(tmp_path / "memory", boot=BOOT)
    assert (found.incarnation, found.was_kept) == (2, False)


@pytest.mark.parametrize("is_back", [False, True], ids=["copied", "put back"])
def test_memory_that_is_a_copy_of_another_one_is_a_new_incarnation(tmp_path: Path, is_back: bool) -> None:
    """Its numbers were given since by whoever had the original, and would be taken for doubles."""
    slot, backup = tmp_path / "0", tmp_path / "backup"
    slot.mkdir()
    first = SlotMemory(slot / "memory", boot=BOOT)
    first.area(32)[:5] = b"first"
    first.is_empty = True
    first.close()
    shutil.copytree(slot, backup)
    if is_back:
        shutil.rmtree(slot)
        shutil.copytree(backup, slot)  # often under the same numbers of inodes
    found = SlotMemory((slot if is_back else backup) / "memory", boot=BOOT)
    assert bytes(found.area(32)) == bytes(32)
    assert (found.incarnation, found.was_kept, found.is_empty) == (2, False, False)
    assert found.token != first.token  # so that the name of its slot is another one's as well
    if not is_back:
        assert SlotMemory(slot / "memory", boot=BOOT).was_kept


def test_mark_of_a_memory_that_is_a_copy_says_nothing(tmp_path: Path) -> None:
    SlotMemory(tmp_path / "memory").close()
    assert is_marked_empty(tmp_path / "memory")
    shutil.copy(tmp_path / "memory", tmp_path / "copy")
    assert not is_marked_empty(tmp_path / "copy")


async def test_each_process_has_the_first_slot_that_is_free(tmp_path: Path) -> None:
    first, second, third = slots(tmp_path), slots(tmp_path), slots(tmp_path)
    names = [(await each.own()).name.rpartition("-")[2] for each in (first, second)]
    assert names == ["0", "1"]
    await first.close()
    assert (await third.own()).name.endswith("-0")
    await second.close()
    await third.close()


async def test_slot_that_is_marked_as_empty_is_not_opened_to_count(tmp_path: Path) -> None:
    holder, asking = slots(tmp_path), slots(tmp_path)
    slot = await holder.own()
    queue = await slot.queue()
    slot.mark(empty=False)
    await queue.append([MessageFactory()("a book")])
    assert await asking.backlog("pump") == 1
    slot.mark(empty=True)
    assert is_marked_empty(tmp_path / "0" / "memory")
    assert await asking.backlog("pump") == 0
    await holder.close()


async def test_name_that_another_process_has_is_refused_and_free_again_after_it(tmp_path: Path) -> None:
    first, second = slots(tmp_path, "till/7"), slots(tmp_path, "till/7")
    await first.own()
    with pytest.raises(Unavailable, match="till/7"):
        await second.own()
    await first.close()
    assert (await second.own()).is_named
    await second.close()


async def take_over(found: LogSlots) -> None:
    slot = await found.own()
    assert slot.is_empty, "a worker has nothing to say about the slot of its parent"
    await found.close()


def test_slot_is_free_when_its_process_is_gone_though_a_worker_that_it_forked_lives_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"forked\n"
        process.wait()
        asyncio.run(take_over(slots(tmp_path, "till/7")))


@pytest.mark.parametrize("name", ["", "x" * 201, "é" * 100])
def test_name_that_no_directory_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Misconfigured, match="producer"):
        slots(tmp_path, name)


async def test_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="choose another directory"):
        await slots(tmp_path / "file").own()


def test_memory_for_which_there_is_no_room_is_an_error_and_not_the_end_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    memory = SlotMemory(tmp_path / "memory", boot=BOOT)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match="No space"):
            memory.area(1 << 20)
    memory.area(1 << 20)[:5] = b"first"
    assert (tmp_path / "memory").stat().st_blocks * 512 >= 1 << 20
    memory.close()


async def test_slot_without_room_for_its_memory_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    found = slots(tmp_path)
    slot = await found.own()
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(Unavailable, match="free"):
            slot.memory(1 << 20)
    assert len(slot.memory(1 << 20)) == 1 << 20
    await found.close()


async def test_slot_that_was_left_is_not_opened_again(tmp_path: Path) -> None:
    """Its log is another process's by now, perhaps."""
    found = slots(tmp_path)
    slot = await found.own()
    await (await slot.queue()).append([MessageFactory()("x")])
    slot.mark(empty=False)
    assert await found.backlog("pump") == 1
    await slot.release()
    with pytest.raises(Unavailable, match="left to others"):
        await slot.queue()
    assert await found.backlog("pump") == 1


async def test_slot_that_is_waited_for_is_not_taken_any_more_once_the_slots_are_closed(tmp_path: Path) -> None:
    """Nobody would give it back as long as the process lives."""
    holder, waiting, following = (slots(tmp_path, "till") for _ in range(3))
    await holder.own()
    owning = asyncio.create_task(waiting.own())
    while not (tmp_path / "=till" / "wanted").exists():
        await asyncio.sleep(0)
    await waiting.close()
    await holder.close()
    with pytest.raises(Closed):
        await owning
    await following.own()
    await following.close()
