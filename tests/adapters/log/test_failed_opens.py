"""An open that fails leaves neither threads nor files behind, and says what to do."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from evermq.adapters.log.cursor_file import Change, CursorFile
from evermq.adapters.log.place import LogPlace
from evermq.errors import Unavailable
from evermq.message import MessageFactory

make = MessageFactory()


async def fill(directory: Path) -> None:
    place = await LogPlace.open(directory)
    queue = await place.queue("orders")
    await queue.append([make("kept")])
    await place.close()


async def assert_opens(directory: Path) -> None:
    place = await LogPlace.open(directory)
    reader = await (await place.queue("orders")).reader("audit")
    assert [each.message.body for each in await reader.read(count_max=10, wait_ms=0)] == [b"kept"]
    await place.close()


def held() -> set[object]:
    return {*threading.enumerate(), *os.listdir("/dev/fd")}


async def test_unreadable_cursors_leave_no_thread_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(tmp_path)

    def fail(_: CursorFile) -> Iterator[Change]:
        raise OSError(errno.EIO, "Input/output error")

    before = held()
    with monkeypatch.context() as patch:
        patch.setattr(CursorFile, "load", fail)
        for _ in range(3):
            with pytest.raises(Unavailable, match="Input/output error"):
                await LogPlace.open(tmp_path)
    assert held() <= before
    await assert_opens(tmp_path)


@pytest.mark.parametrize("started", [0, 1])
async def test_want_of_threads_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: int) -> None:
    await fill(tmp_path)
    left, real = [started], threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        real(thread)

    before = held()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(Unavailable, match="thread"):
            await LogPlace.open(tmp_path)
    assert held() <= before
    await assert_opens(tmp_path)
