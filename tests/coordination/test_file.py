"""The coordinator of one machine: what the suite asks of all, and what only a directory can go through."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evermq.coordination import held_file
from evermq.coordination.file import FileCoordinator
from evermq.coordination.held_file import HeldFile
from evermq.coordination.open import open as open_coordinator
from evermq.coordinator import Versioned
from evermq.errors import Denied, Fenced, Misconfigured, Unavailable
from evermq.testing.coordinating import CHECKS, check

MEMBER = """
import asyncio, sys
from pathlib import Path
from evermq.coordination.file import FileCoordinator
from evermq.coordination.held_file import HeldFile

async def main():
    coordinator = await FileCoordinator.open(Path(sys.argv[1]))
    await coordinator.join("child", b"here", ttl_ms=1000)
    lease = await coordinator.lease("decider", ttl_ms=1000)
    print(lease.number, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def child(directory: Path) -> subprocess.Popen[bytes]:
    started = subprocess.Popen([sys.executable, "-c", MEMBER, str(directory)], stdout=subprocess.PIPE)
    assert started.stdout
    assert started.stdout.readline() == b"1\n"
    return started


@pytest.mark.parametrize("name", CHECKS)
async def test_file_coordinator_conforms(name: str, tmp_path: Path) -> None:
    await check(name, lambda: FileCoordinator.open(tmp_path / "switch"))


@pytest.mark.parametrize("name", CHECKS)
async def test_remembered_coordinator_conforms(name: str, tmp_path: Path) -> None:
    files = iter(range(100))
    await check(name, lambda: open_coordinator(f"file://{tmp_path}/switch?remember={tmp_path}/kept-{next(files)}"))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
async def test_process_that_is_killed_or_frozen_is_no_member_and_holds_no_lease(end: int, tmp_path: Path) -> None:
    other = child(tmp_path)
    coordinator = await FileCoordinator.open(tmp_path)
    assert await coordinator.members() == {"child": b"here"}
    other.send_signal(end)
    lease = await coordinator.lease("decider", ttl_ms=1000)
    assert lease.number == 2
    while await coordinator.members():
        await asyncio.sleep(0.02)
    other.kill()
    other.communicate()
    await coordinator.close()


@pytest.mark.parametrize(("end", "stays"), [(signal.SIGKILL, False), (signal.SIGSTOP, True), (signal.SIGCONT, True)])
async def test_who_joins_takes_away_what_the_dead_left_and_nothing_else(end: int, stays: bool, tmp_path: Path) -> None:
    other = child(tmp_path)
    other.send_signal(end)
    if end == signal.SIGKILL:
        other.wait()
    coordinator = await FileCoordinator.open(tmp_path)
    await coordinator.join("one", b"", ttl_ms=1000)
    assert set(os.listdir(tmp_path / "members")) == ({"one", "child"} if stays else {"one"})
    other.kill()
    other.communicate()
    await coordinator.close()


async def test_member_that_says_something_else_just_when_others_look_is_not_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = [await FileCoordinator.open(tmp_path) for _ in range(2)]
    member = await one.join("one", b"1", ttl_ms=1_000)
    is_locked, looked = held_file._is_locked, threading.Event()

    def look(fd: int) -> bool:
        if not looked.is_set():
            looked.set()
            asyncio.run_coroutine_threadsafe(member.update(b"2"), loop).result(5)
        return is_locked(fd)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(held_file, "_is_locked", look)
    await other.join("other", b"", ttl_ms=1_000)
    assert await one.members() == {"one": b"2", "other": b""}
    for each in (one, other):
        await each.close()


async def test_who_gives_up_joining_is_no_member(tmp_path: Path) -> None:
    coordinator = await FileCoordinator.open(tmp_path)
    joining = asyncio.ensure_future(coordinator.join("one", b"", ttl_ms=60_000))
    await asyncio.sleep(0)
    joining.cancel()
    await asyncio.wait([joining])
    await coordinator.join("other", b"", ttl_ms=1000)  # waits for the lock, if that is held
    while "one" in await coordinator.members():
        await asyncio.sleep(0.01)
    await coordinator.close()


async def test_who_gives_up_waiting_for_a_lease_has_it_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator = await FileCoordinator.open(tmp_path)
    take, begun, gone = coordinator._take, threading.Event(), threading.Event()

    def late(path: Path, ttl_ms: int) -> HeldFile | None:
        begun.set()
        assert gone.wait(20)
        return take(path, ttl_ms)

    monkeypatch.setattr(coordinator, "_take", late)
    waiting = asyncio.ensure_future(coordinator.lease("decider", ttl_ms=3_600_000))
    assert await asyncio.to_thread(begun.wait, 20)
    waiting.cancel()
    await asyncio.wait([waiting])
    gone.set()
    other = await FileCoordinator.open(tmp_path)
    async with asyncio.timeout(20):
        lease = await other.lease("decider", ttl_ms=1_000)
    assert lease.held
    await coordinator.close()
    await other.close()


async def test_lease_that_was_taken_over_is_no_longer_held(tmp_path: Path) -> None:
    one, other = [await FileCoordinator.open(tmp_path) for _ in range(2)]
    first = await one.lease("decider", ttl_ms=300)
    os.utime(tmp_path / "leases" / "decider", ns=(0, 0))  # as if it had been frozen
    second = await other.lease("decider", ttl_ms=300)
    assert (first.held, second.held) == (False, True)
    await one.close()
    assert second.held
    await other.close()


async def test_wall_clock_that_jumps_takes_nobody_off_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator = await FileCoordinator.open(tmp_path)
    await coordinator.join("one", b"", ttl_ms=1000)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert await coordinator.members() == {"one": b""}
    await coordinator.close()


async def test_value_written_by_hand_has_no_version_and_is_replaced(tmp_path: Path) -> None:
    coordinator = await FileCoordinator.open(tmp_path)
    await coordinator.put(b"mine", version=0)
    (tmp_path / "value").write_bytes(b"by hand")
    assert await coordinator.get() == Versioned(b"by hand", 0)
    with pytest.raises(Fenced):
        await coordinator.put(b"mine", version=1)
    assert await coordinator.put(b"mine", version=0) == Versioned(b"mine", 1)
    await coordinator.close()


async def test_value_is_on_the_device_before_it_takes_the_place_of_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves the one or the other: an empty one would be read as never written."""
    done: list[str] = []
    sync, rename = os.fsync, Path.rename

    def synced(fd: int) -> None:
        sync(fd)
        done.append(f"sync {Path(os.readlink(f'/proc/self/fd/{fd}')).name}")

    def renamed(self: Path, target: Path) -> Path:
        done.append(f"rename {self.name}")
        return rename(self, target)

    coordinator = await FileCoordinator.open(tmp_path / "switch")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    await coordinator.put(b"x", version=0)
    assert done == ["sync .value", "rename .value", "sync switch"]
    await coordinator.close()


async def test_directory_that_vanishes_is_unavailable(tmp_path: Path) -> None:
    coordinator = await FileCoordinator.open(tmp_path / "switch")
    (tmp_path / "switch").rename(tmp_path / "moved")
    for act in (coordinator.get(), coordinator.put(b"", version=0), coordinator.members()):
        with pytest.raises(Unavailable, match="switch"):
            await act
    await coordinator.close()


@pytest.fixture
def nobody() -> Iterator[None]:
    """Root may write everywhere."""
    if os.geteuid():
        yield
        return
    os.seteuid(65_534)
    yield
    os.seteuid(0)


async def test_directory_of_somebody_else_is_denied(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    (tmp_path / "there").mkdir(mode=0o555)
    request.getfixturevalue("nobody")
    for directory in (tmp_path / "there", tmp_path / "there" / "below"):
        with pytest.raises(Denied, match="let"):
            await FileCoordinator.open(directory)


async def test_last_value_is_known_after_a_restart_though_nobody_answers(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/switch?remember={tmp_path}/state/kept"
    first = await open_coordinator(url)
    await first.put(b"degraded", version=0)
    await first.close()
    (tmp_path / "switch" / "value").unlink()
    second = await open_coordinator(url)
    watch = second.watch()
    assert await anext(watch) == Versioned(b"degraded", 1)
    assert await anext(watch) == Versioned(b"", 0)
    assert await anext((await open_coordinator(url)).watch()) == Versioned(b"degraded", 1)
    (tmp_path / "state" / "kept").write_bytes(b"1 00000000\nforged")
    assert await anext((await open_coordinator(url)).watch()) == Versioned(b"", 0)
    await second.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://x/y", "known are file:///directory"),
        ("file://host/dir", "write file:///directory"),
        ("file:///", "write file:///directory"),
        ("file:///d?x=1", "option 'x'"),
        ("zookeeper:///evermq", "write zookeeper://"),
        ("zookeeper://user:pw@h/evermq", "password=env:NAME"),
        ("file:///d?x", "is no URL"),
    ],
)
async def test_wrong_url_is_refused_with_the_way_out(url: str, says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        await open_coordinator(url)


async def test_what_nobody_would_follow_is_not_remembered(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/switch?remember={tmp_path}/kept"
    coordinator = await open_coordinator(url, fits=lambda value: value.startswith(b"good"))
    good = await coordinator.put(b"good", version=0)
    for forged in (b"9\n{garbage", b"10\n", b"9" * 5_000 + b"\ngood", b"rubbish"):
        (tmp_path / "switch" / "value").write_bytes(forged)
        assert (await coordinator.get()).value != b"good"
        assert coordinator.kept() == good
    await coordinator.close()
