"""The ladders that the flights climb down and up: two logs, or real engines with a switch."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from evermq.adapters.open import open_log
from evermq.compose.build import open as open_queue
from evermq.drills.flight_roles import GROUP, TOPIC
from evermq.drills.live import Live
from evermq.drills.load import make
from evermq.drills.setting import Setting, keeps_order, started
from evermq.drills.stage import Stage
from evermq.errors import EvermqError

__all__ = ["FlightStage", "Ladder", "ladder_of"]

_FREEZE_S = 4.0
_AWAY_S = 6.0
# Comes back within seconds instead of half a minute, so that the picture shows it.
_PACE = {"probe_ms": 500, "canary": 10, "good": 3, "good_ms": 1_500, "dwell_ms": 3_000, "returning_ms": 1_500}


class FlightStage(Stage):
    """Shows what happens; `choose` tells the producers where to begin, where no switch does."""

    def __init__(self, directory: Path, live: Live) -> None:
        super().__init__(
            directory,
            "evermq.drills.flight_roles",
            tell=live.event,
            show=lambda: live.show(self.total("sent"), self.total("handled")),
        )
        self.live = live
        self.failovers = 0

    async def choose(self, rung: int) -> None:
        """Tell every producer where to begin."""
        for child in self.named("producer"):
            if not child.ended and child.process.stdin:
                child.process.stdin.write(f"{rung}\n".encode())
        self.changed(("primary", "standby")[rung])

    def changed(self, rung: str) -> None:
        """Appends begin elsewhere from now on."""
        self.failovers += 1
        self.live.rung = rung
        self.note("switch", f"appends begin with the {rung}")


class Ladder(Protocol):
    """What stands behind the topic of the flights. forbids: what it promises beside that nothing is lost."""

    forbids: frozenset[str]

    def seconds(self, share: float) -> float:
        """How long a share of all flights takes at least."""
        ...

    async def start(self, stage: FlightStage) -> None:
        """Make everything that producers and consumers need."""
        ...

    async def break_primary(self, stage: FlightStage) -> None:
        """Let the primary fail, and be whole again."""
        ...

    async def backlog(self) -> int:
        """How much is left; 1 where it cannot be asked just now, so it may hold something."""
        ...


def ladder_of(directory: Path, engines: str | None) -> AbstractAsyncContextManager[Ladder]:
    """Two logs, or engines that are started for it."""
    return _engines(engines, directory) if engines else _logs(directory)


@asynccontextmanager
async def _logs(directory: Path) -> AsyncIterator[Ladder]:
    yield _Logs(directory)


@asynccontextmanager
async def _engines(engines: str, directory: Path) -> AsyncIterator[Ladder]:
    order = keeps_order(engines)
    async with started(engines, "kill", directory, topic=TOPIC, groups=(GROUP,), switch=_PACE, order=order) as setting:
        yield _Engines(setting)


class _Logs:
    """Two logs, each owned by another process; the choice between them is told to the producers."""

    forbids: frozenset[str] = frozenset()

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def seconds(self, share: float) -> float:
        return max(14.0, 40.0 * share)

    async def start(self, stage: FlightStage) -> None:
        for name in ("primary", "standby"):
            child = await stage.start(f"owner-{name}", "owner", name)
            await stage.until(lambda c=child: "ready" in c.progress, 20, f"the {name}")  # type: ignore[misc]

    async def break_primary(self, stage: FlightStage) -> None:
        """The owner of the primary stands still; the choice follows a second later, and back."""
        process = stage.children["owner-primary"].process
        process.send_signal(signal.SIGSTOP)
        stage.note("fault_on", "the primary freezes")
        await asyncio.sleep(1)
        await stage.choose(1)
        await asyncio.sleep(_FREEZE_S - 1)
        process.send_signal(signal.SIGCONT)
        stage.note("fault_off", "the primary lives again")
        await asyncio.sleep(1)
        await stage.choose(0)

    async def backlog(self) -> int:
        return sum([await self._backlog(name) for name in ("primary", "standby")])

    async def _backlog(self, name: str) -> int:
        try:
            place = await open_log(self._directory / name)
            try:
                return await (await place.queue(TOPIC)).backlog(GROUP)
            finally:
                await place.close()
        except EvermqError:
            return 1


class _Engines:
    """A ladder of real engines: the processes switch by themselves."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self.forbids = frozenset({"inversions"} if setting.order else ())

    def seconds(self, share: float) -> float:
        """A Kafka that was killed takes its time, however few flights there are."""
        return 60.0

    async def start(self, stage: FlightStage) -> None:
        await make(TOPIC, self._setting.config, self._setting.groups)

    async def break_primary(self, stage: FlightStage) -> None:
        """Every node of the primary is killed and comes back; nobody tells the producers anything."""
        name = self._setting.engines[0]
        stage.note("fault_on", f"kill -9 {name}")
        await self._setting.outage.begin()
        await stage.until(lambda: self._all(stage, away=True), 30, "the producers to leave the primary")
        stage.changed("standby")
        await stage.wait(_AWAY_S)
        await self._setting.outage.heal()
        stage.note("fault_off", f"{name} is whole again")
        await stage.until(lambda: self._all(stage, away=False), 60, "the producers to come back")
        if any(child.rung == "primary" for child in stage.named("producer")):
            stage.changed("primary")

    @staticmethod
    def _all(stage: Stage, *, away: bool) -> bool:
        """Of the producers that have not sent all their flights yet."""
        at = [child.rung for child in stage.named("producer") if not child.ended]
        return all((rung not in ("", "primary")) if away else rung == "primary" for rung in at)

    async def backlog(self) -> int:
        try:
            queue = await open_queue(TOPIC, self._setting.config)
            try:
                return await queue.backlog(GROUP)
            finally:
                await queue.close()
        except EvermqError:
            return 1
