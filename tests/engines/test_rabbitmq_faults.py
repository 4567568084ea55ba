"""RabbitMQ under load while it is killed, frozen, cut off and misheard: what was acknowledged is handled."""

from __future__ import annotations

import pytest

from evermq.drills.engines.rabbitmq import RabbitMQ, RabbitMQThree
from evermq.drills.faults.injections import frozen, killed, misbehaving
from evermq.drills.faults.proxy import Fault, Proxy
from evermq.drills.load import Load, run_load
from evermq.testing.checker import Expect

pytestmark = pytest.mark.timeout(300)

OPTIONS = "?timeout_ms=2000"
LOAD = Load(seconds=9, rate=300, lanes=2)


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed(rabbitmq_server: RabbitMQ, topic: str) -> None:
    fault = killed(rabbitmq_server, topic)
    verdict = await run_load(rabbitmq_server.url(topic) + OPTIONS, ["a", "b"], fault=fault, load=LOAD)
    assert verdict.verdict == "PASS", str(verdict)


@pytest.mark.slow
async def test_nothing_acknowledged_is_lost_when_the_server_is_frozen(rabbitmq_server: RabbitMQ, topic: str) -> None:
    fault = frozen(rabbitmq_server, topic)
    verdict = await run_load(rabbitmq_server.url(topic) + OPTIONS, fault=fault, load=LOAD)
    assert verdict.verdict == "PASS", str(verdict)


async def test_nothing_acknowledged_is_lost_when_requests_are_reset(rabbitmq_server: RabbitMQ, topic: str) -> None:
    async with Proxy(rabbitmq_server.doors[0]) as proxy:
        fault = misbehaving(proxy, Fault(reset=0.2, bytes_min=2_000), seconds=5)
        verdict = await run_load(rabbitmq_server.url(topic, proxied=True) + OPTIONS, fault=fault, load=LOAD)
        assert proxy.happened["resets"] > 0
    assert verdict.verdict == "PASS", str(verdict)


async def test_swallowed_confirms_make_doubles_and_lose_nothing(rabbitmq_server: RabbitMQ, topic: str) -> None:
    async with Proxy(rabbitmq_server.doors[0]) as proxy:
        fault = misbehaving(proxy, Fault(swallow=0.2, bytes_min=2_000), seconds=5)
        url = rabbitmq_server.url(topic, proxied=True) + OPTIONS
        verdict = await run_load(url, fault=fault, load=LOAD, expect=Expect(duplicates_raw_min=1))
        assert proxy.happened["swallowed"] > 0
    assert verdict.verdict == "PASS", str(verdict)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_nothing_acknowledged_is_lost_when_the_leader_is_killed_five_times(
    rabbitmq_three_server: RabbitMQThree, topic: str
) -> None:
    fault = killed(rabbitmq_three_server, f"{topic}:", times=5, pause_s=5, replaced=True)
    options = f"?timeout_ms=10000&management={rabbitmq_three_server.management}&require=replicated"
    verdict = await run_load(rabbitmq_three_server.url(topic) + options, fault=fault, load=LOAD)
    assert verdict.verdict == "PASS", str(verdict)
