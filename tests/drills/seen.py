"""A drill over real engines that is looked at from outside too: what was agreed meanwhile, and what is left."""

from __future__ import annotations

import asyncio
import time
import tomllib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from evermq.adapters.open import open_queue
from evermq.coordination.open import open as open_coordinator
from evermq.coordinator import Coordinator
from evermq.drills.archive import Held, new
from evermq.drills.conduct import hold_over
from evermq.drills.degrade import Plan
from evermq.drills.engines.engine import Engine
from evermq.drills.faults.rows import Engines
from evermq.drills.live import Live
from evermq.drills.matrix import PACE
from evermq.drills.setting import over
from evermq.errors import EvermqError
from evermq.ha.agreement import decode
from evermq.ha.breaker import State
from evermq.ha.votes import decode_vote
from evermq.testing.history import Event, load

__all__ = ["Agreed", "Seen", "drill"]

_GROUP = "billing"


@dataclass(slots=True)
class Agreed:
    """states: of the primary, one after the other; reasons: of each but the first, and when (the clock of histories).
    followed: the epochs that the processes followed when all of them voted for the last time. doubles: copies that
    readers have set aside, as far as they told."""

    states: list[State] = field(default_factory=lambda: [State.NORMAL])
    reasons: list[tuple[int, str]] = field(default_factory=list)
    followed: set[int] = field(default_factory=set)
    doubles: int = 0

    async def watch(self, coordinator: Coordinator) -> None:
        async for found in coordinator.watch():
            agreed = decode(found.value, time.time_ns() // 1_000_000)
            state = agreed.away.get("primary", State.NORMAL)
            if state is not self.states[-1]:
                self.states.append(state)
                self.reasons.append((time.monotonic_ns(), agreed.why))

    async def ask(self, coordinator: Coordinator, processes: int) -> None:
        while True:
            try:
                votes = [decode_vote(value) for value in (await coordinator.members()).values()]
            except EvermqError:
                votes = []  # it is gone as well
            if len(votes) == processes:
                self.followed = {vote.epoch for vote in votes}
            self.doubles = max(self.doubles, sum(vote.figures.get("doubles", 0) for vote in votes))
            await asyncio.sleep(0.3)


@dataclass(frozen=True, slots=True)
class Seen:
    """left: what the group has on each engine of the ladder in the end, whether it waits there or is in hand."""

    held: Held
    events: list[Event]
    agreed: Agreed
    left: dict[str, int]

    @property
    def why(self) -> str:
        """For whoever reads that it failed."""
        said = [f"{gate}: {passed}" for gate, passed in self.held.gates.items()]
        agreed = [f"{(t - self.events[0].t) / 1e9:.1f} s: {why}" for t, why in self.agreed.reasons]
        return "\n".join([self.held.figures["verdict"], *self.held.reasons, *said, *agreed, str(self.held.figures)])

    def at(self, ev: str) -> list[Event]:
        """All events of a kind."""
        return [event for event in self.events if event.ev == ev]

    @property
    def sent_again(self) -> set[str]:
        """Producers that were killed in the outage, and had something acknowledged once they were there again, before
        all was whole again: what coordinates is the last that is started."""
        [off] = self.at("fault_off")
        back = [(event.detail.partition(" ")[0], event.t) for event in self.at("recover")]
        sent = self.at("send_ok")
        return {name for name, t in back if any(ok.id.startswith(f"{name}-") and t < ok.t < off.t for ok in sent)}

    @property
    def switched(self) -> dict[str, list[str]]:
        """For each producer, what held for it one after the other, whether it was restarted meanwhile or not."""
        found: dict[str, list[str]] = {}
        for event in self.at("switch"):
            said = found.setdefault(event.proc, [])
            if said[-1:] != [event.detail]:
                said.append(event.detail)
        return found

    def assert_whole(self) -> None:
        """It passed, all are back where they began, and nothing is left on any engine of the ladder."""
        figures = self.held.figures
        assert figures["verdict"] == "PASS", self.why
        assert figures["lost"] == figures["stranded"] == figures["inversions"] == figures["duplicates_business"] == 0
        assert not any(self.left.values()), self.left
        assert self.agreed.states[-1] is State.NORMAL, self.why


async def drill(engines: Engines, row: str, directory: Path, *, plan: Plan) -> Seen:
    """As `evermq drill degrade --engines … --fault ROW --order` does it, with the pace of the fault matrix."""
    topic, place = f"{row.replace('+', '-')}-{uuid.uuid4().hex[:8]}", new(row, directory)
    await asyncio.to_thread(engines.heal)
    async with over(engines, row, place, topic=topic, groups=(_GROUP,), switch=PACE, order=True) as setting:
        at = tomllib.loads(setting.config.read_text())["topics"][topic]["switch"]["at"]
        async with _watched(f"{at}?remember={directory}/remembered", plan.producers + plan.consumers) as agreed:
            with Live(False) as live:
                held = await hold_over(nullcontext(setting), plan, place, live, keep=True)
        left = {each.name: await _left(each, topic) for each in (engines.primary, *engines.standbys)}
    return Seen(held, load(sorted(place.glob("history-*.jsonl"))), agreed, left)


@asynccontextmanager
async def _watched(at: str, processes: int) -> AsyncIterator[Agreed]:
    agreed, coordinator = Agreed(), await open_coordinator(at)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(agreed.watch(coordinator)), group.create_task(agreed.ask(coordinator, processes))]
        yield agreed
        for task in tasks:
            task.cancel()
    await coordinator.close()


async def _left(engine: Engine, topic: str) -> int:
    queue = await open_queue(engine.url(topic))
    try:
        return await queue.backlog(_GROUP)
    finally:
        await queue.close()
