"""What only a Redis can do wrong: settings, lanes that change, leases that end, memory that runs out."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis as Client
from tests.engines.any_engine import BILLED, billed

from evermq.adapters.open import inspect, open_place, open_queue
from evermq.adapters.redis.place import RedisPlace
from evermq.drills.engines.redis import Redis
from evermq.errors import Damaged, Misconfigured, NoSuchTopic, Overloaded, Unavailable, Unsupported
from evermq.message import MessageFactory
from evermq.port import Delivery, Reader, Start
from evermq.settling import Relaned
from evermq.traits import Durable

GROUPS = ["one", "two"]
message = MessageFactory()


@asynccontextmanager
async def placed(server: Redis, options: str = "") -> AsyncIterator[RedisPlace]:
    place = await open_place(server.url() + options)
    assert isinstance(place, RedisPlace)
    try:
        yield place
    finally:
        await place.close()


@asynccontextmanager
async def told(server: Redis, **settings: str) -> AsyncIterator[Client]:
    """A plain client; settings are changed as an administrator would, and changed back."""
    async with Client(port=server.port, decode_responses=True) as client:
        names = [name.replace("_", "-") for name in settings]
        before = {name: str((await client.config_get(name))[name]) for name in names}
        try:
            for name, value in zip(names, settings.values(), strict=True):
                await client.config_set(name, value)
            yield client
        finally:
            for name, value in before.items():
                await client.config_set(name, value)


async def read_all(reader: Reader) -> list[Delivery]:
    found: list[Delivery] = []
    while some := await reader.read(count_max=100, wait_ms=300):
        await reader.ack(some)
        found += some
    return found


@pytest.mark.parametrize(
    ("settings", "durable", "advised"),
    [
        ({}, Durable.DISK, set()),
        ({"appendfsync": "everysec"}, Durable.PROCESS, {"appendfsync"}),
        ({"appendfsync": "no"}, Durable.PROCESS, {"appendfsync"}),
        ({"no_appendfsync_on_rewrite": "yes"}, Durable.PROCESS, {"no-appendfsync-on-rewrite"}),
        ({"appendonly": "no"}, Durable.MEMORY, {"appendonly"}),
        ({"maxmemory_policy": "allkeys-lru"}, Durable.MEMORY, {"maxmemory-policy"}),
    ],
)
async def test_doctor_tells_what_the_settings_keep(
    redis_server: Redis, settings: dict[str, str], durable: Durable, advised: set[str]
) -> None:
    async with told(redis_server, **settings):
        found = await inspect(redis_server.url("orders"))
    assert found.durable is durable
    assert {each.setting for each in found.findings if each.advice} == advised | {"maxmemory"}


async def test_weaker_server_is_warned_of_and_refused_where_more_is_required(
    redis_server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async with told(redis_server, appendfsync="everysec"):
        async with placed(redis_server):
            assert "appendfsync = everysec" in caplog.text
        with pytest.raises(Misconfigured, match="appendfsync"):
            await open_place(redis_server.url() + "?require=disk")
    async with placed(redis_server, "?require=disk"):
        pass
    with pytest.raises(Misconfigured, match="replicated"):
        await open_place(redis_server.url() + "?require=replicated")


async def test_server_that_evicts_is_refused(redis_server: Redis) -> None:
    async with told(redis_server, maxmemory_policy="allkeys-lru"):
        with pytest.raises(Misconfigured, match="maxmemory-policy = allkeys-lru"):
            await open_place(redis_server.url())


async def test_server_that_forbids_config_is_said_to_be_unknown(redis_server: Redis) -> None:
    async with told(redis_server) as client:
        await client.acl_setuser("default", commands=["-config"], reset=False, enabled=True)
        try:
            found = await inspect(redis_server.url("orders"))
        finally:
            await client.acl_setuser("default", commands=["+config"], enabled=True)
    assert found.durable is Durable.PROCESS
    assert any(each.setting == "CONFIG GET" and each.value == "forbidden" for each in found.findings)


async def test_nothing_is_made_without_being_asked_for(redis_server: Redis, topic: str) -> None:
    async with placed(redis_server) as place:
        with pytest.raises(NoSuchTopic, match="topics create"):
            await place.queue(topic)
        await place.create(topic)
        queue = await place.queue(topic)
        with pytest.raises(NoSuchTopic, match="no group"):
            await queue.append([message("nobody would read this")])
        with pytest.raises(NoSuchTopic, match="three"):
            await queue.reader("three")
        await place.create(topic, groups=GROUPS)
        await queue.append([message("x")])
        assert await queue.backlog("one") == await queue.backlog("two") == 1


async def test_topic_that_is_just_being_made_is_no_reason_to_give_a_message_up(redis_server: Redis, topic: str) -> None:
    async with placed(redis_server) as place, told(redis_server) as client:
        await place.create(topic, groups=["one"], lanes=1)
        queue = await place.queue(topic)
        await client.hset(f"evermq:{{{topic}.1.0}}:state", "groups", "")
        with pytest.raises(Unavailable, match="half made"):
            await queue.append([message("x")])
        await client.hset(f"evermq:{{{topic}.1.0}}:state", "groups", "one")
        await queue.append([message("x")])


async def test_another_lane_count_in_the_url_is_refused(redis_server: Redis, topic: str) -> None:
    async with placed(redis_server) as place:
        await place.create(topic, groups=GROUPS, lanes=4)
    with pytest.raises(Misconfigured, match="has 4 lanes, perhaps for another deployment"):
        await open_queue(redis_server.url(topic) + "?lanes=8")
    with pytest.raises(Misconfigured, match="lanes"):
        await open_queue(redis_server.url(topic) + "?lanes=0")
    queue = await open_queue(redis_server.url(topic) + "?lanes=4")
    await queue.close()


async def test_lists_are_trimmed_at_the_slowest_group(redis_server: Redis, topic: str) -> None:
    async with placed(redis_server, "?entry_bytes=1024") as place, told(redis_server) as client:
        await place.create(topic, groups=GROUPS, lanes=1)
        queue = await place.queue(topic)
        await queue.append([message("x" * 500) for _ in range(20)])
        entries = await client.llen(f"evermq:{{{topic}.1.0}}:list")
        assert entries > 5
        assert len(await read_all(await queue.reader("one"))) == 20
        assert await client.llen(f"evermq:{{{topic}.1.0}}:list") == entries
        assert len(await read_all(await queue.reader("two"))) == 20
        assert await client.llen(f"evermq:{{{topic}.1.0}}:list") == 0


async def test_lane_count_changes_with_a_backlog(redis_server: Redis, topic: str) -> None:
    """100 to 130 to 90, while another process appends with what it knew; order per key is kept."""
    async with placed(redis_server) as place, placed(redis_server) as stale:
        await place.create(topic, groups=GROUPS, lanes=100)
        queue, other = await place.queue(topic), await stale.queue(topic)
        numbers = iter(range(1_000))
        for lanes in (130, 90, 90):
            for each in (queue, other):
                for _ in range(3):
                    number = next(numbers)
                    await each.append([message(str(number), key=f"k{k}") for k in range(20)])
            await place.change_lanes(topic, lanes)
        await other.append([message("last", key=f"k{k}") for k in range(20)])
        expected = [str(n).encode() for n in range(next(numbers))] + [b"last"]
        for group in GROUPS:
            found = await read_all(await queue.reader(group))
            for k in range(20):
                assert [d.message.body for d in found if d.message.key == f"k{k}".encode()] == expected
            assert await queue.backlog(group) == 0
        state = await place.describe(topic)
        assert state.lanes == queue.traits.lanes == 90
        await (await queue.reader("one")).read(count_max=1, wait_ms=1_500)
        async with told(redis_server) as client:
            assert await client.hget(f"evermq:{{{topic}}}:topic", "old") == ""
            assert not [key async for key in client.scan_iter(f"evermq:{{{topic}.1.*")]


async def test_topic_is_described_with_what_its_server_keeps(redis_server: Redis, topic: str) -> None:
    async with placed(redis_server) as place:
        await place.create(topic, groups=["one"], lanes=3)
        async with told(redis_server, maxmemory="1073741824"):
            state = await place.describe(topic)
    shown = {name: state.settings[name] for name in ("appendfsync", "maxmemory", "maxmemory-policy", "replicas")}
    assert (state.lanes, shown) == (
        3,
        {"appendfsync": "always", "maxmemory": "1073741824", "maxmemory-policy": "noeviction", "replicas": "0"},
    )


async def test_what_is_in_hand_while_the_lane_count_changes_is_not_handed_out_again(
    redis_server: Redis, topic: str
) -> None:
    async with placed(redis_server) as place:
        await place.create(topic, groups=["one"], lanes=1)
        queue = await place.queue(topic)
        await queue.append([message(text) for text in "abc"])
        reader = await queue.reader("one")
        held = await reader.read(count_max=1, wait_ms=5_000)
        await place.change_lanes(topic, 2)
        held += await reader.read(count_max=1, wait_ms=5_000)
        await place.change_lanes(topic, 3)
        held += await reader.read(count_max=5, wait_ms=5_000)
        assert [(each.message.body, each.attempt) for each in held] == [(b"a", 1), (b"b", 1), (b"c", 1)]
        assert await reader.read(count_max=5, wait_ms=1_000) == []
        await reader.ack(held)
        assert await queue.backlog("one") == 0


@pytest.mark.parametrize("in_turn", [True, False])
async def test_new_lanes_are_read_beside_old_ones_only_where_somebody_above_keeps_the_order(
    redis_server: Redis, topic: str, in_turn: bool
) -> None:
    async with placed(redis_server) as place:
        await place.create(topic, groups=["one"], lanes=1)
        queue = await open_queue(redis_server.url(topic))
        assert isinstance(queue, Relaned)
        if not in_turn:
            queue.read_at_once()
        await queue.append([message("old")])
        reader = await queue.reader("one")
        old = await reader.read(count_max=5, wait_ms=5_000)
        await place.change_lanes(topic, 2)
        await queue.append([message("new")])
        new = await reader.read(count_max=5, wait_ms=1_000 if in_turn else 5_000)
        assert [each.message.body for each in new] == ([] if in_turn else [b"new"])
        await reader.ack([*old, *new])
        new = await reader.read(count_max=5, wait_ms=5_000 if in_turn else 1_000)
        assert [each.message.body for each in new] == ([b"new"] if in_turn else [])
        await reader.ack(new)
        assert await queue.backlog("one") == 0
        await queue.close()


async def test_group_is_reset_to_a_time_and_an_offset_that_is_kept(redis_server: Redis, topic: str) -> None:
    async with placed(redis_server) as place:
        await place.create(topic, groups=GROUPS, lanes=1)
        queue = await place.queue(topic)
        positions = list(await queue.append([message(text) for text in "abc"]))
        await asyncio.sleep(0.02)
        now_ms = time.time_ns() // 1_000_000
        await queue.append([message("d")])
        reader = await queue.reader("one")
        assert len(await read_all(reader)) == 4
        await place.reset(topic, "one", Start("offset", positions[2].offset or 0))
        assert [d.message.body for d in await read_all(reader)] == [b"c", b"d"]
        await place.reset(topic, "one", Start("time", now_ms))
        assert [d.message.body for d in await read_all(reader)] == [b"d"]


async def test_one_message_that_is_held_keeps_what_is_behind_it_and_the_refusal_says_so(
    redis_server: Redis, topic: str
) -> None:
    async with placed(redis_server, "?lane_count_max=10") as place:
        await place.create(topic, groups=["one"], lanes=1)
        queue = await place.queue(topic)
        reader = await queue.reader("one")
        await queue.append([message("x")])
        held = await reader.read(count_max=1, wait_ms=1_000)
        await queue.append([message("x") for _ in range(9)])
        await reader.ack(await reader.read(count_max=100, wait_ms=1_000))
        assert await queue.backlog("one") == 1
        with pytest.raises(Overloaded, match="10 messages, counted from the first one that some group has not settled"):
            await queue.append([message("one too many")])
        await reader.ack(held)
        await queue.append([message("room again")])


async def test_full_lane_and_full_memory_are_told_and_can_be_emptied(redis_server: Redis, topic: str) -> None:
    async with placed(redis_server, "?lane_count_max=10") as place:
        await place.create(topic, groups=["one"], lanes=1)
        queue = await place.queue(topic)
        await queue.append([message("x") for _ in range(9)])
        await queue.append([message("x")])
        with pytest.raises(Overloaded, match="lane_count_max = 10"):
            await queue.append([message("one too many")])
        async with told(redis_server, maxmemory="1mb") as client:
            with pytest.raises(Overloaded, match="OOM"):
                await queue.append([message("x" * 1000)])
            assert int((await client.info("memory"))["used_memory"]) > 1 << 20
            assert len(await read_all(await queue.reader("one"))) == 10
        assert await queue.backlog("one") == 0
        await queue.append([message("room again")])


async def test_flushed_server_is_told_by_append_and_read(redis_server: Redis, topic: str) -> None:
    async with placed(redis_server) as place, told(redis_server) as client:
        await place.create(topic, groups=["one"], lanes=2)
        queue = await place.queue(topic)
        reader = await queue.reader("one")
        await queue.append([message("lost")])
        await client.flushall()
        with pytest.raises(Unavailable, match="FLUSHALL"):
            await queue.append([message("x")])
        with pytest.raises(Unavailable, match="FLUSHALL"):
            await reader.read(count_max=1, wait_ms=1000)


async def test_old_server_is_refused(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    from evermq.adapters.redis.settings import Settings

    monkeypatch.setattr(Settings, "version", property(lambda self: "6.2.14"))
    with pytest.raises(Unsupported, match=r"7\.0"):
        await open_place(redis_server.url())


async def test_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        await open_place("redis://127.0.0.1:1")


DIES = """
import asyncio, sys
from evermq.adapters.open import open_queue
async def main(url, acks):
    queue = await open_queue(url)
    reader = await queue.reader("one")
    found = await reader.read(count_max=10, wait_ms=5000)
    await reader.ack(found[:acks])
    print(len(found), flush=True)
    await asyncio.sleep(60)
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.parametrize("acks", [0, 4, 10])
async def test_killed_reader_repeats_what_it_had_not_acked_within_a_lease_and_a_second(
    redis_server: Redis, topic: str, acks: int
) -> None:
    async with placed(redis_server) as place:
        await place.create(topic, groups=["one"], lanes=4)
        queue = await place.queue(topic)
        await queue.append([message(str(i), key="k") for i in range(12)])
        url = f"{redis_server.url(topic)}?lease_ms=1500"
        command = [sys.executable, "-c", DIES, url, str(acks)]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout
        assert await process.stdout.readline() == b"10\n"
        process.kill()
        await process.wait()
        found: list[Delivery] = []
        reader = await queue.reader("one")
        while len(found) < 12 - acks:
            some = await reader.read(count_max=10, wait_ms=20_000)
            assert some
            await reader.ack(some)
            found += some
        assert [d.message.body for d in found] == [str(i).encode() for i in range(acks, 12)]
        assert [d.attempt for d in found][: 10 - acks] == [2] * (10 - acks)
        assert await queue.backlog("one") == 0


async def evermq(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "evermq.daemon.cli", *arguments, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_command_line_changes_lanes_and_resets_groups(redis_server: Redis, topic: str) -> None:
    url = redis_server.url(topic)
    assert await evermq("topics", "create", url, "--groups", "one,two", "--lanes", "4") == (0, "")
    queue = await open_queue(url)
    await queue.append([message("a", key="k")])
    reader = await queue.reader("one")
    assert len(await read_all(reader)) == 1
    assert await evermq("topics", "reset", url, "--group", "one", "--to", "oldest") == (0, "")
    assert len(await read_all(reader)) == 1
    assert await evermq("topics", "lanes", f"{url}?lanes=8", "8") == (0, "")
    assert (await queue.backlog("two"), queue.traits.lanes) == (1, 8)
    await queue.close()
    code, said = await evermq("topics", "lanes", "memory://here/orders", "8")
    assert (code, "change lanes" in said) == (2, True)


async def test_foreign_removal_of_entries_is_told(redis_server: Redis, topic: str) -> None:
    async with placed(redis_server) as place, told(redis_server) as client:
        await place.create(topic, groups=["one"], lanes=1)
        queue = await place.queue(topic)
        await queue.append([message("x")])
        await client.delete(f"evermq:{{{topic}.1.0}}:list")
        with pytest.raises(Damaged, match="somebody else removed entries"):
            await (await queue.reader("one")).read(count_max=1, wait_ms=1000)


async def test_example_for_any_engine_runs(redis_server: Redis, topic: str) -> None:
    assert await billed(redis_server.url(topic)) == BILLED
