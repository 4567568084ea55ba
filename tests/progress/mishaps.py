"""What befalls a database that keeps progress, and the sessions of handlers there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from tests.progress.shop import InMemory

from evermq.adapters.memory import MemoryQueue
from evermq.client import Backoff, Consumer
from evermq.drills.engines.engine import Engine
from evermq.errors import Misconfigured, Unavailable
from evermq.ha.route import Route
from evermq.message import MessageFactory
from evermq.policy.ordered import Ordered
from evermq.port import Delivery
from evermq.progress.database import tame, with_driver
from evermq.progress.sql import SqlProgress
from evermq.settling import Report

make = MessageFactory()


async def commit_alone(url: str, topic: str) -> None:
    """A session that commits each statement is refused, since the mark would stay where its handler fails. url: of a
    database, with an asynchronous driver."""
    progress = SqlProgress(url, topic)
    part = await progress.join("g")
    await part.claim([1])
    for of_engine, of_session in (({"isolation_level": "AUTOCOMMIT"}, None), ({}, {"isolation_level": "AUTOCOMMIT"})):
        shop = create_async_engine(url, **of_engine)
        async with async_sessionmaker(shop)() as session:
            await session.connection(execution_options=of_session)
            with pytest.raises(Misconfigured, match="AUTOCOMMIT"):
                await part.record(session, 1, "s.1", 1)
        await shop.dispose()
    assert await part.look([1]) == {1: {}}
    await progress.close()


async def outlast(server: Engine, topic: str) -> None:
    """The database is away for longer than any number of attempts: no message is to blame for that."""
    url = with_driver(server.url())
    progress, rung, slot, dead = SqlProgress(server.url(), topic), MemoryQueue(topic), InMemory(), MemoryQueue("dead")

    async def take() -> InMemory:
        return slot

    queue = Ordered(Route({"primary": rung}), progress=progress, slot=take, rungs={"primary": rung})
    shop = create_async_engine(url, pool_pre_ping=True)
    session_of = async_sessionmaker(shop)
    handled: list[str] = []
    errors: list[BaseException] = []
    node = server.leader("")

    async def handle(delivery: Delivery) -> None:
        if not handled:
            handled.append("")
            await asyncio.to_thread(node.kill)
        async with session_of() as session:
            is_new = await progress.settle(delivery, session)
            await session.commit()
        handled.extend([delivery.message.body.decode()] * is_new)

    await queue.append([make(f"{number}", key="k") for number in range(20)])
    options = {"attempts_max": 2, "backoff": Backoff(1, 20), "dead": dead, "on_error": errors.append}
    async with Consumer(queue, "g", handle, **options) as consumer:  # type: ignore[arg-type]
        async with asyncio.timeout(60):
            while len(errors) < 10:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(node.start)
            while await queue.backlog("g"):
                await asyncio.sleep(0.01)
    assert handled == ["", *map(str, range(20))], errors
    assert consumer.progress.dead == 0
    assert {type(error) for error in errors} == {Unavailable}
    await queue.close()
    await shop.dispose()


Switch = Callable[[bool], Awaitable[object]]


async def leave(server: Engine, topic: str, connection_id: str, become: str, switch: Switch | None = None) -> None:
    """A server that has become read-only is the primary no more: what comes next has connections of its own.

    connection_id: SQL that tells connections apart. become: SQL that makes one read-only; switch does so with all."""
    progress = SqlProgress(server.url(), topic)
    shop = create_async_engine(with_driver(server.url()))
    tame(shop)

    def done(what: str, connection: Connection) -> Any:
        found = connection.execute(text(what))
        return found.scalar() if found.returns_rows else None

    async def each(what: str) -> tuple[Any, Any]:
        async with shop.begin() as connection:
            return await progress.database.run(partial(done, what)), await connection.run_sync(partial(done, what))

    part = await progress.join("g")
    await part.claim([1])
    before = await each(connection_id)
    assert await each(connection_id) == before
    await (switch(True) if switch else each(become))
    try:
        with pytest.raises(Unavailable, match=r"read.only"):
            await part.renew(Report())
        async with async_sessionmaker(shop)() as session:
            with pytest.raises(DBAPIError, match=r"read.only"):
                await session.execute(text("DELETE FROM evermq_settled"))
        assert not set(before) & set(await each(connection_id))
    finally:
        await (switch(False) if switch else each("SELECT 1"))
    await part.renew(Report())
    await progress.close()
    await shop.dispose()


async def spoil(url: str, topic: str) -> None:
    """The handler had ended its transaction by an error of its own: that is no fault of the database."""
    progress = SqlProgress(url, topic)
    rung, slot = MemoryQueue(topic), InMemory()

    async def take() -> InMemory:
        return slot

    queue = Ordered(Route({"primary": rung}), progress=progress, slot=take, rungs={"primary": rung})
    await queue.append([make("a")])
    reader = await queue.reader("g")
    shop = create_async_engine(with_driver(url))
    (delivery,) = await reader.read(count_max=1, wait_ms=2_000)
    async with async_sessionmaker(shop)() as session:
        with pytest.raises(DBAPIError):
            await session.execute(text("SELECT 1 / 0"))
        with pytest.raises(DBAPIError, match="transaction is aborted"):
            await progress.settle(delivery, session)
    await queue.close()
    await shop.dispose()


async def refuse_long_names(url: str) -> None:
    """Columns take so many characters, and no more."""
    progress = SqlProgress(url, "t" * 120)
    await (await progress.join("é" * 120)).leave()
    with pytest.raises(Misconfigured, match=r"group 'ggg.* has 121 characters: .* 120 at most"):
        await progress.join("g" * 121)
    await progress.drop()
    await progress.close()
    with pytest.raises(Misconfigured, match=r"topic 'ttt.* has 200 characters: .* 120 at most"):
        SqlProgress(url, "t" * 200)
