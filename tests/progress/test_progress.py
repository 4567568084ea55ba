"""Every store of progress: claims, states, reports; and settling in a handler's own transaction, where it has one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import OperationalError
from tests.progress.shop import make, ordered, pay, pay_late

from evermq.clock import Clock
from evermq.errors import Fenced, Misconfigured, Unavailable, Uncertain
from evermq.progress.memory import MemoryProgress
from evermq.progress.sql import SqlProgress
from evermq.settling import Progress, Report
from evermq.testing.progressing import CHECKS, SILENT_MS, HandClock, check, packed, passes


def memory(tmp_path: Path, clock: Clock) -> Progress:
    return MemoryProgress(silent_ms_max=SILENT_MS, clock=clock)


def sqlite(tmp_path: Path, clock: Clock) -> SqlProgress:
    return SqlProgress(f"sqlite:///{tmp_path}/progress", "orders", silent_ms_max=SILENT_MS, clock=clock)


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("store", [memory, sqlite])
async def test_store_of_progress_conforms(name: str, store: Callable[[Path, Clock], Progress], tmp_path: Path) -> None:
    await check(name, lambda clock: store(tmp_path, clock))


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


async def test_row_of_a_reader_that_lost_all_it_had_is_gone_and_it_is_fenced(tmp_path: Path, clock: HandClock) -> None:
    progress = sqlite(tmp_path, clock)
    one, two = await progress.join("g"), await progress.join("g")
    await one.claim([1])
    await one.settle({1: {"s.1": packed(1)}})
    await two.renew(Report())
    await passes(2 * SILENT_MS, clock, two)
    assert await two.claim([1]) == {1: {"s.1": packed(1)}}

    def rows(connection: Connection) -> int:
        return int(connection.execute(text("SELECT count(*) FROM evermq_fresh")).scalar_one())

    assert await progress.database.run(rows) == 0
    with pytest.raises(Fenced):
        await one.settle({1: {"s.1": packed(1, 2)}})
    assert await two.look([1]) == {1: {"s.1": packed(1)}}
    await progress.close()


async def rows_of(progress: SqlProgress, *tables: str) -> list[int]:
    def count(connection: Connection) -> list[int]:
        return [int(connection.execute(text(f"SELECT count(*) FROM evermq_{each}")).scalar_one()) for each in tables]

    return await progress.database.run(count)


async def test_rows_of_readers_that_ended_without_a_lane_do_not_stay(tmp_path: Path, clock: HandClock) -> None:
    progress = sqlite(tmp_path, clock)
    await progress.join("g")  # as the part of a producer, which never claims anything
    gave_back, has_a_lane, alive = [await progress.join("g") for _ in range(3)]
    for part, lane in ((gave_back, 1), (has_a_lane, 2)):
        await part.claim([lane])
        await part.settle({lane: {f"s.{lane}": packed(1)}})
    await gave_back.give_back([1])
    await alive.renew(Report())
    await passes(4 * SILENT_MS, clock, alive)
    assert await rows_of(progress, "readers", "fresh") == [4, 2]
    await passes(20 * SILENT_MS, clock, alive)
    assert await rows_of(progress, "readers", "fresh") == [2, 1]
    assert await alive.claim([1, 2]) == {lane: {f"s.{lane}": packed(1)} for lane in (1, 2)}
    assert await rows_of(progress, "readers") == [1]
    await progress.close()


async def test_rows_of_readers_that_could_not_reach_the_store_for_long_stay(tmp_path: Path, clock: HandClock) -> None:
    progress = sqlite(tmp_path, clock)
    one, two = await progress.join("g"), await progress.join("g")
    await one.renew(Report())
    await two.renew(Report())
    clock.ms += 20 * SILENT_MS
    await two.renew(Report())
    assert await rows_of(progress, "readers") == [2]
    await one.renew(Report())
    await progress.close()


async def test_reader_that_is_taken_for_ended_and_lives_hears_of_it_and_goes_on(
    tmp_path: Path, clock: HandClock
) -> None:
    progress = sqlite(tmp_path, clock)
    one, two = await progress.join("g"), await progress.join("g")
    await one.claim([1])
    await one.settle({1: {"s.1": packed(1)}})
    await one.give_back([1])
    await two.renew(Report())
    await passes(20 * SILENT_MS, clock, two)
    assert await one.claim([1]) == {1: {"s.1": packed(1)}}
    await one.settle({1: {"s.1": packed(1, 2)}})
    with pytest.raises(Fenced):
        await one.renew(Report())
    await one.renew(Report())
    assert await one.claim([1]) == {1: {"s.1": packed(1, 2)}}
    await one.settle({1: {"s.1": packed(1, 2, 3)}})
    assert await two.look([1]) == {1: {"s.1": packed(1, 2, 3)}}
    await progress.close()


async def test_write_that_failed_is_written_the_next_time(tmp_path: Path, clock: HandClock) -> None:
    progress = sqlite(tmp_path, clock)
    part = await progress.join("g")
    await part.claim([1, 2])
    await part.settle({1: {"s.1": packed(1)}})

    def ended(connection: Connection) -> None:
        raise OperationalError("commit", {}, Exception("the disk is full"))

    event.listen(Engine, "commit", ended)
    try:
        with pytest.raises(Uncertain, match=r"perhaps written: .*disk is full"):
            await part.settle({2: {"s.2": packed(1)}})
    finally:
        event.remove(Engine, "commit", ended)
    assert await part.look([1, 2]) == {1: {"s.1": packed(1)}, 2: {}}
    await part.settle({1: {"s.1": packed(1, 2)}})
    await part.settle({2: {"s.2": packed(1, 2)}})
    assert await part.look([1, 2]) == {1: {"s.1": packed(1, 2)}, 2: {"s.2": packed(1, 2)}}
    await progress.close()


async def test_mark_outlives_an_older_state_that_is_written_after_it(clock: HandClock) -> None:
    part = await MemoryProgress(silent_ms_max=SILENT_MS, clock=clock).join("g")
    await part.claim([1])
    assert part.record(1, "s.1", 3)
    await part.settle({1: {"s.1": packed(1, 2)}})
    assert not part.record(1, "s.1", 3)
    assert await part.look([1]) == {1: {"s.1": packed(1, 2, 3)}}
    await part.settle({1: {"s.1": packed(1, 2, 3)}})
    assert not part.record(1, "s.1", 3)


async def test_effect_and_mark_share_the_transaction_of_the_handler(tmp_path: Path) -> None:
    await pay(f"sqlite+aiosqlite:///{tmp_path}/shop", "orders")


@pytest.mark.parametrize("loses_lane", [False, True])
async def test_handler_that_waited_for_its_pool_does_not_settle_what_was_handed_out_again(
    loses_lane: bool, tmp_path: Path
) -> None:
    await pay_late(f"sqlite+aiosqlite:///{tmp_path}/shop", "orders", loses_lane=loses_lane)


async def test_delivery_that_was_given_back_or_acknowledged_takes_no_effect_in_memory() -> None:
    progress = MemoryProgress()
    queue = ordered("orders", progress)
    await queue.append([make("order", key="k")])
    reader = await queue.reader("billing")
    [early] = await reader.read(count_max=1, wait_ms=5_000)
    await reader.release([early])
    with pytest.raises(Fenced):
        progress.settle(early)
    [again] = await reader.read(count_max=1, wait_ms=5_000)
    assert progress.settle(again)
    await reader.ack([again])
    assert not progress.settle(again)
    assert not progress.settle(early)
    await queue.close()


async def test_database_that_is_away_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="progress"):
        await SqlProgress(f"sqlite:///{tmp_path}/missing/progress", "orders").join("g")


@pytest.mark.parametrize("url", ["nonsense", "oracle9://x/y"])
def test_url_that_names_no_database_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="progress"):
        SqlProgress(url, "orders")
