"""What a reader forgets of producers that are gone, and what it does not."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from evermq.clock import Clock
from evermq.errors import Unavailable
from evermq.message import MessageFactory
from evermq.numbers import SEQ
from evermq.policy.collector import DAY_MS, KEEP_DAYS, Collector
from evermq.policy.gate import Gate
from evermq.port import Delivery
from evermq.position import Position
from evermq.progress.memory import MemoryPart, MemoryProgress
from evermq.testing.progressing import HandClock

make = MessageFactory()
HOUR_MS = 3_600_000


class Calendar(HandClock):
    """A monotonic clock that stands for the date as well."""

    def __init__(self) -> None:
        super().__init__()
        self.pass_days(20_000)

    def pass_days(self, days: int) -> None:
        self.ms += days * DAY_MS


def delivery(stream: str, seq: int) -> Delivery:
    back = 1 if seq > 1 else 0
    message = make(b"x", key="k", headers={SEQ: f"{stream} {seq} {back} 0"})
    position = Position("0", seq, ("primary",))
    return Delivery(message, position, position, 1)


async def written(gate: Gate, part: MemoryPart, clock: Clock) -> None:
    """As a reader writes down what changed."""
    day = clock.now_ms() // DAY_MS
    for lane in gate.lanes.values():
        await part.settle({lane.number: {stream.name: stream.write(day) for stream in lane.changed}})
        for stream in lane.changed:
            stream.was_written()
        lane.changed.clear()


async def settled(gate: Gate, part: MemoryPart, clock: Clock, *streams: str) -> None:
    ready = gate.offer([delivery(stream, 1) for stream in streams], clock.monotonic_ms())
    gate.settle(gate.own(ready))
    await written(gate, part, clock)


async def began(clock: Calendar) -> tuple[MemoryPart, Gate, Collector]:
    part = await MemoryProgress(silent_ms_max=1 << 60, clock=clock).join("g")
    gate = Gate(part=part)
    for lane, states in (await part.claim([0, 1])).items():
        gate.claimed(lane, states)
    return part, gate, Collector(gate, part, clock)


async def test_stream_is_forgotten_when_its_producer_was_silent_for_long() -> None:
    clock = Calendar()
    part, gate, collector = await began(clock)
    await settled(gate, part, clock, "old.0", "old.1")
    clock.pass_days(KEEP_DAYS)
    await collector.turn()
    assert set(gate.lanes[0].streams) == {"old.0"}
    clock.pass_days(2)
    await settled(gate, part, clock, "new.0")
    await collector.turn()
    assert [set(gate.lanes[n].streams) for n in (0, 1)] == [{"new.0"}, set()]
    assert await part.look([0, 1]) == {0: {"new.0": gate.lanes[0].streams["new.0"].settled.pack()}, 1: {}}


async def test_stream_stays_while_its_producer_is_heard_in_another_lane() -> None:
    clock = Calendar()
    part, gate, collector = await began(clock)
    await settled(gate, part, clock, "one.0", "one.1")
    clock.pass_days(KEEP_DAYS + 2)
    gate.settle(gate.own(gate.offer([delivery("one.1", 2)], clock.monotonic_ms())))
    await written(gate, part, clock)
    await collector.turn()
    assert [set(gate.lanes[n].streams) for n in (0, 1)] == [{"one.0"}, {"one.1"}]


async def test_stream_of_which_the_application_has_something_stays() -> None:
    clock = Calendar()
    part, gate, collector = await began(clock)
    await settled(gate, part, clock, "old.0", "old.1")
    clock.pass_days(KEEP_DAYS + 2)
    [out] = gate.offer([delivery("old.0", 2)], clock.monotonic_ms())
    held = gate.offer([delivery("old.1", 3)], clock.monotonic_ms())
    assert not held
    await collector.turn()
    assert [set(gate.lanes[n].streams) for n in (0, 1)] == [{"old.0"}, {"old.1"}]
    gate.settle(gate.own([out]))
    await written(gate, part, clock)
    clock.ms += HOUR_MS
    await collector.turn()
    assert set(gate.lanes[0].streams) == {"old.0"}


async def test_what_comes_of_a_forgotten_stream_is_handed_out() -> None:
    clock = Calendar()
    part, gate, collector = await began(clock)
    await settled(gate, part, clock, "old.0")
    clock.pass_days(KEEP_DAYS + 2)
    await collector.turn()
    assert not gate.lanes[0].streams
    [found] = gate.offer([delivery("old.0", 1)], clock.monotonic_ms())
    assert found.message.body == b"x"


async def test_streams_that_stay_keep_none_from_being_looked_at() -> None:
    """Lanes in which producers are idle that live on in the lanes of other readers: they are always the first."""
    clock = Calendar()
    progress = MemoryProgress(silent_ms_max=1 << 60, clock=clock)
    part, other = await progress.join("g"), await progress.join("g")
    gate, gate_of_other = Gate(part=part), Gate(part=other)
    for each, its, number in ((gate, part, 0), (gate_of_other, other, 1)):
        each.claimed(number, (await its.claim([number]))[number])
    collector = Collector(gate, part, clock)
    await settled(gate, part, clock, *(f"living{n}.0" for n in range(1_200)))
    await settled(gate, part, clock, *(f"gone{n}.0" for n in range(1_200)))
    clock.pass_days(KEEP_DAYS + 2)
    await settled(gate_of_other, other, clock, *(f"living{n}.1" for n in range(1_200)))
    for _ in range(5):
        await collector.turn()
        clock.ms += 1_000
    assert set(gate.lanes[0].streams) == {f"living{n}.0" for n in range(1_200)}


async def test_producer_that_is_heard_of_here_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Calendar()
    part, gate, collector = await began(clock)
    await settled(gate, part, clock, "one.0", "one.1", "two.0")
    clock.pass_days(KEEP_DAYS + 2)
    gate.settle(gate.own(gate.offer([delivery("one.1", 2)], clock.monotonic_ms())))
    await written(gate, part, clock)
    asked: list[str] = []
    real = part.collect

    async def collect(streams: Mapping[int, Collection[str]], day: int) -> Collection[str]:
        asked.extend(name for names in streams.values() for name in names)
        return await real(streams, day)

    monkeypatch.setattr(part, "collect", collect)
    await collector.turn()
    assert asked == ["two.0"]


async def test_what_could_not_be_asked_is_asked_later(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Calendar()
    part, gate, collector = await began(clock)
    await settled(gate, part, clock, "old.0")
    clock.pass_days(KEEP_DAYS + 2)

    async def collect(streams: Mapping[int, Collection[str]], day: int) -> Collection[str]:
        raise Unavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(part, "collect", collect)
        with pytest.raises(Unavailable):
            await collector.turn()
    await collector.turn()
    assert set(gate.lanes[0].streams) == {"old.0"}, "not at once"
    clock.ms += HOUR_MS
    await collector.turn()
    assert not gate.lanes[0].streams
