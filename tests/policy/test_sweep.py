"""What a reader does in the background, and how that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from evermq.errors import Unavailable
from evermq.message import Message, MessageFactory
from evermq.numbers import SEQ
from evermq.policy.gate import Gate
from evermq.policy.lane import Lane, Ticket
from evermq.policy.read_to import ReadTo
from evermq.policy.sweep import Sweep
from evermq.port import Delivery
from evermq.position import Position

make = MessageFactory()


def delivery(offset: int) -> Delivery:
    position = Position("0", offset, ("primary",))
    return Delivery(make(b"x", key="k"), position, position, 1)


class Well:
    """See `Reader`: fails with these errors, and then does what it is told. Has something behind all that goes back."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.acked: list[int | None] = []
        self.released: list[int | None] = []
        self.behind: list[Delivery] = []

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        return []

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.acked += [each.position.offset for each in deliveries]

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.released += [each.position.offset for each in deliveries]

    def take_behind(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        behind, self.behind = self.behind, []
        return behind

    async def close(self) -> None: ...


class Rung:
    """See `Reader`: takes no release; an ack hangs where it is to, else fails."""

    def __init__(self, *, hangs: bool) -> None:
        self.hangs = hangs
        self.acked = asyncio.Event()
        self.released: list[Delivery] = []

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        return []

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self.acked.set()
        if self.hangs:
            await asyncio.Event().wait()
        raise Unavailable("the rung is down")

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        self.released += deliveries
        raise Unavailable("the rung is down")

    async def close(self) -> None: ...


def swept(rung: Rung) -> Sweep:
    """One with a double to be acknowledged, and something to be given back."""

    async def written() -> None: ...

    gate = Gate()
    gate.lanes[0] = Lane(0, drops=[delivery(1)])
    gate.is_dropping = True
    sweep = Sweep(gate, rung, ReadTo(), written)
    sweep.give_back([delivery(2)])
    return sweep


async def test_cancelled_turn_is_cancelled_although_the_rung_fails_meanwhile() -> None:
    rung = Rung(hangs=True)
    turn = asyncio.create_task(swept(rung).turn())
    await rung.acked.wait()
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn


async def test_what_is_to_go_back_goes_back_although_the_acknowledgement_fails() -> None:
    rung = Rung(hangs=False)
    with pytest.raises(Unavailable):
        await swept(rung).turn()
    assert [each.position.offset for each in rung.released] == [2]


def dropping() -> tuple[Gate, Lane]:
    """A lane with a double to be acknowledged."""
    gate = Gate()
    lane = gate.lanes[0] = Lane(0, claimed=True, drops=[delivery(1)])
    gate.is_dropping = True
    return gate, lane


async def test_double_is_acknowledged_once_what_makes_it_one_is_written_down() -> None:
    rung, (gate, lane) = Well(), dropping()
    is_away = True

    async def write() -> None:
        if is_away:
            raise Unavailable("the store is away")
        assert not rung.acked

    sweep = Sweep(gate, rung, ReadTo(), write)
    with pytest.raises(Unavailable):
        await sweep.turn()
    assert (rung.acked, len(lane.drops)) == ([], 1)
    is_away = False
    await sweep.turn()
    assert (rung.acked, rung.released) == ([1], [])


@pytest.mark.parametrize("is_written", [True, False])
async def test_double_of_a_lane_that_is_lost_meanwhile_goes_back(is_written: bool) -> None:
    """What makes it one was not written down, so that it may be the only one there is."""
    rung, (gate, lane) = Well(), dropping()

    async def write() -> None:
        if lane.claimed:
            gate.lost(lane.number)
            if not is_written:
                raise Unavailable("the store is away")

    sweep = Sweep(gate, rung, ReadTo(), write)
    if not is_written:
        with pytest.raises(Unavailable):
            await sweep.turn()
    await sweep.turn()
    assert (rung.acked, rung.released, lane.drops) == ([], [1], [])


async def test_what_a_rung_did_not_take_is_acknowledged_and_given_back_the_next_time() -> None:
    rung, (gate, _) = Well(Unavailable("down"), Unavailable("down")), dropping()

    async def write() -> None: ...

    sweep = Sweep(gate, rung, ReadTo(), write)
    sweep.give_back([delivery(2)])
    with pytest.raises(Unavailable):
        await sweep.turn()
    await sweep.turn()
    assert (rung.acked, rung.released) == ([1], [2])
    await sweep.turn()
    assert (rung.acked, rung.released) == ([1], [2])


def test_what_is_to_go_back_was_not_read() -> None:
    """Whoever gets it may end without a word: nobody may take it for settled."""

    async def write() -> None: ...

    read_to = ReadTo()
    read_to.saw([delivery(1), delivery(2)])
    assert read_to.report() == {"primary/0": 3}
    Sweep(Gate(), Well(), read_to, write).give_back([delivery(2)])
    assert read_to.report() == {"primary/0": 2}


async def test_what_goes_back_with_others_is_on_its_way_and_not_nowhere() -> None:
    rung, gate = Well(), Gate()

    async def write() -> None: ...

    number = Message("id", b"k", b"x", {SEQ: "s.1.0 7 1 0"}, 0)
    position = Position("0", 3, ("primary",))
    rung.behind = [Delivery(number, position, position, 1)]
    sweep = Sweep(gate, rung, ReadTo(), write)
    sweep.give_back([delivery(2)])
    await sweep.turn()
    assert rung.released == [2, 3]
    assert [(each.stream, each.seq) for each in gate.held(0)] == [("s.1.0", 7)]


class Rungs(Well):
    """See `Reader`, of several rungs: one of them is down."""

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self.tell(deliveries)
        await super().ack(deliveries)

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        self.tell(deliveries)
        await super().release(deliveries, delay_ms=delay_ms)

    def tell(self, deliveries: Sequence[Delivery]) -> None:
        if any(each.position.via == ("primary",) for each in deliveries):
            raise Unavailable("down")


async def test_what_one_rung_does_not_take_keeps_nothing_of_the_others() -> None:
    """They go on: all that comes of them would be kept, and settled with each turn again."""

    async def write() -> None: ...

    rungs, gate = Rungs(), Gate()
    lane = gate.lanes[0] = Lane(0, claimed=True)
    sweep = Sweep(gate, rungs, ReadTo(), write)
    for offset in range(3):
        for rung in ("primary", "standby") if not offset else ("standby",):
            position = Position("0", offset, (rung,))
            gate.owe([Ticket(Delivery(make(b"x"), position, position, 1), lane)])
            sweep.give_back([Delivery(make(b"x"), position, position, 1)])
        with pytest.raises(Unavailable):
            await sweep.turn()
    assert (rungs.acked, rungs.released) == ([0, 1, 2], [0, 1, 2])
    assert [each.position.via for each in lane.drops] == [("primary",)]
