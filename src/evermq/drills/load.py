"""Load under fault: processes send and read, some are killed, something breaks and heals, the histories are judged."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from evermq.compose.build import create, find, urls_of
from evermq.compose.build import open as open_queue
from evermq.drills.load_roles import Plan
from evermq.drills.stage import Stage
from evermq.errors import EvermqError
from evermq.testing.checker import Expect, Verdict, check
from evermq.testing.history import Event, load

__all__ = ["Breaks", "Load", "run_load"]

Breaks = Callable[[Stage], Awaitable[None]]
_START_S = 60
_AUDIT_MS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much and how long.

    seconds: of sending; it goes on until the fault is over and for a third of this after it. rate: messages a second
    over all producers. consumers: of each group. kill: whether a producer and a consumer are killed and come back.
    retry_s: how long a producer sends a batch again. drain_s: how long everything may take to be handled at the end.
    lanes: of a topic that is made.
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
    lanes: int | None = None
    expect: Expect = field(default_factory=Expect)


async def run_load(
    target: str,
    groups: Sequence[str] = ("readers",),
    *,
    fault: Breaks | None = None,
    config: Path | None = None,
    directory: Path | None = None,
    tell: Callable[[str], None] = lambda text: None,
    load: Load | None = None,
    **settings: object,
) -> Verdict:
    """Put a load on a queue while a fault happens, and return the verdict.

    target: a queue URL, or the name of a topic in the TOML file `config`; the topic is made with its groups.
    fault(stage): breaks something, notes `fault_on` and `fault_off`, and leaves it healed. directory: for the histories
    and report.txt; a temporary one if None, which stays only if the verdict is not PASS. settings: the fields of Load.
    Raises Misconfigured where nothing could be sent at all.
    """
    chosen = replace(load or Load(), **settings)  # type: ignore[arg-type]
    if fault and not chosen.expect.faults_min:
        chosen = replace(chosen, expect=replace(chosen.expect, faults_min=1))
    where = directory or Path(tempfile.mkdtemp(prefix="evermq-load-"))
    where.mkdir(parents=True, exist_ok=True)
    urls = [target] if "://" in target else urls_of(find(target, config).root)
    await create(urls, tuple(groups), chosen.lanes)
    run = _Run(where, target, config, groups, chosen, tell)
    verdict = await run.through(fault)
    (where / "report.txt").write_text(_report(verdict))
    if directory is None and verdict.verdict == "PASS":
        shutil.rmtree(where)
    elif verdict.verdict != "PASS":
        verdict.reasons.append(f"see {where}")
    return verdict


class _Run:
    """One load from its start to its verdict."""

    def __init__(
        self,
        directory: Path,
        target: str,
        config: Path | None,
        groups: Sequence[str],
        load: Load,
        tell: Callable[[str], None],
    ) -> None:
        self.directory, self.target, self.config = directory, target, config
        self.groups, self.load = groups, load
        rate = load.rate / load.producers
        retry_ms = round(load.retry_s * 1000)
        Plan(target, str(config) if config else None, rate, load.bytes, load.keys, retry_ms).write(directory)
        self.stage = Stage(directory, "evermq.drills.load_roles", tell=tell)

    async def through(self, fault: Breaks | None) -> Verdict:
        try:
            await self._start()
            await self._break(fault)
            await self.stage.end("producer", wait_s=self.load.retry_s + 10)
            self.stage.note("stop", "the producers have ended")
            await self._quiesce()
            await self.stage.end("consumer")
            await self._audit()
        finally:
            await self.stage.kill_all()
        return self._judge()

    async def _start(self) -> None:
        for group in self.groups:
            for number in range(self.load.consumers):
                name = f"consumer-{group}-{number}"
                await self.stage.start(name, "consumer", name, group)
        for number in range(self.load.producers):
            await self.stage.start(f"producer-{number}", "producer", f"producer-{number}")
        await self.stage.until(lambda: self.stage.total("sent") > 0, _START_S, "the first acknowledged message")
        self.stage.note("start", "messages flow")

    async def _break(self, fault: Breaks | None) -> None:
        """A producer dies at a tenth of the time, a consumer at a fifth, and at a third the fault begins."""
        seconds = self.load.seconds
        end = time.monotonic() + seconds
        await asyncio.gather(self._kill_two(), self._fault(fault))
        await asyncio.sleep(end - time.monotonic())

    async def _kill_two(self) -> None:
        for name in ("producer-0", f"consumer-{self.groups[0]}-0"):
            if self.load.kill:
                await asyncio.sleep(self.load.seconds / 10)
                await self.stage.kill_and_restart(name)

    async def _fault(self, fault: Breaks | None) -> None:
        if fault:
            await asyncio.sleep(self.load.seconds / 3)
            await fault(self.stage)
            await asyncio.sleep(self.load.seconds / 3)

    async def _quiesce(self) -> None:
        """Wait until every group says twice in a row that nothing is left, and nothing more is being handled."""
        end = time.monotonic() + self.load.drain_s
        empty, before = 0, -1
        while empty < 2 and time.monotonic() < end:
            await asyncio.sleep(0.5)
            handled = self.stage.total("handled")
            empty = empty + 1 if handled == before and await self._is_empty() else 0
            before = handled

    async def _is_empty(self) -> bool:
        try:
            queue = await open_queue(self.target, self.config)
            try:
                return not any([await queue.backlog(group) for group in self.groups])
            finally:
                await queue.close()
        except EvermqError:
            return False  # it cannot be asked just now, so it may hold something

    async def _audit(self) -> None:
        """Whatever a fresh reader of a group is still handed, and whatever a group says it has, was left behind."""
        queue = await open_queue(self.target, self.config)
        left = []
        for group in self.groups:
            reader = await queue.reader(group)
            while found := await reader.read(count_max=500, wait_ms=_AUDIT_MS):
                left += [Event(time.monotonic_ns(), "left", id=each.message.id, group=group) for each in found]
                await reader.ack(found)
            await reader.close()
            if backlog := await queue.backlog(group):
                left.append(Event(time.monotonic_ns(), "left", group=group, detail=f"a backlog of {backlog}"))
        await queue.close()
        self.stage.recorder.record(left)

    def _judge(self) -> Verdict:
        events = load(sorted(self.directory.glob("history-*.jsonl")))
        verdict = check(events, self.load.expect)
        served = {event.group for event in events if event.ev == "handler_ok"}
        for group in set(self.groups) - served:
            verdict.verdict = "FAIL"
            verdict.reasons.append(f"group {group} was handed nothing")
        return verdict


def _report(verdict: Verdict) -> str:
    examples = [f"  {rule}: {text}" for rule, texts in verdict.examples.items() for text in texts]
    return "\n".join([str(verdict), *examples, ""])
