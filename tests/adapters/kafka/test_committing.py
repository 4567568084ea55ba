"""What is committed, in which order, and what is committed again; over a coordinator that is played."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from confluent_kafka import KafkaError

from evermq.adapters.kafka import committing as module
from evermq.adapters.kafka.committing import Commits
from evermq.adapters.kafka.generation import NOBODY, Generation, generation_of
from evermq.adapters.kafka.group import Group
from evermq.adapters.kafka.lane import Lane
from evermq.adapters.kafka.offsets import Committed
from evermq.adapters.kafka.progress import unpack
from evermq.adapters.kafka.topic import Topic
from evermq.clock import SYSTEM
from evermq.errors import Unavailable, Unsupported
from evermq.message import MessageFactory

make = MessageFactory()
COUNT = 40
TOPIC = Topic("orders", "id", 1, 1, {})
FIRST, SECOND = Generation(1, "member-1"), Generation(2, "member-1")


class Coordinator:
    """outcomes: of the next commits, where they do not go well. Each waits until it may go on."""

    def __init__(self, *outcomes: int | Exception) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[tuple[Generation, Mapping[int, Committed]]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def commit_as(self, generation: Generation, group: str, topic: str, offsets: Mapping[int, Committed]) -> int:
        assert (group, topic) == ("shop-billing", TOPIC.name)
        self.asked.append((generation, offsets))
        await self.may_answer.wait()
        outcome = self.outcomes.pop(0) if self.outcomes else 0
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Reader:
    is_waiting = False

    def wake(self) -> None: ...


@asynccontextmanager
async def running(coordinator: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Commits, Lane]]:
    """A lane of which everything is handed out."""
    monkeypatch.setattr(module, "_AGAIN_S", 0.001)
    group = Group("billing", 1_000)
    commits = Commits(group, TOPIC, "shop-billing", coordinator)
    commits.generation = FIRST
    lane = Lane.restore(0, "0", 0, unpack("", 0, ""))
    lane.add([(offset, make(b"%d" % offset)) for offset in range(COUNT)])
    group.assign([lane])
    lane.take(COUNT, 0, 1_000)
    task = asyncio.create_task(commits.run())
    yield commits, lane
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def settle(commits: Commits, lane: Lane, offsets: range) -> None:
    """And wait until that is committed."""
    commits.soon(lane.settle(offsets))
    async with asyncio.timeout(10):
        while commits.uncommitted:
            await commits.wait(commits.pending, 1)


@pytest.mark.parametrize(
    "outcome",
    [
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.UNKNOWN_MEMBER_ID,
        Unavailable("no"),
        KeyError("what no driver should raise"),
    ],
)
async def test_commit_that_did_not_go_well_is_made_again_in_the_generation_of_then(
    outcome: int | Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = Coordinator(outcome)
    async with running(coordinator, monkeypatch) as (commits, lane):
        coordinator.may_answer.clear()
        settling = asyncio.create_task(settle(commits, lane, range(3)))
        while not coordinator.asked:
            await asyncio.sleep(0)
        commits.generation = SECOND
        coordinator.may_answer.set()
        await settling
    assert [(by, offsets[0].offset) for by, offsets in coordinator.asked] == [(FIRST, 3), (SECOND, 3)]


async def test_what_a_broker_finds_too_large_is_said_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator = Coordinator(*[KafkaError.OFFSET_METADATA_TOO_LARGE] * 7)
    async with running(coordinator, monkeypatch) as (commits, lane):
        await settle(commits, lane, range(1, COUNT, 2))
    sizes = [len(offsets[0].metadata) for _, offsets in coordinator.asked]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] <= module._METADATA_BYTES_MIN < sizes[0]


async def test_times_are_committed_as_the_wall_clock_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator = Coordinator()
    async with running(coordinator, monkeypatch) as (commits, lane):
        lane.release([3], SYSTEM.monotonic_ms() + 60_000)
        await settle(commits, lane, range(3))
    offset, metadata = coordinator.asked[-1][1][0]
    [due_ms] = [each.due_ms for each in unpack(TOPIC.id, offset, metadata).again if each.due_ms]
    assert abs(due_ms - SYSTEM.now_ms()) < 3_600_000


async def test_nothing_is_committed_before_the_group_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """The coordinator of a group without members would take it from anybody."""
    coordinator = Coordinator()
    async with running(coordinator, monkeypatch) as (commits, lane):
        commits.generation = NOBODY
        commits.soon(lane.settle(range(3)))
        await asyncio.sleep(0.01)
        assert not coordinator.asked
        assert lane.dirty
        commits.generation = FIRST
        await settle(commits, lane, range(3, 4))
    assert coordinator.asked[-1][1][0].offset == 4


async def test_lanes_that_are_handed_over_are_committed_behind_what_is_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If that fails, its part of them is not forgotten."""
    coordinator = Coordinator(Unavailable("no"))
    async with running(coordinator, monkeypatch) as (commits, lane):
        coordinator.may_answer.clear()
        commits.soon(lane.settle(range(3)))
        while not coordinator.asked:
            await asyncio.sleep(0)
        handing = asyncio.create_task(commits.commit([lane], FIRST))
        await asyncio.sleep(0.01)
        assert len(coordinator.asked) == 1
        commits.generation = SECOND  # in which the lane is another member's
        coordinator.may_answer.set()
        assert await handing
    assert [(by, offsets[0].offset) for by, offsets in coordinator.asked[:2]] == [(FIRST, 3), (FIRST, 3)]


async def test_what_is_settled_while_a_commit_is_on_its_way_counts_as_uncommitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A crash repeats it, and readers hand out no more than that may be."""
    coordinator = Coordinator()
    async with running(coordinator, monkeypatch) as (commits, lane):
        coordinator.may_answer.clear()
        commits.soon(lane.settle(range(3)))
        while not coordinator.asked:
            await asyncio.sleep(0)
        first = commits.pending
        commits.soon(lane.settle(range(3, 10)))
        coordinator.may_answer.set()
        assert first
        await first
        coordinator.may_answer.clear()
        assert commits.uncommitted == 7
        coordinator.may_answer.set()
        while commits.uncommitted:
            await commits.wait(commits.pending, 1)
        assert coordinator.asked[-1][1][0].offset == 10


async def test_commit_that_is_given_up_is_to_be_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator = Coordinator()
    async with running(coordinator, monkeypatch) as (commits, lane):
        coordinator.may_answer.clear()
        commits.soon(lane.settle(range(3)))
        while not coordinator.asked:
            await asyncio.sleep(0)
    assert lane.dirty


def test_generation_is_what_the_driver_says() -> None:
    assert generation_of(b"CGMDv2:\x02\x01\x00\x00shop\x00Xg1w=\x00\x01") == Generation(258, "Xg1w=")
    assert generation_of(b"CGMDv2:\xff\xff\xff\xffshop\x00\x00\x01") == NOBODY == generation_of(None)
    with pytest.raises(Unsupported, match=r"confluent-kafka 2\.16"):
        generation_of(b"CGMDv3:\x01\x00\x00\x00shop\x00member\x00\x01")
