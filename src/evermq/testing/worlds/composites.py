"""Techniques over engines that fail, in processes that die: nothing is lost, invented or left behind, and everything
drains once the faults are over; per key in order where the trait says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from random import Random

from evermq.errors import EvermqError
from evermq.testing.checker import Expect, Verdict, check
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.loop import Deadlock, simulate
from evermq.testing.world import World, WorldResult
from evermq.testing.worlds.composite_process import Process, Sender, Story
from evermq.testing.worlds.composite_site import Site
from evermq.testing.worlds.composite_tree import KINDS, SLOTS, Node, draw, draw_nested
from evermq.testing.worlds.composite_weather import Weather
from evermq.traits import Order

__all__ = ["WORLDS"]

_GROUPS = ("billing", "shipping")
_DRAINED_MS_MAX = 120_000
_BITES_MIN = 10
_GENTLE_SHARE = 0.2
_RUNG_WEIGHT = 4


class _Run:
    """One seed: what stands, who acts, and the troubles."""

    def __init__(self, node: Node, clock: SimulatedClock) -> None:
        chance = clock.random
        self.node = node
        self.clock = clock
        self.story = Story(clock)
        self.processes: list[Process] = []
        self.failures: list[str] = []
        self.order = Order.NONE
        self.gentle = chance.random() < _GENTLE_SHARE
        self.groups = _GROUPS[: chance.choice((1, 1, 2))]
        logged = chance.choice((0.0, 0.4, 0.8))
        names = [*node.groups(self.groups), *(["dead"] if chance.random() < 0.6 else [])]
        self.sites = {name: Site(name, clock, logged=chance.random() < logged) for name in names}
        patient = chance.random() < 0.7
        make = partial(Process, story=self.story, node=node, sites=self.sites, gentle=self.gentle)
        has_slots = not set(SLOTS).isdisjoint(names)
        for number in range(chance.choice((1, 2))):
            is_named = has_slots and chance.random() < 0.5
            sender = Sender(f"p{number}", 200, patient, is_named=is_named)
            self.processes.append(make(f"producer-{number}", sender=sender))
        for number in range(chance.choice((1, 2, 3))):
            self.processes.append(make(f"consumer-{number}", groups=self.groups))
        # Most slots are empty most of the time: troubles are sought where the messages are.
        rungs = set(names) - set(SLOTS) if has_slots else set()
        struck = [site for name, site in self.sites.items() for _ in range(_RUNG_WEIGHT if name in rungs else 1)]
        self.weather = Weather(self.story, struck, self.processes, gentle=self.gentle)

    async def play(self) -> None:
        """Load and faults, heal, drain, go."""
        for site in self.sites.values():
            await site.engine.open()
            for group in self.node.groups(self.groups).get(site.name, ()):
                await (await site.engine.reader(group)).close()
        for process in self.processes:
            await process.boot()
        built = self.processes[0].built
        assert built
        self.order = built.queue.traits.order if self.processes[0].sender and self._is_patient() else Order.NONE
        await self.weather.blow(self.clock.random.choice((12, 20, 30)))
        self.weather.count_bites()
        self.story.is_over = True
        for site in self.sites.values():
            site.heal()
        await self._drain()
        for process in self.processes:
            await self._end(process)

    def _is_patient(self) -> bool:
        return all(process.sender.patient for process in self.processes if process.sender)

    async def _drain(self) -> None:
        """Wait until nothing is left anywhere, seen twice; what is left in the end is stranded."""
        until_ms = self.clock.monotonic_ms() + _DRAINED_MS_MAX
        empty = 0
        while empty < 2 and self.clock.monotonic_ms() < until_ms and not any(p.has_failed() for p in self.processes):
            await self.clock.sleep(700)
            done = all(process.is_done() for process in self.processes)
            empty = empty + 1 if done and not await self._left() else 0
        if empty < 2:
            left = await self._left()
            sending = [process.name for process in self.processes if not process.is_done()]
            self.failures.append(f"not drained within {_DRAINED_MS_MAX} ms: left {left}, still sending {sending}")
            for site, (group, count) in left.items():
                self.story.tell("left", via=site, group=group, detail=f"{count} messages")

    async def _left(self) -> dict[str, tuple[str, int]]:
        """Asked of the engines themselves."""
        found: dict[str, tuple[str, int]] = {}
        for name, groups in self.node.groups(self.groups).items():
            for group in groups:
                if count := await self.sites[name].engine.backlog(group):
                    found[name] = (group, count)
        return found

    async def _end(self, process: Process) -> None:
        began_ms = self.clock.monotonic_ms()
        try:
            async with asyncio.timeout(30):
                await process.end()
        except TimeoutError:
            self.failures.append(f"{process.name} did not close")
        except (EvermqError, AssertionError, ValueError, TypeError, AttributeError) as error:
            self.failures.append(f"{process.name} failed: {error!r}")
        if self.clock.monotonic_ms() - began_ms > 10_000:
            self.failures.append(f"{process.name} took {self.clock.monotonic_ms() - began_ms} ms to close")

    async def bury(self) -> None:
        """What stands in the dead-letter queue is settled for every group."""
        if "dead" in self.sites:
            reader = await self.sites["dead"].engine.reader("audit")
            while found := await reader.read(count_max=100, wait_ms=0):
                for delivery in found:
                    for group in self.groups:
                        self.story.handed("dead", delivery, group, "audit")
                await reader.ack(found)

    def verdict(self) -> Verdict:
        """What the checker says, and why the run would prove nothing."""
        forbid = {"inversions"} if self.order >= Order.KEY else set()
        if self.gentle:
            forbid |= {"duplicates_raw", "duplicates_business"}
        # Refused and buried is settled; a double of it that is let through later is in nobody's way.
        dead = {event.id for event in self.story.events if event.ev == "dead"}
        events = [event for event in self.story.events if event.ev != "handler_ok" or event.id not in dead]
        verdict = check(events, Expect(frozenset(forbid), acknowledged_min=20, faults_min=3))
        unmet = self._unmet()
        if unmet and verdict.verdict != "FAIL":
            verdict.verdict = "INVALID"
            verdict.reasons += unmet
        return verdict

    def _unmet(self) -> list[str]:
        bites = sum(sum(site.faulty.bitten.values()) for site in self.sites.values())
        bites_min = 3 if self.gentle else _BITES_MIN
        paths = self.node.paths()
        used = {event.via for event in self.story.events if event.ev == "deliver"}
        took = {event.via.split("/")[0] for event in self.story.events if event.ev == "send_ok"}
        wanted = {"route": 2, "failover": 2, "buffered": 2, "ladder": 2}.get(self.node.kind, 1)
        return [
            *([f"only {bites} faults struck, {bites_min} were to"] if bites < bites_min else []),
            *([f"deliveries came by way of {sorted(used)} alone"] if len(used) < min(2, len(paths)) else []),
            *([f"appends went to {sorted(took)} alone"] if len(took) < wanted else []),
        ]


def _draw(kind: str, seed: int, chance: Random) -> Node:
    return draw(kind, chance)


def _run(choose: Callable[[int, Random], Node], seed: int) -> WorldResult:
    result = WorldResult(histories=1)

    async def main(clock: SimulatedClock) -> _Run:
        run = _Run(choose(seed, clock.random), clock)
        await run.play()
        await run.bury()
        return run

    try:
        outcome = simulate(seed, main)
    except Deadlock as error:
        result.failures.append(f"deadlock: {error}")
        return result
    run, verdict = outcome.result, outcome.result.verdict()
    result.failures += run.failures
    if verdict.verdict == "FAIL":
        examples = [each for rule in verdict.reasons for each in verdict.examples[rule][:2]]
        result.failures.append(f"{run.node}: {verdict}: {'; '.join(examples)}")
    elif verdict.verdict == "INVALID":
        result.invalid.append(f"{run.node}: {'; '.join(verdict.reasons)}")
    result.seen += run.weather.seen
    if run.order is Order.NONE:
        result.seen["inversions where no order is promised"] += verdict.counts["inversions"]
    for rule in ("duplicates_raw", "duplicates_business"):
        result.seen[rule] += verdict.counts[rule]
    result.note(run.story.events, str(verdict), outcome.trace_hash)
    return result


_WHAT = {
    "route": "a route over engines that fail, in processes that die",
    "failover": "a failover ladder whose choice changes, each process for itself",
    "spooled": "a local queue with a pump behind it",
    "buffered": "a remote queue with a local one for bad times",
    "pump": "a pump between two queues, with and without dead letters",
    "ladder": "a ladder whose last rung is the host's: slots, adopted when their processes are gone",
}

WORLDS = (
    *(
        World(f"composite-{kind}", _WHAT[kind], partial(_run, partial(_draw, kind)))  # each seed draws the rest
        for kind in (*KINDS, "pump", "ladder")
    ),
    World("composite-nested", "a technique, one of whose children is a technique", partial(_run, draw_nested)),
)
