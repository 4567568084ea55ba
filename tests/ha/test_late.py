"""Ladders that are opened while a rung is away."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from evermq.adapters.memory import MemoryPlace, MemoryQueue
from evermq.errors import Closed, Denied, EvermqError, Misconfigured, NoSuchTopic, Unavailable
from evermq.ha.failover import Failover
from evermq.ha.late import Late, open_all
from evermq.message import MessageFactory
from evermq.port import Queue
from evermq.settling import Relaned, Scatters

message = MessageFactory()
Open = Callable[[], Awaitable[Queue]]


class Engine:
    """A memory that can be away: opening it raises, or hangs."""

    def __init__(self, error: EvermqError | None = None, *, hangs: bool = False) -> None:
        self.error, self.hangs = error, hangs
        self.place = MemoryPlace()
        self.opened = 0

    async def open(self) -> Queue:
        while self.hangs:
            await asyncio.sleep(0.01)
        if self.error:
            raise self.error
        await self.place.create("orders", groups=["billing"])
        self.opened += 1
        return await self.place.queue("orders")


async def ladder(primary: Engine, standby: Engine) -> Failover:
    opened = await open_all({"primary": primary.open, "standby": standby.open}, open_ms_max=100)
    return Failover(primary=opened["primary"], standby=opened["standby"])


@pytest.mark.parametrize("primary", [Engine(Unavailable("refused")), Engine(hangs=True)], ids=["refuses", "hangs"])
async def test_ladder_opens_while_its_primary_is_away_and_takes_it_in_when_it_is_back(primary: Engine) -> None:
    queue = await ladder(primary, Engine())
    reader = await queue.reader("billing")
    [first] = await queue.append([message(b"1")])
    assert first.via == ("standby",)
    primary.error, primary.hangs = None, False
    via: tuple[str, ...] = ()
    while via != ("primary",):
        via = (await queue.append([message(b"2")]))[0].via
        await asyncio.sleep(0.05)
    seen: set[tuple[str, ...]] = set()
    while len(seen) < 2:
        found = await reader.read(count_max=100, wait_ms=1000)
        seen |= {each.position.via for each in found}
        await reader.ack(found)
    assert seen == {("primary",), ("standby",)}
    assert primary.opened == 1
    await queue.close()


async def test_rung_that_is_not_open_makes_the_backlog_unknown() -> None:
    queue = await ladder(Engine(Unavailable("refused")), Engine())
    with pytest.raises(Unavailable, match="primary is not open yet: refused"):
        await queue.backlog("billing")
    await queue.close()


async def test_ladder_of_which_every_rung_is_away_says_what_the_primary_said() -> None:
    with pytest.raises(Unavailable, match="the first"):
        await ladder(Engine(Unavailable("the first")), Engine(Unavailable("the second")))


async def test_ladder_whose_own_log_is_there_needs_no_other_rung_to_begin() -> None:
    last = await Engine().open()
    opened = await open_all({"primary": Engine(Unavailable("refused")).open}, beside=[last])
    queue = Failover(primary=opened["primary"], standby=last)
    [position] = await queue.append([message(b"1")])
    assert position.via == ("standby",)
    assert queue.name == "orders"
    await queue.close()


@pytest.mark.parametrize("error", [NoSuchTopic("no orders"), Denied("no right")])
async def test_what_is_wrong_for_good_is_raised_at_once(error: EvermqError) -> None:
    standby = Engine()
    with pytest.raises(type(error)):
        await ladder(Engine(error), standby)
    assert standby.opened == 1


async def test_closing_a_ladder_ends_the_opening_of_its_rungs() -> None:
    primary = Engine(hangs=True)
    queue = await ladder(primary, Engine())
    reading = asyncio.create_task(queue.reader("billing"))
    await reading
    await asyncio.wait_for(queue.close(), 2)
    primary.hangs = False
    await asyncio.sleep(0.05)
    assert primary.opened == 0


async def test_rung_that_joins_late_and_must_not_be_used_stays_out() -> None:
    primary, standby = Engine(Unavailable("refused")), Engine()

    def check(queue: Queue) -> None:
        raise Misconfigured("too weak")

    opened = await open_all({"primary": primary.open, "standby": standby.open}, check=check, open_ms_max=100)
    primary.error = None
    while not primary.opened:
        await asyncio.sleep(0.05)
    with pytest.raises(Unavailable, match="too weak"):
        await opened["primary"].append([message(b"1")])
    for queue in opened.values():
        await queue.close()


class Particular(MemoryQueue):
    """Tells how it is to be read."""

    scatters = True
    is_read_at_once = False

    def read_at_once(self) -> None:
        self.is_read_at_once = True


@pytest.mark.parametrize("is_late", [True, False])
async def test_what_is_to_be_known_of_reading_a_rung_is_known_however_late_it_is_opened(is_late: bool) -> None:
    opening = asyncio.Event()
    particular = Particular("orders")

    async def open_it() -> Queue:
        await opening.wait()
        return particular

    opened = await open_all({"primary": open_it, "standby": Engine().open}, open_ms_max=10)
    late = opened["primary"]
    assert isinstance(late, Scatters)
    assert isinstance(late, Relaned)
    assert not late.scatters
    if not is_late:
        late.read_at_once()
    opening.set()
    while not late.scatters:
        await asyncio.sleep(0)
    assert particular.is_read_at_once is not is_late
    late.read_at_once()
    assert particular.is_read_at_once
    await late.close()


@pytest.mark.parametrize("of_check", [False, True])
async def test_rung_that_fails_in_a_way_nobody_listed_joins_when_it_can(of_check: bool) -> None:
    opened: list[MemoryQueue] = []
    errors: list[Exception] = [Unavailable("refused")] if of_check else [Unavailable("refused"), OSError(24, "no more")]

    async def open_it() -> Queue:
        if errors:
            raise errors.pop(0)
        opened.append(MemoryQueue("orders"))
        return opened[-1]

    def check(queue: Queue) -> None:
        if of_check and queue is opened[0]:
            raise OSError(24, "no more")

    queues = await open_all({"primary": open_it}, beside=[MemoryQueue("orders")], check=check, open_ms_max=100)
    async with asyncio.timeout(20):
        reader = await queues["primary"].reader("billing")
    await queues["primary"].append([message(b"1")])
    assert [each.message.body for each in await reader.read(count_max=1, wait_ms=1_000)] == [b"1"]
    for each in opened[:-1]:
        with pytest.raises(Closed):
            await each.append([message(b"1")])
    await queues["primary"].close()


async def test_queue_that_opens_in_the_moment_of_the_close_is_closed() -> None:
    queue = MemoryQueue("orders")
    opening: asyncio.Future[Queue] = asyncio.get_running_loop().create_future()
    late = Late("primary", Engine().open, opening, queue.traits, name="orders")
    await asyncio.sleep(0)  # it waits for the opening
    opening.set_result(queue)
    await late.close()
    with pytest.raises(Closed):
        await queue.append([message(b"1")])
