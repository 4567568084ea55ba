"""Half messages of a real RocketMQ: committed, rolled back, and asked after when their sender died."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.engines.rocketmq_places import place_with

from evermq.adapters.address import parse
from evermq.adapters.rocketmq.inspect import inspect
from evermq.adapters.rocketmq.place import RocketPlace
from evermq.adapters.rocketmq.queue import RocketQueue
from evermq.drills.engines.rocketmq import RocketMQ
from evermq.errors import TooLarge, Uncertain, Unsupported
from evermq.half import Decision, HoldsHalves
from evermq.message import Message, MessageFactory

OPTIONS = "&kind=transaction&lease_ms=3000&poll_ms=500&check_after_ms=6000"
SENDER = """
import asyncio, sys
import evermq
from evermq.half import Decision
from evermq.message import MessageFactory

async def unknown(message):
    return Decision.UNKNOWN

async def main():
    queue = await evermq.open(sys.argv[1])
    halves = await queue.halves(unknown)
    message = MessageFactory()
    for text in sys.argv[2:]:
        await halves.prepare(message(text, key="k", headers={"n": text}))
        print(text, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""
place = place_with(OPTIONS)
message = MessageFactory()


@pytest.fixture
async def queue(place: RocketPlace, topic: str) -> AsyncIterator[RocketQueue]:
    await place.create(topic, groups=["a"], lanes=1)
    yield await place.queue(topic)
    await place.drop(topic)


class Judge:
    """What became of each transaction, by the body of its message; asked: in what order the broker asked."""

    def __init__(self, **decisions: Decision) -> None:
        self.decisions = decisions
        self.asked: list[Message] = []

    async def __call__(self, asked: Message) -> Decision:
        self.asked.append(asked)
        decision = self.decisions[asked.body.decode()]
        self.decisions[asked.body.decode()] = Decision.COMMIT if decision is Decision.UNKNOWN else decision
        return decision


async def nobody(asked: Message) -> Decision:
    raise AssertionError(f"nobody should have asked for {asked.body!r}")


async def read(queue: RocketQueue, wait_ms: int = 10_000) -> list[Message]:
    """What comes, acknowledged."""
    reader = await queue.reader("a")
    found = await reader.read(count_max=9, wait_ms=wait_ms)
    await reader.ack(found)
    await reader.close()
    return [each.message for each in found]


async def test_half_message_comes_when_it_is_committed_and_not_before(queue: RocketQueue) -> None:
    halves = await queue.halves(nobody)
    sent = message("paid", key="k", headers={"n": "1"})
    half = await halves.prepare(sent)
    assert await read(queue, 1_000) == []
    assert await queue.backlog("a") == 0
    await half.commit()
    assert await read(queue) == [sent]


async def test_half_message_that_is_rolled_back_never_comes(queue: RocketQueue) -> None:
    halves = await queue.halves(nobody)
    lost, kept = await asyncio.gather(halves.prepare(message("lost")), halves.prepare(message("kept")))
    await lost.roll_back()
    await kept.commit()
    assert await read(queue) == [kept.message]
    assert await read(queue, 12_000) == []  # nor is it asked after


async def test_broker_asks_for_what_a_killed_sender_left_and_whoever_answers_decides(
    queue: RocketQueue, rocketmq_server: RocketMQ, topic: str
) -> None:
    url = rocketmq_server.url(topic) + OPTIONS
    sender = await asyncio.create_subprocess_exec(sys.executable, "-c", SENDER, url, "yes", "no", "later", stdout=PIPE)
    assert sender.stdout
    assert [await sender.stdout.readline() for _ in range(3)] == [b"yes\n", b"no\n", b"later\n"]
    sender.send_signal(signal.SIGKILL)
    await sender.wait()
    judge = Judge(yes=Decision.COMMIT, no=Decision.ROLL_BACK, later=Decision.UNKNOWN)
    await queue.halves(judge)
    found: list[Message] = []
    async with asyncio.timeout(120):
        while len(found) < 2:
            found += await read(queue)
    assert sorted(each.body for each in found) == [b"later", b"yes"]
    assert {(each.key, each.headers["n"]) for each in found} == {(b"k", "yes"), (b"k", "later")}
    assert sorted(each.body for each in judge.asked).count(b"later") == 2
    assert b"no" in {each.body for each in judge.asked}
    assert await read(queue, 1_000) == []


async def test_check_that_fails_is_asked_again(queue: RocketQueue) -> None:
    calls = 0

    async def check(asked: Message) -> Decision:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("the database is away")
        return Decision.COMMIT

    halves = await queue.halves(check)
    half = await halves.prepare(message("x"))
    async with asyncio.timeout(120):
        while not (found := await read(queue)):
            pass
    assert (found, calls) == ([half.message], 2)


async def test_word_that_fails_in_a_way_nobody_listed_leaves_the_half_to_the_check(
    queue: RocketQueue, place: RocketPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves = await queue.halves(Judge(yes=Decision.COMMIT, no=Decision.ROLL_BACK))
    yes, no = await halves.prepare(message("yes")), await halves.prepare(message("no"))
    ask = place.proxy.ask

    async def fail(call: str, *_: Any, **__: Any) -> Any:
        assert call == "EndTransaction"
        raise KeyError("nobody listed this")

    monkeypatch.setattr(place.proxy, "ask", fail)
    for word in (yes.roll_back, no.commit):  # neither is heard
        with pytest.raises(Uncertain, match="nobody listed this"):
            await word()
    monkeypatch.setattr(place.proxy, "ask", ask)
    async with asyncio.timeout(120):
        while not (found := await read(queue)):
            pass
    assert found == [yes.message]
    assert await read(queue, 12_000) == []


async def test_word_that_the_proxy_cannot_place_is_uncertain(queue: RocketQueue) -> None:
    halves = await queue.halves(nobody)
    half = await halves.prepare(message("x"))
    await half.commit()
    with pytest.raises(Uncertain, match="transaction data"):
        await half.commit()
    assert await read(queue) == [half.message]


async def test_what_cannot_be_prepared_is_refused(queue: RocketQueue, place: RocketPlace, topic: str) -> None:
    assert isinstance(queue, HoldsHalves)
    with pytest.raises(Unsupported, match="prepare"):
        await queue.append([message("x")])
    halves = await queue.halves(nobody)
    with pytest.raises(TooLarge):
        await halves.prepare(message(bytes(10_000_000)))
    with pytest.raises(Unsupported, match="delays nothing"):
        await halves.prepare(message("x", delay_ms=60_000))
    await place._admin.make_topic(f"{topic}-n", "normal", 1, await place._admin.masters())
    with pytest.raises(Unsupported, match="kind=transaction"):
        await (await place.queue(f"{topic}-n")).halves(nobody)
    await place.drop(f"{topic}-n")


async def test_doctor_tells_for_how_long_the_broker_asks(queue: RocketQueue, rocketmq_server: RocketMQ) -> None:
    inspection = await inspect(parse(rocketmq_server.url(queue.name)))
    found = {each.setting: each for each in inspection.findings}
    assert found["message.type"].value == "TRANSACTION"
    assert "for 45 s" in found["broker-a transactionCheckMax"].advice  # 15 times, every 3 s
