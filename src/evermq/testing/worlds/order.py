"""The whole protocol of order and no doubles, over a ladder of failing rungs: each way in which a simpler one broke has
a world of its own, and the last one has them all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, ClassVar

import msgspec

from evermq.errors import Unavailable
from evermq.ha.drained import Drained
from evermq.ha.failover import Choice
from evermq.policy.ordered import Ordered
from evermq.policy.ordered_reader import OrderedReader
from evermq.port import Delivery, Queue, Start
from evermq.progress.memory import MemoryProgress
from evermq.slot import Slot
from evermq.testing.checker import Expect, Verdict, check
from evermq.testing.history import Event
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.loop import Deadlock, simulate
from evermq.testing.world import World, WorldResult
from evermq.testing.worlds.order_actors import Consumer, Producer, Record
from evermq.testing.worlds.order_host import Ladder, SimulatedSlot
from evermq.testing.worlds.order_plans import PLANS, Plan, drawn
from evermq.testing.worlds.order_progress import DistantProgress
from evermq.testing.worlds.order_rung import Rung

__all__ = ["PLANS", "WORLDS", "Run", "play"]

_PRODUCERS = 2
_QUIET_MS_MAX = 90_000
_GROUP = "billing"
_LATE = "audit"
_ENDS_MS = 12_000
_SILENT_MS_MAX = 1_500
_POLL_MS = 20
_LOOK_MS = 100
_LOOKS = 40


class Run:
    """One seed of one plan."""

    primary_type: ClassVar[type[Rung]] = Rung
    standby_type: ClassVar[type[Rung]] = Rung

    def __init__(self, plan: Plan, clock: SimulatedClock) -> None:
        self.plan = plan
        self.clock = clock
        self.record = Record(clock)
        self.progress = MemoryProgress(silent_ms_max=_SILENT_MS_MAX, clock=clock)
        self.is_store_up = True
        self.cut_off: set[str] = set()
        self.choice = Choice()
        chance = clock.random
        said: dict[str, Any] = {"clock": clock, "window": plan.window, "lies": plan.lies}
        self.rungs = {
            "primary": self.primary_type("primary", lanes=3, prefix=True, **said),
            "standby": self.standby_type("standby", lanes=4, prefix=False, **said),
        }
        if plan.standby2_down:
            self.rungs["standby2"] = Rung("standby2", lanes=6, prefix=False, **said)
        for each in self.rungs.values():
            each.hangs = plan.hangs
        self.rungs["primary"].back_ms = plan.back_ms
        self.slots: list[SimulatedSlot] = []
        self.producers = [
            Producer(
                f"p{number}",
                self.record,
                make,
                keys=chance.choice((2, 3)),
                count=plan.count,
                think_ms=plan.think_ms,
            )
            for number, make in enumerate(self.queues())
        ]
        self.consumers = [self._consumer(f"c{number}", _GROUP) for number in range(2)]
        self.whole = [_GROUP]  # groups that must handle everything
        self.partly = [_LATE]  # groups that need not have seen everything
        self.failures: list[str] = []
        self.gone: set[str] = set()  # what the promise allows to be lost

    def queues(self) -> list[Callable[[], Queue]]:
        """How each producer makes the queue that it sends through."""
        self.slots = [SimulatedSlot(f"slot-{number}", self.clock) for number in range(_PRODUCERS)]
        self.pumps = [asyncio.create_task(slot.pump(self._above)) for slot in self.slots]
        return [partial(self.queue, slot) for slot in self.slots]

    def _above(self) -> list[Rung]:
        """The rungs as a pump tries them: senders that are not back yet have their slots carried where they send."""
        rungs, begin = list(self.rungs.values()), self.choice.begin()
        return [*rungs[begin:], *rungs[:begin]]

    def queue(self, slot: SimulatedSlot | None = None, process: str = "") -> Queue:
        """The queue as a process builds it."""
        ladder = Ladder(self.rungs, slot, self.clock, self.choice)
        return self.ordered(ladder, slot.take if slot else None, process)

    def ordered(self, ladder: Ladder, take: Callable[[], Awaitable[Slot]] | None, process: str) -> Ordered:
        """Order over a ladder."""
        return Ordered(
            ladder,
            slot=take,
            progress=DistantProgress(self.progress, partial(self._reach_store, process)),
            rungs=self.rungs,
            lanes=self.plan.lanes,
            append_ms_max=self.plan.append_ms_max,
            hold_ms_max=self.plan.hold_ms_max,
            clock=self.clock,
        )

    async def _reach_store(self, process: str, call: str, is_back: bool) -> None:
        """A call to the progress of the groups: it takes its time, hangs, or fails."""
        chance = self.clock.random
        await self.clock.sleep(self.plan.store_ms * chance.random())
        while process in self.cut_off:
            await self.clock.sleep(_POLL_MS)
        if not self.is_store_up or chance.random() < self.plan.store_fails:
            raise Unavailable(f"{call}: the store does not answer")

    def settle(self, process: str, delivery: Delivery) -> bool:
        """In the transaction of a handler, whose database is the store."""
        if process in self.cut_off or not self.is_store_up:
            raise Unavailable("the database does not answer")
        return self.progress.settle(delivery)

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
            rung.is_up, rung.is_readable, rung.lies = True, True, 0.0
        for consumer in self.consumers:
            consumer.released = 0.0
        await self._drain()
        for consumer in self.consumers:
            await consumer.end()

    def _troubles(self) -> list[Coroutine[Any, Any, None]]:
        plan = self.plan
        acts = [self._outage("primary", *plan.primary_down), self._outage("standby", *plan.standby_down)]
        acts += [self._outage("standby2", *plan.standby2_down)] if plan.standby2_down else []
        acts += [self._fill_disks(*plan.last_full), self._close_door(*plan.unread), self._lose_store(*plan.store_down)]
        acts += [self._steer(*plan.primary_down)] if plan.little else []
        acts += [self._some_time(self._cut_off) for _ in range(plan.cuts)]
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

    async def _close_door(self, begins_ms: int, ends_ms: int) -> None:
        rung = self.rungs[self.plan.unread_rung]
        await self.clock.sleep(begins_ms)
        rung.is_readable = begins_ms == ends_ms
        await self.clock.sleep(ends_ms - begins_ms)
        rung.is_readable = True

    async def _steer(self, begins_ms: int, ends_ms: int) -> None:
        """As a switch does: down at once, up when little is left below."""
        await self.clock.sleep(begins_ms)
        self.choice.set(1)
        await self.clock.sleep(ends_ms - begins_ms)
        gate = Drained(self.plan.little)
        while not gate.saw({_GROUP: self.rungs["standby"].left(_GROUP)}, self.clock.monotonic_ms()):
            await self.clock.sleep(_LOOK_MS)
        self.choice.set(0)
        held = 0
        for _ in range(_LOOKS):
            await self.clock.sleep(_LOOK_MS)
            held = max(held, sum(reader.holding for reader in self._readers()))
        if held > self.plan.held_max:
            self.failures.append(f"{held} messages waited for others after the return")

    async def _lose_store(self, begins_ms: int, ends_ms: int) -> None:
        await self.clock.sleep(begins_ms)
        self.is_store_up = begins_ms == ends_ms
        await self.clock.sleep(ends_ms - begins_ms)
        self.is_store_up = True

    async def _cut_off(self) -> None:
        """A consumer lives, and is not heard of for so long that others take its lanes."""
        name = self.clock.random.choice(self.consumers).name
        self.cut_off.add(name)
        await self.clock.sleep(_SILENT_MS_MAX + self.clock.random.randrange(2_000))
        self.cut_off.discard(name)

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
        await self.clock.sleep(self.clock.random.randrange(self.plan.restart_ms_max))
        producer.boot()

    async def _kill_consumer(self) -> None:
        consumer = self.clock.random.choice(self.consumers)
        await consumer.kill()
        await self.clock.sleep(self.clock.random.randrange(500))
        consumer.boot()

    async def _rebalance(self) -> None:
        rung = self.rungs[self.clock.random.choice(tuple(self.rungs))]
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
        make = partial(self.queue, None, name)
        consumer = Consumer(name, group, self.record, make, partial(self.settle, name))
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
        groups = {*self.whole, *(_LATE for consumer in self.consumers if consumer.start is Start.NEWEST)}
        places = [(group, rung) for group in sorted(groups) for rung in self.rungs.values()]
        return left + [f"{group} of {rung.name}: {n}" for group, rung in places if (n := rung.left(group))]

    def judge(self, result: WorldResult) -> None:
        """What every group did, each by itself."""
        for id, group in [(message.id, group) for slot in self.slots for message in slot.dead for group in self.whole]:
            self.record.tell("dead", id=id, group=group)
        events = [each if each.id not in self.gone else _unknown(each) for each in self.record.events]
        forbid = frozenset({"duplicates_business"} if self.plan.atomic and self.plan.is_strict else ())
        told = [each for each in events if not (self.plan.may_wait and each.ev == "left")]
        for group in self.whole:
            mine = [each for each in told if each.group in ("", group)]
            verdict = check(mine, Expect(forbid=forbid, groups=frozenset({group})))
            if verdict.verdict == "FAIL":
                examples = [text for rule in verdict.reasons for text in verdict.examples[rule][:3]]
                self.failures += [f"{group}: {verdict}", *examples]
            self._judge_order(group, verdict)
            result.seen.update(verdict.counts)
        for group in self.partly:
            mine = [each for each in events if each.group == group or each.ev == "send_invoke"]
            again = check(mine, Expect(forbid=forbid, acknowledged_min=0))
            if again.verdict == "FAIL":
                self.failures.append(f"{group}, which need not see everything: {again}")
            self._judge_order(group, again)
        result.failures = self.failures
        result.seen.update(self.record.seen)
        for counts in [each for consumer in self.consumers for each in consumer.counts]:
            result.seen["held"] += counts.held
            result.seen["dropped"] += counts.dropped
            result.seen["voids"] += counts.voids
            result.seen["flagged"] += counts.flagged
            result.seen["returned"] += counts.returned
            if counts.failed:
                self.failures.append(f"{counts.failed} turns of a reader ended in an error, the last in {counts.error}")
        moves, moves_max = result.seen["returned"], self.plan.moves_max
        if moves_max is not None and moves > moves_max:
            self.failures.append(f"lanes went to another reader {moves} times")

    def _readers(self) -> list[OrderedReader]:
        return [consumer.reader for consumer in self.consumers if isinstance(consumer.reader, OrderedReader)]

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


def play(plan: Plan, seed: int, plan_run: Callable[[Plan, SimulatedClock], Run] = Run) -> WorldResult:
    """One seed of a plan."""
    result = WorldResult(histories=1, crash_points=1 if plan.producer_kills or plan.consumer_kills else 0)

    async def main(clock: SimulatedClock) -> None:
        run = plan_run(plan, clock)
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


def _play_drawn(seed: int) -> WorldResult:
    return play(drawn(seed), seed)


WORLDS = (
    *(World(f"order-{name}", what, partial(play, plan)) for name, (what, plan) in PLANS.items()),
    World("order-any", "what happens is drawn as well", _play_drawn),
)
