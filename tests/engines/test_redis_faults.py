"""Load from separate processes over a real Redis that is killed, frozen and cut off: what is acknowledged is kept."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis as Client

from evermq.drills.engines.redis import Redis, RedisSentinel
from evermq.drills.faults.injections import killed
from evermq.drills.faults.proxy import Fault, Proxy
from evermq.drills.load import Breaks, run_load
from evermq.drills.stage import Stage
from evermq.testing.checker import Expect

OPTIONS = "?lanes=16&lease_ms=2000&timeout_ms=2000"


def proxied(proxy: Proxy, fault: Fault, seconds: float) -> Breaks:
    async def act(stage: Stage) -> None:
        stage.note("fault_on", repr(fault))
        await proxy.set(fault)
        await asyncio.sleep(seconds)
        await proxy.heal()
        stage.note("fault_off", "the proxy behaves")

    return act


async def state_of(server: Redis, topic: str) -> str:
    """What the server holds of each lane, for whoever has to understand a loss."""
    told = []
    async with Client.from_url(server.url()) as client:
        for key in sorted([key async for key in client.scan_iter(f"evermq:{{{topic}.*}}:state")]):
            entries = await client.lrange(key.replace(b":state", b":list"), 0, -1)
            told.append(f"{key} {await client.hgetall(key)} {len(entries)} entries {[each[:80] for each in entries]}")
    last = node.tail() if (node := server.nodes.get("redis")) else ""
    return "\n".join([*told, last])


async def test_killed_server_loses_nothing_that_it_acknowledged(redis_server: Redis, topic: str) -> None:
    node = redis_server.nodes["redis"]

    async def kill(stage: Stage) -> None:
        for number in range(3):
            stage.note("fault_on", f"SIGKILL {number}")
            await asyncio.to_thread(node.restart)
            stage.note("fault_off", "it runs again")
            await asyncio.sleep(1)

    expect = Expect(acknowledged_min=1_000)
    verdict = await run_load(redis_server.url(topic) + OPTIONS, ["a", "b"], fault=kill, seconds=6, expect=expect)
    assert verdict.verdict == "PASS", f"{verdict}\n{await state_of(redis_server, topic)}"


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_nothing_that_a_replica_confirmed_is_lost_when_it_is_promoted_five_times(
    redis_sentinel_server: RedisSentinel, topic: str
) -> None:
    """Sentinels take ten seconds to make a replica of the old master, and until then nothing is acknowledged."""
    fault = killed(redis_sentinel_server, topic, times=5, pause_s=25, replaced=True)
    url = redis_sentinel_server.url(topic) + "&lanes=16&lease_ms=2000&timeout_ms=2000&wait_replicas=1"
    expect = Expect(acknowledged_min=5_000)
    verdict = await run_load(url, ["a", "b"], fault=fault, seconds=9, rate=300, expect=expect)
    assert verdict.verdict == "PASS", verdict


@pytest.mark.slow
async def test_server_that_stands_still_for_20_seconds_loses_nothing(redis_server: Redis, topic: str) -> None:
    node = redis_server.nodes["redis"]

    async def freeze(stage: Stage) -> None:
        stage.note("fault_on", "SIGSTOP")
        node.freeze()
        await asyncio.sleep(20)
        node.thaw()
        stage.note("fault_off", "SIGCONT")

    verdict = await run_load(redis_server.url(topic) + OPTIONS, fault=freeze, seconds=5)
    assert verdict.verdict == "PASS", verdict


async def test_swallowed_answers_make_doubles_and_lose_nothing(redis_server: Redis, topic: str) -> None:
    async with Proxy(redis_server.doors[0]) as proxy:
        fault = proxied(proxy, Fault(swallow=0.2, bytes_min=2_000), 5)
        url = redis_server.url(topic, proxied=True) + OPTIONS
        verdict = await run_load(url, fault=fault, seconds=6, expect=Expect(duplicates_raw_min=1))
        assert proxy.happened["swallowed"] > 0
    assert verdict.verdict == "PASS", verdict


async def test_connections_that_are_reset_half_way_lose_nothing(redis_server: Redis, topic: str) -> None:
    async with Proxy(redis_server.doors[0]) as proxy:
        fault = proxied(proxy, Fault(reset=0.2), 4)
        verdict = await run_load(redis_server.url(topic, proxied=True) + OPTIONS, fault=fault, seconds=6)
        assert proxy.happened["resets"] > 0
    assert verdict.verdict == "PASS", verdict
