"""Readers of one group in several event loops: what one looks at, another one changes."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from threading import RLock, Thread
from typing import Any

import pytest

from evermq.adapters.log.lane_cursor import Park
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.topic import Topic
from evermq.message import MessageFactory
from evermq.port import Start

WAITS_S = 0.02

make = MessageFactory()


class Changing(dict[Any, Any]):
    """Another thread changes it while it is looked at, if the lock lets it."""

    lock: RLock
    change: Callable[[], None]

    def values(self) -> Iterator[Any]:  # type: ignore[override]
        for value in super().values():
            self._elsewhere()
            yield value

    def items(self) -> Iterator[Any]:  # type: ignore[override]
        for item in super().items():
            self._elsewhere()
            yield item

    def _elsewhere(self) -> None:
        thread = Thread(target=self._change)
        thread.start()
        thread.join()

    def _change(self) -> None:
        if self.lock.acquire(timeout=WAITS_S):
            try:
                self.change()
            finally:
                self.lock.release()


def elsewhere(act: Callable[[], Coroutine[Any, Any, object]]) -> Thread:
    """Done in another loop, as far as it gets for now."""
    thread = Thread(target=lambda: asyncio.run(act()))
    thread.start()
    thread.join(WAITS_S)
    return thread


async def opened(path: Path) -> tuple[LogPlace, Any, Any]:
    place = await LogPlace.open(path, lanes=1)
    queue = await place.queue("orders")
    readers = [await queue.reader("shipping") for _ in range(2)]
    return place, readers[0], readers[0]._group


@pytest.mark.parametrize("name", ["parks", "readers"])
async def test_reader_that_waits_looks_at_its_group_while_no_other_changes_it(tmp_path: Path, name: str) -> None:
    place, reader, group = await opened(tmp_path)
    cursor = group.cursors[0]
    changing = Changing(group.readers) if name == "readers" else Changing({b"a key": Park(1 << 62, [0])})
    changing.lock = place.lock
    changing.change = lambda: changing.update({object(): {} if name == "readers" else Park(1 << 62, [1])})
    setattr(group if name == "readers" else cursor, name, changing)
    assert await reader.read(count_max=1, wait_ms=500) == []
    await place.close()


async def test_reader_whose_loop_is_gone_disturbs_nobody(tmp_path: Path) -> None:
    place = await LogPlace.open(tmp_path, lanes=1)
    queue = await place.queue("orders")

    async def read_and_vanish() -> None:
        reader = await queue.reader("shipping")
        await reader.read(count_max=1, wait_ms=0)

    await queue.append([make("a lamp")])
    await asyncio.to_thread(asyncio.run, read_and_vanish())
    reader = await queue.reader("shipping")
    await reader.close()
    await place.close()


async def test_topic_that_is_dropped_elsewhere_gets_no_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group without its topic is no catalog that can be read."""
    place, _, _ = await opened(tmp_path)
    topic, check = place.topics_by_number[1], Topic.check
    threads: list[Thread] = []

    def checked(self: Topic) -> None:
        check(self)
        if not threads:
            threads.append(elsewhere(lambda: place.drop("orders")))

    monkeypatch.setattr(Topic, "check", checked)
    topic.group("billing", Start.OLDEST)
    threads[0].join()
    await place.close()
    place = await LogPlace.open(tmp_path)
    assert await place.topics() == []
    await place.close()


async def test_two_that_make_a_topic_at_a_time_have_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, look = await LogPlace.open(tmp_path), LogPlace._topic
    threads: list[Thread] = []

    def looked(self: LogPlace, name: str) -> Topic | None:
        found = look(self, name)
        if not threads:
            threads.append(elsewhere(lambda: place.queue("orders")))
        return found

    monkeypatch.setattr(LogPlace, "_topic", looked)
    await place.queue("orders")
    threads[0].join()
    assert len(place.catalog.topics) == 1
    await place.close()


async def test_group_that_is_made_elsewhere_meanwhile_is_kept(tmp_path: Path) -> None:
    place, _, _ = await opened(tmp_path)
    topic = place.topics_by_number[1]
    threads: list[Thread] = []
    made = []

    class Groups(dict[str, Any]):
        """Another one makes it behind the look that finds none."""

        def get(self, name: str, default: Any = None) -> Any:
            found = super().get(name, default)
            self._make_elsewhere()
            return found

        def __contains__(self, name: object) -> bool:
            found = super().__contains__(name)
            self._make_elsewhere()
            return found

        def __setitem__(self, name: str, group: Any) -> None:
            made.append(name)
            super().__setitem__(name, group)

        def _make_elsewhere(self) -> None:
            if not threads:
                threads.append(elsewhere(lambda: place.create("orders", groups=["billing"])))

    topic.groups = Groups(topic.groups)
    await place.create("orders", groups=["billing"])
    threads[0].join()
    assert made == ["billing"]
    await place.close()
