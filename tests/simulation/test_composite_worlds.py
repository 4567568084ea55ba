"""Techniques over failing engines in dying processes: nothing is lost or out of order, and the faults did bite."""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from evermq.testing.world import run_world
from evermq.testing.worlds.composite_tree import NESTINGS, draw_nested
from evermq.testing.worlds.composite_weather import STORM

SEEDS = 20
SIMULATION = Path(__file__).parents[2] / "docs" / "internals" / "simulation.md"
RUNS = [(f"composite-{kind}", 1) for kind in ("route", "failover", "spooled", "buffered", "pump")]
RUNS += [("composite-ladder", 1)]
RUNS += [("composite-nested", first) for first in range(1, len(NESTINGS), SEEDS)]  # each of them once, at least
BITES = {f"{verb.value} {fault.name.lower()}" for verb, faults in STORM.items() for fault in faults}
TROUBLES = {"storm", "out", "crash", "kill", "power cut"}
RARE = {"power cut", "ack late", "ack lose"}  # of a slot only while no process holds it, or one seldom does it
INVERSIONS = "inversions where no order is promised"


@pytest.mark.parametrize(("world", "first"), RUNS)
def test_nothing_is_lost_whatever_fails(world: str, first: int) -> None:
    summary = run_world(world, range(first, first + SEEDS))
    assert summary["failed"] == [], summary.get("reasons")
    share = (
        0.5 if world == "composite-nested" else 0.4
    )  # where what is first is made of two, the second is seldom asked
    assert len(summary["invalid"]) <= SEEDS * share, f"seeds {summary['invalid']} prove nothing"
    seen = summary["seen"]
    wanted = (TROUBLES | BITES) - (RARE if world == "composite-ladder" else set())
    assert seen.keys() >= wanted, f"never happened: {sorted(wanted - seen.keys())}"
    if world in ("composite-route", "composite-failover", "composite-nested"):
        assert seen[INVERSIONS] > 0, "order is not promised and never broken: the checker is blind"
    if world == "composite-failover":
        assert seen["choice"] > 0


@pytest.mark.parametrize("seed", [500_048, 500_060])
def test_host_sends_nothing_past_a_message_of_its_key_that_may_yet_land(seed: int) -> None:
    summary = run_world("composite-ladder", [seed])
    assert summary["failed"] == [], summary.get("reasons")


@pytest.mark.parametrize("first", [0, 1, 1_000])
def test_consecutive_seeds_go_through_every_technique_at_every_place_of_every_other(first: int) -> None:
    places = {
        "route": ("a", "b"),
        "failover": ("primary", "standby", "last"),
        "spooled": ("local", "remote"),
        "buffered": ("local", "remote"),
        "pump": ("source", "target"),
        "ladder": ("primary", "standby"),  # its slots are logs
    }
    wanted = {(outer, key, inner) for outer, keys in places.items() for key in keys for inner in places}
    wanted -= {("ladder", key, "ladder") for key in places["ladder"]}  # a host has its slots once
    drawn = set()
    for seed in range(first, first + len(wanted)):
        tree = draw_nested(seed, Random(seed))
        drawn |= {(tree.kind, key, child.kind) for key, child in tree.children.items() if child.kind}
    assert drawn == wanted == set(NESTINGS)
    assert f"{len(NESTINGS)} nestings" in SIMULATION.read_text()


@pytest.mark.parametrize("seed", [1, 8])
def test_seed_is_the_same_run_in_every_process(seed: int) -> None:
    hashes = set()
    for hash_seed, before in (("1", []), ("2", [1, 2, 3])):  # nor does it matter what the process has played before
        script = "from evermq.testing.world import run_world\n"
        script += f"run_world('composite-route', {before})\n"
        script += f"print(run_world('composite-nested', [{seed}])['trace_hash'])"
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
        hashes.add(done.stdout)
    assert len(hashes) == 1
