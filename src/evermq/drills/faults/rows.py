"""Faults of parts of a ladder, and of several parts at once: the rows of the fault matrix."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from evermq.drills.engines.engine import Engine
from evermq.drills.engines.kafka_linked import KafkaLinked
from evermq.drills.engines.node import Node
from evermq.drills.faults.outages import Outage, of_engine
from evermq.drills.faults.proxy import Fault, Proxy
from evermq.errors import Misconfigured, Unavailable

__all__ = ["ROWS", "Engines", "Row"]

_LEADER_S = 30
_QUORUM_OF = 3
_HALF_S, _SLOWER = 0.2, 1.6  # of the waves of a flapping primary
_Begin = Callable[["Scene"], Awaitable[None]]


class Engines(NamedTuple):
    """What stands behind a ladder that a drill made. standbys: from the top down. names: of all, the primary first.
    database: for progress."""

    primary: Engine
    standbys: tuple[Engine, ...]
    coordinator: Engine | None
    names: tuple[str, ...]
    database: Engine | None = None

    @property
    def standby(self) -> Engine | None:
        """What is next to the primary."""
        return next(iter(self.standbys), None)

    @property
    def started(self) -> list[Engine]:
        """All of it."""
        return [each for each in (self.primary, *self.standbys, self.coordinator, self.database) if each]

    def heal(self) -> None:
        """All of it."""
        for each in self.started:
            each.heal()

    def versions(self) -> dict[str, str]:
        """Of all that say one, by their names."""
        return {each.name: version for each in self.started if (version := each.version())}


class Scene(NamedTuple):
    """What a fault may touch. topic: of the drill."""

    engines: Engines
    proxies: Sequence[Proxy]
    topic: str

    async def leader(self, engine: Engine | None = None) -> Node:
        """The node that takes the topic's writes; right after a fault there may be none for a while."""
        for _ in range(10 * _LEADER_S):
            try:
                return await asyncio.to_thread((engine or self.engines.primary).leader, self.topic)
            except Unavailable:
                await asyncio.sleep(0.1)
        raise Unavailable(f"{self.topic} has no leader")


@dataclass(frozen=True, slots=True)
class Row:
    """about: a sentence for people. begin: breaks it. total: nothing is acknowledged by the primary meanwhile. refuses:
    as of an outage. proxied: proxies stand in front of the primary. needs: the part of the ladder without which it
    makes no sense. clients_s: one client more is killed every so many seconds meanwhile. blind: proxies stand in front
    of the coordinator instead, for some of the processes alone. long: takes minutes, so the matrix leaves it out."""

    about: str
    begin: _Begin
    total: bool = False
    refuses: bool = False
    proxied: bool = False
    clients_s: float = 0.0
    needs: str = ""
    blind: bool = False
    long: bool = False

    async def stand(self, engines: Engines) -> list[Proxy]:
        """The proxies, in front of the primary or the coordinator, if it needs any."""
        before = engines.coordinator if self.blind else engines.primary if self.proxied else None
        proxies = [Proxy(door) for door in before.doors] if before else []
        for proxy in proxies:
            await proxy.__aenter__()
        return proxies

    def outage(self, name: str, engines: Engines, proxies: Sequence[Proxy], topic: str) -> Outage:
        """What a drill does. Raises Misconfigured where the engines are not of the kind that it needs."""
        if self.needs == "links" and not isinstance(engines.primary, KafkaLinked):
            raise Misconfigured(f"--fault {name} cuts links between nodes: give {KafkaLinked.name} first in --engines")
        if self.needs == "quorum" and len(engines.coordinator.nodes if engines.coordinator else ()) < _QUORUM_OF:
            raise Misconfigured(f"--fault {name} takes a coordinator's majority: give zookeeper-three in --engines")
        scene = Scene(engines, proxies, topic)

        async def heal() -> None:
            await asyncio.gather(*(proxy.heal() for proxy in proxies))
            await asyncio.to_thread(engines.heal)

        whole = of_engine(engines.primary, "kill")
        return replace(
            whole,
            name=name,
            begin=lambda: self.begin(scene),
            heal=heal,
            total=self.total,
            refuses=self.refuses,
            clients_s=self.clients_s,
        )


async def _leader_killed(scene: Scene) -> None:
    node = await scene.leader()
    await asyncio.to_thread(node.kill)


async def _leader_frozen(scene: Scene) -> None:
    (await scene.leader()).freeze()


async def _leader_bounced(scene: Scene) -> None:
    """Killed and ended in order by turns."""
    for number in range(5):
        node = await scene.leader()
        await asyncio.to_thread(node.stop if number % 2 else node.kill)
        await asyncio.to_thread(node.start)
        await asyncio.sleep(1)


async def _one_cut_off(scene: Scene) -> None:
    await scene.proxies[0].set(Fault(cut=True))


async def _bridged(scene: Scene) -> None:
    """The topic's leader and one of the others hear each other no more, and both hear the third."""
    leader, primary = await scene.leader(), scene.engines.primary
    assert isinstance(primary, KafkaLinked)
    other = next(name for name in primary.nodes if name != leader.name)
    await asyncio.to_thread(primary.cut, leader.name, other)


async def _one_way(scene: Scene) -> None:
    """What clients send arrives, what they are answered does not, and nobody tells them."""
    await asyncio.gather(*(proxy.set(Fault(swallow=1.0, hang=True)) for proxy in scene.proxies))


async def _slowed(scene: Scene) -> None:
    await asyncio.gather(*(proxy.set(Fault(delay_ms=300)) for proxy in scene.proxies))


async def _kill(engine: Engine | None) -> None:
    if engine:
        await of_engine(engine, "kill").begin()


async def _coordinator_killed(scene: Scene) -> None:
    await _kill(scene.engines.coordinator)


async def _standby_leader_killed(scene: Scene) -> None:
    assert scene.engines.standby
    node = await scene.leader(scene.engines.standby)
    await asyncio.to_thread(node.kill)


async def _all_and_coordinator(scene: Scene) -> None:
    await _kill(scene.engines.coordinator)
    await _kill(scene.engines.primary)


async def _all_and_quorum(scene: Scene) -> None:
    """What is left of the coordinator is one server that may decide nothing."""
    await _kill(scene.engines.primary)
    await asyncio.sleep(4)
    assert scene.engines.coordinator
    nodes = list(scene.engines.coordinator.nodes.values())
    await asyncio.gather(*(asyncio.to_thread(node.kill) for node in nodes[: len(nodes) // 2 + 1]))


async def _all_and_standby_fails_over(scene: Scene) -> None:
    await _kill(scene.engines.primary)
    await asyncio.sleep(4)
    await _standby_leader_killed(scene)


async def _some_blind(scene: Scene) -> None:
    """What is agreed while the primary is away, some of the processes do not hear."""
    await asyncio.gather(*(proxy.set(Fault(cut=True)) for proxy in scene.proxies))
    await asyncio.sleep(1)
    await _kill(scene.engines.primary)


async def _again_while_it_returns(scene: Scene) -> None:
    await _kill(scene.engines.primary)
    await asyncio.sleep(5)
    await asyncio.to_thread(scene.engines.primary.heal)
    await asyncio.sleep(6)
    await _kill(scene.engines.primary)


async def _flapping(scene: Scene) -> None:
    """Up and down in a square wave that grows from a fifth of a second to eight."""
    await _up_and_down(scene, _halves_s(9))


async def _flapping_long(scene: Scene) -> None:
    """Up and down in a square wave that grows from a fifth of a second to a minute, and shrinks again: ten minutes."""
    growing = _halves_s(60)
    await _up_and_down(scene, [*growing, *reversed(growing)])


def _halves_s(half_s_max: float) -> list[float]:
    """Halves of waves, each longer than the one before."""
    found = [_HALF_S]
    while found[-1] * _SLOWER < half_s_max:
        found.append(found[-1] * _SLOWER)
    return found


async def _up_and_down(scene: Scene, halves_s: Sequence[float]) -> None:
    for half_s in halves_s:
        await asyncio.gather(*(proxy.set(Fault(cut=True)) for proxy in scene.proxies))
        await asyncio.sleep(half_s)
        await asyncio.gather(*(proxy.heal() for proxy in scene.proxies))
        await asyncio.sleep(half_s)


async def _nothing(scene: Scene) -> None:
    """Only clients are harmed."""


ROWS: dict[str, Row] = {
    "leader-kill": Row("F1: SIGKILL of the node that leads the topic", _leader_killed),
    "leader-freeze": Row("F2: SIGSTOP of the node that leads the topic", _leader_frozen),
    "leader-bounce": Row("F3: the leading node ends and comes back five times, killed and in order", _leader_bounced),
    "isolate": Row("F4: one node is cut off from clients", _one_cut_off, proxied=True),
    "one-way": Row("F5: requests arrive, answers do not", _one_way, total=True, proxied=True),
    "bridge": Row("F6: two nodes hear each other no more, and both hear the third", _bridged, needs="links"),
    "latency": Row("F8: 300 ms more in either direction", _slowed, proxied=True),
    "coordinator-kill": Row("F11: the coordinator is gone", _coordinator_killed, needs="coordinator"),
    "standby-kill": Row(
        "F12: SIGKILL of the standby's leader, while it idles", _standby_leader_killed, needs="standby"
    ),
    "clients-kill": Row("F13: SIGKILL of one client after the other, all three seconds", _nothing, clients_s=3.0),
    "primary+coordinator": Row(
        "primary and coordinator are gone together",
        _all_and_coordinator,
        total=True,
        refuses=True,
        needs="coordinator",
    ),
    "primary+quorum": Row(
        "the primary is gone, then most servers of the coordinator", _all_and_quorum, total=True, needs="quorum"
    ),
    "primary+standby": Row(
        "the primary is gone, then the standby's leader",
        _all_and_standby_fails_over,
        total=True,
        refuses=True,
        needs="standby",
    ),
    "blind": Row(
        "the coordinator is cut off from one producer and one consumer of each group, then the primary is gone",
        _some_blind,
        total=True,
        refuses=True,
        needs="coordinator",
        blind=True,
    ),
    "relapse": Row("the primary is gone again while senders return", _again_while_it_returns, total=True, refuses=True),
    "flapping": Row("the primary is cut off and back, slower and slower", _flapping, proxied=True),
    "flapping-long": Row(
        "the primary is cut off and back for ten minutes, up to a minute each", _flapping_long, proxied=True, long=True
    ),
}
