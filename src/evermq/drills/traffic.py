"""The traffic of a run: producers and consumers in processes of their own, what was left behind, and the verdict."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from evermq.compose.build import open as open_queue
from evermq.drills.load_roles import Plan, effects_at
from evermq.drills.stage import Stage
from evermq.errors import EvermqError
from evermq.port import Queue
from evermq.testing.checker import Expect, Verdict, check
from evermq.testing.history import Event, load

if TYPE_CHECKING:
    from evermq.drills.effects import Effects

__all__ = ["Load", "Traffic", "new_run", "report"]

_START_S = 60
_AUDIT_MS = 1_000
_REMOVE_S = 30
_DRAINS_MAX = 10  # times drain_s, however much is handled


def new_run() -> str:
    """What tells the names of a run from those of all others."""
    return secrets.token_hex(6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much and how long.

    seconds: of sending; it goes on until the fault is over and for a third of this after it. rate: messages a second
    over all producers. consumers: of each group. kill: whether a producer and a consumer are killed and come back.
    retry_s: how long a producer sends a batch again. drain_s: how long nothing may be handled at the end, while
    something is left.
    quiet_s: nothing may be left for so long, before it is believed: longer than a lease where a backlog does not count
    what readers hold. lanes: of a topic that is made.
    """

    seconds: float = 15
    rate: float = 500
    producers: int = 2
    consumers: int = 2
    bytes: int = 200
    keys: int = 32
    kill: bool = True
    retry_s: float = 60
    drain_s: float = 60
    quiet_s: float = 1
    lanes: int | None = None
    expect: Expect = field(default_factory=Expect)


class Traffic:
    """Flows over a queue that is there already, from its first message until nothing is left.

    target, config: as of the command line. directory: for the histories. effects: the database of `progress`, where
    handlers are to share a transaction with it. run: tells its effects from those of other runs. configs: of processes
    that have one of their own. show: called again and again while waiting. left: what could not be removed afterwards.
    """

    def __init__(
        self,
        directory: Path,
        target: str,
        config: Path | None,
        groups: Sequence[str],
        load: Load,
        *,
        effects: str = "",
        run: str = "",
        configs: Mapping[str, Path] = MappingProxyType({}),
        tell: Callable[[str], None] = lambda text: None,
        show: Callable[[], None] = lambda: None,
    ) -> None:
        self.directory, self.target, self.config = directory, target, config
        run = run or new_run()
        self.effects = effects_at(effects, run)
        self.left: list[str] = []
        self.groups, self.load = groups, load
        rate = load.rate / load.producers
        retry_ms = round(load.retry_s * 1000)
        own = {name: str(path) for name, path in configs.items()}
        path = str(config) if config else None
        plan = Plan(target, path, rate, load.bytes, load.keys, retry_ms, effects=effects, run=run, configs=own)
        plan.write(directory)
        self._tell = tell
        self.stage = Stage(directory, "evermq.drills.load_roles", tell=tell, show=show)

    async def through(self, act: Callable[[], Awaitable[None]]) -> Verdict:
        """Let messages flow while `act` goes on, then until all is handled; look for what was left, and judge."""
        try:
            try:
                if self.effects:
                    await self.effects.make()
                await self._flow(act)
            finally:
                await self.stage.kill_all()
            if self.effects:
                await self.effects.record(self.directory / "history-effects.jsonl")
        finally:
            if self.effects:
                await self._remove(self.effects)
        return self._judge()

    async def _flow(self, act: Callable[[], Awaitable[None]]) -> None:
        await self._start()
        await act()
        await self.stage.end("producer", wait_s=self.load.retry_s + 10)
        self.stage.note("stop", "the producers have ended")
        queue = await open_queue(self.target, self.config)
        try:
            await self._quiesce(queue)
            await self.stage.end("consumer")
            await self._audit(queue)
        finally:
            await queue.close()

    async def _remove(self, effects: Effects) -> None:
        """Nothing of the run stays in the user's database, however the run ended."""
        try:
            async with asyncio.timeout(_REMOVE_S):
                await effects.drop()
        except (EvermqError, OSError) as error:
            self.left.append(
                f"table {effects.table} could not be removed: {str(error) or 'no answer'}; drop it by hand"
            )
            self._tell(self.left[-1])
        finally:
            await effects.close()

    async def _start(self) -> None:
        for group in self.groups:
            for number in range(self.load.consumers):
                name = f"consumer-{group}-{number}"
                await self.stage.start(name, "consumer", name, group)
        for number in range(self.load.producers):
            await self.stage.start(f"producer-{number}", "producer", f"producer-{number}")
        await self.stage.until(self._flows, _START_S, "the first acknowledged message of every producer")
        self.stage.note("start", "messages flow")

    def _flows(self) -> bool:
        return all(child.progress.get("sent", 0) for child in self.stage.named("producer"))

    async def _quiesce(self, queue: Queue) -> None:
        """Wait until every group has said for quiet_s, twice at least, that nothing is left, and nothing is handled."""
        now = time.monotonic()
        end, last = now + self.load.drain_s, now + _DRAINS_MAX * self.load.drain_s
        empty, before = 0, -1
        enough = max(2, 2 * self.load.quiet_s)
        while empty < enough and time.monotonic() < min(end, last) and not self.stage.failures:
            await self.stage.wait(0.5)
            handled = self.stage.total("handled")
            if handled != before:
                end = time.monotonic() + self.load.drain_s
            empty = empty + 1 if handled == before and await self._is_empty(queue) else 0
            before = handled

    async def _is_empty(self, queue: Queue) -> bool:
        try:
            return not any([await queue.backlog(group) for group in self.groups])
        except EvermqError:
            return False  # it cannot be asked just now, so it may hold something

    async def _audit(self, queue: Queue) -> None:
        """Whatever a fresh reader of a group is still handed, and whatever a group says it has, was left behind."""
        left = [event for group in self.groups for event in await _left(queue, group)]
        self.stage.recorder.record(left)

    def _judge(self) -> Verdict:
        events = load(sorted(self.directory.glob("history-*.jsonl")))
        verdict = check(events, self.load.expect)
        self.stage.judge(verdict)
        served = {event.group for event in events if event.ev == "handler_ok"}
        for group in set(self.groups) - served:
            verdict.verdict = "FAIL"
            verdict.reasons.append(f"group {group} was handed nothing")
        return verdict


async def _left(queue: Queue, group: str) -> list[Event]:
    left = []
    reader = await queue.reader(group)
    while found := await reader.read(count_max=500, wait_ms=_AUDIT_MS):
        left += [Event(time.monotonic_ns(), "left", id=each.message.id, group=group) for each in found]
        await reader.ack(found)
    await reader.close()
    if backlog := await queue.backlog(group):
        left.append(Event(time.monotonic_ns(), "left", group=group, detail=f"a backlog of {backlog}"))
    return left


def report(verdict: Verdict) -> str:
    """The verdict and its smallest counter-examples, as text."""
    examples = [f"  {rule}: {text}" for rule, texts in verdict.examples.items() for text in texts]
    return "\n".join([str(verdict), *examples, ""])
