"""Probes of real brokers: each is tried, and one that is silent is seen until the others have taken it for dead."""

from __future__ import annotations

import asyncio

import pytest

from evermq.adapters.open import open_place
from evermq.drills.engines.engine import Engine
from evermq.errors import EvermqError
from evermq.ha.probe import Probe
from evermq.port import Place


async def until_it_passes(probe: Probe) -> None:
    async with asyncio.timeout(120):
        while True:
            try:
                await probe.trip()
                return
            except EvermqError:
                await asyncio.sleep(0.5)


def probe_of(server: Engine, topic: str) -> Probe:
    async def connect() -> Place:
        return await open_place(server.url())

    return Probe(connect, topic)


async def test_probe_passes_and_leaves_nothing_behind(kafka_server: Engine, topic: str) -> None:
    probe = probe_of(kafka_server, topic)
    await until_it_passes(probe)
    assert await probe.trip() >= 0
    await probe.close()
    place = await open_place(kafka_server.url())
    assert topic not in await place.topics()
    await place.close()


async def test_each_of_three_brokers_is_tried(kafka_three_server: Engine, topic: str) -> None:
    probe = probe_of(kafka_three_server, topic)
    await until_it_passes(probe)
    place = await open_place(kafka_three_server.url())
    assert (await place.describe(topic)).lanes == 3
    node = kafka_three_server.leader(topic)
    node.freeze()
    with pytest.raises(EvermqError):
        await probe.trip()
    await until_it_passes(probe)  # the others have taken it for dead
    node.thaw()
    await until_it_passes(probe)
    await probe.close()
    await place.close()
