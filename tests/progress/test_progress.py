"""Every store of progress: claims, states, reports; and settling in a handler's own transaction, where it has one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from evermq.adapters.memory import MemoryQueue
from evermq.errors import Fenced, Misconfigured, Unavailable
from evermq.ha.route import Route
from evermq.message import MessageFactory
from evermq.policy.ordered import Ordered
from evermq.progress.memory import MemoryProgress
from evermq.progress.sql import SqlProgress
from evermq.settled import Settled
from evermq.settling import Held, Progress, Report

make = MessageFactory()
SILENT_MS = 300


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.ms = 1_000
        self.tokens = 0

    def now_ms(self) -> int:
        return self.ms

    def monotonic_ms(self) -> int:
        return self.ms

    async def sleep(self, wait_ms: float) -> None:
        self.ms += int(wait_ms)

    def token(self) -> str:
        self.tokens += 1
        return f"reader-{self.tokens}"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
async def progress(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Progress]:
    store: Progress
    if request.param == "memory":
        store = MemoryProgress(silent_ms_max=SILENT_MS, clock=clock)
    else:
        store = SqlProgress(f"sqlite:///{tmp_path}/progress", "orders", silent_ms_max=SILENT_MS, clock=clock)
    yield store
    await store.close()


def packed(*numbers: int) -> str:
    settled = Settled()
    for number in numbers:
        settled.add(number)
    return settled.pack()


async def test_lane_belongs_to_one_reader_until_it_gives_it_back(progress: Progress) -> None:
    one, two = await progress.join("g"), await progress.join("g")
    assert await one.claim([1, 2]) == {1: {}, 2: {}}
    assert await two.claim([1, 3]) == {3: {}}
    assert (await one.renew(Report())).wanted == {1}
    await one.settle({1: {"s.1": packed(1, 2, 5)}})
    await one.give_back([1])
    assert await two.claim([1]) == {1: {"s.1": packed(1, 2, 5)}}
    assert await one.claim([1]) == {}
    with pytest.raises(Fenced):
        await one.settle({1: {"s.1": packed(1)}})
    assert await one.look([1]) == {1: {"s.1": packed(1, 2, 5)}}


async def test_groups_know_nothing_of_each_other(progress: Progress) -> None:
    one, two = await progress.join("g"), await progress.join("h")
    await one.claim([1])
    await one.settle({1: {"s.1": packed(1)}})
    assert await two.claim([1]) == {1: {}}


async def test_silent_reader_loses_its_lanes_and_one_that_lives_does_not(progress: Progress, clock: Clock) -> None:
    one, two = await progress.join("g"), await progress.join("g")
    await one.claim([1])
    await two.renew(Report())
    clock.ms += SILENT_MS
    await one.renew(Report())
    await two.renew(Report())
    clock.ms += SILENT_MS
    await two.renew(Report())
    assert await two.claim([1]) == {}
    clock.ms += SILENT_MS + 1
    await two.renew(Report())
    assert await two.claim([1]) == {1: {}}
    with pytest.raises(Fenced):
        await one.settle({1: {"s.1": packed(1)}})


async def test_reader_that_just_joined_is_not_taken_for_gone(progress: Progress) -> None:
    one = await progress.join("g")
    two = await progress.join("g")
    await two.claim([1])
    assert await one.claim([1]) == {}
    await two.settle({1: {"s.1": packed(1)}})


async def test_reader_that_stood_still_itself_takes_nothing_from_one_that_lives(
    progress: Progress, clock: Clock
) -> None:
    one, two = await progress.join("g"), await progress.join("g")
    await two.claim([1])
    await one.renew(Report())
    for _ in range(5):
        clock.ms += SILENT_MS // 2
        await two.renew(Report())
    assert await one.claim([1]) == {}
    await two.settle({1: {"s.1": packed(1)}})


async def test_reader_whose_lanes_were_taken_hears_of_it_and_may_claim_anew(progress: Progress, clock: Clock) -> None:
    one, two = await progress.join("g"), await progress.join("g")
    await one.claim([1, 2])
    await one.renew(Report({"primary/1": 7}))
    for _ in range(5):
        clock.ms += SILENT_MS // 2
        await two.renew(Report())
    assert await two.claim([1]) == {1: {}}
    assert not [each for each in (await two.renew(Report())).reports if each.at]
    with pytest.raises(Fenced):
        await one.renew(Report())
    await one.give_back([1, 2])
    await one.renew(Report())
    assert await one.claim([1, 2]) == {2: {}}
    with pytest.raises(Fenced):
        await one.settle({1: {"s.1": packed(1)}})


async def test_states_go_with_a_lane_to_whoever_has_it_next_and_back(progress: Progress, clock: Clock) -> None:
    """By a claim of a silent reader's lane and by a hand-over; what the silent one still knew never counts again."""
    one, two = await progress.join("g"), await progress.join("g")
    await one.claim([1, 2])
    await one.settle({1: {"s.1": packed(1)}, 2: {"s.2": packed(1)}})
    await two.renew(Report())
    clock.ms += SILENT_MS + 1
    await two.renew(Report())
    assert await two.claim([1]) == {1: {"s.1": packed(1)}}
    await two.settle({1: {"s.1": packed(1, 2)}})
    with pytest.raises(Fenced):
        await one.settle({1: {"s.1": packed(1)}, 2: {"s.2": packed(1, 2)}})
    assert await one.look([1, 2]) == {1: {"s.1": packed(1, 2)}, 2: {"s.2": packed(1)}}
    with pytest.raises(Fenced):
        await one.renew(Report())
    await one.give_back([1, 2])
    await one.renew(Report())
    assert await one.claim([1, 2]) == {2: {"s.2": packed(1)}}  # the other is asked for
    await one.settle({2: {"s.2": packed(1, 2, 3)}})
    await two.give_back([1])
    assert await one.claim([1, 2]) == {1: {"s.1": packed(1, 2)}, 2: {"s.2": packed(1, 2, 3)}}
    await one.settle({1: {"s.1": packed(1, 2, 3)}})
    await one.leave()
    assert await two.claim([1, 2]) == {1: {"s.1": packed(1, 2, 3)}, 2: {"s.2": packed(1, 2, 3)}}


async def test_row_of_a_reader_that_lost_all_it_had_is_gone_and_it_is_fenced(tmp_path: Path, clock: Clock) -> None:
    progress = SqlProgress(f"sqlite:///{tmp_path}/progress", "orders", silent_ms_max=SILENT_MS, clock=clock)
    one, two = await progress.join("g"), await progress.join("g")
    await one.claim([1])
    await one.settle({1: {"s.1": packed(1)}})
    await two.renew(Report())
    clock.ms += SILENT_MS + 1
    await two.renew(Report())
    assert await two.claim([1]) == {1: {"s.1": packed(1)}}

    def rows(connection: Connection) -> int:
        return int(connection.execute(text("SELECT count(*) FROM evermq_fresh")).scalar_one())

    assert await progress.database.run(rows) == 0
    with pytest.raises(Fenced):
        await one.settle({1: {"s.1": packed(1, 2)}})
    assert await two.look([1]) == {1: {"s.1": packed(1)}}
    await progress.close()


async def test_many_streams_of_many_lanes_are_kept(progress: Progress) -> None:
    """More of them than are kept in one row."""
    part = await progress.join("g")
    lanes = range(50)
    await part.claim(lanes)
    expected: dict[int, dict[str, str]] = {lane: {} for lane in lanes}
    for producer in range(60):
        found = {lane: {f"p{producer}.{lane:x}": packed(*range(1, producer + 2))} for lane in lanes}
        await part.settle(found)
        for lane, streams in found.items():
            expected[lane].update(streams)
    last = {7: {"p0.7": packed(1, 2, 3)}}
    await part.settle(last)
    expected[7].update(last[7])
    assert await part.look(lanes) == expected
    await part.leave()
    assert await (await progress.join("g")).claim(lanes) == expected


async def test_write_that_failed_is_written_the_next_time(tmp_path: Path, clock: Clock) -> None:
    progress = SqlProgress(f"sqlite:///{tmp_path}/progress", "orders", silent_ms_max=SILENT_MS, clock=clock)
    part = await progress.join("g")
    await part.claim([1, 2])
    await part.settle({1: {"s.1": packed(1)}})

    def ended(connection: Connection) -> None:
        raise OperationalError("commit", {}, Exception("the disk is full"))

    event.listen(Engine, "commit", ended)
    try:
        with pytest.raises(Unavailable, match="disk is full"):
            await part.settle({2: {"s.2": packed(1)}})
    finally:
        event.remove(Engine, "commit", ended)
    assert await part.look([1, 2]) == {1: {"s.1": packed(1)}, 2: {}}
    await part.settle({1: {"s.1": packed(1, 2)}})
    await part.settle({2: {"s.2": packed(1, 2)}})
    assert await part.look([1, 2]) == {1: {"s.1": packed(1, 2)}, 2: {"s.2": packed(1, 2)}}
    await progress.close()


async def test_reader_that_leaves_gives_everything_back(progress: Progress) -> None:
    one, two = await progress.join("g"), await progress.join("g")
    await one.claim([1, 2])
    await one.leave()
    await one.leave()
    assert await two.claim([1, 2]) == {1: {}, 2: {}}


async def test_reports_are_those_of_readers_that_are_there(progress: Progress) -> None:
    one, two = await progress.join("g"), await progress.join("g")
    report = Report({"primary/1": 7}, {Held("s.1", 3, 2, "primary")})
    await one.renew(report)
    found = (await two.renew(Report())).reports
    assert [dict(each.at) for each in found if each.at] == [{"primary/1": 7}]
    assert [set(each.held) for each in found if each.held] == [set(report.held)]
    await one.leave()
    assert not [each for each in (await two.renew(Report())).reports if each.at]


async def test_mark_outlives_an_older_state_that_is_written_after_it(clock: Clock) -> None:
    part = await MemoryProgress(silent_ms_max=SILENT_MS, clock=clock).join("g")
    await part.claim([1])
    assert part.record(1, "s.1", 3)
    await part.settle({1: {"s.1": packed(1, 2)}})
    assert not part.record(1, "s.1", 3)
    assert await part.look([1]) == {1: {"s.1": packed(1, 2, 3)}}
    await part.settle({1: {"s.1": packed(1, 2, 3)}})
    assert not part.record(1, "s.1", 3)


class InMemory:
    """A slot."""

    name, incarnation, is_empty, is_named = "memory", 1, True, False

    def __init__(self) -> None:
        self.cells = bytearray(1 << 20)

    def memory(self, size_bytes: int) -> memoryview:
        return memoryview(self.cells)[:size_bytes]


async def test_effect_and_mark_share_the_transaction_of_the_handler(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/shop"
    progress = SqlProgress(url, "orders")
    rung, slot = MemoryQueue("orders"), InMemory()

    async def take() -> InMemory:
        return slot

    queue = Ordered(Route({"primary": rung}), progress=progress, slot=take, rungs={"primary": rung})
    shop = create_async_engine(url)
    session_of = async_sessionmaker(shop)
    async with session_of() as session:
        await session.execute(text("CREATE TABLE paid (id TEXT)"))
        await session.commit()
    await queue.append([make(f"{n}", key="k") for n in range(3)])
    reader = await queue.reader("billing")
    first, second, third = await reader.read(count_max=3, wait_ms=2_000)
    for delivery, commits in ((first, True), (second, False)):
        async with session_of() as session:
            assert await progress.settle(delivery, session)
            await session.execute(text("INSERT INTO paid VALUES (:id)"), {"id": delivery.message.id})
            await (session.commit() if commits else session.rollback())
    async with session_of() as session:
        assert not await progress.settle(first, session)  # it is done
    await reader.close()  # nothing was acknowledged: all three come again, and what is done is not among them
    again = await queue.reader("billing")
    found = await again.read(count_max=3, wait_ms=2_000)
    assert [each.message.id for each in found] == [second.message.id, third.message.id]
    async with session_of() as session:
        with pytest.raises(Fenced):
            await progress.settle(third, session)  # of a reader that has gone
        paid = (await session.execute(text("SELECT id FROM paid"))).scalars().all()
    assert paid == [first.message.id]
    await again.ack(found)
    assert await queue.backlog("billing") == 0
    await queue.close()
    await shop.dispose()


async def test_database_that_is_away_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="progress"):
        await SqlProgress(f"sqlite:///{tmp_path}/missing/progress", "orders").join("g")


@pytest.mark.parametrize("url", ["nonsense", "oracle9://x/y"])
def test_url_that_names_no_database_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="progress"):
        SqlProgress(url, "orders")
