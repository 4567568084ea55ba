"""RabbitMQ's topics, rights and bad input, on real servers."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiormq.connection import Connection
from pamqp import commands
from tests.engines.any_engine import BILLED, billed

from evermq.adapters.address import parse
from evermq.adapters.open import open_place, open_queue
from evermq.adapters.rabbitmq.connect import connect
from evermq.adapters.rabbitmq.inspect import inspect
from evermq.adapters.rabbitmq.place import RabbitPlace
from evermq.drills.engines.certificates import Secrets
from evermq.drills.engines.ports import HOST
from evermq.drills.engines.rabbitmq import ELSEWHERE, RabbitMQ, RabbitMQSecured, RabbitMQThree
from evermq.errors import Denied, Misconfigured, NoSuchTopic, Partial, Unavailable, Unsupported
from evermq.message import MessageFactory
from evermq.port import Delivery, Start
from evermq.traits import Durable

message = MessageFactory()
READING = """
import asyncio, sys
from evermq.adapters.open import open_queue

async def read(url):
    queue = await open_queue(url)
    reader = await queue.reader("a")
    while not (found := await reader.read(count_max=1, wait_ms=10_000)):
        pass
    print(found[0].message.id)
    await reader.ack(found)
    await queue.close()

asyncio.run(read(sys.argv[1]))
"""


@pytest.fixture
async def place(rabbitmq_server: RabbitMQ) -> AsyncIterator[RabbitPlace]:
    place = await connect(parse(rabbitmq_server.url(), topic_needed=False))
    yield place
    await place.close()


async def raw(server: RabbitMQ) -> Connection:
    connection = Connection(server.url().replace("rabbitmq://", "amqp://guest:guest@"))
    await connection.connect()
    return connection


async def test_topics_are_made_listed_and_dropped(place: RabbitPlace, rabbitmq_server: RabbitMQ, topic: str) -> None:
    assert await place.create(topic, groups=["a"], lanes=2) == []
    assert await place.create(topic, groups=["a", "b"]) == []
    [sentence] = await place.create(topic, lanes=3)
    assert topic in sentence
    other = await open_place(rabbitmq_server.url())
    assert topic in await other.topics()
    state = await other.describe(topic)
    assert (state.lanes, set(state.groups)) == (2, {"a", "b"})
    assert set(state.settings.values()) == {"unknown"}  # AMQP tells none of it
    await other.drop(topic)
    assert topic not in await other.topics()
    for act in (other.drop, other.describe, other.queue):
        with pytest.raises(NoSuchTopic, match=topic):
            await act(topic)
    await other.close()


async def test_group_that_cannot_be_moved_stays_and_is_told_why(place: RabbitPlace, topic: str) -> None:
    await place.create(topic, groups=["a"], lanes=1)
    await (await place.queue(topic)).append([message("x")])
    with pytest.raises(NoSuchTopic, match="no group b"):
        await place.reset(topic, "b", Start.NEWEST)
    for start in (Start.OLDEST, Start.NEWEST, Start("time", 1), Start("offset", 0)):
        with pytest.raises(Unsupported, match="cannot be moved"):
            await place.reset(topic, "a", start)
    assert (await place.describe(topic)).groups["a"] == (1, None)
    await place.drop(topic)


async def test_many_make_topics_at_the_same_time(place: RabbitPlace, topic: str) -> None:
    names = [f"{topic}-{number}" for number in range(5)]
    await asyncio.gather(*(place.create(name, groups=["a"], lanes=1) for name in names))
    assert set(names) <= set(await place.topics())
    for name in names:
        await place.drop(name)


async def test_topic_without_a_group_takes_nothing(place: RabbitPlace, topic: str) -> None:
    await place.create(topic, lanes=2)
    queue = await place.queue(topic)
    for count in (1, 3):
        with pytest.raises(NoSuchTopic, match="groups"):
            await queue.append([message("x") for _ in range(count)])
    with pytest.raises(NoSuchTopic, match="no group a"):
        await queue.reader("a")
    await place.create(topic, groups=["a"])
    await queue.append([message("now")])
    [found] = await (await queue.reader("a")).read(count_max=9, wait_ms=10_000)
    assert found.message.body == b"now"
    await place.drop(topic)


async def test_lane_whose_binding_was_deleted_fails_and_the_others_do_not(
    place: RabbitPlace, rabbitmq_server: RabbitMQ, topic: str
) -> None:
    await place.create(topic, groups=["a"], lanes=2)
    queue = await place.queue(topic)
    batch = [message("x", key=f"k{number}") for number in range(20)]
    positions = await queue.append(batch)
    connection = await raw(rabbitmq_server)
    channel = await connection.channel()
    await channel.queue_unbind(f"{topic}:a:1", topic, "1")
    with pytest.raises(Partial) as caught:
        await queue.append(batch)
    for position, outcome in zip(positions, caught.value.outcomes, strict=True):
        assert isinstance(outcome, NoSuchTopic) == (position.lane == "1")
    await channel.queue_unbind(f"{topic}:a:0", topic, "0")
    with pytest.raises(NoSuchTopic):
        await queue.append(batch)
    await connection.close()
    assert await place.create(topic, groups=["a"]) == []
    assert len(await queue.append(batch)) == 20
    await place.drop(topic)


async def test_exchange_that_was_deleted_is_told_and_nothing_counts_as_sent(
    place: RabbitPlace, rabbitmq_server: RabbitMQ, topic: str
) -> None:
    await place.create(topic, groups=["a"], lanes=1)
    connection = await raw(rabbitmq_server)
    channel = await connection.channel()
    await channel.exchange_delete(topic)
    await connection.close()
    queue = await place.queue(topic)
    for _ in range(2):
        with pytest.raises(NoSuchTopic, match="no exchange"):
            await queue.append([message("x") for _ in range(5)])
    await place.drop(topic)


async def test_full_queue_refuses(place: RabbitPlace, rabbitmq_server: RabbitMQ, topic: str) -> None:
    await place.create(topic, groups=["a"], lanes=1)
    limit = {
        "pattern": f"^{topic}:",
        "apply-to": "queues",
        "definition": {"max-length": 5, "overflow": "reject-publish"},
    }
    await asyncio.to_thread(rabbitmq_server.ask, f"/api/policies/%2F/{topic}", "PUT", limit)
    queue = await place.queue(topic)
    outcome: Exception | None = None
    for _ in range(100):
        try:
            await queue.append([message("x")])
        except Unavailable as error:
            outcome = error
            break
        await asyncio.sleep(0.05)
    await asyncio.to_thread(rabbitmq_server.ask, f"/api/policies/%2F/{topic}", "DELETE")
    assert outcome
    assert "refused" in str(outcome)
    await place.drop(topic)


async def test_body_of_ten_megabytes_and_a_null_key_arrive(place: RabbitPlace, topic: str) -> None:
    await place.create(topic, groups=["a"], lanes=1)
    queue = await place.queue(topic)
    await queue.append([message(bytes(10_000_000)), message(b"")])
    reader = await queue.reader("a")
    found: list[Delivery] = []
    while len(found) < 2:
        found += await reader.read(count_max=9, wait_ms=10_000)
    assert [len(each.message.body) for each in found] == [10_000_000, 0]
    assert found[1].message.key is None
    await place.drop(topic)


async def test_message_of_another_program_is_read(place: RabbitPlace, rabbitmq_server: RabbitMQ, topic: str) -> None:
    await place.create(topic, groups=["a"], lanes=1)
    connection = await raw(rabbitmq_server)
    channel = await connection.channel()
    properties = commands.Basic.Properties(headers={"n": 7}, content_type="text/plain")
    await channel.basic_publish(b"hello", exchange=topic, routing_key="0", properties=properties)
    await connection.close()
    [found] = await (await (await place.queue(topic)).reader("a")).read(count_max=9, wait_ms=10_000)
    assert (found.message.body, found.message.key, found.message.headers["n"]) == (b"hello", None, "7")
    await place.drop(topic)


async def test_messages_of_other_programs_have_ids_that_no_other_process_gives(
    place: RabbitPlace, rabbitmq_server: RabbitMQ, topic: str
) -> None:
    """Whoever tells copies by their ids would else take the second message for the first."""
    await place.create(topic, groups=["a"], lanes=1)
    connection = await raw(rabbitmq_server)
    channel = await connection.channel()
    named = commands.Basic.Properties(message_id="theirs")
    for properties in (None, None, named):
        await channel.basic_publish(b"x", exchange=topic, routing_key="0", properties=properties)
    await connection.close()
    ids: list[str] = []
    for _ in range(3):
        command = [sys.executable, "-c", READING, rabbitmq_server.url(topic)]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        said, _ = await asyncio.wait_for(process.communicate(), 60)
        ids.append(said.decode().strip())
    assert len(set(ids)) == 3
    assert ids[2] == "theirs"
    await place.drop(topic)


async def test_what_is_asked_wrongly_is_told(rabbitmq_server: RabbitMQ, place: RabbitPlace, topic: str) -> None:
    for url, error, text in (
        ("rabbitmq://127.0.0.1:1/x", Unavailable, "127.0.0.1:1"),
        (rabbitmq_server.url("x") + "?lane=3", Misconfigured, "lanes"),
        (rabbitmq_server.url("x") + "?lanes=none", Misconfigured, "lanes"),
        (rabbitmq_server.url("x") + "?password=plain", Misconfigured, "password"),
        (rabbitmq_server.url("x") + "?username=a", Misconfigured, "password"),
        (rabbitmq_server.url("x") + "?require=centre", Misconfigured, "centre"),
        (rabbitmq_server.url("vhost/x"), Denied, "vhost"),
        (rabbitmq_server.url("missing"), NoSuchTopic, "missing"),
    ):
        with pytest.raises(error, match=text):
            await open_queue(url)
    await place.create(topic, groups=["a"], lanes=1)
    with pytest.raises(Unsupported, match="delay"):
        await (await place.queue(topic)).append([message("x", delay_ms=60_000)])
    await place.drop(topic)


async def test_doctor_names_what_is_missing(place: RabbitPlace, rabbitmq_server: RabbitMQ, topic: str) -> None:
    async def found() -> dict[str, str]:
        inspection = await inspect(parse(rabbitmq_server.url(topic)))
        assert inspection.durable == Durable.DISK
        return {each.setting: each.advice for each in inspection.findings}

    assert (await found())["topic"]
    await place.create(topic, groups=["a"], lanes=1)
    assert not (await found())["groups"]
    connection = await raw(rabbitmq_server)
    await (await connection.channel()).queue_delete(f"{topic}:a:0")
    await connection.close()
    assert (await found())[f"queue {topic}:a:0"]
    await place.drop(topic)


async def test_one_node_is_seen_to_keep_disk_and_no_more(rabbitmq_server: RabbitMQ, topic: str) -> None:
    options = f"?management={rabbitmq_server.management}"
    place = await open_place(rabbitmq_server.url() + options)
    await place.create(topic, groups=["a"], lanes=2)
    assert (await place.queue(topic)).traits.durable == Durable.DISK
    found = {each.setting: each for each in (await inspect(parse(rabbitmq_server.url(topic) + options))).findings}
    assert (found["quorum queue members"].value, "grow" in found["quorum queue members"].advice) == ("1", True)
    with pytest.raises(Misconfigured, match="three members"):
        await open_queue(rabbitmq_server.url(topic) + options + "&require=replicated")
    await place.drop(topic)
    await place.close()


async def test_queue_that_deletes_by_itself_is_told_at_start_and_by_the_doctor(
    place: RabbitPlace, rabbitmq_server: RabbitMQ, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{rabbitmq_server.url(topic)}?management={rabbitmq_server.management}"
    await place.create(topic, groups=["a"], lanes=1)
    drops = {"max-length": 3, "message-ttl": 60_000}
    policy = {"pattern": f"^{topic}:", "apply-to": "queues", "definition": {**drops, "overflow": "drop-head"}}
    await asyncio.to_thread(rabbitmq_server.ask, f"/api/policies/%2F/{topic}", "PUT", policy)
    async with asyncio.timeout(60):  # statistics of the server are some seconds old
        while (inspection := await inspect(parse(url))).durable > Durable.MEMORY:
            await asyncio.sleep(0.2)
    found = {each.setting: each for each in inspection.findings}
    assert found["x-queue-type"] == ("x-queue-type", "quorum", "")
    assert found["policies and arguments"].value == "max-length = 3, message-ttl = 60000"
    assert found["policies and arguments"].advice
    with caplog.at_level(logging.WARNING, "evermq.rabbitmq"):
        queue = await open_queue(url)
    assert queue.traits.durable == Durable.MEMORY
    assert "max-length = 3" in caplog.text
    await queue.close()
    seeing = await open_place(url.replace(f"/{topic}", "/"))
    assert (await seeing.describe(topic)).settings == {
        "x-queue-type": "quorum",
        "members": "1",
        "max-length": "3",
        "max-length-bytes": "none",
        "message-ttl": "60000",
        "expires": "none",
        "delivery-limit": "1000000000",
        "overflow": "drop-head",
    }
    await seeing.close()
    with pytest.raises(Misconfigured, match="max-length = 3"):
        await open_queue(url + "&require=disk")
    await asyncio.to_thread(rabbitmq_server.ask, f"/api/policies/%2F/{topic}", "DELETE")
    await place.drop(topic)


async def test_what_cannot_be_seen_is_taken_for_its_worst(rabbitmq_server: RabbitMQ, topic: str) -> None:
    for options, text in (("", "give management"), ("?management=127.0.0.1:1", "127.0.0.1:1")):
        inspection = await inspect(parse(rabbitmq_server.url(topic) + options))
        found = {each.setting: each for each in inspection.findings}
        assert inspection.durable == Durable.DISK
        for setting in ("x-queue-type", "quorum queue members", "policies and arguments"):
            assert found[setting].value == "unknown"
            assert text in found[setting].advice
    with pytest.raises(Misconfigured, match="no path"):
        await open_place(rabbitmq_server.url() + "?management=http://127.0.0.1/api")


async def test_backlog_has_what_readers_of_other_processes_hold(rabbitmq_server: RabbitMQ, topic: str) -> None:
    options = f"?management={rabbitmq_server.management}"
    places = [await open_place(rabbitmq_server.url() + options) for _ in range(2)]
    await places[0].create(topic, groups=["a", "b"], lanes=2)
    queue, other = [await place.queue(topic) for place in places]
    await queue.append([message("x", key=f"k{number}") for number in range(20)])
    reader = await other.reader("a")
    found: list[Delivery] = []
    while len(found) < 20:
        found += await reader.read(count_max=20, wait_ms=10_000)
    async with asyncio.timeout(60):  # statistics of the server are some seconds old
        while await queue.backlog("a") != 20:
            await asyncio.sleep(0.2)
        assert await queue.backlog("b") == await other.backlog("a") == 20
        await reader.ack(found)
        assert await other.backlog("a") == 0  # at once: all readers are its own
        while await queue.backlog("a"):
            await asyncio.sleep(0.2)
    await places[0].drop(topic)
    for place in places:
        await place.close()


async def test_three_nodes_are_seen_to_be_replicated(rabbitmq_three_server: RabbitMQThree, topic: str) -> None:
    options = f"?management={rabbitmq_three_server.management}&require=replicated&timeout_ms=10000"
    url = rabbitmq_three_server.url(topic) + options
    assert (await inspect(parse(url))).durable == Durable.REPLICATED  # what a topic would get
    place = await open_place(rabbitmq_three_server.url() + options)
    await place.create(topic, groups=["a"], lanes=2)
    assert (await place.queue(topic)).traits.durable == Durable.REPLICATED
    inspection = await inspect(parse(url))
    found = {each.setting: each for each in inspection.findings}
    assert (inspection.durable, found["quorum queue members"]) == (
        Durable.REPLICATED,
        ("quorum queue members", "3", ""),
    )
    await place.drop(topic)
    await place.close()


async def test_secured_server_lets_in_who_may_and_says_why_not(
    rabbitmq_secured_server: RabbitMQSecured,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server = rabbitmq_secured_server
    other = Secrets.make(tmp_path / "other", ["x"])
    password = server.secrets.users["app"]
    monkeypatch.setenv("RABBIT_PASSWORD", password)
    monkeypatch.setenv("RABBIT_WRONG", "a-wrong-password")
    base = server.url().partition("?")[0].rstrip("/")
    ours = f"?username=app&registry=app-topics&ca={server.secrets.ca}"
    place = await open_place(f"{base}/{ours}&password=env:RABBIT_PASSWORD")
    await place.create("app-orders", groups=["a"], lanes=1)
    queue = await place.queue("app-orders")
    await queue.append([message("secret")])
    assert len(await (await queue.reader("a")).read(count_max=9, wait_ms=10_000)) == 1
    with pytest.raises(Denied, match="other-orders"):
        await place.create("other-orders", groups=["a"])
    await place.drop("app-orders")
    await place.close()
    for url, said in (
        (f"{base}/{ours}&password=env:RABBIT_WRONG", "127.0.0.1"),
        (f"{base}/?username=app&ca={other.ca}&password=env:RABBIT_PASSWORD", "certificate is not accepted"),
        (f"{base.replace(HOST, ELSEWHERE)}/{ours}&password=env:RABBIT_PASSWORD", f"not valid for '{ELSEWHERE}'"),
    ):
        with pytest.raises(Denied, match=said) as caught:
            await open_place(url)
        assert password not in str(caught.value)
        assert "a-wrong-password" not in str(caught.value)
    printed = capfd.readouterr()
    assert password not in printed.out + printed.err
    assert "aiormq" not in printed.err


async def test_example_for_any_engine_runs(rabbitmq_server: RabbitMQ, topic: str) -> None:
    assert await billed(rabbitmq_server.url(topic)) == BILLED
