"""Which technique stands over which engines: drawn by the seed, built by every process for itself."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evermq.clock import Clock
from evermq.ha.buffered import Buffered
from evermq.ha.failover import Choice, Failover
from evermq.ha.host_rung import HostRung
from evermq.ha.pump import Pump
from evermq.ha.route import Route
from evermq.ha.spooled import Spooled
from evermq.message import Message
from evermq.port import Queue, Reader, Start
from evermq.position import Position
from evermq.testing.worlds.composite_site import Link
from evermq.testing.worlds.composite_slots import SimulatedSlots
from evermq.traits import Traits

__all__ = ["KINDS", "NESTINGS", "PUMP", "SLOTS", "Built", "Node", "Pumped", "build", "draw", "draw_nested"]

PUMP = "pump"
KINDS = ("route", "failover", "spooled", "buffered")
SLOTS = tuple(f"slot-{number}" for number in range(6))  # one for each process, and one to spare
_PUMPED = ("local", "source", *SLOTS)
_KEYS = {
    "route": ("a", "b"),
    "failover": ("primary", "standby"),
    "spooled": ("local", "remote"),
    "buffered": ("local", "remote"),
    "pump": ("source", "target"),
    "ladder": ("primary", "standby", *SLOTS),
}
_LAST = {"failover": ("last",)}
# Which technique stands at which place of which other one; the slots of a host are logs, and a host has them once.
NESTINGS = tuple(
    (outer, place, inner)
    for outer, keys in _KEYS.items()
    for place in (*keys, *_LAST.get(outer, ()))
    for inner in _KEYS
    if place not in SLOTS and (outer, inner) != ("ladder", "ladder")
)
_PATIENCE_MS = 300  # for one engine; a queue made of queues is given more, or it would never have its second try
_PATIENCE_NESTED_MS = 1_500


@dataclass(frozen=True, slots=True)
class Node:
    """A technique over children by key, or, with kind "", the engine `site`."""

    kind: str = ""
    site: str = ""
    children: Mapping[str, Node] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(f'{k}={c}' for k, c in self.children.items())})" if self.kind else self.site

    def groups(self, groups: Sequence[str]) -> dict[str, Sequence[str]]:
        """Which groups read each site, where `groups` read this node."""
        if not self.kind:
            return {self.site: groups}
        found: dict[str, Sequence[str]] = {}
        for key, child in self.children.items():
            found |= child.groups((PUMP,) if key in _PUMPED else groups)
        return found

    def paths(self) -> list[str]:
        """The ways by which deliveries come."""
        if not self.kind:
            return [""]
        read = {key: child for key, child in self.children.items() if key not in _PUMPED}
        own = {key: "" if key == "target" else key for key in read}
        return ["/".join(filter(None, (own[key], path))) for key, child in read.items() for path in child.paths()]


def draw(kind: str, chance: random.Random) -> Node:
    """A technique over engines."""
    keys: tuple[str, ...] = _KEYS[kind]
    if kind in ("route", "failover") and chance.random() < 0.3:
        keys = (*keys, "last")
    return Node(kind, children={key: Node(site=key) for key in keys})


def draw_nested(seed: int, chance: random.Random) -> Node:
    """A technique, one of whose children is a technique: by consecutive seeds all nestings in turn."""
    kind, place, inner_kind = NESTINGS[seed % len(NESTINGS)]
    outer, inner = draw(kind, chance), draw(inner_kind, chance)
    below = {key: Node(site=key if key in SLOTS else f"{place}-{key}") for key in inner.children}
    return Node(kind, children={**outer.children, place: Node(inner_kind, children=below)})


class Pumped:
    """See `Queue`: a pump and its two ends."""

    def __init__(self, source: Queue, target: Queue, dead: Queue | None, clock: Clock) -> None:
        self._source = source
        self._target = target
        self._pump = Pump(source, target, dead=dead, batch_count_max=20, clock=clock)
        self.name = target.name

    @property
    def traits(self) -> Traits:
        return self._source.traits & self._target.traits

    async def start(self) -> None:
        """Begin to carry."""
        self._pump.start()

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        return await self._source.append(messages)

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Reader:
        return await self._target.reader(group, start=start)

    async def backlog(self, group: str, lane: str | None = None) -> int:
        return await self._source.backlog(PUMP) + await self._target.backlog(group, lane)

    async def close(self) -> None:
        await self._pump.close()
        await self._source.close()
        await self._target.close()


@dataclass(slots=True)
class Built:
    """A process's own tree: what it must start, and where it may choose."""

    queue: Queue
    pumped: list[Spooled | Pumped] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)


def build(node: Node, links: Mapping[str, Link], dead: Queue | None, clock: Clock, producer: str = "") -> Built:
    """Make the queues of a tree over these links. producer: its name, where it is to have its own slot again."""
    if not node.kind:
        return Built(links[node.site])
    below = {key: build(child, links, dead, clock, producer) for key, child in node.children.items()}
    queues = {key: built.queue for key, built in below.items()}
    found = Built(next(iter(queues.values())))
    for built in below.values():
        found.pumped += built.pumped
        found.choices += built.choices
    wait_ms = _PATIENCE_NESTED_MS if any(child.kind for child in node.children.values()) else _PATIENCE_MS
    match node.kind:
        case "route":
            found.queue = Route(queues, append_ms_max=wait_ms, clock=clock)
        case "failover":
            found.choices.append(Choice())
            choice = found.choices[-1]
            found.queue = Failover(**queues, choice=choice, append_ms_max=wait_ms, drain_per_s_max=None, clock=clock)
        case "ladder":
            slots = SimulatedSlots([links[key] for key in SLOTS], clock, producer)
            last = HostRung(slots, name="orders", dead=dead, clock=clock)
            found.choices.append(Choice())
            rungs = {"primary": queues["primary"], "standby": queues["standby"], "last": last}
            choice = found.choices[-1]
            ladder = found.queue = Failover(
                **rungs, choice=choice, append_ms_max=wait_ms, drain_per_s_max=None, clock=clock
            )
            ladder.start()
        case "spooled":
            spooled = found.queue = Spooled(local=queues["local"], remote=queues["remote"], dead=dead, clock=clock)
            found.pumped.append(spooled)
        case "buffered":
            buffered = found.queue = Buffered(
                local=queues["local"], remote=queues["remote"], dead=dead, slow_ms=wait_ms, clock=clock
            )
            found.pumped.append(buffered)
        case _:
            pumped = found.queue = Pumped(queues["source"], queues["target"], dead, clock)
            found.pumped.append(pumped)
    return found
