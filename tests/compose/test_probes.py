"""Which topics of probes are swept: those of processes that are gone, and none of one that lives."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from evermq.adapters.memory import MemoryPlace
from evermq.clock import SystemClock
from evermq.compose import probes
from evermq.compose.probes import Sweeper, drop_left_probes, topic_of_probe
from evermq.errors import Denied
from evermq.ha.probe import PREFIX, TOPIC_MS_MAX

NAME = "from evermq.compose.probes import topic_of_probe; print(topic_of_probe(), flush=True); input()"
ROCKETMQ_MAX = 79


class Later(SystemClock):
    """Hours go by when they are told to."""

    ahead_ms = 0

    def monotonic_ms(self) -> int:
        return super().monotonic_ms() + self.ahead_ms


def child() -> tuple[subprocess.Popen[str], str]:
    """A process, and the name of its probe's topic."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", NAME], stdin=pipe, stdout=pipe, text=True)
    assert process.stdout
    return process, process.stdout.readline().strip()


def elsewhere(number: int) -> str:
    """Of another container, whose host has the same name; nobody has its pid here."""
    host, _, _, start, token = topic_of_probe().removeprefix(PREFIX).split(".")
    return f"{PREFIX}{host}.{number:010x}.4194305.{start}.{token}"


async def place_with(*topics: str) -> MemoryPlace:
    place = MemoryPlace()
    for each in topics:
        await place.create(each, groups=("g",))
    return place


async def test_topic_of_a_process_that_was_killed_is_swept_and_that_of_a_living_one_not() -> None:
    (killed, left), (living, kept) = child(), child()
    killed.kill()
    killed.communicate()
    mine = topic_of_probe()
    place = await place_with(left, kept, f"{left}-3", mine, "orders")
    await drop_left_probes(place)
    assert set(await place.topics()) == {kept, mine, "orders"}
    living.communicate("\n")


async def test_pid_that_was_given_away_again_hides_nothing() -> None:
    host, kin, pid, start, token = topic_of_probe().removeprefix(PREFIX).split(".")
    assert int(pid) == os.getpid()
    earlier = f"{PREFIX}{host}.{kin}.{pid}.{int(start, 16) - 1:x}.{token}"
    place = await place_with(earlier)
    await drop_left_probes(place)
    assert await place.topics() == []


async def test_of_another_container_one_that_takes_new_topics_is_spared_and_one_that_does_not_is_swept() -> None:
    clock = Later()
    sweeper, left = Sweeper(clock), [elsewhere(1), f"{PREFIX}pod-6f9c7.1.0123456789abcdef"]
    place = await place_with(*left)
    for turn in range(2):
        living = f"{elsewhere(2)}-{turn}"
        await place.create(living, groups=("g",))
        await sweeper.sweep(place)
        assert set(await place.topics()) == {*left, living}
        clock.ahead_ms += TOPIC_MS_MAX
        await place.drop(living)
    await place.create(living, groups=("g",))
    await sweeper.sweep(place)
    assert await place.topics() == [living]


async def test_where_nothing_tells_whose_pids_they_are_nobody_is_taken_for_dead(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(probes, "_PROC", tmp_path)
    names = topic_of_probe(), topic_of_probe()
    place = await place_with(*names)
    await drop_left_probes(place)
    await Sweeper().sweep(place)
    assert set(await place.topics()) == set(names)


async def test_sweep_that_is_refused_is_in_nobodys_way() -> None:
    class Guarded(MemoryPlace):
        async def drop(self, topic: str) -> None:
            raise Denied("no topics for you to drop")

    process, left = child()
    process.communicate("\n")
    place = Guarded()
    await place.create(left)
    await Sweeper().sweep(place)
    assert await place.topics() == [left]


def test_name_is_short_enough_for_every_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "a" * 64)
    name = f"{topic_of_probe()}-99"
    assert len(name) - len(str(os.getpid())) + len("4194304") <= ROCKETMQ_MAX
