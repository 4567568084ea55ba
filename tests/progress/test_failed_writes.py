"""A write of progress that fails at any of its statements, at its commit or after it, and is made again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from evermq.errors import Fenced, Unavailable, Uncertain
from evermq.progress import fresh
from evermq.progress.part import SqlPart
from evermq.progress.sql import SqlProgress
from evermq.progress.tables import claims, settled
from evermq.settled import Settled
from evermq.settling import Report
from evermq.testing.progressing import SILENT_MS, HandClock, passes

LANES = (1, 2, 3)


def written(*numbers: int) -> str:
    """The state of a stream of which these are settled, long ago."""
    settled = Settled()
    settled.day = 1
    for number in numbers:
        settled.add(number)
    return settled.pack()


BEFORE, AFTER = {1: {"s.1": written(1)}, 2: {}}, {1: {"s.1": written(1, 2, 3)}, 2: {"s.2": written(1)}}


class Setting:
    """Two readers of a group: the first has lanes 1 and 2, a number of lane 1 was settled in a handler's own
    transaction, and the second one asks for lane 1."""

    def __init__(self, directory: Path) -> None:
        self.url = f"sqlite:///{directory}/progress"
        self.clock = HandClock()
        self.progress = SqlProgress(self.url, "orders", silent_ms_max=SILENT_MS, clock=self.clock)
        self.one: SqlPart
        self.two: SqlPart

    @classmethod
    async def at(cls, directory: Path, *, is_gone: bool = False) -> Setting:
        """is_gone: the first reader, for the second."""
        directory.mkdir(parents=True, exist_ok=True)
        self = cls(directory)
        self.one, self.two = await self.progress.join("g"), await self.progress.join("g")
        await self.one.claim([1, 2])
        await self.one.settle(BEFORE)
        assert await self.record(2)
        await self.two.claim([1])
        if is_gone:
            await self.time_passes()
        return self

    async def record(self, seq: int, is_due: Callable[[], bool] = lambda: True) -> bool:
        engine = create_async_engine(self.url.replace("sqlite:", "sqlite+aiosqlite:"))
        async with AsyncSession(engine) as session:
            is_new = await self.one.record(session, 1, "s.1", seq, is_due)
            await session.commit()
        await engine.dispose()
        return is_new

    async def view(self) -> Any:
        """All that others see: states, who has what, and marks."""

        def rows(connection: Connection) -> list[Any]:
            return [sorted(map(tuple, connection.execute(select(each)))) for each in (claims, settled)]

        return await self.two.look(LANES), await self.progress.database.run(rows)

    async def time_passes(self) -> None:
        """The first reader is silent, and gone for the second."""
        await self.two.renew(Report())
        await passes(2 * SILENT_MS, self.clock, self.two)


@contextmanager
def failing(setting: Setting, at: int | str) -> Iterator[None]:
    """at: how many statements go well before, or at what comes behind all of them."""
    left = at

    def fail() -> None:
        raise OperationalError("", {}, Exception("the disk is full"))

    def statement(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
        nonlocal left
        if isinstance(left, int) and not text.startswith("BEGIN"):
            left -= 1
            if left < 0:
                fail()

    def commit(connection: Connection) -> None:
        if at == "after the commit":
            connection.exec_driver_sql("COMMIT")
        if isinstance(at, str):
            fail()

    engine = setting.progress.database._own
    assert engine
    event.listen(engine, "before_cursor_execute", statement)
    event.listen(engine, "commit", commit)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", statement)
        event.remove(engine, "commit", commit)


Act = Callable[[Setting], Awaitable[object]]


async def _settle(setting: Setting) -> None:
    await setting.one.settle(AFTER)


async def _give_back(setting: Setting) -> None:
    await setting.one.give_back([1, 2])


async def _claim(setting: Setting) -> object:
    return await setting.two.claim([3])


async def _take_over(setting: Setting) -> object:
    return await setting.two.claim([1, 2])


async def _collect(setting: Setting) -> object:
    return await setting.one.collect({1: ["s.1"]}, 2)


async def _leave(setting: Setting) -> None:
    await setting.one.leave()


ACTS: list[Act] = [_settle, _give_back, _claim, _take_over, _collect, _leave]


async def made_again(directory: Path, act: Act, at: int | str, result: object, after: Any) -> bool:
    """Whether the act failed at this point, and came to the same when it was made again."""
    setting = await Setting.at(directory, is_gone=act is _take_over)
    before = await setting.view()
    error: Exception | None = None
    try:
        with failing(setting, at):
            found = await act(setting)
    except (Unavailable, Uncertain) as raised:
        error = raised
        assert await setting.view() == (after if at == "after the commit" else before)
        found = await act(setting)
    assert found == result
    assert await setting.view() == after
    await setting.progress.close()
    assert error is None or type(error) is (Uncertain if isinstance(at, str) else Unavailable)
    return error is not None


@pytest.mark.parametrize("streams_max", [1, 2_048], ids=["full-row", "row"])
@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__.lstrip("_"))
async def test_write_that_failed_left_nothing_half_done_and_is_made_again(
    act: Act, streams_max: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fresh, "_STREAMS_MAX", streams_max)
    setting = await Setting.at(tmp_path / "well", is_gone=act is _take_over)
    before, result, after = await setting.view(), await act(setting), await setting.view()
    await setting.progress.close()
    assert before != after
    if act is _settle:
        assert after[0] == {**AFTER, 3: {}}
    for at in ("commit", "after the commit"):
        assert await made_again(tmp_path / at, act, at, result, after)
    statements = 0
    while await made_again(tmp_path / f"{statements}", act, statements, result, after):
        statements += 1
    assert statements


@pytest.mark.parametrize("at", [0, "commit", "after the commit"])
async def test_write_that_failed_is_fenced_the_next_time_where_another_reader_has_the_lane(
    at: int | str, tmp_path: Path
) -> None:
    setting = await Setting.at(tmp_path)
    with failing(setting, at), pytest.raises((Unavailable, Uncertain)):
        await setting.one.settle(AFTER)
    await setting.time_passes()
    is_written = at == "after the commit"
    states = await setting.two.claim([1, 2])
    assert states == (AFTER if is_written else BEFORE | {1: {"s.1": written(1, 2)}})  # the mark is never lost
    await setting.two.settle({1: {"s.1": written(1, 2, 3, 4)}})
    seen = await setting.view()
    for _ in range(2):
        with pytest.raises(Fenced):
            await setting.one.settle(AFTER)
    assert await setting.view() == seen
    await setting.progress.close()


@pytest.mark.parametrize("at", [0, "commit", "after the commit"])
async def test_lane_that_was_lost_stays_so_where_a_write_of_another_lane_failed_and_is_made_again(
    at: int | str, tmp_path: Path
) -> None:
    setting = await Setting.at(tmp_path, is_gone=True)
    states = await setting.two.claim([1])
    other_lane = {2: AFTER[2]}
    with failing(setting, at), pytest.raises((Unavailable, Uncertain)):
        await setting.one.settle(other_lane)
    await setting.one.settle(other_lane)
    for _ in range(2):
        with pytest.raises(Fenced):
            await setting.one.settle({1: AFTER[1]})
    assert await setting.two.look([1]) == states
    await setting.one.settle(other_lane)
    await setting.progress.close()


@pytest.mark.parametrize("at", [0, "commit", "after the commit"])
async def test_reader_hears_once_that_it_lost_its_lanes_though_its_next_word_fails(
    at: int | str, tmp_path: Path
) -> None:
    setting = await Setting.at(tmp_path, is_gone=True)
    await setting.two.claim([1, 2])
    with pytest.raises(Fenced):
        await setting.one.renew(Report())
    with failing(setting, at), pytest.raises((Unavailable, Uncertain)):
        await setting.one.renew(Report())
    await setting.one.renew(Report())
    assert set(await setting.one.claim([3])) == {3}
    await setting.progress.close()


@pytest.mark.parametrize("at", [0, 1, "commit", "after the commit"])
async def test_number_of_a_handler_is_settled_once_whatever_fails(at: int | str, tmp_path: Path) -> None:
    setting = await Setting.at(tmp_path)
    try:
        with failing(setting, at):
            await setting.one.settle({1: {"s.1": written(1, 2)}})
    except (Unavailable, Uncertain):
        await setting.one.settle({1: {"s.1": written(1, 2)}})
    assert await setting.record(3)
    assert not await setting.record(3)
    assert (await setting.two.look([1])) == {1: {"s.1": written(1, 2, 3)}}
    await setting.progress.close()


@pytest.mark.parametrize("answers", [[False], [True, False]], ids=["before the mark", "behind it"])
async def test_number_that_was_settled_before_its_mark_was_there_takes_no_effect(
    answers: list[bool], tmp_path: Path
) -> None:
    setting = await Setting.at(tmp_path)
    assert not await setting.record(3, iter(answers).__next__)
    await setting.one.settle({1: {"s.1": written(1, 2, 3)}})
    assert await setting.two.look([1]) == {1: {"s.1": written(1, 2, 3)}}
    assert not (await setting.view())[1][1]
    await setting.progress.close()


async def test_mark_is_kept_until_the_state_includes_it_though_a_number_before_it_never_comes(tmp_path: Path) -> None:
    setting = await Setting.at(tmp_path)
    for number in (5, 6, 9):
        assert await setting.record(number)
    await setting.one.settle({1: {"s.1": written(1, 2, 5, 6)}})
    (state, (_, marks)) = await setting.view()
    assert state[1] == {"s.1": written(1, 2, 5, 6, 9)}
    assert [mark[3] for mark in marks] == [9]
    await setting.progress.close()
