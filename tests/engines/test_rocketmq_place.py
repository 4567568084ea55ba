"""RocketMQ's topics, groups, rights and bad input, on real servers."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from tests.engines.any_engine import BILLED, billed
from tests.engines.rocketmq_places import place_with
from tests.ha.test_probe import Later

from evermq.adapters.address import parse
from evermq.adapters.open import open_place, open_queue
from evermq.adapters.rocketmq.connect import connect
from evermq.adapters.rocketmq.inspect import inspect
from evermq.adapters.rocketmq.place import RocketPlace
from evermq.adapters.rocketmq.protocol import NORMAL, service
from evermq.drills.engines.certificates import Secrets
from evermq.drills.engines.rocketmq import RocketMQ, RocketMQSecured
from evermq.errors import (
    Denied,
    EvermqError,
    Misconfigured,
    NoSuchTopic,
    Rejected,
    TooLarge,
    Unavailable,
    Unsupported,
)
from evermq.ha.probe import PREFIX, TOPIC_MS_MAX, Probe
from evermq.message import MessageFactory
from evermq.port import Delivery, Queue, Reader, Start
from evermq.traits import Durable

OPTIONS = "&lease_ms=3000&poll_ms=500"
place = place_with(OPTIONS)
message = MessageFactory()


async def taken(reader: Reader, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    while len(found) < count:
        some = await reader.read(count_max=99, wait_ms=10_000)
        assert some, f"{count} were due and {len(found)} came"
        found += some
    return found


async def test_topics_are_made_listed_and_dropped(place: RocketPlace, rocketmq_server: RocketMQ, topic: str) -> None:
    assert await place.create(f"{topic}.dead", groups=["a.b"], lanes=2) == []
    assert await place.create(f"{topic}.dead", groups=["a.b", "c"]) == []
    [sentence] = await place.create(f"{topic}.dead", lanes=3)
    assert topic in sentence
    other = await open_place(rocketmq_server.url())
    assert f"{topic}.dead" in await other.topics()
    assert not [name for name in await other.topics() if "RMQ" in name or "rmq" in name or "%" in name]
    state = await other.describe(f"{topic}.dead")
    assert (state.lanes, set(state.groups)) == (2, {"a.b", "c"})
    [broker] = (await place.find(f"{topic}.dead")).queues
    assert (state.settings["message.type"], state.settings["queues"]) == ("NORMAL", f"{broker}=2")
    assert state.settings["fileReservedTime"].isdecimal()
    await other.drop(f"{topic}.dead")
    assert f"{topic}.dead" not in await other.topics()
    for act in (other.drop, other.describe, other.queue):
        with pytest.raises(NoSuchTopic, match=topic):
            await act(f"{topic}-missing")
    await other.close()


async def test_append_to_a_topic_that_was_dropped_meanwhile_says_so(place: RocketPlace, topic: str) -> None:
    await place.create(topic, groups=["a"], lanes=1)
    queue = await place.queue(topic)
    await queue.append([message("x")])
    await place.drop(topic)
    async with asyncio.timeout(30):
        while (said := await failure(queue)) is None or isinstance(said, Unavailable):  # the proxy learns it late
            await asyncio.sleep(0.1)
    assert isinstance(said, NoSuchTopic)


async def failure(queue: Queue) -> EvermqError | None:
    try:
        await queue.append([message("x")])
    except EvermqError as error:
        return error
    return None


async def test_queues_that_are_added_are_counted_and_read_while_a_queue_is_open(
    place: RocketPlace, rocketmq_server: RocketMQ, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    await place.create(topic, groups=["a"], lanes=1)
    queue = await place.queue(topic)
    reader = await queue.reader("a")
    rocketmq_server.create(topic, queues=8)
    async with asyncio.timeout(30):
        while set((await place._admin.queues(topic)).values()) != {8}:
            await asyncio.sleep(0.1)
        with caplog.at_level(logging.WARNING, "evermq.rocketmq"):
            assert await queue.backlog("a", "7") == 0  # by the first question, whatever the proxy remembers
        while (await place.find(topic)).lanes < 8:
            await asyncio.sleep(0.1)
    for _ in range(40):
        await queue.append([message("x")])
    async with asyncio.timeout(30):  # it is there a little later than it is acknowledged
        while await queue.backlog("a") < 40:
            await asyncio.sleep(0.1)
    [broker] = (await place.find(topic)).queues
    assert caplog.text.count(f"{topic} has queues on {broker}=8 by now, and had {broker}=1") == 1
    await reader.ack(await taken(reader, 40))
    async with asyncio.timeout(30):  # the broker counts what it handed out last until it is asked for more
        while await queue.backlog("a"):
            await asyncio.sleep(0.1)
    assert queue.traits.lanes == 1
    await place.drop(topic)


async def test_group_is_dropped_apart_from_its_topic(place: RocketPlace, topic: str) -> None:
    await place.create(topic, groups=[f"{topic}-a", f"{topic}-b"], lanes=1)
    await place.drop_group(topic, f"{topic}-a")
    queue = await place.queue(topic)
    assert await queue.backlog(f"{topic}-b") == 0
    for act in (queue.backlog(f"{topic}-a"), place.drop_group(topic, f"{topic}-a")):
        with pytest.raises(NoSuchTopic, match=f"{topic}-a"):
            await act
    await place.drop_group(topic, f"{topic}-b")
    assert (await place.describe(topic)).groups == {}
    await place.drop(topic)


async def test_probe_leaves_neither_topic_nor_group(place: RocketPlace, rocketmq_server: RocketMQ, topic: str) -> None:
    clock = Later()
    probe = Probe(lambda: open_place(rocketmq_server.url() + OPTIONS), f"{PREFIX}{topic}", clock=clock)
    for _ in range(2):
        assert await probe.trip() >= 0
        clock.ahead_ms += TOPIC_MS_MAX
        await probe.expire()
    assert await probe.trip() >= 0
    assert await _groups(place, topic) == {f"probe-{topic}"}
    await probe.close()
    assert not [name for name in await place.topics() if topic in name]
    assert await _groups(place, topic) == set()


async def _groups(place: RocketPlace, topic: str) -> set[str]:
    """Those of a probe that brokers know."""
    masters = (await place._admin.masters()).values()
    return {name for name in [f"probe-{topic}"] for each in masters if await place._admin.has_group(name, each)}


async def test_group_that_nobody_made_is_told_and_not_made(place: RocketPlace, topic: str) -> None:
    await place.create(topic, groups=["a"], lanes=1)
    queue = await place.queue(topic)
    for _ in range(2):
        with pytest.raises(NoSuchTopic, match="nobody"):
            await queue.reader("nobody")
        with pytest.raises(NoSuchTopic, match="nobody"):
            await queue.backlog("nobody")
    await place.drop(topic)


async def test_group_tells_its_backlog_in_messages_and_in_time(place: RocketPlace, topic: str) -> None:
    await place.create(topic, groups=["a"], lanes=2)
    queue = await place.queue(topic)
    await queue.append([message("x") for _ in range(10)])
    await asyncio.sleep(0.05)
    state = (await place.describe(topic)).groups["a"]
    assert state.backlog == 10
    assert state.oldest_ms is not None
    assert 40 <= state.oldest_ms < 60_000
    reader = await queue.reader("a")
    await reader.ack(await taken(reader, 10))
    assert (await place.describe(topic)).groups["a"] == (0, None)
    await place.drop(topic)


async def test_group_is_reset_by_offset_and_by_time(place: RocketPlace, topic: str) -> None:
    await place.create(topic, groups=["a"], lanes=1)
    queue = await place.queue(topic)
    await queue.append([message(str(i)) for i in range(3)])
    await asyncio.sleep(0.05)
    time_ms = place.clock.now_ms()
    await queue.append([message(str(i)) for i in range(3, 6)])
    reader = await queue.reader("a")
    await reader.ack(await taken(reader, 6))
    for start, expected in ((Start("offset", 4), "45"), (Start("time", time_ms), "345"), (Start.OLDEST, "012345")):
        await reader.close()
        await place.reset(topic, "a", start)
        reader = await queue.reader("a")
        found = await taken(reader, len(expected))
        assert "".join(sorted(each.message.body.decode() for each in found)) == expected
        await reader.ack(found)
    with pytest.raises(NoSuchTopic, match="nobody"):
        await place.reset(topic, "nobody", Start.OLDEST)
    await place.drop(topic)


async def test_lease_of_what_is_in_hand_is_renewed(place: RocketPlace, topic: str) -> None:
    await place.create(topic, groups=["a"], lanes=1)
    queue = await place.queue(topic)
    await queue.append([message("x")])
    reader = await queue.reader("a")
    found = await taken(reader, 1)
    assert await reader.read(count_max=9, wait_ms=7_000) == []
    await reader.ack(found)
    assert await reader.read(count_max=9, wait_ms=4_000) == []
    assert await queue.backlog("a") == 0
    await place.drop(topic)


async def test_message_comes_again_when_its_reader_is_gone_without_a_word(
    place: RocketPlace, rocketmq_server: RocketMQ, topic: str
) -> None:
    await place.create(topic, groups=["a"], lanes=1)
    other = await connect(parse(rocketmq_server.url() + OPTIONS, topic_needed=False))
    queue = await other.queue(topic)
    await queue.append([message("x")])
    await taken(await queue.reader("a"), 1)
    await other.proxy.close()  # it can neither renew nor give back
    [found] = await taken(await (await place.queue(topic)).reader("a"), 1)
    assert found.attempt == 2
    await other.close()
    await place.drop(topic)


async def test_message_of_another_program_is_read(place: RocketPlace, rocketmq_server: RocketMQ, topic: str) -> None:
    await place.create(topic, groups=["a"], lanes=1)
    request = service.SendMessageRequest()
    foreign = request.messages.add(body=b"hello")
    foreign.topic.name = topic
    foreign.system_properties.message_id, foreign.system_properties.tag = f"F-{topic}", "blue"
    foreign.system_properties.message_type = NORMAL
    await place.proxy.ask("SendMessage", request, "send as another program")
    [found] = await taken(await (await place.queue(topic)).reader("a"), 1)
    assert (found.message.id, found.message.body, found.message.key) == (f"F-{topic}", b"hello", None)
    assert found.message.headers["rocketmq-tag"] == "blue"
    await place.drop(topic)


async def test_what_is_asked_wrongly_is_told(rocketmq_server: RocketMQ, place: RocketPlace, topic: str) -> None:
    for url, error, text in (
        ("rocketmq://127.0.0.1:1/x", Unavailable, "127.0.0.1:1"),
        (rocketmq_server.url("x") + "&lane=3", Misconfigured, "lanes"),
        (rocketmq_server.url("x") + "&lease_ms=none", Misconfigured, "lease_ms"),
        (rocketmq_server.url("x") + "&kind=odd", Misconfigured, "kind"),
        (rocketmq_server.url("x") + "&username=a&password=plain", Misconfigured, "password"),
        (rocketmq_server.url("x") + "&username=a", Misconfigured, "password"),
        (rocketmq_server.url("x") + "&require=centre", Misconfigured, "centre"),
        (rocketmq_server.url("missing"), NoSuchTopic, "missing"),
        (rocketmq_server.url("x" * 150), Misconfigured, "characters"),
    ):
        with pytest.raises(error, match=text):
            await open_queue(url)
    await place.create(topic, groups=["a"], lanes=1)
    queue = await place.queue(topic)
    with pytest.raises(Unsupported, match="kind=delay"):
        await queue.append([message("x", delay_ms=60_000)])
    with pytest.raises(Rejected, match="soon"):
        await queue.append([message("x", headers={"evermq-deliver-at-ms": "soon"})])
    with pytest.raises(TooLarge, match="10000000"):
        await queue.append([message("before"), message(bytes(10_000_000))])
    assert await queue.backlog("a") == 0
    await place.drop(topic)


async def test_topic_that_delays_takes_a_day_and_no_more(rocketmq_server: RocketMQ, topic: str) -> None:
    place = await open_place(f"{rocketmq_server.url()}{OPTIONS}&kind=delay")
    await place.create(topic, groups=["a"], lanes=1)
    queue = await place.queue(topic)
    await queue.append([message("x", delay_ms=queue.traits.delay_ms_max)])
    with pytest.raises(Unsupported, match="a day"):
        await queue.append([message("x", delay_ms=queue.traits.delay_ms_max + 60_000)])
    await place.drop(topic)
    await place.close()


async def test_doctor_names_what_is_missing(place: RocketPlace, rocketmq_server: RocketMQ, topic: str) -> None:
    inspection = await inspect(parse(rocketmq_server.url(topic)))
    found = {each.setting: each for each in inspection.findings}
    assert found["broker-a version"] == ("broker-a version", "5.4.0", "")
    assert inspection.durable == Durable.DISK
    assert "create" in found["topic"].advice
    assert "SYNC_MASTER" in found["broker-a inSyncReplicas"].advice
    assert found["broker-a flushDiskType"] == ("broker-a flushDiskType", "SYNC_FLUSH", "")
    await place.create(topic, groups=["a"])
    found = {each.setting: each for each in (await inspect(parse(rocketmq_server.url(topic)))).findings}
    assert (found["groups"].value, found["message.type"].value) == ("a", "NORMAL")
    await place.drop(topic)


async def test_secured_server_lets_in_who_may_and_says_why_not(
    rocketmq_secured_server: RocketMQSecured,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server = rocketmq_secured_server
    other = Secrets.make(tmp_path / "other", ["x"])
    password = server.secrets.users["app"]
    monkeypatch.setenv("ROCKET_WRONG", "a-wrong-password")
    admin = await open_place(server.url(user="admin") + OPTIONS)
    await admin.create("app-orders", groups=["app-a"], lanes=1)
    await admin.create("other-orders", groups=["app-a"], lanes=1)
    place = await open_place(server.url() + OPTIONS)
    queue = await place.queue("app-orders")
    await queue.append([message("secret")])
    assert len(await taken(await queue.reader("app-a"), 1)) == 1
    with pytest.raises(Denied, match="other-orders"):
        await (await place.queue("other-orders")).append([message("x")])
    with pytest.raises(Denied, match="app-new"):
        await place.create("app-new", groups=["app-a"])
    await place.close()
    for topic in ("app-orders", "other-orders"):
        await admin.drop(topic)
    await admin.close()
    ours = server.url()
    for url in (
        ours.replace(f"file:{server.secrets.password_file('app')}", "env:ROCKET_WRONG"),
        ours.replace(str(server.secrets.ca), str(other.ca)),
        ours.replace("//127.0.0.1", "//127.0.0.2"),
    ):
        assert url != ours
        with pytest.raises(Denied) as caught:
            await open_place(url)
        assert password not in str(caught.value)
        assert "a-wrong-password" not in str(caught.value)
    printed = capfd.readouterr()
    assert password not in printed.out + printed.err


async def test_example_for_any_engine_runs(rocketmq_server: RocketMQ, topic: str) -> None:
    assert await billed(rocketmq_server.url(topic)) == BILLED
