"""A probe goes to a rung and comes back, on a topic of its own."""

import asyncio
import contextlib
from collections.abc import Sequence

import pytest

from evermq.adapters.memory import MemoryPlace, MemoryQueue
from evermq.adapters.memory.reader import MemoryReader
from evermq.clock import SystemClock
from evermq.errors import Denied, Unavailable
from evermq.ha import probe as probe_module
from evermq.ha.breaker import Pace, State
from evermq.ha.probe import TOPIC_MS_MAX, Probe
from evermq.ha.quorum import Quorum
from evermq.ha.switch import Settings, Switch
from evermq.lanes import lane_of
from evermq.message import Message, MessageFactory
from evermq.port import Delivery, Place
from evermq.position import Position

TOPIC = "evermq-probe.host.1"
make = MessageFactory()


class Lasting(MemoryPlace):
    """Outlives those who connect to it."""

    async def close(self) -> None:
        return


class Rung:
    """A place that can be away."""

    def __init__(self) -> None:
        self.place: Lasting = Lasting()
        self.away: Exception | None = None
        self.silent = False
        self.connected = 0

    async def connect(self) -> Place:
        self.connected += 1
        if self.silent:
            await asyncio.sleep(3600)
        if self.away:
            raise self.away
        return self.place


async def test_round_trip_is_timed_and_leaves_nothing_behind() -> None:
    rung = Rung()
    probe = Probe(rung.connect, TOPIC)
    for _ in range(3):
        assert await probe.trip() >= 0
    assert await rung.place.topics() == [TOPIC]
    assert (await rung.place.describe(TOPIC)).groups["probe-1"].backlog == 0
    assert rung.connected == 1
    await probe.close()
    assert await rung.place.topics() == []


async def test_trip_that_is_cut_by_the_end_of_its_process_leaves_nothing_behind() -> None:
    rung = Rung()
    probe = Probe(rung.connect, TOPIC)
    trip = asyncio.create_task(probe.trip())
    while not await rung.place.topics():
        await asyncio.sleep(0)
    trip.cancel()
    await asyncio.wait([trip])
    await probe.close()
    assert await rung.place.topics() == []


async def test_time_that_the_first_read_takes_is_not_that_of_a_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that joins its group with the first read takes seconds for it, and the rung is as fast as ever."""
    rung, reads = Rung(), 0
    read = MemoryReader.read

    async def first_is_slow(self: MemoryReader, *, count_max: int, wait_ms: int) -> list[Delivery]:
        nonlocal reads
        reads += 1
        await asyncio.sleep(1.0 if reads == 1 else 0)
        return await read(self, count_max=count_max, wait_ms=wait_ms)

    monkeypatch.setattr(MemoryReader, "read", first_is_slow)
    probe = Probe(rung.connect, TOPIC, trip_ms_max=900)
    assert await probe.trip() < 900
    await probe.close()


async def test_rung_that_answers_and_takes_nothing_is_a_failure_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(self: MemoryQueue, messages: Sequence[Message]) -> Sequence[Position]:
        await asyncio.sleep(3_600)
        return ()

    rung = Rung()
    monkeypatch.setattr(MemoryQueue, "append", hang)
    monkeypatch.setattr(probe_module, "_JOIN_MS_MAX", 20)
    async with asyncio.timeout(5):  # and not _FIRST_MS_MAX, in which this process could say nothing of the rung
        with pytest.raises(Unavailable, match="did not come back"):
            await Probe(rung.connect, TOPIC).trip()


async def test_probes_of_two_processes_share_no_group() -> None:
    rung = Rung()
    for topic in (TOPIC, f"{TOPIC}2"):
        await Probe(rung.connect, topic).trip()
    groups = [set((await rung.place.describe(topic)).groups) for topic in (TOPIC, f"{TOPIC}2")]
    assert all(groups)
    assert not groups[0] & groups[1]


async def test_place_that_refuses_or_hangs_is_a_failure_and_is_tried_anew() -> None:
    rung = Rung()
    probe = Probe(rung.connect, TOPIC, trip_ms_max=50)
    rung.away = Unavailable("refused")
    with pytest.raises(Unavailable, match="refused"):
        await probe.trip()
    rung.away = None
    assert await probe.trip() >= 0
    await probe.close()


async def test_driver_that_cannot_even_be_cancelled_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "_FIRST_MS_MAX", 20)
    monkeypatch.setattr(probe_module, "_CLOSE_MS_MAX", 20)
    rung, let_go = Rung(), asyncio.Event()

    async def connect() -> Place:
        rung.connected += 1
        while rung.connected == 1 and not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()
        return rung.place

    probe = Probe(connect, TOPIC, trip_ms_max=1_000)
    monkeypatch.setattr(probe, "_trip_ms_max", 20)
    with pytest.raises(Unavailable, match="hangs"):
        await probe.trip()
    monkeypatch.undo()
    assert await probe.trip() >= 0
    let_go.set()
    await probe.close()
    assert await rung.place.topics() == []


async def test_place_that_takes_its_time_to_close_is_closed_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """RocketMQ's waits for the end of a long poll; what is cut off meanwhile keeps its connections."""
    monkeypatch.setattr(probe_module, "_CLOSE_MS_MAX", 20)
    rung, may_end, closed = Rung(), asyncio.Event(), asyncio.Event()

    class Slow(Lasting):
        async def close(self) -> None:
            await may_end.wait()
            closed.set()

    rung.place = Slow()
    probe = Probe(rung.connect, TOPIC)
    await probe.trip()
    await probe.close()
    assert not closed.is_set()
    may_end.set()
    async with asyncio.timeout(5):
        await closed.wait()


async def test_message_that_does_not_come_back_is_a_failure() -> None:
    rung = Rung()
    probe = Probe(rung.connect, TOPIC, trip_ms_max=50)
    await probe.trip()
    thief = await (await rung.place.queue(TOPIC)).reader("probe-1")
    stealing = asyncio.create_task(thief.read(count_max=9, wait_ms=1_000))
    await asyncio.sleep(0.01)
    with pytest.raises(Unavailable, match="did not come back"):
        await probe.trip()
    await stealing


class Later(SystemClock):
    """Hours go by when they are told to."""

    ahead_ms = 0

    def monotonic_ms(self) -> int:
        return super().monotonic_ms() + self.ahead_ms


async def test_no_topic_is_kept_for_long_whether_there_are_trips_or_not() -> None:
    rung, clock = Rung(), Later()
    probe = Probe(rung.connect, TOPIC, clock=clock)
    names = set[str]()
    for _ in range(3):
        await probe.trip()
        await probe.expire()
        [name] = await rung.place.topics()
        names.add(name)
        clock.ahead_ms += TOPIC_MS_MAX
        await probe.expire()
        assert await rung.place.topics() == []
    assert len(names) == 3
    await probe.close()


async def test_topic_that_outlives_a_failure_is_as_old_as_it_was() -> None:
    rung, clock = Rung(), Later()
    probe = Probe(rung.connect, TOPIC, trip_ms_max=50, clock=clock)
    await probe.trip()
    clock.ahead_ms += TOPIC_MS_MAX - 60_000
    thief = await (await rung.place.queue(TOPIC)).reader("probe-1")
    stealing = asyncio.create_task(thief.read(count_max=9, wait_ms=1_000))
    await asyncio.sleep(0.01)
    with pytest.raises(Unavailable):
        await probe.trip()
    await stealing
    await thief.close()
    await probe.trip()
    clock.ahead_ms += 60_000
    await probe.expire()
    assert await rung.place.topics() == []


async def test_group_goes_with_its_topic() -> None:
    """There are engines that keep it."""
    rung, dropped = Rung(), list[tuple[str, str]]()

    class Keeping(Lasting):
        async def drop_group(self, topic: str, group: str) -> None:
            await super().drop_group(topic, group)
            dropped.append((topic, group))

    rung.place = Keeping()
    probe = Probe(rung.connect, TOPIC)
    await probe.trip()
    await probe.close()
    assert dropped == [(TOPIC, "probe-1")]
    assert await rung.place.topics() == []


class Servers(Lasting):
    """A place of several servers, of which each has the lanes whose number it divides; one of them may be away."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.away: int | None = None

    async def nodes(self) -> int:
        return self.count

    async def queue(self, topic: str) -> MemoryQueue:
        found = await super().queue(topic)
        append = found.append

        async def some(messages: Sequence[Message]) -> Sequence[Position]:
            lanes = {lane_of(message.key or b"", found.traits.lanes) for message in messages}
            if self.away is not None and self.away in {lane % self.count for lane in lanes}:
                raise Unavailable("one of them is away")
            return await append(messages)

        found.append = some  # type: ignore[method-assign]
        return found


@pytest.mark.parametrize("away", range(3))
async def test_every_server_is_tried_and_one_that_is_away_is_seen(away: int) -> None:
    rung = Rung()
    rung.place = place = Servers(3)
    probe = Probe(rung.connect, TOPIC)
    await probe.trip()
    assert (await place.describe(TOPIC)).lanes == 3
    place.away = away
    with pytest.raises(Unavailable, match="one of them is away"):
        await probe.trip()
    place.away = None
    await probe.trip()
    await probe.close()
    assert await place.topics() == []


async def test_servers_that_come_and_go_are_tried_and_waited_for_no_longer() -> None:
    rung = Rung()
    rung.place = place = Servers(2)
    probe = Probe(rung.connect, TOPIC)
    for count in (2, 3):
        place.count = count
        await probe.trip()
        [topic] = await place.topics()
        assert (await place.describe(topic)).lanes == count
    place.away = 2
    with pytest.raises(Unavailable):
        await probe.trip()
    place.count = 2  # the others have given it up
    await probe.trip()
    await probe.close()
    assert await place.topics() == []


async def steered(rung: Rung, *, until: State) -> Switch:
    """A switch that went away, tried by a probe until it is in a state."""
    pace = Pace(good=2, good_ms=20, dwell_ms=50, returning_ms=20)
    switch = Switch(["primary", "standby"], settings=Settings(pace=pace, probe_ms=5))
    quorum = Quorum(
        switch, None, host="h", name="n", probes={"primary": Probe(rung.connect, TOPIC, trip_ms_max=50)}, tick_ms=5
    )
    await quorum.start()
    now_ms = switch._clock.monotonic_ms()
    for _ in range(10):
        now_ms += 100
        switch.saw("primary", [make("x")], Unavailable("no"), began_ms=now_ms, ended_ms=now_ms, epoch=switch.epoch)
    assert switch.state is State.DEGRADED
    async with asyncio.timeout(20):
        while switch.state is not until or (until is State.DEGRADED and rung.connected < 5):
            await asyncio.sleep(0.005)
    await switch.close()
    return switch


async def test_probe_brings_a_rung_back_that_no_traffic_tries() -> None:
    rung = Rung()
    switch = await steered(rung, until=State.NORMAL)
    assert [change.state for change in switch.changes] == [State.DEGRADED, State.RETURNING, State.NORMAL]
    assert await rung.place.topics() == []


async def test_rung_that_needs_no_probe_any_more_keeps_no_topic_for_ever() -> None:
    rung, clock = Rung(), Later()
    probe = Probe(rung.connect, TOPIC, clock=clock)
    await probe.trip()
    switch = Switch(["primary", "standby"], settings=Settings(probe_ms=5))
    await Quorum(switch, None, host="h", name="n", probes={"primary": probe}).start()
    assert await rung.place.topics() == [TOPIC]
    clock.ahead_ms += TOPIC_MS_MAX
    async with asyncio.timeout(20):
        while await rung.place.topics():
            await asyncio.sleep(0.005)
    assert not switch.is_to_be_probed("primary")
    await switch.close()


async def test_while_the_probe_fails_it_stays_away_and_no_traffic_goes_there() -> None:
    rung = Rung()
    rung.away = Unavailable("refused")
    switch = await steered(rung, until=State.DEGRADED)
    assert {switch.begin() for _ in range(1_000)} == {1}


async def test_where_no_probe_may_go_the_traffic_tries() -> None:
    rung = Rung()
    rung.away = Denied("no topics for you")
    pace = Pace(dwell_ms=50)
    switch = Switch(["primary", "standby"], settings=Settings(pace=pace, probe_ms=5))
    quorum = Quorum(switch, None, host="h", name="n", probes={"primary": Probe(rung.connect, TOPIC)}, tick_ms=5)
    await quorum.start()
    switch._scopes["primary"].breaker.trip("by hand", 0)
    async with asyncio.timeout(20):
        while switch.begin() or not quorum.trouble:
            await asyncio.sleep(0.005)
    assert "no topics for you" in quorum.trouble
    await switch.close()
