"""The coordinator over a real etcd: the suite, a server that dies, missing rights."""

import asyncio
import json
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest

from evermq.coordination.etcd import EtcdCoordinator
from evermq.coordination.etcd_gateway import EtcdGateway, b64
from evermq.coordination.open import open as open_coordinator
from evermq.coordinator import Coordinator, Versioned
from evermq.drills.engines.engine import Engine
from evermq.drills.engines.etcd import Etcd
from evermq.errors import Denied, Misconfigured, Unavailable, Uncertain
from evermq.testing.coordinating import CHECKS, check

pytestmark = pytest.mark.timeout(120)
T = TypeVar("T")


def hosts(engine: Engine) -> str:
    return engine.url().removeprefix("etcd://").rstrip("/")


@pytest.mark.parametrize("name", CHECKS)
async def test_etcd_coordinator_conforms(name: str, etcd_server: Engine, topic: str) -> None:
    async def opens() -> Coordinator:
        return EtcdCoordinator(hosts(etcd_server), f"/evermq/{topic}")

    await check(name, opens)


async def _or_none(act: Awaitable[T]) -> T | None:
    try:
        return await act
    except (Unavailable, Uncertain):
        return None


async def test_it_goes_on_by_itself_after_the_server_died(etcd_server: Engine, topic: str) -> None:
    one, other = (EtcdCoordinator(hosts(etcd_server), f"/{topic}") for _ in range(2))
    await one.put(b"a", version=0)
    member = await one.join("one", b"1", ttl_ms=1_000)
    lease = await one.lease("decider", ttl_ms=1_000)
    watch = other.watch()
    assert await anext(watch) == Versioned(b"a", 1)
    node = etcd_server.leader("")
    await asyncio.to_thread(node.kill)
    with pytest.raises(Unavailable):
        await one.get()
    with pytest.raises((Unavailable, Uncertain)):
        await member.update(b"2")
    while lease.held:
        await asyncio.sleep(0.02)
    await asyncio.to_thread(node.start)
    while await _or_none(other.members()) != {"one": b"2"}:  # said all the same, once that was possible
        await asyncio.sleep(0.05)
    await lease.release()
    again = await one.lease("decider", ttl_ms=1_000)
    assert again.number > lease.number
    await one.put(b"b", version=1)
    assert await anext(watch) == Versioned(b"b", 2)
    await one.close()
    await other.close()


async def test_frozen_server_is_unavailable_and_its_answer_uncertain(etcd_server: Engine, topic: str) -> None:
    one = EtcdCoordinator(hosts(etcd_server), f"/{topic}")
    await one.put(b"a", version=0)
    node = etcd_server.leader("")
    node.freeze()
    try:
        while await _or_none(one.members()) is not None:
            pass  # it stands still a moment later
        with pytest.raises(Uncertain):
            await one.put(b"b", version=1)
        with pytest.raises(Unavailable):
            await one.get()
    finally:
        node.thaw()
    await one.close()


async def _revision(engine: Engine) -> int:
    gateway = EtcdGateway(hosts(engine))
    _, found = await gateway.range(b"-")
    await gateway.close()
    return found


async def test_what_a_member_says_again_is_written_where_it_is_missing_and_else_not(
    etcd_server: Engine, topic: str
) -> None:
    """Every write stays in etcd until its history is compacted."""
    one = EtcdCoordinator(hosts(etcd_server), f"/{topic}")
    member = await one.join("one", b"1", ttl_ms=5_000)
    before = await _revision(etcd_server)
    for _ in range(5):
        await member.update(b"1")
    assert await _revision(etcd_server) == before
    gateway = EtcdGateway(hosts(etcd_server))
    for by_hand in (gateway.delete_below, lambda key: gateway.put_if(key, b"forged", version=1)):
        await by_hand(f"/{topic}/members/one".encode())
        assert await one.members() != {"one": b"1"}
        await member.update(b"1")
        assert await one.members() == {"one": b"1"}
    await member.leave()
    assert await one.members() == {}
    await gateway.close()
    await one.close()


async def test_whoever_holds_a_lease_lets_etcd_forget_what_was_long_ago(etcd_server: Engine, topic: str) -> None:
    one, other = await _opened(etcd_server, topic, history_s=1), await _opened(etcd_server, topic, history_s=0)
    await other.put(b"a", version=0)
    long_ago = await _revision(etcd_server)
    await other.put(b"b", version=1)
    await one.lease("decider", ttl_ms=5_000)
    gateway = EtcdGateway(hosts(etcd_server))
    at = {"key": b64(f"/{topic}/value".encode()), "revision": str(long_ago)}
    assert (await gateway.call("kv/range", at))["kvs"]
    while await _or_none(gateway.call("kv/range", at)):
        await asyncio.sleep(0.1)
    assert await other.get() == Versioned(b"b", 2)
    await gateway.close()
    await one.close()
    await other.close()


async def _opened(engine: Engine, topic: str, *, history_s: int) -> Coordinator:
    return await open_coordinator(f"{engine.url(topic)}?history_s={history_s}")


async def test_etcd_that_is_full_says_what_to_do(etcd_server: Engine, topic: str) -> None:
    one, gateway = EtcdCoordinator(hosts(etcd_server), f"/{topic}"), EtcdGateway(hosts(etcd_server))
    member = await one.join("one", b"1", ttl_ms=5_000)
    full = {"alarm": "NOSPACE"}
    await gateway.call("maintenance/alarm", {"action": "ACTIVATE", **full})
    try:
        with pytest.raises(Uncertain, match=r"history_s.*alarm disarm"):
            await one.put(b"a", version=0)
        await member.update(b"1")  # one that has nothing new to say keeps its vote
        assert await one.members() == {"one": b"1"}
    finally:
        await gateway.call("maintenance/alarm", {"action": "DEACTIVATE", **full})
    await one.put(b"a", version=0)
    await gateway.close()
    await one.close()


async def test_next_host_is_asked_where_one_does_not_answer(etcd_server: Engine, topic: str) -> None:
    one = EtcdCoordinator(f"127.0.0.1:1,{hosts(etcd_server)}", f"/{topic}")
    assert await one.put(b"a", version=0) == Versioned(b"a", 1)
    await one.close()


async def test_host_that_is_silent_hides_no_other_from_the_beginning(etcd_server: Engine, topic: str) -> None:
    listening = asyncio.Event()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listening.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hear, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        one = EtcdCoordinator(f"127.0.0.1:{port},{hosts(etcd_server)}", f"/{topic}")
        assert await one.get() == Versioned(b"", 0)
        assert listening.is_set()
        assert await one.put(b"a", version=0) == Versioned(b"a", 1)
        await one.close()


async def test_write_that_a_host_swallowed_is_uncertain_and_the_next_one_goes_elsewhere(
    etcd_server: Engine, topic: str
) -> None:
    one, other = Etcd(), EtcdCoordinator(hosts(etcd_server), f"/{topic}")
    await asyncio.to_thread(one.start)
    try:
        both = EtcdCoordinator(f"{hosts(one)},{hosts(etcd_server)}", f"/{topic}")
        assert await both.get() == Versioned(b"", 0)
        one.leader("").freeze()
        with pytest.raises(Uncertain):
            await both.put(b"a", version=0)
        assert await both.put(b"b", version=0) == Versioned(b"b", 1)
        assert await other.get() == Versioned(b"b", 1)
        await both.close()
    finally:
        await asyncio.to_thread(one.stop)
        await other.close()


async def test_what_was_said_last_is_known_though_nobody_is_there(
    etcd_server: Engine, topic: str, tmp_path: Path
) -> None:
    url = f"{etcd_server.url(topic)}?remember={tmp_path}/kept"
    first = await open_coordinator(url)
    await first.put(b"a", version=0)
    await first.close()
    await asyncio.to_thread(etcd_server.leader("").kill)
    second = await open_coordinator(url)
    assert await anext(second.watch()) == Versioned(b"a", 1)
    with pytest.raises(Unavailable, match="no server answers"):
        await second.get()
    await second.close()
    with pytest.raises(Misconfigured, match="option 'x'"):
        await open_coordinator(f"{etcd_server.url(topic)}?x=1")


async def test_path_without_rights_is_refused_with_the_reason(topic: str, etcd_server: Engine) -> None:
    """On a server of its own: who has to log in has to everywhere."""
    guarded = Etcd()
    await asyncio.to_thread(guarded.start)
    try:
        await _guard(hosts(guarded), topic)
        for username, password in (("", ""), ("reader", "pw"), ("ops", "wrong")):
            stranger = EtcdCoordinator(hosts(guarded), f"/{topic}", username=username, password=password)
            with pytest.raises(Denied, match="no right to"):
                await stranger.get()
            await stranger.close()
        ops = EtcdCoordinator(hosts(guarded), f"/{topic}", username="ops", password="pw")
        assert (await ops.put(b"a", version=0)).version == 1
        await ops.close()
        elsewhere = EtcdCoordinator(hosts(guarded), "/elsewhere", username="ops", password="pw")
        with pytest.raises(Denied):
            await elsewhere.get()
        await elsewhere.close()
    finally:
        await asyncio.to_thread(guarded.stop)


async def _guard(where: str, topic: str) -> None:
    key, end = b64(f"/{topic}/".encode()), b64(f"/{topic}0".encode())
    async with aiohttp.ClientSession() as session:

        async def post(path: str, **body: object) -> None:
            async with session.post(f"http://{where}/v3/auth/{path}", json=body) as answer:
                assert "error" not in json.loads(await answer.text())

        for user in ("root", "ops", "reader"):
            await post("user/add", name=user, password="pw")
            await post("role/add", name=user)
            await post("user/grant", user=user, role=user)
        for user, kind in (("ops", "READWRITE"), ("reader", "READ")):
            await post("role/grant", name=user, perm={"permType": kind, "key": key, "range_end": end})
        await post("enable")
