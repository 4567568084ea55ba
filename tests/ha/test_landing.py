"""What was acknowledged, and what takes a number that was given, lands: no single rung refuses it for good."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from tests.ha.test_host_rung import until
from tests.ha.test_pumped import bodies

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.slots import LogSlots
from evermq.adapters.memory import MemoryQueue
from evermq.adapters.open import open_log
from evermq.errors import Denied, EvermqError, NoSuchTopic, Partial, Rejected, TooLarge, Unavailable, Uncertain
from evermq.ha.failover import Failover
from evermq.ha.host_rung import HostRung
from evermq.ha.landing import land
from evermq.ha.pump import Pump
from evermq.message import Message, MessageFactory
from evermq.numbers import SEQ, VOID, void_of
from evermq.policy.ordered import Ordered
from evermq.position import Position
from evermq.progress.memory import MemoryProgress

make = MessageFactory()
OF_THE_RUNG = [Denied("no right to write"), NoSuchTopic("nobody made it")]


class Refusing(MemoryQueue):
    """says: of every append. dislikes: a body that it refuses, and the batch that it stands in."""

    says: EvermqError | None = None
    dislikes = b""
    asked = 0

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self.asked += 1
        if self.says:
            raise self.says
        if self.dislikes and any(message.body == self.dislikes for message in messages):
            raise Rejected(f"{self.name} dislikes it")
        return await super().append(messages)


class Ladder:
    """Two rungs, and the host's own."""

    def __init__(self, directory: Path) -> None:
        self.primary, self.standby = Refusing("primary", lanes=4), Refusing("standby", lanes=4)
        self.dead = Refusing("dead", lanes=1)
        options = LogOptions(segment_bytes=1 << 20)
        opened = partial(open_log, segment_bytes=options.segment_bytes)
        self.host = HostRung(LogSlots(directory, "orders", opened, options=options), name="orders", dead=self.dead)
        self.queue = Failover(primary=self.primary, standby=self.standby, last=self.host, append_ms_max=300)

    def say(self, primary: EvermqError | None, standby: EvermqError | None) -> None:
        self.primary.says, self.standby.says = primary, standby

    async def fill(self, *bodies: str) -> None:
        """Let the host's own rung acknowledge them."""
        self.say(Unavailable("down"), Unavailable("down"))
        assert {each.via for each in await self.queue.append([make(body) for body in bodies])} == {("last",)}


@pytest.fixture
async def ladder(tmp_path: Path) -> AsyncIterator[Ladder]:
    found = Ladder(tmp_path / "slots")
    yield found
    await found.queue.close()


@pytest.mark.parametrize("error", OF_THE_RUNG, ids=repr)
async def test_what_the_host_acknowledged_goes_past_a_rung_that_may_not_be_used(
    ladder: Ladder, error: EvermqError
) -> None:
    await ladder.fill("a", "b")
    ladder.say(error, None)
    assert await bodies(ladder.standby, 2) == [b"a", b"b"]
    await until(lambda: ladder.host.is_empty)
    assert ladder.dead.asked == 0
    with pytest.raises(type(error)):  # what is not acknowledged yet is the caller's, who hears of it
        await ladder.queue.append([make("c")])


@pytest.mark.parametrize("error", OF_THE_RUNG, ids=repr)
async def test_what_the_host_acknowledged_waits_until_a_rung_may_be_used(ladder: Ladder, error: EvermqError) -> None:
    await ladder.fill("a", "b")
    ladder.say(error, Unavailable("down"))
    asked = ladder.primary.asked
    await until(lambda: ladder.primary.asked > asked + 3)
    assert ladder.dead.asked == 0
    ladder.say(None, Unavailable("down"))  # a round that is under way must find the primary or nothing
    assert await bodies(ladder.primary, 2) == [b"a", b"b"]


async def test_message_that_the_host_acknowledged_is_buried_once_every_rung_refuses_it(ladder: Ladder) -> None:
    await ladder.fill("a", "bad", "b")
    ladder.primary.dislikes = ladder.standby.dislikes = b"bad"
    ladder.say(None, Unavailable("down"))
    assert await bodies(ladder.primary, 2) == [b"a", b"b"]  # it holds up nobody meanwhile
    assert ladder.dead.asked == 0
    ladder.say(None, None)
    assert await bodies(ladder.dead, 1) == [b"bad"]
    await until(lambda: ladder.host.is_empty)
    assert ladder.host.dead_count == 1


async def test_what_is_buried_out_of_the_slot_of_another_is_counted_too(ladder: Ladder, tmp_path: Path) -> None:
    other = Ladder(tmp_path / "slots")
    await ladder.fill("own")  # so that the slot of the other is no one's
    await other.fill("bad")
    await other.queue.close()
    ladder.primary.dislikes = ladder.standby.dislikes = b"bad"
    ladder.say(None, None)
    await until(lambda: ladder.host.adopted == 1)
    assert (ladder.host.counts.dead, ladder.host.dead_count) == (0, 1)


async def test_message_that_one_rung_refuses_goes_to_the_next_and_the_others_of_its_batch_do_not(
    ladder: Ladder,
) -> None:
    await ladder.fill("a", "bad", "b")
    ladder.primary.dislikes = b"bad"
    ladder.say(None, Unavailable("down"))
    assert await bodies(ladder.primary, 2) == [b"a", b"b"]
    ladder.say(None, None)
    assert await bodies(ladder.standby, 1) == [b"bad"]
    await until(lambda: ladder.host.is_empty)
    assert ladder.dead.asked == 0


async def test_what_is_behind_a_message_of_its_key_that_may_yet_land_is_not_sent_past_it(ladder: Ladder) -> None:
    """Else it would be sent again and again, as often as that one is tried."""
    ladder.say(Unavailable("down"), Unavailable("down"))
    await ladder.queue.append([make("bad", key="k"), make("behind it", key="k"), make("beside it", key="l")])
    ladder.standby.dislikes = b"bad"
    ladder.say(Unavailable("down"), None)
    asked = ladder.standby.asked
    await until(lambda: ladder.standby.asked > asked + 8)
    ladder.say(None, Unavailable("down"))
    assert await bodies(ladder.primary, 2) == [b"bad", b"behind it"]
    await until(lambda: ladder.host.is_empty)
    assert await bodies(ladder.standby, await ladder.standby.backlog("g")) == [b"beside it"]


@pytest.mark.parametrize("error", [*OF_THE_RUNG, Rejected("refused like any other")], ids=repr)
async def test_void_that_a_rung_refuses_goes_to_the_next_and_its_lane_goes_on(
    ladder: Ladder, error: EvermqError
) -> None:
    ladder.queue.keeps_order = True
    queue = Ordered(
        ladder.queue, progress=MemoryProgress(), slot=ladder.host.slot, rungs=ladder.queue.rungs, append_ms_max=3_000
    )
    await queue.append([make("a", key="k")])
    ladder.say(error, None)
    for _ in range(2):
        with pytest.raises(type(error)):
            await queue.append([make("b", key="k")])
    assert queue.flights
    await until(lambda: bool(queue.flights and queue.flights.is_idle))
    assert queue.flights.counts.voids == 2
    reader = await ladder.standby.reader("g")
    voids = await reader.read(count_max=10, wait_ms=1_000)
    assert [VOID in each.message.headers for each in voids] == [True, True]
    ladder.say(None, None)
    assert [each.via for each in await queue.append([make("c", key="k")])] == [("primary",)]
    await queue.close()


async def test_void_that_no_rung_above_takes_lands_in_the_log_of_the_host(ladder: Ladder) -> None:
    nothing = void_of(make("a", key="k", headers={SEQ: "stream.1 1 0 0"}))
    assert nothing
    ladder.say(Denied("no right"), NoSuchTopic("nobody made it"))
    assert [each.via for each in await ladder.queue.append([nothing])] == [("last",)]


async def test_refusal_of_all_is_final_and_anything_else_that_was_heard_is_not() -> None:
    said: dict[str, EvermqError] = {}

    async def offer(key: str, messages: Sequence[Message]) -> Sequence[Position]:
        raise said[key]

    for first, second, outcome in [
        (Rejected("it is bad"), TooLarge("it is too large"), Rejected),
        (Rejected("it is bad"), Denied("no right"), Unavailable),
        (NoSuchTopic("nobody made it"), Rejected("it is bad"), Unavailable),
        (Rejected("it is bad"), Uncertain("no answer"), Uncertain),
        (Uncertain("no answer"), Rejected("it is bad"), Uncertain),
        (Partial([Denied("no right")]), Rejected("it is bad"), Unavailable),
        (Rejected("it is bad"), Partial([Rejected("it is bad")]), Rejected),
    ]:
        said.update(first=first, second=second)
        with pytest.raises(EvermqError) as caught:
            await land([make("x")], ["first", "second"], offer)
        assert type(caught.value) is outcome, (first, second)


@pytest.mark.parametrize("error", [*OF_THE_RUNG, Partial(OF_THE_RUNG)], ids=repr)
async def test_pump_buries_nothing_for_a_target_that_may_not_be_used(error: EvermqError) -> None:
    source, target, dead = MemoryQueue("s"), Refusing("t"), Refusing("dead")
    await source.append([make("a", key="k"), make("b", key="k")])
    target.says = error
    pump = Pump(source, target, dead=dead)
    pump.start()
    await until(lambda: target.asked > 3)
    target.says = None
    assert await bodies(target, 2) == [b"a", b"b"]
    await pump.close()
    assert (dead.asked, pump.counts.dead, pump.counts.stuck) == (0, 0, 0)


async def test_message_is_buried_once_however_long_its_void_is_not_taken() -> None:
    class Voidless(Refusing):
        async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
            self.asked += 1
            if any(VOID in message.headers for message in messages) and self.asked < 10:
                raise Unavailable("not now")
            return await super().append(messages)

    source, target, dead = MemoryQueue("s"), Voidless("t"), MemoryQueue("dead")
    target.dislikes = b"bad"
    await source.append([make("bad", key="k", headers={SEQ: "stream.1 1 0 0"}), make("good", key="l")])
    pump = Pump(source, target, dead=dead, void_of=void_of)
    pump.start()
    assert sorted(await bodies(target, 2)) == [b"", b"good"]
    await until(lambda: pump.counts.dead == 1)
    await pump.close()
    assert await dead.backlog("g") == 1
