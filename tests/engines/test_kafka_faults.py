"""Kafka under load while it is killed, frozen, cut off and misheard: what was acknowledged is handled."""

from __future__ import annotations

import pytest

from evermq.drills.engines.engine import Engine
from evermq.drills.faults.injections import frozen, killed, misbehaving
from evermq.drills.faults.proxy import Fault, Proxy
from evermq.drills.load import Load, run_load

pytestmark = pytest.mark.timeout(240)

LOAD = Load(seconds=9, rate=400, lanes=4)


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed(kafka_server: Engine, topic: str) -> None:
    verdict = await run_load(kafka_server.url(topic), fault=killed(kafka_server, topic), load=LOAD)
    assert verdict.verdict == "PASS", str(verdict)


async def test_nothing_acknowledged_is_lost_when_requests_are_reset(kafka_server: Engine, topic: str) -> None:
    async with Proxy(kafka_server.doors[0]) as proxy:
        fault = misbehaving(proxy, Fault(reset=0.2, bytes_min=400), seconds=6)
        verdict = await run_load(kafka_server.url(topic, proxied=True), fault=fault, load=LOAD)
        assert proxy.happened["resets"] > 0
    assert verdict.verdict == "PASS", str(verdict)


async def test_nothing_acknowledged_is_lost_when_answers_are_swallowed(kafka_server: Engine, topic: str) -> None:
    """The numbers of the idempotent sender let the broker drop what comes again for want of an answer."""
    async with Proxy(kafka_server.doors[0]) as proxy:
        fault = misbehaving(proxy, Fault(swallow=0.2, bytes_min=400), seconds=6)
        verdict = await run_load(kafka_server.url(topic, proxied=True), fault=fault, kill=False, load=LOAD)
        assert proxy.happened["swallowed"] > 0
    assert verdict.verdict == "PASS", str(verdict)
    assert verdict.counts["inversions"] == 0


async def test_nothing_acknowledged_is_lost_when_a_leader_is_frozen(kafka_three_server: Engine, topic: str) -> None:
    verdict = await run_load(kafka_three_server.url(topic), fault=frozen(kafka_three_server, topic), load=LOAD)
    assert verdict.verdict == "PASS", str(verdict)


@pytest.mark.timeout(900)
async def test_nothing_acknowledged_is_lost_when_the_leader_is_killed_five_times(
    kafka_three_server: Engine, topic: str
) -> None:
    fault = killed(kafka_three_server, topic, times=5, pause_s=4, replaced=True)
    verdict = await run_load(kafka_three_server.url(topic), fault=fault, load=LOAD)
    assert verdict.verdict == "PASS", str(verdict)
