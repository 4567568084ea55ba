"""A coordinator that has lost what was agreed: who knows of it tells it again, and who does not leaves that to them."""

from __future__ import annotations

import pytest
from tests.ha.test_quorum import System

from evermq.coordinator import Versioned
from evermq.ha.breaker import State
from evermq.ha.override import pin
from evermq.ha.votes import Vote, encode_vote
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.loop import simulate


async def pin_outlives_a_coordinator_that_is_set_up_anew(clock: SimulatedClock) -> None:
    system = System(clock)
    for name in ("a", "b"):
        await system.start(name)
    await system.clock.sleep(3_000)
    await pin(system.place.client(), "standby", who="ann", why="new disks in the brokers", clock=system.clock)
    await system.clock.sleep(3_000)
    for process in system.processes.values():
        await process.coordinator.cut()
    system.place.value = Versioned(b"", 0)
    late = await system.start("late")  # it never knew of the pin, and counts first
    await system.clock.sleep(1_500)
    for name in ("a", "b"):
        await system.processes[name].coordinator.heal()
    await system.clock.sleep(15_000)
    assert late.switch.agreed.epoch > 1
    assert {process.switch.begin() for process in system.processes.values()} == {1}
    assert {process.switch.agreed.epoch for process in system.processes.values()} == {system.agreed().epoch}
    await system.check_nothing_lost()


async def vote_of_a_later_epoch_that_nobody_else_knows_is_outlived(clock: SimulatedClock) -> None:
    system = System(clock)
    await system.start("a")
    await system.clock.sleep(1_000)
    await system.place.client().join("forged", encode_vote(Vote("forger", epoch=40)), ttl_ms=5_000)
    system.processes["a"].primary.down()
    await system.clock.sleep(90_000)
    assert system.agreed().epoch > 40
    assert system.agreed().away == {"primary": State.DEGRADED}
    await system.check_nothing_lost()


@pytest.mark.parametrize("seed", range(1, 4))
def test_simulated_pin_outlives_a_coordinator_that_is_set_up_anew(seed: int) -> None:
    simulate(seed, pin_outlives_a_coordinator_that_is_set_up_anew)


@pytest.mark.parametrize("seed", range(1, 4))
def test_simulated_vote_of_a_later_epoch_that_nobody_else_knows_is_outlived(seed: int) -> None:
    simulate(seed, vote_of_a_later_epoch_that_nobody_else_knows_is_outlived)
