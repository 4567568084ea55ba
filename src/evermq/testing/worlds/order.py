"""The whole protocol of order and no doubles, over a ladder of failing rungs: each way in which a simpler one broke has
a world of its own, and the last one has them all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from evermq.policy.ordered import Ordered
from evermq.port import Start
from evermq.progress.memory import MemoryProgress
from evermq.testing.checker import Expect, Verdict, check
from evermq.testing.history import Event
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.loop import Deadlock, simulate
from evermq.testing.world import World, WorldResult
from evermq.testing.worlds.order_actors import Consumer, Producer, Record
from evermq.testing.worlds.order_host import Ladder, SimulatedSlot
from evermq.testing.worlds.order_rung import Rung

__all__ = ["WORLDS", "Plan"]

_LANES = 12
_QUIET_MS_MAX = 90_000
_GROUP = "billing"
_LATE = "audit"
_ENDS_MS = 12_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens in a world, in milliseconds since it began.

    primary_down, standby_down, last_full: from and to. lies: how often an append has an unknown outcome although all is
    well. flags: whether something may be handed out flagged, since something was lost. is_strict: no second effect is
    allowed, and no inversion beyond what was flagged. may_wait: in the end something may wait that was never
    acknowledged.
    """

    primary_down: tuple[int, int] = (2_000, 6_000)
    standby_down: tuple[int, int] = (0, 0)
    last_full: tuple[int, int] = (0, 0)
    lies: float = 0.05
    window: int = 4
    refused: float = 0.0
    dead: float = 0.0
    released: float = 0.0
    append_ms_max: int = 10_000
    producer_kills: int = 0
    consumer_kills: int = 0
    rebalances: int = 0
    late_group_ms: int = 0
    progress_lost_ms: int = 0
    tail_lost_ms: int = 0
    host_lost_ms: int = 0
    hold_ms_max: int | None = None
    atomic: bool = True
    flags: bool = False
    is_strict: bool = True
    may_wait: bool = False
    count: int = 30
    think_ms: int = 700


class _Run:
    """One seed of one plan."""

    def __init__(self, plan: Plan, clock: SimulatedClock) -> None:
        self.plan = plan
        self.clock = clock
        self.record = Record(clock)
        self.progress = MemoryProgress(silent_ms_max=1_500, clock=clock)
        chance = clock.random
        rung = partial(Rung, clock=clock, window=plan.window, lies=plan.lies)
        self.rungs = {
            "primary": rung("primary", lanes=3, prefix=True),
            "standby": rung("standby", lanes=4, prefix=False),
        }
        self.slots = [SimulatedSlot(f"slot-{number}", clock) for number in range(2)]
        self.pumps = [asyncio.create_task(slot.pump(list(self.rungs.values()))) for slot in self.slots]
        self.producers = [
            Producer(
                f"p{number}",
                self.record,
                partial(self.queue, slot),
                keys=chance.choice((2, 3)),
                count=plan.count,
                think_ms=plan.think_ms,
            )
            for number, slot in enumerate(self.slots)
        ]
        self.consumers = [self._consumer(f"c{number}", _GROUP) for number in range(2)]
        self.failures: list[str] = []
        self.gone: set[str] = set()  # what the promise allows to be lost

    def queue(self, slot: SimulatedSlot | None = None) -> Ordered:
        """The queue as a process builds it."""
        ladder = Ladder(self.rungs["primary"], self.rungs["standby"], slot, self.clock)
        return Ordered(
            ladder,
            slot=slot.take if slot else None,
            progress=self.progress,
            rungs=self.rungs,
            lanes=_LANES,
            append_ms_max=self.plan.append_ms_max,
            hold_ms_max=self.plan.hold_ms_max,
            clock=self.clock,
        )

    async def play(self) -> None:
        """Load and troubles, then quiet until nothing is left."""
        for producer in self.producers:
            producer.refused = self.plan.refused
            producer.boot()
        for consumer in self.consumers:
            consumer.boot()
        troubles = [asyncio.create_task(each) for each in self._troubles()]
        await asyncio.gather(*troubles)
        for rung in self.rungs.values():
            rung.is_up, rung.lies = True, 0.0
        await self._drain()
        for consumer in self.consumers:
            await consumer.end()

    def _troubles(self) -> list[Coroutine[Any, Any, None]]:
        plan = self.plan
        acts = [self._outage("primary", *plan.primary_down), self._outage("standby", *plan.standby_down)]
        acts += [self._fill_disks(*plan.last_full)]
        acts += [self._some_time(self._kill_producer) for _ in range(plan.producer_kills)]
        acts += [self._some_time(self._kill_consumer) for _ in range(plan.consumer_kills)]
        acts += [self._some_time(self._rebalance) for _ in range(plan.rebalances)]
        once = {
            self._join_late: plan.late_group_ms,
            self._lose_progress: plan.progress_lost_ms,
            self._lose_tail: plan.tail_lost_ms,
            self._lose_host: plan.host_lost_ms,
        }
        return [*acts, *(self._at(at_ms, act) for act, at_ms in once.items() if at_ms)]

    async def _outage(self, key: str, begins_ms: int, ends_ms: int) -> None:
        await self.clock.sleep(begins_ms)
        self.rungs[key].is_up = begins_ms == ends_ms
        await self.clock.sleep(ends_ms - begins_ms)
        self.rungs[key].is_up = True

    async def _fill_disks(self, begins_ms: int, ends_ms: int) -> None:
        for at_ms, is_full in ((begins_ms, begins_ms < ends_ms), (ends_ms - begins_ms, False)):
            await self.clock.sleep(at_ms)
            for slot in self.slots:
                slot.is_full = is_full

    async def _at(self, at_ms: int, act: Callable[[], Awaitable[None]]) -> None:
        await self.clock.sleep(at_ms)
        self.record.tell("fault_on", detail=act.__name__)
        self.record.seen[act.__name__.strip("_")] += 1
        await act()

    async def _some_time(self, act: Callable[[], Awaitable[None]]) -> None:
        await self._at(self.clock.random.randrange(500, _ENDS_MS), act)

    async def _kill_producer(self) -> None:
        producer = self.clock.random.choice(self.producers)
        await producer.kill()
        await self.clock.sleep(self.clock.random.randrange(500))
        producer.boot()

    async def _kill_consumer(self) -> None:
        consumer = self.clock.random.choice(self.consumers)
        await consumer.kill()
        await self.clock.sleep(self.clock.random.randrange(500))
        consumer.boot()

    async def _rebalance(self) -> None:
        rung = self.rungs[self.clock.random.choice(("primary", "standby"))]
        for cursors in rung.groups.values():
            if self.clock.random.random() < 0.5:
                cursor = self.clock.random.choice(cursors)
                rung.revoke(cursor, cursor.owner)  # taken away and given back between two reads
        for group in rung.groups:
            rung.rebalance(group)

    async def _join_late(self) -> None:
        consumer = self._consumer("late", _LATE)
        consumer.start = Start.NEWEST
        self.consumers.append(consumer)
        consumer.boot()

    async def _lose_progress(self) -> None:
        self.progress.forget()
        for consumer in self.consumers:
            await consumer.kill()
            consumer.boot()

    async def _lose_tail(self) -> None:
        self.gone |= self.rungs["standby"].lose_tail(_GROUP, 3)

    async def _lose_host(self) -> None:
        """For ever, with what only its log has."""
        slot = self.slots[1]
        await self.producers.pop().kill()
        slot.is_lost = True
        self.gone |= {message.id for message in slot.items[slot.pumped :]}
        slot.items = slot.items[: slot.pumped]

    def _consumer(self, name: str, group: str) -> Consumer:
        consumer = Consumer(name, group, self.record, self.queue, self.progress)
        consumer.atomic, consumer.dead, consumer.released = self.plan.atomic, self.plan.dead, self.plan.released
        return consumer

    async def _drain(self) -> None:
        """Wait until nothing is left anywhere."""
        until_ms = self.clock.monotonic_ms() + _QUIET_MS_MAX
        while self._left() and self.clock.monotonic_ms() < until_ms:
            await self.clock.sleep(500)
        left = self._left()
        if left and self.plan.may_wait:
            self.record.seen["waits for ever"] += 1
        elif left:
            self.failures.append(f"stuck: {', '.join(left)}")
            self.record.tell("left", detail=f"{left}")

    def _left(self) -> list[str]:
        left = [producer.name for producer in self.producers if not producer.is_done]
        left += [slot.name for slot in self.slots if not slot.is_empty]
        groups = {_GROUP, *(_LATE for consumer in self.consumers if consumer.start is Start.NEWEST)}
        places = [(group, rung) for group in sorted(groups) for rung in self.rungs.values()]
        return left + [f"{group} of {rung.name}: {n}" for group, rung in places if (n := rung.left(group))]

    def judge(self, result: WorldResult) -> None:
        """What every group did, each by itself: a late one need not have seen everything."""
        for slot in self.slots:
            for message in slot.dead:
                self.record.tell("dead", id=message.id, group=_GROUP)
        events = [each if each.id not in self.gone else _unknown(each) for each in self.record.events]
        forbid = frozenset({"duplicates_business"} if self.plan.atomic and self.plan.is_strict else ())
        mine = [each for each in events if each.group != _LATE and not (self.plan.may_wait and each.ev == "left")]
        verdict = check(mine, Expect(forbid=forbid, groups=frozenset({_GROUP})))
        if verdict.verdict == "FAIL":
            self.failures += [str(verdict), *(text for rule in verdict.reasons for text in verdict.examples[rule][:3])]
        self._judge_order(_GROUP, verdict)
        late = [each for each in events if each.group == _LATE or each.ev == "send_invoke"]
        again = check(late, Expect(forbid=forbid, acknowledged_min=0))
        if again.verdict == "FAIL":
            self.failures.append(f"the group that joined late: {again}")
        self._judge_order(_LATE, again)
        result.failures = self.failures
        result.seen.update(self.record.seen)
        for consumer in self.consumers:
            if consumer.reader:
                counts = consumer.reader.counts
                result.seen["held"] += counts.held
                result.seen["dropped"] += counts.dropped
                result.seen["voids"] += counts.voids
                result.seen["flagged"] += counts.flagged
                result.seen["returned"] += counts.returned

    def _judge_order(self, group: str, verdict: Verdict) -> None:
        """Out of order is at most what was handed out flagged, and nothing is where nothing was lost."""
        flagged = self.record.flagged[group]
        if verdict.counts["inversions"] > flagged and self.plan.atomic and self.plan.is_strict:
            self.failures += [f"out of order for {group}: {verdict}", *verdict.examples["inversions"][:3]]
        if flagged and not self.plan.flags:
            self.failures.append(f"{flagged} were handed to {group} flagged without need")


def _unknown(event: Event) -> Event:
    """The acknowledgement of what is allowed to be lost says nothing."""
    return msgspec.structs.replace(event, ev="send_unknown") if event.ev == "send_ok" else event


def _play(plan: Plan, seed: int) -> WorldResult:
    result = WorldResult(histories=1, crash_points=1 if plan.producer_kills or plan.consumer_kills else 0)

    async def main(clock: SimulatedClock) -> None:
        run = _Run(plan, clock)
        await run.play()
        run.judge(result)
        result.note([(each.t, each.ev, each.id, each.group) for each in run.record.events])

    try:
        outcome = simulate(seed, main)
        result.note(outcome.trace_hash)
    except Deadlock as error:
        result.failures.append(f"deadlock: {error}")
    if not result.failures and not result.seen["held"] and not result.seen["dropped"]:
        result.invalid.append("nothing was held and nothing came twice")
    return result


_BOTH = Plan(standby_down=(2_500, 5_500))
_HASTE = Plan(append_ms_max=10, lies=0.4, window=1, think_ms=10, count=60, primary_down=(200, 1_000))
_ALL = replace(
    _BOTH,
    window=16,
    refused=0.02,
    dead=0.02,
    released=0.02,
    append_ms_max=400,
    producer_kills=2,
    consumer_kills=2,
    rebalances=6,
)
PLANS = {
    "pumped": ("both rungs down: the local log is pumped behind what is newer", _BOTH),
    "windows": ("windows full of messages that wait for one in another lane", Plan(window=2, lies=0.3)),
    "in-flight": (
        "callers that go on while a send of theirs is under way",
        Plan(append_ms_max=30, lies=0.4, window=1, think_ms=60),
    ),
    "refused": ("messages are refused after their successors were numbered", Plan(refused=0.1, window=16)),
    "given-up": ("callers give up, and the copy lands later", replace(_BOTH, append_ms_max=50, lies=0.4)),
    "nothing-left": (
        "no rung takes anything for a while",
        replace(_BOTH, last_full=(2_000, 5_000), append_ms_max=300, lies=0.2, refused=0.02, window=16),
    ),
    "dead-letters": ("what is dead-lettered has successors", replace(_BOTH, dead=0.1, refused=0.05, window=16)),
    "effects": ("consumers are killed between effect and acknowledgement", Plan(consumer_kills=4)),
    "long-outage": ("copies come long after their originals", Plan(primary_down=(1_000, 40_000), lies=0.2, count=60)),
    "progress-lost": (
        "the progress of the groups is lost",
        Plan(progress_lost_ms=5_000, count=60, flags=True, window=32, is_strict=False),
    ),
    "restarts": ("producers are killed and go on", replace(_BOTH, producer_kills=4)),
    "late-group": ("a group joins at the newest message", Plan(late_group_ms=4_000, flags=True, window=32)),
    "host-lost": ("a host dies for ever", replace(_BOTH, host_lost_ms=5_200, may_wait=True, flags=True, window=32)),
    "tail-lost": ("the standby loses what it acknowledged last", Plan(tail_lost_ms=3_000, flags=True, window=32)),
    "released": ("handlers give messages back for a while", Plan(released=0.15, lies=0.3)),
    "rebalances": ("lanes are taken away and given back between two reads", Plan(rebalances=12, lies=0.2)),
    "at-least-once": ("effects that no transaction joins to their mark", Plan(atomic=False, consumer_kills=3)),
    "flagged": (
        "what waits for too long goes on, flagged",
        Plan(hold_ms_max=800, flags=True, is_strict=False, lies=0.3),
    ),
    "ladder": ("all of it at the same time", _ALL),
}
WORLDS = tuple(World(f"order-{name}", what, partial(_play, plan)) for name, (what, plan) in PLANS.items())
