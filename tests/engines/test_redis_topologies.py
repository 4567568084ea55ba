"""Redis as people run it: a master that Sentinels replace, a cluster, TLS with users."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from evermq.adapters.open import inspect, open_place, open_queue
from evermq.drills.engines.certificates import Secrets
from evermq.drills.engines.redis import RedisCluster, RedisSecured, RedisSentinel
from evermq.errors import Denied, EvermqError, Unavailable, Uncertain
from evermq.message import MessageFactory
from evermq.port import Delivery, Queue, Reader
from evermq.traits import Durable

message = MessageFactory()


@asynccontextmanager
async def made(url: str, topic: str, lanes: int) -> AsyncIterator[Queue]:
    place = await open_place(url)
    try:
        await place.create(topic, groups=["one"], lanes=lanes)
        yield await place.queue(topic)
    finally:
        await place.close()


async def read_all(reader: Reader, wait_ms: int = 500) -> list[Delivery]:
    """Everything; as a consumer does, it tries again where the server is not to be had for a while."""
    found: list[Delivery] = []
    for _ in range(100):
        try:
            some = await reader.read(count_max=100, wait_ms=wait_ms)
            await reader.ack(some)
        except (Unavailable, Uncertain):
            await asyncio.sleep(0.2)
            continue
        if not some:
            return found
        found += some
    raise AssertionError(f"there is no end to it: {len(found)} so far")


async def test_promoted_replica_has_what_it_confirmed(redis_sentinel_server: RedisSentinel, topic: str) -> None:
    """Appends that one replica confirmed are there after the master died; the class is disk all the same."""
    url = redis_sentinel_server.url()
    assert (await inspect(redis_sentinel_server.url("orders"))).durable is Durable.DISK
    async with made(url + "&wait_replicas=1&timeout_ms=1000", topic, 8) as queue:
        acknowledged: list[str] = []
        master = redis_sentinel_server.leader()

        async def append(number: int) -> bool:
            try:
                await queue.append([message(str(number), key=f"k{number % 10}")])
            except (Unavailable, Uncertain):
                await asyncio.sleep(0.1)
                return False
            acknowledged.append(str(number))
            return True

        for number in range(100):
            await append(number)
        await asyncio.to_thread(master.kill)
        # With its master dead nobody confirms: that there is a new one is seen by what it refuses.
        number = 100
        while redis_sentinel_server.leader() is master:
            await append(number)
            number += 1
        await asyncio.to_thread(master.start)  # comes back as a replica
        while not await append(number):
            number += 1
        assert len(acknowledged) >= 50
        assert str(number) in acknowledged
        found = {delivery.message.body.decode() for delivery in await read_all(await queue.reader("one"))}
        assert set(acknowledged) <= found


async def test_too_few_replicas_make_an_append_uncertain(redis_sentinel_server: RedisSentinel, topic: str) -> None:
    async with made(redis_sentinel_server.url() + "&wait_replicas=2&wait_ms=100", topic, 2) as queue:
        with pytest.raises(Uncertain, match="of 2 replicas"):
            await queue.append([message("x")])
        assert len(await read_all(await queue.reader("one"))) == 1


async def test_lanes_spread_over_a_cluster_and_keep_their_order(redis_cluster_server: RedisCluster, topic: str) -> None:
    async with made(redis_cluster_server.url(), topic, 32) as queue:
        for number in range(10):
            await queue.append([message(str(number), key=f"k{key}") for key in range(50)])
        readers = [await queue.reader("one") for _ in range(2)]
        found: list[Delivery] = []
        while len(found) < 500:
            for reader in readers:
                some = await reader.read(count_max=20, wait_ms=200)
                await reader.ack(some)
                found += some
        for key in range(50):
            bodies = [d.message.body for d in found if d.message.key == f"k{key}".encode()]
            assert bodies == [str(number).encode() for number in range(10)]
        assert await queue.backlog("one") == 0
        await readers[0].release([])


async def test_lost_node_of_a_cluster_takes_its_lanes_with_it_and_no_others(
    redis_cluster_server: RedisCluster, topic: str
) -> None:
    async with made(redis_cluster_server.url() + "&timeout_ms=1000", topic, 32) as queue:
        redis_cluster_server.nodes["redis-3"].kill()
        acknowledged, refused = set(), 0
        for number in range(64):
            try:
                await queue.append([message(str(number), key=f"k{number}")])
                acknowledged.add(str(number))
            except EvermqError:
                refused += 1
        assert acknowledged
        assert refused
        reader = await queue.reader("one")
        found = await read_all(reader)
        assert acknowledged <= {delivery.message.body.decode() for delivery in found}


async def test_secured_server_serves_its_user(redis_secured_server: RedisSecured, topic: str) -> None:
    async with made(redis_secured_server.url(), f"app-{topic}", 4) as queue:
        await queue.append([message("secret", key="k")])
        assert len(await read_all(await queue.reader("one"))) == 1
        assert queue.traits.durable is Durable.DISK


async def test_missing_right_is_denied(redis_secured_server: RedisSecured, topic: str) -> None:
    with pytest.raises(Denied):
        async with made(redis_secured_server.url(), f"other-{topic}", 4):
            pass


async def test_wrong_password_is_denied_and_not_repeated(redis_secured_server: RedisSecured, topic: str) -> None:
    wrong = redis_secured_server.secrets.directory / "wrong.password"
    wrong.write_text("not-the-password")
    wrong.chmod(0o600)
    url = redis_secured_server.url(topic).replace(str(redis_secured_server.secrets.password_file("app")), str(wrong))
    with pytest.raises(Denied) as caught:
        await open_queue(url)
    assert "not-the-password" not in str(caught.value)


async def test_certificate_of_another_authority_is_refused(redis_secured_server: RedisSecured, topic: str) -> None:
    other = Secrets.make(redis_secured_server.secrets.directory / "other", [])
    url = redis_secured_server.url(topic).replace(str(redis_secured_server.secrets.ca), str(other.ca))
    with pytest.raises(Denied, match="certificate"):
        await open_queue(url)


async def test_certificate_of_another_host_is_refused(redis_secured_server: RedisSecured, topic: str) -> None:
    """The certificate is for 127.0.0.1 and localhost; the same server answers on 127.0.0.1 under other names too."""
    url = redis_secured_server.url(topic).replace("//127.0.0.1:", "//127.1:")
    with pytest.raises(Denied, match="certificate"):
        await open_queue(url)


async def test_plain_client_of_a_tls_server_is_told(redis_secured_server: RedisSecured, topic: str) -> None:
    with pytest.raises(EvermqError):
        await open_queue(redis_secured_server.url(topic).replace("rediss://", "redis://") + "&timeout_ms=1000")
