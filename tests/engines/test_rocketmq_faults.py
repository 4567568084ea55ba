"""RocketMQ under load while it is killed, frozen, cut off and misheard: what was acknowledged is handled."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evermq.drills.engines.rocketmq import RocketMQ
from evermq.drills.engines.rocketmq_three import RocketMQThree
from evermq.drills.faults.injections import frozen, killed, misbehaving
from evermq.drills.faults.proxy import Fault, Proxy
from evermq.drills.load import Load, run_load
from evermq.testing.checker import Expect

pytestmark = pytest.mark.timeout(300)

OPTIONS = "&timeout_ms=2000&lease_ms=3000&poll_ms=500"
# What a reader was handed is in no backlog here, and comes again up to 4 s after its lease of 3 s.
LOAD = Load(seconds=9, rate=300, lanes=2, quiet_s=8)


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed(rocketmq_server: RocketMQ, topic: str) -> None:
    fault = killed(rocketmq_server, topic)
    verdict = await run_load(rocketmq_server.url(topic) + OPTIONS, ["a", "b"], fault=fault, load=LOAD)
    assert verdict.verdict == "PASS", str(verdict)


@pytest.mark.slow
async def test_nothing_acknowledged_is_lost_when_the_server_is_frozen(rocketmq_server: RocketMQ, topic: str) -> None:
    fault = frozen(rocketmq_server, topic)
    verdict = await run_load(rocketmq_server.url(topic) + OPTIONS, fault=fault, load=LOAD)
    assert verdict.verdict == "PASS", str(verdict)


async def test_nothing_acknowledged_is_lost_when_requests_are_reset(rocketmq_server: RocketMQ, topic: str) -> None:
    async with Proxy(rocketmq_server.doors[0]) as proxy:
        fault = misbehaving(proxy, Fault(reset=0.2, bytes_min=2_000), seconds=5)
        verdict = await run_load(rocketmq_server.url(topic, proxied=True) + OPTIONS, fault=fault, load=LOAD)
        assert proxy.happened["resets"] > 0
    assert verdict.verdict == "PASS", str(verdict)


async def test_swallowed_answers_make_doubles_and_lose_nothing(rocketmq_server: RocketMQ, topic: str) -> None:
    async with Proxy(rocketmq_server.doors[0]) as proxy:
        fault = misbehaving(proxy, Fault(swallow=0.2, bytes_min=2_000), seconds=5)
        url = rocketmq_server.url(topic, proxied=True) + OPTIONS
        verdict = await run_load(url, fault=fault, load=LOAD, expect=Expect(duplicates_raw_min=1))
        assert proxy.happened["swallowed"] > 0
    assert verdict.verdict == "PASS", str(verdict)


@pytest.mark.slow
@pytest.mark.timeout(1_500)
async def test_nothing_acknowledged_is_lost_when_the_master_is_killed_five_times(
    rocketmq_three_server: RocketMQThree, topic: str
) -> None:
    """A broker takes a minute to come back on a busy machine, and messages flow all the while; leases outlast that."""
    fault = killed(rocketmq_three_server, topic, times=5, pause_s=10, replaced=True)
    url = f"{rocketmq_three_server.url(topic)}&timeout_ms=6000&lease_ms=10000&poll_ms=500&require=replicated"
    load = replace(LOAD, rate=60, quiet_s=16, drain_s=300)
    verdict = await run_load(url, fault=fault, load=load)
    assert verdict.verdict == "PASS", str(verdict)
