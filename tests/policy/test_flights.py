"""What a caller is told of a message is true of whoever takes over the numbers, at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest

from evermq.clock import SYSTEM
from evermq.errors import Closed, EvermqError, Partial, Rejected, Unavailable, Uncertain
from evermq.message import Message, MessageFactory
from evermq.numbering import Numbering, in_flight
from evermq.numbers import VOID, number_of
from evermq.policy import flights as module
from evermq.policy.call import Call
from evermq.policy.flights import Flights
from evermq.position import Position

make = MessageFactory()
LANDED = Position("0", 7)
Answer = list[Position | EvermqError]


class Rung:
    """Answers as it was told to, and then waits until it is let go on."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.asked: list[list[Message]] = []
        self.waits = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self.asked.append(list(messages))
        if self._answers:
            raise Partial(self._answers.pop(0))
        self.waits.set()
        await self.may_go_on.wait()
        return [LANDED] * len(messages)


def flights(rung: Rung) -> tuple[Flights, memoryview]:
    memory = memoryview(bytearray(Numbering.size_bytes(1)))
    numbering = Numbering(memory, lanes=1, incarnation=1, token=SYSTEM.token)
    return Flights(numbering, rung.append, batch_count_max=100, clock=SYSTEM), memory


def seqs(messages: Sequence[Message]) -> list[int]:
    return [number.seq for message in messages if (number := number_of(message))]


@pytest.mark.parametrize("first", [Uncertain("perhaps"), Unavailable("no"), Rejected("never")])
async def test_no_number_of_which_a_caller_was_told_that_it_landed_would_be_voided(first: EvermqError) -> None:
    """A void in the place of an acknowledged message would be its loss."""
    rung = Rung([LANDED, first, LANDED, LANDED])
    under_way, memory = flights(rung)
    call = Call(4)
    under_way.take([make(b"x", key="k") for _ in range(4)], call)
    await rung.waits.wait()
    told = [row for row in range(4) if isinstance(call.known(row), Position)]
    assert told == [0]
    assert list(in_flight(memory)[0]) == [2, 3, 4]
    rung.may_go_on.set()
    while in_flight(memory):
        await asyncio.sleep(0.01)
    assert [call.known(row) for row in (0, 2, 3)] == [LANDED] * 3
    await under_way.close()


@pytest.mark.parametrize("later", [Unavailable("no"), Rejected("never")])
async def test_what_may_have_landed_stays_uncertain_whatever_is_said_of_it_later(later: EvermqError) -> None:
    """Told that it is refused, its caller would send it in another way."""
    rung = Rung([Uncertain("perhaps")], [later])
    under_way, memory = flights(rung)
    call = Call(1)
    under_way.take([make(b"x", key="k")], call)
    await rung.waits.wait()
    rung.may_go_on.set()
    while in_flight(memory):
        await asyncio.sleep(0.01)
    outcome = call.known(0)
    assert isinstance(outcome, Uncertain) if isinstance(later, Rejected) else outcome is LANDED
    await under_way.close()


async def test_what_landed_is_not_sent_again_with_what_did_not() -> None:
    rung = Rung([LANDED, Unavailable("no"), LANDED], [Uncertain("perhaps")])
    under_way, _ = flights(rung)
    call = Call(3)
    under_way.take([make(b"x", key="k") for _ in range(3)], call)
    await rung.waits.wait()
    assert [seqs(messages) for messages in rung.asked] == [[1, 2, 3], [2], [2]]
    assert VOID in rung.asked[-1][0].headers
    rung.may_go_on.set()
    await call.done
    assert [call.known(row) for row in (0, 2)] == [LANDED, LANDED]
    assert isinstance(call.known(1), Unavailable)
    await under_way.close()


async def test_what_callers_gave_up_is_not_kept_while_nothing_lands() -> None:
    rung = Rung()
    under_way, _ = flights(rung)
    under_way.take([make(b"first", key="k")], Call(1))
    await rung.waits.wait()
    for _ in range(5):
        for _ in range(1_000):
            call, messages = Call(1), [make(b"x", key="k")]
            under_way.take(messages, call)
            under_way.give_up(messages, call)
        assert len(under_way._wholes) + sum(map(len, under_way._waiting.values())) <= 1_001
    rung.may_go_on.set()
    await under_way.close()
    assert len(rung.asked) == 1


async def test_what_its_caller_gave_up_before_it_left_does_not_leave_any_more() -> None:
    """He was told that it is not sent, and may have sent it under another id."""
    rung = Rung()
    under_way, memory = flights(rung)
    calls = [Call(1) for _ in range(3)]
    for call, body in zip(calls, (b"first", b"given up", b"stays"), strict=True):
        under_way.take([make(body, key="k")], call)
    under_way.give_up([make(b"given up", key="k")], calls[1])
    rung.may_go_on.set()
    await calls[2].done
    assert [message.body for messages in rung.asked for message in messages] == [b"first", b"stays"]
    assert [calls[1].known(0), calls[2].known(0)] == [None, LANDED]
    assert not in_flight(memory)
    await under_way.close()


async def test_call_does_not_pass_an_earlier_one_that_waits_for_one_of_its_lanes() -> None:
    rung = Rung()
    numbering = Numbering(memoryview(bytearray(Numbering.size_bytes(2))), lanes=2, incarnation=1, token=SYSTEM.token)
    under_way = Flights(numbering, rung.append, batch_count_max=2, clock=SYSTEM)
    made = [make(b"", key=b"%d" % number) for number in range(20)]
    keys = {lane: message.key for message, (lane, _) in zip(made, numbering.places(made), strict=True)}
    sent = [make(body, key=keys[lane]) for body, lane in ((b"1", 0), (b"2", 0), (b"3", 1), (b"4", 1))]
    calls = [Call(1), Call(2), Call(1)]
    for call, messages in zip(calls, (sent[:1], sent[1:3], sent[3:]), strict=True):
        under_way.take(messages, call)
    await rung.waits.wait()
    rung.may_go_on.set()
    await asyncio.gather(*(call.done for call in calls))
    assert [message.body for messages in rung.asked for message in messages] == [b"1", b"2", b"3", b"4"]
    assert max(map(len, rung.asked)) <= 2
    await under_way.close()


async def test_what_waits_when_the_queue_is_closed_is_told_that_it_did_not_leave() -> None:
    rung = Rung()
    under_way, _ = flights(rung)
    calls = [Call(1), Call(1)]
    for call in calls:
        under_way.take([make(b"x", key="k")], call)
    await rung.waits.wait()
    rung.may_go_on.set()
    await under_way.close()
    assert [type(call.known(0)) for call in calls] == [Position, Closed]
    assert len(rung.asked) == 1


async def test_what_is_remembered_of_calls_that_were_given_up_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DOUBTFUL_MAX", 10)
    rung = Rung()
    under_way, _ = flights(rung)
    messages = [make(b"x", key="k") for _ in range(50)]
    call = Call(len(messages))
    under_way.take(messages, call)
    under_way.give_up(messages, call)
    assert list(under_way._doubtful) == [message.id for message in messages[-10:]]
    again = Call(1)
    under_way.take(messages[-1:], again)
    rung.may_go_on.set()
    await again.done
    assert len(rung.asked) == 1, "the last ones are known still"
    await under_way.close()


async def test_sends_of_a_message_that_were_given_up_are_not_kept_while_it_is_under_way() -> None:
    rung = Rung()
    under_way, _ = flights(rung)
    message, first = make(b"x", key="k"), Call(1)
    under_way.take([message], first)
    under_way.give_up([message], first)
    for _ in range(100):
        call = Call(1)
        under_way.take([message], call)
        under_way.give_up([message], call)
    kept, todo = 0, [first]
    while todo:
        followers = [each for found in todo.pop().followers.values() for each, _ in found]
        kept, todo = kept + len(followers), todo + followers
    assert kept <= 1
    rung.may_go_on.set()
    await under_way.close()


async def test_message_that_is_sent_again_very_often_holds_its_lane_up_no_longer_than_it_is_under_way() -> None:
    """An outage of hours, and a caller that sends what is uncertain again each time it gives up."""
    rung = Rung([Uncertain("perhaps")])
    under_way, memory = flights(rung)
    message = make(b"x", key="k")
    for _ in range(3_000):
        call = Call(1)
        under_way.take([message], call)
        await asyncio.sleep(0)
        under_way.give_up([message], call)
    calls = [Call(1), Call(1)]
    for call in calls:
        under_way.take([message], call)
    await rung.waits.wait()
    rung.may_go_on.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*(call.done for call in calls))
    assert [call.known(0) for call in calls] == [LANDED] * 2
    assert [seqs(messages) for messages in rung.asked] == [[1], [1]], "each is the same message"
    later = Call(1)
    under_way.take([make(b"y", key="k")], later)
    await later.done
    assert not in_flight(memory)
    await under_way.close()


async def test_followers_are_told_however_deep_they_are() -> None:
    calls = [Call(2) for _ in range(3_000)]
    for first, call in pairwise(calls):
        call.follow(0, first, 0)
    calls[0].tell(0, LANDED)
    assert all(call.known(0) is LANDED and call.known(1) is None for call in calls)


class Looked(set[int]):
    """Counts how often it is asked."""

    asked = 0

    def isdisjoint(self, other: Iterable[object]) -> bool:
        self.asked += 1
        return super().isdisjoint(other)


@pytest.mark.parametrize("keys", [1, 40])
async def test_calls_that_wait_for_a_rung_that_hangs_cost_a_new_one_nothing(keys: int) -> None:
    """Each looked at all of them: of ten thousand the last ones took as long as the rung may."""
    rung = Rung()
    memory = memoryview(bytearray(Numbering.size_bytes(8)))
    numbering = Numbering(memory, lanes=8, incarnation=1, token=SYSTEM.token)
    under_way = Flights(numbering, rung.append, batch_count_max=100, clock=SYSTEM)
    under_way._busy = busy = Looked()
    calls = [Call(1) for _ in range(400)]
    for row, call in enumerate(calls):
        under_way.take([make(b"x", key=str(row % keys))], call)
        await asyncio.sleep(0)
    assert busy.asked < 3 * len(calls)
    rung.may_go_on.set()
    await asyncio.wait([call.done for call in calls])
    assert sum(map(len, rung.asked)) == len(calls)
    await under_way.close()


async def test_call_behind_one_that_was_given_up_leaves_at_once() -> None:
    rung = Rung()
    memory = memoryview(bytearray(Numbering.size_bytes(8)))
    numbering = Numbering(memory, lanes=8, incarnation=1, token=SYSTEM.token)
    under_way = Flights(numbering, rung.append, batch_count_max=100, clock=SYSTEM)
    here, there = (make(b"x", key=key) for key in ("a", "c"))
    assert len({lane for lane, _ in numbering.places([here, there])}) == 2
    first, both, last = Call(1), Call(2), Call(1)
    under_way.take([here], first)
    await rung.waits.wait()
    under_way.take([here, there], both)
    under_way.take([there], last)
    under_way.give_up([here, there], both)
    under_way.take([there], Call(1))
    rung.waits.clear()
    await rung.waits.wait()
    assert [len(messages) for messages in rung.asked] == [1, 2]
    rung.may_go_on.set()
    await under_way.close()
