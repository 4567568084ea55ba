"""Several processes with a ladder each, in simulated time: who is diverted, who follows, and what is lost (nothing)."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

import pytest

from evermq import MessageFactory
from evermq.adapters.memory import MemoryQueue
from evermq.errors import EvermqError
from evermq.ha.agreement import Agreement, Pin, decode, encode
from evermq.ha.breaker import State
from evermq.ha.failover import Failover
from evermq.ha.quorum import Quorum
from evermq.ha.switch import Settings, Switch
from evermq.testing.agreed import Agreed, AgreedClient
from evermq.testing.faulty import Faulty
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.loop import simulate


@dataclass
class Process:
    """A producer on a host of its own, with its own way to a primary that all share."""

    name: str
    primary: Faulty
    switch: Switch
    coordinator: AgreedClient
    quorum: Quorum
    queue: Failover
    sent: list[str] = field(default_factory=list)
    slowest_ms: int = 0
    task: asyncio.Task[None] | None = None


class System:
    """Processes, the queues behind them, and what coordinates them."""

    def __init__(self, clock: SimulatedClock, settings: Settings | None = None) -> None:
        self.clock = clock
        self.place = Agreed()
        self.settings = settings
        self.primary, self.standby = MemoryQueue("t", clock=clock), MemoryQueue("t", clock=clock)
        self.processes: dict[str, Process] = {}
        self.make = MessageFactory(clock)

    async def start(self, name: str, *, host: str | None = None, pause_ms: int = 50) -> Process:
        primary = Faulty(self.primary, clock=self.clock)
        switch = Switch(["primary", "standby"], settings=self.settings, clock=self.clock)
        client = self.place.client()
        quorum = Quorum(switch, client, host=host or name, name=name, clock=self.clock)
        queue = Failover(primary=primary, standby=self.standby, choice=switch, clock=self.clock)
        await quorum.start()
        found = self.processes[name] = Process(name, primary, switch, client, quorum, queue)
        if pause_ms:
            found.task = asyncio.create_task(self._produce(found, pause_ms))
        return found

    async def _produce(self, process: Process, pause_ms: int) -> None:
        while True:
            message = self.make("x")
            began_ms = self.clock.monotonic_ms()
            try:
                await process.queue.append([message])
            except EvermqError:
                continue
            finally:
                process.slowest_ms = max(process.slowest_ms, self.clock.monotonic_ms() - began_ms)
            process.sent.append(message.id)
            await self.clock.sleep(pause_ms)

    async def stop(self) -> None:
        for process in self.processes.values():
            if process.task:
                process.task.cancel()
                await asyncio.gather(process.task, return_exceptions=True)
            process.primary.up()
            await process.quorum.close()

    async def read_all(self) -> set[str]:
        ladder = Failover(primary=self.primary, standby=self.standby, clock=self.clock)
        reader, found = await ladder.reader("g"), set()
        while deliveries := await reader.read(count_max=1_000, wait_ms=500):
            found |= {delivery.message.id for delivery in deliveries}
            await reader.ack(deliveries)
        await reader.close()
        return found

    async def check_nothing_lost(self) -> None:
        await self.stop()
        sent = {id for process in self.processes.values() for id in process.sent}
        assert sent
        assert sent <= await self.read_all()

    async def until(self, state: State, *names: str, within_ms: int = 60_000) -> int:
        """How long it takes until all of these processes are in a state."""
        began_ms = self.clock.monotonic_ms()
        while any(self.processes[name].switch.state is not state for name in names or self.processes):
            await self.clock.sleep(10)
            assert self.clock.monotonic_ms() - began_ms <= within_ms
        return self.clock.monotonic_ms() - began_ms

    def agreed(self) -> Agreement:
        return decode(self.place.value.value, self.clock.now_ms())


def run(scenario: str, seed: int) -> None:
    async def main(clock: SimulatedClock) -> None:
        await SCENARIOS[scenario](System(clock))

    simulate(seed, main)


async def _outage(system: System, *, frozen: bool) -> None:
    for name in ("a", "b", "c"):
        await system.start(name)
    idle = await system.start("idle", pause_ms=0)
    await system.clock.sleep(5_000)
    for process in system.processes.values():
        process.primary.hang() if frozen else process.primary.down()
    assert await system.until(State.DEGRADED) <= 3_000
    assert idle.switch.begin() in (0, 1)
    for process in system.processes.values():
        assert process.slowest_ms <= 900
    await system.clock.sleep(20_000)
    assert system.agreed().epoch == 1
    for process in system.processes.values():
        process.primary.up()
    await system.until(State.NORMAL, within_ms=90_000)
    assert system.agreed().epoch == 3
    await system.check_nothing_lost()


async def refused_primary_flips_everybody_and_all_return(system: System) -> None:
    await _outage(system, frozen=False)


async def frozen_primary_flips_everybody_and_all_return(system: System) -> None:
    await _outage(system, frozen=True)


async def one_sick_host_diverts_itself_alone(system: System) -> None:
    for name in ("a", "b", "c"):
        await system.start(name)
    for i in range(5):
        await system.start(f"a{i}", host="a")
    for name, process in system.processes.items():
        if name.startswith("a"):
            process.primary.down()
    await system.until(State.DEGRADED, "a", "a0", "a4", within_ms=3_000)
    await system.clock.sleep(30_000)
    assert system.agreed() == Agreement()
    assert system.processes["b"].switch.state is system.processes["c"].switch.state is State.NORMAL
    await system.check_nothing_lost()


async def one_that_is_cut_off_keeps_the_last_state_and_converges(system: System) -> None:
    for name in ("a", "b", "c", "blind"):
        await system.start(name, pause_ms=0 if name == "blind" else 50)
    blind = system.processes["blind"]
    await system.clock.sleep(2_000)
    await blind.coordinator.cut()
    for process in system.processes.values():
        process.primary.down()
    await system.until(State.DEGRADED, "a", "b", "c")
    await system.clock.sleep(5_000)
    assert blind.switch.state is State.NORMAL
    blind.task = asyncio.create_task(system._produce(blind, 50))
    await system.until(State.DEGRADED, "blind", within_ms=3_000)  # by what it sees itself
    assert blind.quorum.trouble
    assert blind.switch.agreed.epoch == 0
    await blind.coordinator.heal()
    await system.clock.sleep(10_000)
    assert blind.switch.agreed == system.agreed()
    assert blind.switch.agreed.epoch == 1
    await system.check_nothing_lost()


async def coordinator_gone_altogether_each_diverts_itself_and_returns(system: System) -> None:
    for name in ("a", "b", "c"):
        await system.start(name)
    await system.clock.sleep(2_000)
    for process in system.processes.values():
        await process.coordinator.cut()
        process.primary.down()
    await system.until(State.DEGRADED, within_ms=3_000)
    for process in system.processes.values():
        process.primary.up()
    await system.until(State.NORMAL, within_ms=90_000)
    assert system.agreed() == Agreement()
    await system.check_nothing_lost()


async def degraded_state_is_kept_while_the_coordinator_is_gone(system: System) -> None:
    for name in ("a", "b"):
        (await system.start(name)).primary.down()
    await system.until(State.DEGRADED)
    while not system.agreed().epoch:
        await system.clock.sleep(100)
    for process in system.processes.values():
        await process.coordinator.cut()
        process.primary.up()
    await system.clock.sleep(120_000)
    assert {process.switch.state for process in system.processes.values()} == {State.DEGRADED}
    for process in system.processes.values():
        await process.coordinator.heal()
    await system.until(State.NORMAL, within_ms=30_000)
    await system.check_nothing_lost()


async def forged_and_malformed_values_are_refused_and_repaired(system: System) -> None:
    for name in ("a", "b", "c"):
        (await system.start(name)).primary.down()
    await system.until(State.DEGRADED)
    while system.agreed().epoch != 1:
        await system.clock.sleep(100)
    forgeries = [b"\xff\x00", b'{"epoch": 9}', b"[]", encode(Agreement(epoch=1)), encode(Agreement(epoch=1 << 53)), b""]
    for number, forgery in enumerate(forgeries):
        await system.place.forge(forgery, version=0 if not forgery else None)
        await system.clock.sleep(5_000)
        assert system.agreed().epoch == 2 + number  # written anew over it
        assert system.agreed().away == {"primary": State.DEGRADED}
    for process in system.processes.values():
        assert process.switch.state is State.DEGRADED
        assert process.quorum.counts.refused >= len(forgeries)
        assert process.quorum.refused
    await system.check_nothing_lost()


async def pin_holds_for_all_until_it_is_released(system: System) -> None:
    for name in ("a", "b", "c"):
        await system.start(name)
    await system.clock.sleep(2_000)
    hand = system.place.client()
    stored = await hand.get()
    pinned = decode(stored.value, system.clock.now_ms()).next(
        by="ann", why="x", at_ms=1, pin=Pin("standby", "ann", "maintenance", 1)
    )
    await hand.put(encode(pinned), version=stored.version)
    await system.clock.sleep(1_000)
    assert {process.switch.begin() for process in system.processes.values()} == {1}
    for process in system.processes.values():
        process.primary.down()
    await system.clock.sleep(30_000)
    assert system.agreed().pin
    assert {process.switch.begin() for process in system.processes.values()} == {1}
    await system.check_nothing_lost()


async def decider_that_dies_is_replaced(system: System) -> None:
    for name in ("a", "b", "c"):
        await system.start(name)
    await system.clock.sleep(2_000)
    holder = system.place.holders["decider"]
    [dead] = [process for process in system.processes.values() if process.coordinator is holder]
    await holder.cut()
    for process in system.processes.values():
        process.primary.down()
    await system.clock.sleep(6_000)
    assert system.agreed().away == {"primary": State.DEGRADED}
    assert dead.switch.agreed.epoch == 0
    await system.check_nothing_lost()


async def new_epoch_is_above_what_others_follow_though_the_decider_never_saw_it(system: System) -> None:
    for name in ("a", "b", "c"):
        (await system.start(name)).primary.down()
    await system.until(State.DEGRADED)
    await system.clock.sleep(1_000)
    known = system.agreed().next(by="x", why="y", at_ms=0)
    await system.place.forge(encode(Agreement(epoch=40, away=known.away)))
    await system.clock.sleep(1_000)
    await system.place.forge(b"", version=0)
    for process in system.processes.values():
        await process.coordinator.cut()
    late = await system.start("late", pause_ms=0)
    await system.clock.sleep(1_000)
    assert late.switch.agreed == Agreement()
    for name in ("a", "b", "c"):
        await system.processes[name].coordinator.heal()
    await system.clock.sleep(15_000)
    assert system.agreed().epoch > 40
    assert {process.switch.agreed.epoch for process in system.processes.values()} == {system.agreed().epoch}
    await system.check_nothing_lost()


async def return_waits_until_little_is_left_below(clock: SimulatedClock) -> None:
    system = System(clock)
    left = {"g": 100_000}

    async def backlogs() -> dict[str, dict[str, int]]:
        return {"standby": left}

    process = await system.start("a")
    await process.quorum.close()
    place = Agreed()
    process.quorum = Quorum(process.switch, place.client(), host="a", name="a", backlogs=backlogs, clock=clock)
    await process.quorum.start()
    process.primary.down()
    await system.until(State.DEGRADED)
    process.primary.up()
    for _ in range(60):
        left["g"] -= 1_000
        await clock.sleep(1_000)
    assert process.switch.state is State.DEGRADED
    left["g"] = 10
    await system.until(State.NORMAL, within_ms=60_000)
    await system.check_nothing_lost()


async def flapping(system: System, half_ms: int) -> None:
    for name in ("a", "b", "c"):
        await system.start(name, pause_ms=100)
    up = True
    for _ in range(600_000 // half_ms):
        up = not up
        for process in system.processes.values():
            process.primary.up() if up else process.primary.down()
        await system.clock.sleep(half_ms)
    openings = [change for change in system.processes["a"].switch.changes if change.state is State.DEGRADED]
    assert len(openings) <= 8
    assert system.agreed().epoch <= 3 * 8
    await system.check_nothing_lost()


SCENARIOS = {
    each.__name__: each
    for each in (
        refused_primary_flips_everybody_and_all_return,
        frozen_primary_flips_everybody_and_all_return,
        one_sick_host_diverts_itself_alone,
        one_that_is_cut_off_keeps_the_last_state_and_converges,
        coordinator_gone_altogether_each_diverts_itself_and_returns,
        degraded_state_is_kept_while_the_coordinator_is_gone,
        forged_and_malformed_values_are_refused_and_repaired,
        pin_holds_for_all_until_it_is_released,
        decider_that_dies_is_replaced,
        new_epoch_is_above_what_others_follow_though_the_decider_never_saw_it,
    )
}


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_simulated(scenario: str, seed: int) -> None:
    run(scenario, seed)


@pytest.mark.parametrize("half_ms", [200, 1_000, 5_000, 20_000, 60_000])
def test_simulated_square_wave_flips_a_bounded_number_of_times(half_ms: int) -> None:
    async def main(clock: SimulatedClock) -> None:
        await flapping(System(clock), half_ms)

    simulate(half_ms, main)


def test_simulated_return_waits_until_little_is_left_below() -> None:
    simulate(1, return_waits_until_little_is_left_below)


def test_log_says_where_appends_begin_and_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "evermq.switch"):
        run("refused_primary_flips_everybody_and_all_return", 1)
    told = [vars(record) for record in caplog.records if "scope" in vars(record)]
    assert {each["scope"] for each in told} == {"primary"}
    assert [each["state"] for each in told] == ["degraded"] * 4 + ["returning"] * 4
    assert told[0]["levelname"] == "WARNING"
    assert told[0]["message"].startswith("primary is degraded: 11 failures in a row")
    assert told[-1]["message"] == "primary is returning: it answers again"
