"""What a reader does in the background, and how that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from evermq.errors import Unavailable
from evermq.message import MessageFactory
from evermq.policy.gate import Gate
from evermq.policy.lane import Lane
from evermq.policy.read_to import ReadTo
from evermq.policy.sweep import Sweep
from evermq.port import Delivery
from evermq.position import Position

make = MessageFactory()


def delivery(offset: int) -> Delivery:
    position = Position("0", offset, ("primary",))
    return Delivery(make(b"x", key="k"), position, position, 1)


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
