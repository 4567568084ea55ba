"""What waits in a lane: that nothing stands still which a look at all of it would let go, whatever happens."""

from __future__ import annotations

from random import Random

import pytest

from evermq.message import Message
from evermq.numbers import SEQ, void, void_of
from evermq.policy.gate import ABSENT, Gate
from evermq.policy.lane import Lane, Ticket
from evermq.policy.waiting import Parked, Waiting
from evermq.port import Delivery
from evermq.position import Position
from evermq.settling import Held

LANE = 5
STREAMS = ("one.5", "two.5")
RUNGS = ("primary", "standby")
COUNT, BUCKETS = 40, 4


class Ladder:
    """A lane, of which numbers come in any order, from any rung, more than once, some as voids."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.gate = Gate()
        self.out: list[Ticket] = []
        self.messages = [each for stream in STREAMS for each in self.stream(stream)]

    def stream(self, stream: str) -> list[Message]:
        """Its numbers, in a few buckets, with what takes the place of some."""
        last: dict[int, int] = {}
        found = []
        for seq in range(1, COUNT + 1):
            bucket = self.chance.randrange(BUCKETS)
            back = seq - last[bucket] if bucket in last else 0
            last[bucket] = seq
            message = Message(f"{stream}/{seq}", b"k", b"x", {SEQ: f"{stream} {seq} {back} {min(seq - 1, 8)}"}, 0)
            nothing = void_of(message)
            assert nothing
            restarted = void(stream, seq, key=b"k", opened=0, created_ms=0)
            found.append(self.chance.choices([message, nothing, restarted], [18, 1, 1])[0])
        return found

    @property
    def lane(self) -> Lane:
        return self.gate.lanes[LANE]

    def state(self) -> tuple[object, ...]:
        """What waits, what was dropped, and what will be flagged."""
        flags = {stream.name: dict(stream.why) for stream in self.lane.streams.values()}
        return [*self.lane.parked], [*self.lane.drops], flags

    def take(self, found: list[Delivery]) -> None:
        self.out += [each.receipt for each in found]

    def offer(self) -> None:
        message = self.chance.choice(self.messages)
        position = Position("5", self.chance.choice((7, 8, None)), (self.chance.choice(RUNGS),))
        attempt = self.chance.choice((1, 1, 2))
        self.take(self.gate.offer([Delivery(message, position, self.chance.random(), attempt)], 0))

    def settle(self) -> None:
        self.chance.shuffle(self.out)
        done, self.out = self.out[:3], self.out[3:]
        for lane in self.gate.settle(done):
            self.take(self.gate.followed(lane))

    def release(self) -> None:
        given = self.out[: self.chance.randrange(1, 3)]
        self.gate.release(given)
        self.out = [ticket for ticket in self.out if ticket.is_out]

    def pass_over(self) -> None:
        if self.lane.claimed and len(self.lane.parked):
            self.gate.pass_over(self.lane, self.chance.choice([*self.lane.parked]), ABSENT)
            self.take(self.gate.woken(self.lane))

    def lose(self) -> None:
        states = {each.name: each.settled.pack() for each in self.lane.streams.values()}
        self.gate.lost(LANE)
        self.out.clear()
        self.take(self.gate.claimed(LANE, states))

    def overflow(self) -> None:
        self.gate.overflow(self.lane, self.chance.randrange(20, 40))

    def turn(self) -> None:
        acts = (self.offer, self.settle, self.release, self.pass_over, self.lose, self.overflow)
        self.chance.choices(acts, [60, 25, 6, 2, 2, 2])[0]()


def in_agreement(waiting: Waiting) -> bool:
    """Whether all its indexes say the same."""
    rows = sorted(waiting, key=lambda parked: parked.turn)
    numbers = sorted((each.stream, seq, each.rung) for each in waiting.held() for seq in each.numbers)
    return (
        numbers == sorted({(*each.place, "/".join(each.delivery.position.via)) for each in rows})
        and waiting.beyond(0) == rows
        and all(each in waiting.of(each.place) and waiting.find(each) for each in rows)
        and all(each in waiting.behind(each.awaits) for each in rows if not each.is_behind_all)
        and {*waiting.behind_all(STREAMS)} == {each for each in rows if each.is_behind_all}
        and sum(map(len, waiting._places.values())) == len(rows)
    )


@pytest.mark.parametrize("seed", range(60))
def test_nothing_stands_still_that_may_go(seed: int) -> None:
    ladder = Ladder(seed)
    ladder.offer()
    ladder.take(ladder.gate.claimed(LANE, {}))
    for _ in range(600):
        ladder.turn()
        before = ladder.state()
        assert ladder.gate.woken(ladder.lane) == []
        assert ladder.state() == before
        assert in_agreement(ladder.lane.parked)
    assert ladder.gate.counts.held > 20


def test_lane_in_which_nothing_waits_remembers_nothing_of_what_was_settled() -> None:
    ladder = Ladder(1)
    gate = ladder.gate
    gate.claimed(LANE, {})
    for seq in range(1, 50):
        message = Message(f"m{seq}", b"k", b"x", {SEQ: f"one.5 {seq} {min(seq - 1, 1)} 1"}, 0)
        found = gate.offer([Delivery(message, Position("5", seq, ("primary",)), seq, 1)], 0)
        assert gate.settle(gate.own(found)) == []
    assert not ladder.lane.touched


def test_what_was_passed_over_is_looked_at_although_its_turn_ended_before() -> None:
    ladder = Ladder(1)
    gate = ladder.gate
    gate.claimed(LANE, {})
    message = Message("m3", b"k", b"x", {SEQ: "one.5 3 1 1"}, 0)
    assert gate.offer([Delivery(message, Position("5", 3, ("primary",)), 3, 1)], 0) == []
    [early] = ladder.lane.parked
    gate.pass_over(ladder.lane, early, ABSENT)
    assert ladder.lane.is_unlooked
    assert len(gate.woken(ladder.lane)) == 1
    assert not ladder.lane.is_unlooked


def parked(seq: int, *, opened: int, rung: str = "primary", stream: str = STREAMS[0]) -> Parked:
    message = Message(f"m{seq}", b"k", b"x", {SEQ: f"{stream} {seq} 1 {seq - opened}"}, 0)
    gate = Gate()
    gate.offer([Delivery(message, Position("5", seq, (rung,)), seq, 1)], 0)
    [found] = gate.lanes[LANE].parked
    return found


def test_others_are_told_of_runs_by_stream_and_rung() -> None:
    waiting = Waiting()
    for each in (
        parked(4, opened=3),
        parked(3, opened=2),
        parked(7, opened=6),
        parked(4, opened=3, rung="standby"),
        parked(5, opened=2, stream=STREAMS[1]),
    ):
        waiting.add(each)
    assert sorted(waiting.held()) == [
        Held("one.5", 3, 3, "primary", 4),
        Held("one.5", 4, 3, "standby", 4),
        Held("one.5", 7, 6, "primary", 7),
        Held("two.5", 5, 2, "primary", 5),
    ]
    waiting.remove(next(iter(waiting)))
    assert Held("one.5", 3, 2, "primary", 3) in waiting.held()
