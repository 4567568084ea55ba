"""Kafka under load while it is killed, frozen, cut off and misheard: what was acknowledged is handled."""

from __future__ import annotations

import pytest

from evermq.adapters.open import open_place
from evermq.drills.engines.engine import Engine
from evermq.drills.faults.injections import frozen, killed, misbehaving
from evermq.drills.faults.proxy import Fault, Proxy
from evermq.drills.load import Load, run_load
from evermq.port import TopicState

pytestmark = pytest.mark.timeout(240)

LOAD = Load(seconds=9, rate=400, lanes=4)


async def described(server: Engine, topic: str) -> TopicState:
    place = await open_place(server.url())
    try:
        return await place.describe(topic)
    finally:
        await place.close()


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed(kafka_server: Engine, topic: str) -> None:
    verdict = await run_load(kafka_server.url(topic), fault=killed(kafka_server, topic), load=LOAD)
    assert verdict.verdict == "PASS", str(verdict)


async def test_nothing_acknowledged_is_lost_when_requests_are_reset(kafka_server: Engine, topic: str) -> None:
    async with Proxy(kafka_server.doors[0]) as proxy:
        fault = misbehaving(proxy, Fault(reset=0.2, bytes_min=400), seconds=6)
        verdict = await run_load(kafka_server.url(topic, proxied=True), fault=fault, load=LOAD)
        assert proxy.happened["resets"] > 0
    assert verdict.verdict == "PASS", str(verdict)


async def test_swallowed_answers_make_no_doubles_and_lose_nothing(kafka_server: Engine, topic: str) -> None:
    """The other engines have raw duplicates here. The numbers of the idempotent sender let the broker drop what comes
    again for want of an answer, so that none is left, as long as `send_ms_max` outlasts the fault: what ends Uncertain
    the caller sends again, and of that the broker knows nothing."""
    async with Proxy(kafka_server.doors[0]) as proxy:
        fault = misbehaving(proxy, Fault(swallow=0.2, bytes_min=400), seconds=6)
        url = kafka_server.url(topic, proxied=True) + "?send_ms_max=30000"
        verdict = await run_load(url, fault=fault, kill=False, load=LOAD)
        assert proxy.happened["swallowed"] > 0
    assert verdict.verdict == "PASS", str(verdict)
    assert (await described(kafka_server, topic)).appended == verdict.acknowledged
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
