"""What readers of a group share, over a proxy whose answers come bit by bit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from tests.ha.test_probe import Later

from evermq.adapters.rocketmq.content import fill
from evermq.adapters.rocketmq.group import Group
from evermq.adapters.rocketmq.options import RocketOptions
from evermq.adapters.rocketmq.protocol import definition, service
from evermq.adapters.rocketmq.proxy import Proxy
from evermq.adapters.rocketmq.reader import RocketReader
from evermq.adapters.rocketmq.topic import Topic
from evermq.clock import SYSTEM
from evermq.errors import Denied, EvermqError, Fenced, NoSuchTopic, Unavailable, Uncertain
from evermq.message import MessageFactory
from evermq.port import Delivery, Start

message = MessageFactory()


class Halting:
    """A proxy that hands out two messages of one key, the second of them when it is allowed to."""

    where, turn, timeout_s = "here", 0, 5.0

    def __init__(self) -> None:
        self.one_is_out, self.go_on = asyncio.Event(), asyncio.Event()

    async def receive(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        for text in ("first", "second"):
            wire = service.ReceiveMessageResponse().message
            fill(wire, message(text, key="k"))
            yield wire
            self.one_is_out.set()
            await self.go_on.wait()

    async def ask(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(receipt_handle="another")


class Breaking:
    """A proxy that ends the first request for messages as it is told, and answers the second one."""

    where, turn, timeout_s = "here", 0, 5.0

    def __init__(self, end: BaseException) -> None:
        self.end: BaseException | None = end

    async def receive(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        end, self.end = self.end, None
        if end:
            raise end
        wire = service.ReceiveMessageResponse().message
        fill(wire, message("there"))
        yield wire

    async def ask(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(receipt_handle="another")


class Settling:
    """A proxy that hands out four messages, and answers acknowledgements as it is told: by the code of each message
    (OK where none is named) or by one error for all."""

    where, turn, timeout_s = "here", 0, 5.0
    check = staticmethod(Proxy.check)

    def __init__(self) -> None:
        self.codes: dict[str, str] = {}
        self.error: EvermqError | None = None
        self.asked: list[list[str]] = []

    async def receive(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        if not self.asked:
            for name in "abcd":
                wire = service.ReceiveMessageResponse().message
                fill(wire, message(name))
                wire.system_properties.receipt_handle = name
                yield wire

    async def ask(self, call: str, request: Any, *_: Any, **__: Any) -> Any:
        if call != "AckMessage":
            return SimpleNamespace(receipt_handle="")
        names = {each.message_id: each.receipt_handle for each in request.entries}
        self.asked.append(list(names.values()))
        if self.error:
            raise self.error
        answer = service.AckMessageResponse()
        for id, name in reversed(names.items()):  # in whatever order
            code = definition.Code.Value(self.codes.get(name, "OK"))
            answer.entries.add(message_id=id, receipt_handle=name).status.code = code
        return answer


class Growing:
    """A place whose topic has these queues by now, and a proxy that writes down which broker it is asked for, and has
    nothing. lacks: what keeps the group from beginning there."""

    where, turn, timeout_s = "here", 0, 5.0

    def __init__(self) -> None:
        self.proxy, self.options, self.clock = self, RocketOptions(), Later()
        self.queues = {"broker-a": 1}
        self.lacks: EvermqError | None = None
        self.asked: list[str] = []
        self.begun: list[tuple[str, Start]] = []

    async def look(self, topic: Topic) -> None:
        topic.reach(self.queues)

    async def begin(self, topic: Topic, group: str, start: Start) -> None:
        if self.lacks:
            raise self.lacks
        self.begun.append((group, start))

    async def receive(self, request: Any, *_: Any, **__: Any) -> AsyncIterator[Any]:
        self.asked.append(request.message_queue.broker.name)
        for wire in list[Any]():
            yield wire


def grouped(proxy: object, kind: str) -> Group:
    return grouped_in(SimpleNamespace(proxy=proxy, options=RocketOptions(), clock=SYSTEM), kind)


def grouped_in(place: Any, kind: str) -> Group:
    group = Group(place, Topic("orders", kind, {"broker-a": 1}), "a")
    group._session = SimpleNamespace(  # type: ignore[assignment]
        client="c", open=lambda: asyncio.sleep(0), close=lambda: asyncio.sleep(0), forget=lambda: None
    )
    return group


@pytest.mark.parametrize("end", [Uncertain("lost"), KeyError("nobody listed this")], ids=repr)
async def test_request_for_messages_that_breaks_is_told_and_made_again(end: BaseException) -> None:
    group = grouped(Breaking(end), "normal")
    reader = RocketReader(group, SYSTEM)
    with pytest.raises(Unavailable):
        await reader.read(count_max=9, wait_ms=60_000)
    [found] = await reader.read(count_max=9, wait_ms=60_000)
    assert found.message.body == b"there"
    await reader.close()
    await group.close()


async def test_request_for_messages_that_is_cancelled_is_made_again() -> None:
    group = grouped(Breaking(asyncio.CancelledError()), "normal")
    reader = RocketReader(group, SYSTEM)
    await reader.read(count_max=9, wait_ms=0)
    await asyncio.wait(list(group._polls))
    [found] = await reader.read(count_max=9, wait_ms=60_000)
    assert found.message.body == b"there"
    await reader.close()
    await group.close()


async def test_reader_that_goes_while_messages_arrive_leaves_all_of_them_to_the_next() -> None:
    proxy = Halting()
    group = grouped(proxy, "fifo")
    first = RocketReader(group, SYSTEM)
    reading = asyncio.create_task(first.read(count_max=9, wait_ms=60_000))
    await proxy.one_is_out.wait()
    reading.cancel()
    await asyncio.wait([reading])
    await first.close()
    second = RocketReader(group, SYSTEM)
    proxy.go_on.set()
    found = await second.read(count_max=9, wait_ms=10_000)
    assert [each.message.body for each in found] == [b"first", b"second"]
    await second.close()
    await group.close()


async def reading(proxy: Settling) -> tuple[Group, RocketReader, list[Delivery]]:
    group = grouped(proxy, "normal")
    reader = RocketReader(group, SYSTEM)
    return group, reader, await reader.read(count_max=4, wait_ms=60_000)


@pytest.mark.parametrize(
    ("code", "error"),
    [("INTERNAL_SERVER_ERROR", Unavailable), ("TOO_MANY_REQUESTS", Unavailable), ("UNAUTHORIZED", Denied)],
)
async def test_what_could_not_be_acknowledged_alone_is_held_and_acknowledged_again(
    code: str, error: type[EvermqError]
) -> None:
    proxy = Settling()
    group, reader, found = await reading(proxy)
    proxy.codes = {"b": code, "c": "INVALID_RECEIPT_HANDLE"}  # the lease of c was over: it comes again by itself
    with pytest.raises(error):
        await reader.ack(found)
    assert [item.handle for item in group.window.items.values()] == ["b"]
    proxy.codes = {}
    await reader.ack(found)
    assert proxy.asked[1:] == [["b"]]
    assert not group.window.items
    await reader.close()
    await group.close()


async def test_acknowledgement_that_nobody_answered_may_be_made_again() -> None:
    proxy = Settling()
    _, reader, found = await reading(proxy)
    proxy.error = Uncertain("no answer")
    with pytest.raises(Unavailable, match="no answer"):
        await reader.ack(found)
    assert not await reader.read(count_max=4, wait_ms=0)  # they are with whoever may still acknowledge them
    proxy.error = None
    await reader.ack(found)
    assert proxy.asked[1] == list("abcd")
    await reader.close()
    await reader._group.close()


async def test_message_whose_lease_was_over_is_nobodys_to_acknowledge() -> None:
    proxy = Settling()
    group, reader, found = await reading(proxy)
    proxy.error = Fenced("all of them")
    await reader.ack(found)
    assert not group.window.items
    await reader.close()
    await group.close()


async def asked(place: Growing, reader: RocketReader, count: int) -> set[str]:
    """The brokers that so many requests for messages are for."""
    place.asked.clear()
    while len(place.asked) < count:
        await reader.read(count_max=9, wait_ms=1)
    return set(place.asked)


async def test_broker_that_a_topic_gets_is_asked_for_its_messages(caplog: pytest.LogCaptureFixture) -> None:
    place = Growing()
    group = grouped_in(place, "normal")
    reader = RocketReader(group, place.clock)
    place.queues = {"broker-a": 2, "broker-b": 4}
    assert await asked(place, reader, 3) == {"broker-a"}
    place.clock.ahead_ms += 30_000
    with caplog.at_level(logging.WARNING, "evermq.rocketmq"):
        assert await asked(place, reader, 4) == {"broker-a", "broker-b"}
    assert place.begun == [("a", Start.OLDEST)]
    assert caplog.text.count("orders has queues on broker-a=2, broker-b=4 by now, and had broker-a=1") == 1
    place.clock.ahead_ms += 30_000
    place.queues = {"broker-b": 4}  # the other one is away
    assert await asked(place, reader, 4) == {"broker-a", "broker-b"}
    assert len(place.begun) == 1
    await reader.close()
    await group.close()


async def test_broker_without_the_group_is_told_of_and_keeps_nobody_from_reading_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = Growing()
    group = grouped_in(place, "normal")
    reader = RocketReader(group, place.clock)
    place.queues, place.lacks = {"broker-a": 1, "broker-b": 1}, NoSuchTopic("there is no group a")
    place.clock.ahead_ms += 30_000
    with caplog.at_level(logging.WARNING, "evermq.rocketmq"):
        assert await asked(place, reader, 3) == {"broker-a"}
    assert "there is no group a" in caplog.text
    place.lacks = None
    place.clock.ahead_ms += 30_000
    assert await asked(place, reader, 4) == {"broker-a", "broker-b"}
    await reader.close()
    await group.close()


async def test_group_asks_the_brokers_that_the_topic_had_when_it_was_opened_again() -> None:
    place = Growing()
    group = grouped_in(place, "normal")
    reader = RocketReader(group, place.clock)
    group.reach({"broker-b": 1})
    assert await asked(place, reader, 4) == {"broker-a", "broker-b"}
    await reader.close()
    await group.close()
