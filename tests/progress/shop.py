"""A shop that is paid once: the handler's own transaction, in whichever database keeps the progress."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, inspect, select, text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.util import await_only
from tests.drills.ladders import SHORT, ladder

from evermq.adapters.memory import MemoryQueue
from evermq.drills.conduct import hold
from evermq.drills.engines.engine import Engine
from evermq.drills.load import Load, run_load
from evermq.drills.stage import Stage
from evermq.errors import Fenced, Unavailable, Uncertain
from evermq.ha.route import Route
from evermq.message import MessageFactory
from evermq.policy.ordered import Ordered
from evermq.policy.ordered_reader import OrderedReader
from evermq.port import Delivery
from evermq.progress.database import Database
from evermq.progress.fresh import fresh_of
from evermq.progress.sql import SqlProgress
from evermq.progress.tables import metadata, settled
from evermq.settled import Settled
from evermq.settling import Progress, Report, States
from evermq.testing.checker import Expect
from evermq.testing.progressing import packed

make = MessageFactory()


class InMemory:
    """A slot."""

    name, incarnation, is_empty, is_named = "memory", 1, True, False

    def __init__(self) -> None:
        self.cells = bytearray(1 << 20)

    def memory(self, size_bytes: int) -> memoryview:
        return memoryview(self.cells)[:size_bytes]


def ordered(topic: str, progress: Progress) -> Ordered:
    """A queue in memory whose progress is kept there."""
    rung, slot = MemoryQueue(topic), InMemory()

    async def take() -> InMemory:
        return slot

    return Ordered(Route({"primary": rung}), progress=progress, slot=take, rungs={"primary": rung})


async def pay(url: str, topic: str) -> None:
    """Deliveries take effect in the transaction that settles them. url: of a database, with an asynchronous driver."""
    progress = SqlProgress(url, topic)
    queue = ordered(topic, progress)
    shop = create_async_engine(url)
    session_of = async_sessionmaker(shop)
    async with session_of() as session:
        await session.execute(text("CREATE TABLE IF NOT EXISTS paid (id VARCHAR(100))"))
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


async def pay_late(url: str, topic: str, *, loses_lane: bool) -> None:
    """A handler waits for a connection of its pool, and its message is handed out again meanwhile, and is paid.

    loses_lane: the reader lost its lane and claimed it anew; else the delivery was given back."""
    progress = SqlProgress(url, topic)
    queue = ordered(topic, progress)
    shop, full = create_async_engine(url), create_async_engine(url, pool_size=1, max_overflow=0)

    async def settle(delivery: Delivery, engine: AsyncEngine) -> bool | type[Fenced]:
        async with AsyncSession(engine) as session:
            try:
                is_first = await progress.settle(delivery, session)
            except Fenced:
                return Fenced
            await session.commit()
            return is_first

    await queue.append([make("order", key="k")])
    reader = await queue.reader("billing")
    assert isinstance(reader, OrderedReader)
    [early] = await reader.read(count_max=1, wait_ms=5_000)
    async with full.connect():
        late = asyncio.create_task(settle(early, full))
        await asyncio.sleep(0)
        await (reader._lose([early.receipt.lane]) if loses_lane else reader.release([early]))
        assert await settle(early, shop) is Fenced
        [again] = await reader.read(count_max=1, wait_ms=5_000)
        assert await settle(again, shop) is True
        assert await settle(again, shop) is False
        await reader.ack([again])
        assert await settle(again, shop) is False
    assert await late is (Fenced if loses_lane else False)
    assert not early.receipt.lane.is_doubted
    await queue.close()
    await shop.dispose()
    await full.dispose()


async def die(server: Engine, topic: str) -> None:
    """The server of a reader's progress is killed and comes back."""
    progress = SqlProgress(server.url(), topic)
    part = await progress.join("g")
    await part.claim([1])
    node = server.leader("")
    await asyncio.to_thread(node.kill)
    with pytest.raises(Unavailable, match="progress"):
        await part.settle({1: {"s.1": "2;1;;"}})
    await asyncio.to_thread(node.start)
    await part.settle({1: {"s.1": "3;1;;"}})
    assert await part.look([1]) == {1: {"s.1": "3;1;;"}}
    await progress.close()


async def overlap(url: str, topic: str, patch: pytest.MonkeyPatch) -> None:
    """A state that includes a mark is written while another reader looks, between two queries of its look. url: of a
    database, with an asynchronous driver."""
    progress = SqlProgress(url, topic)
    one, two = await progress.join("g"), await progress.join("g")
    await one.claim([1])
    await one.settle({1: {"s.1": packed(1, 2)}})
    shop = create_async_engine(url)
    async with async_sessionmaker(shop)() as session:
        assert await one.record(session, 1, "s.1", 4)
        await session.commit()

    def settled_behind_it(*what: Any) -> States:
        found = fresh_of(*what)
        await_only(one.settle({1: {"s.1": packed(1, 2, 4, 5)}}))
        return found

    patch.setattr("evermq.progress.part.fresh_of", settled_behind_it)
    looked = (await two.look([1]))[1]["s.1"]
    assert Settled.unpack(looked).pack() in (packed(1, 2, 4), packed(1, 2, 4, 5))
    await progress.close()
    await shop.dispose()


async def write_beside(url: str, topic: str) -> None:
    """What is settled of a stream is written down while a handler of it has its transaction open."""
    progress = SqlProgress(url, topic)
    part = await progress.join("g")
    await part.claim([1])
    shop = create_async_engine(url)
    async with AsyncSession(shop) as done, AsyncSession(shop) as slow:
        for number in (1, 2, 3, 6):
            assert await part.record(done, 1, "s.1", number)
        await done.commit()
        await part.settle({1: {"s.1": packed(1)}})
        assert await part.record(slow, 1, "s.1", 4)
        await part.settle({1: {"s.1": packed(1, 2)}})
        await part.settle({1: {"s.1": packed(1, 2, 3)}})
        await part.settle({1: {"s.1": packed(1, 2, 3, 6)}})
        await slow.commit()
    assert await part.look([1]) == {1: {"s.1": packed(1, 2, 3, 4, 6)}}

    def marks(connection: Connection) -> list[int]:
        return list(connection.execute(select(settled.c.seq).where(settled.c.topic == topic)).scalars())

    assert await progress.database.run(marks) == [4]
    await progress.close()
    await shop.dispose()


async def share(url: str, topic: str) -> None:
    """A handler of a lane has its transaction open: what concerns others, or others of its lane, goes on."""
    progress = SqlProgress(url, topic)
    one, two = await progress.join("g"), await progress.join("g")
    await one.claim([1, 2])
    shop = create_async_engine(url)
    async with AsyncSession(shop) as slow, AsyncSession(shop) as quick:
        assert await one.record(slow, 1, "s.1", 1)
        assert await two.claim([1, 2, 3]) == {3: {}}
        assert (await one.renew(Report())).wanted == {2}
        assert await one.record(quick, 1, "s.1", 2)
        await quick.commit()
        await one.settle({1: {"s.1": packed(2)}, 2: {"s.2": packed(1)}})  # the first write, which looks at the claims
        await one.give_back([2])
        assert await two.claim([1, 2]) == {2: {"s.2": packed(1)}}
        await slow.commit()
    assert await two.claim([1]) == {}
    assert (await one.renew(Report())).wanted == {1}
    await one.give_back([1])
    assert await two.claim([1]) == {1: {"s.1": packed(1, 2)}}
    await progress.close()
    await shop.dispose()


async def stand_still(server: Engine, topic: str) -> None:
    """The server of a reader's progress says nothing any more, and its connections stay."""
    progress = SqlProgress(server.url(), topic)
    one, two = await progress.join("g"), await progress.join("g")
    await one.claim([1])
    node = server.leader("")
    await asyncio.to_thread(node.freeze)
    async with asyncio.timeout(60):
        found = await asyncio.gather(one.settle({1: {"s.1": packed(1)}}), two.leave(), return_exceptions=True)
    assert [type(each) for each in found] == [Unavailable] * 2
    await asyncio.to_thread(node.thaw)
    await one.settle({1: {"s.1": packed(1, 2)}})
    assert await two.look([1]) == {1: {"s.1": packed(1, 2)}}
    engine = progress.database._shared
    assert engine
    event.listen(engine.sync_engine, "commit", lambda _: node.freeze())
    async with asyncio.timeout(60):
        with pytest.raises(Uncertain, match="perhaps written: no answer"):
            await one.settle({1: {"s.1": packed(1, 2, 3)}})
        await progress.close()
    await asyncio.to_thread(node.thaw)


async def drill(server: Engine, directory: Path) -> None:
    """A drill over a topic whose progress is in a server's database: judged there, and nothing of it stays."""
    config = ladder(directory, progress=server.url())
    done = await hold(SHORT, topic="orders", config=config, directory=directory / "drills", live=False, order=True)
    assert done.figures["verdict"] == "PASS", (done.figures, done.reasons)
    assert done.figures["handled"] >= done.figures["acknowledged"] > 200
    assert done.figures["duplicates_business"] == 0
    assert done.notes == []
    database = Database(server.url())
    names, kept = await database.run(_look)
    await database.close()
    assert not [name for name in names if name.startswith("evermq_drill_")]
    assert not [topic for topic in kept if topic.startswith("orders-drill-")]


def _look(connection: Connection) -> tuple[list[str], set[str]]:
    """All tables, and the topics that progress knows."""
    topics: set[str] = set()
    for table in metadata.sorted_tables:
        topics.update(connection.execute(select(table.c.topic)).scalars())
    return inspect(connection).get_table_names(), topics


async def outlive(server: Engine, url: str, directory: Path) -> None:
    """Effects of a topic on two rungs, in a database of a server: consumers are killed, and so is the server."""
    lines = ["[topics.orders]", 'use = "failover"', 'order = "key"', 'dedupe = "producer"', f'progress = "{url}"']
    lines += [f'{rung} = "log://{directory}/{rung}/orders"' for rung in ("primary", "standby", "last")]
    config = directory / "evermq.toml"
    config.write_text("\n".join([*lines, ""]))

    async def kill(stage: Stage) -> None:
        node = server.leader("")
        stage.note("fault_on", "consumers and the database die")
        for number in range(3):
            await stage.kill_and_restart(f"consumer-readers-{number % 2}")
            await asyncio.to_thread(node.kill)
            await stage.wait(0.5)
            await asyncio.to_thread(node.start)
            await stage.wait(1)
        stage.note("fault_off", "they live")

    forbidden = frozenset({"duplicates_business", "inversions"})
    load = Load(seconds=12, rate=200, keys=8, quiet_s=4, expect=Expect(acknowledged_min=500, forbid=forbidden))
    run = directory / "run"
    verdict = await run_load("orders", fault=kill, config=config, directory=run, effects=url, load=load)
    assert verdict.verdict == "PASS", verdict
    assert verdict.handled >= verdict.acknowledged
