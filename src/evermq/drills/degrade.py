"""The drill `degrade`: the primary fails as a whole under load, comes back, and nobody lends a hand."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evermq.drills.load import make, quiet_s
from evermq.drills.own_topic import topic_of
from evermq.drills.setting import Setting
from evermq.drills.stage import Stage
from evermq.drills.traffic import Load, Traffic
from evermq.errors import Misconfigured
from evermq.ha.breaker import Pace
from evermq.testing.checker import Expect, Verdict

__all__ = ["Degrade", "Plan"]

_BACK_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """cycles: of load, fault, hold, heal, return. healthy_s: of load before a fault. hold_s: how long it lasts after
    all senders have left the primary. leave_s_max, return_s_max: gates; a drill that does not get through one is
    ended, and has failed; the second is for the usual dwell, see `Degrade.return_s`. seed: who is killed when."""

    cycles: int = 1
    healthy_s: float = 6.0
    hold_s: float = 10.0
    leave_s_max: float = 20.0
    return_s_max: float = 120.0
    seed: int = 1
    rate: float = 300
    producers: int = 2
    consumers: int = 2
    forbid: frozenset[str] = frozenset()


class Degrade:
    """One drill over a setting. `gates` says of each gate whether it was passed."""

    def __init__(
        self,
        setting: Setting,
        plan: Plan,
        directory: Path,
        *,
        tell: Callable[[str], None] = lambda text: None,
        show: Callable[[Stage], None] = lambda stage: None,
    ) -> None:
        self.setting, self.plan = setting, plan
        self.gates: dict[str, str] = {}
        self.failed = ""
        self._back_since = 0.0
        self._chance = random.Random(plan.seed)
        self._pace = topic_of(setting.topic, setting.config).root.switch.settings(1).pace
        via = {"primary": 50, **({"standby": 20} if setting.outage.total else {})}
        expect = Expect(
            acknowledged_min=200,
            via_min=via,
            faults_min=plan.cycles,
            forbid=plan.forbid
            | ({"inversions"} if setting.order else frozenset())
            | ({"duplicates_business"} if setting.effects else frozenset()),
            groups=frozenset(setting.groups),
        )
        load = Load(
            rate=plan.rate,
            producers=plan.producers,
            consumers=plan.consumers,
            drain_s=plan.return_s_max,
            quiet_s=quiet_s(setting.topic, setting.config, setting.groups),
            expect=expect,
        )
        self.traffic = Traffic(
            directory,
            setting.topic,
            setting.config,
            setting.groups,
            load,
            effects=setting.effects,
            run=setting.run,
            configs=setting.configs,
            tell=tell,
            show=lambda: show(self.stage),
        )
        self.stage = self.traffic.stage

    async def run(self) -> Verdict:
        """Go through the plan, whatever happens leave the primary whole, and judge."""
        await make(self.setting.topic, self.setting.config, self.setting.groups)
        verdict = await self.traffic.through(self._cycles)
        if self.failed:
            verdict.verdict = "FAIL"
            verdict.reasons.insert(0, self.failed)
        return verdict

    @property
    def notes(self) -> list[str]:
        """What the verdict does not say."""
        said = f"business doubles are handlers that ran twice, not effects in a transaction: {self.setting.unjudged}"
        return [*([] if self.setting.effects else [said]), *self.traffic.left]

    def return_s(self, cycle: int) -> float:
        """How long the senders may take to return in a cycle, the first is 1: longer by what the topic's dwell, which
        doubles with each outage that follows soon, can have grown to beyond the usual one."""
        beyond_ms = self._pace.dwell_after_ms(cycle) - Pace().dwell_ms
        return self.plan.return_s_max + max(0, beyond_ms) / 1000

    async def _cycles(self) -> None:
        for number in range(1, self.plan.cycles + 1):
            if not self.failed:
                await self._cycle(number)

    async def _cycle(self, number: int) -> None:
        stage, outage = self.stage, self.setting.outage
        stage.note("phase", f"cycle {number}: healthy")
        await stage.wait(self.plan.healthy_s)
        stage.note("fault_on", f"{outage.name}: {self.setting.engines[0]} fails")
        try:
            await outage.begin()
            if outage.total:
                await self._gate(f"cycle {number}: senders left the primary", self._have_left, self.plan.leave_s_max)
            if not self.failed:
                await self._hold()
        finally:
            stage.note("heal", f"healing {self.setting.engines[0]}")
            await outage.heal()
            stage.note("fault_off", f"{self.setting.engines[0]} is whole again")
        await self._come_back(number)

    async def _hold(self) -> None:
        """Keep it failed; one producer, and some time later one consumer, are killed and come back."""
        if self.setting.outage.clients_s:
            await self._kill_clients(self.setting.outage.clients_s)
            return
        some = self._chance.uniform(0.2, 0.4)
        await self.stage.wait(self.plan.hold_s * some)
        await asyncio.gather(self._kill("producer"), self._kill("consumer"))
        await self.stage.wait(self.plan.hold_s * (1 - some))

    async def _kill_clients(self, every_s: float) -> None:
        end = time.monotonic() + self.plan.hold_s
        while time.monotonic() < end:
            await self._kill(self._chance.choice(("producer", "consumer")))
            await self.stage.wait(every_s)

    async def _come_back(self, number: int) -> None:
        if not self.failed:
            self._back_since = time.monotonic()
            killing = asyncio.create_task(self._kill("consumer"))
            wait_s = self.return_s(number)
            await self._gate(f"cycle {number}: senders are back at the primary", self._are_back, wait_s)
            await killing
            await self.stage.wait(self.plan.healthy_s / 2)

    async def _kill(self, role: str) -> None:
        await self.stage.kill_and_restart(self._chance.choice(self.stage.named(role)).name)

    async def _gate(self, what: str, passed: Callable[[], bool], wait_s: float) -> None:
        began = time.monotonic()
        try:
            await self.stage.until(passed, wait_s, what)
        except Misconfigured:
            self.gates[what] = f"not within {wait_s:.0f} s"
            self.failed = f"not within {wait_s:.0f} s: {what}"
            self.stage.note("abort", self.failed)
        else:
            self.gates[what] = f"after {time.monotonic() - began:.1f} s"
            self.stage.note("phase", what)

    def _have_left(self) -> bool:
        return all(child.rung not in ("", "primary") for child in self.stage.named("producer"))

    def _are_back(self) -> bool:
        """For a while on end: a share of the traffic goes to the primary before all of it does."""
        now = time.monotonic()
        if not all(child.rung == "primary" for child in self.stage.named("producer")):
            self._back_since = now
        return now - self._back_since >= _BACK_S
