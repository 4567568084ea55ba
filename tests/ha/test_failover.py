"""What steers a ladder is asked before each batch, and hears what became of it."""

from collections.abc import Sequence

import pytest

from evermq import Message, MessageFactory
from evermq.adapters.memory import MemoryQueue
from evermq.errors import Denied, EvermqError, NoSuchTopic, Partial, TooLarge, Unavailable
from evermq.ha.agreement import Agreement
from evermq.ha.breaker import State
from evermq.ha.failover import Choice, Failover
from evermq.ha.switch import Switch
from evermq.lanes import lane_of
from evermq.position import Position
from evermq.testing.faulty import Fault, Faulty

make = MessageFactory()


class Listening(Choice):
    """Notes what it hears; `lanes` are away."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes: set[int] = set()
        self.heard: list[tuple[str, int, str]] = []
        self.times: list[tuple[int, int, int]] = []
        self.closed = False

    def away(self) -> set[int]:
        return self.lanes

    def saw(
        self,
        rung: str,
        messages: Sequence[Message],
        error: EvermqError | None,
        *,
        began_ms: int,
        ended_ms: int,
        epoch: int,
    ) -> None:
        self.heard.append((rung, len(messages), type(error).__name__ if error else ""))
        self.times.append((began_ms, ended_ms, epoch))

    async def close(self) -> None:
        self.closed = True


def ladder(append_ms_max: int = 800) -> tuple[Failover, Faulty, Faulty, Listening]:
    primary, standby, choice = Faulty(MemoryQueue("t", lanes=8)), Faulty(MemoryQueue("t", lanes=4)), Listening()
    queue = Failover(primary=primary, standby=standby, choice=choice, append_ms_max=append_ms_max)
    return queue, primary, standby, choice


async def test_every_attempt_at_every_rung_is_heard_with_its_outcome() -> None:
    queue, primary, _, choice = ladder()
    await queue.append([make("x"), make("y")])
    primary.next(Fault.REFUSE)
    primary.next(Fault.SPLIT)
    await queue.append([make("x")])
    await queue.append([make("x", key="a"), make("y", key="b")])
    primary.next(Fault.REJECT)
    with pytest.raises(EvermqError):
        await queue.append([make("x")])
    assert choice.heard == [
        ("primary", 2, ""),
        ("primary", 1, "Unavailable"),
        ("standby", 1, ""),
        ("primary", 2, "Partial"),
        ("standby", 1, ""),
        ("primary", 1, "Rejected"),
    ]


async def test_timeout_is_heard_with_how_long_it_took_and_the_epoch_in_which_it_began() -> None:
    queue, primary, _, choice = ladder(append_ms_max=30)
    primary.hang()
    choice.epoch = 7
    await queue.append([make("x")])
    assert choice.heard[0] == ("primary", 1, "Uncertain")
    began_ms, ended_ms, epoch = choice.times[0]
    assert ended_ms - began_ms >= 29
    assert epoch == 7
    primary.up()


async def test_lanes_that_are_away_go_to_the_standby_and_the_others_stay() -> None:
    queue, _, _, choice = ladder()
    keys = [b"%d" % i for i in range(40)]
    choice.lanes = {lane_of(keys[0], 8), lane_of(keys[1], 8)}
    positions = await queue.append([make("x", key=key) for key in keys] + [make("no key")])
    went = [position.via[0] for position in positions]
    assert went[:-1] == ["standby" if lane_of(key, 8) in choice.lanes else "primary" for key in keys]
    assert went[-1] == "primary"
    assert set(went) == {"primary", "standby"}


async def test_of_a_parted_batch_every_message_has_its_own_outcome() -> None:
    queue, primary, standby, choice = ladder()
    batch = [make("x", key=b"%d" % i) for i in range(40)]
    lane = lane_of(batch[0].key or b"", 8)
    choice.lanes = {lane}
    standby.down()
    primary.next(Fault.REFUSE)  # whichever part asks it first
    with pytest.raises(Partial) as caught:
        await queue.append(batch)
    refused = {isinstance(outcome, Unavailable) for outcome in caught.value.outcomes}
    assert refused == {True, False}
    assert all(isinstance(outcome, Position | Unavailable) for outcome in caught.value.outcomes)
    primary.down()
    with pytest.raises(Unavailable):
        await queue.append(batch)


async def test_lanes_that_are_away_pass_over_a_standby_that_is_away_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rungs = {name: MemoryQueue("t", lanes=8) for name in ("primary", "standby", "standby2")}
    switch = Switch(list(rungs), lanes=8)
    queue = Failover(**rungs, choice=switch)  # type: ignore[arg-type]
    key = b"k0"
    monkeypatch.setattr(switch, "away", lambda: {lane_of(key, 8)})
    monkeypatch.setattr(switch, "tries", lambda lane: False)
    switch.adopt(Agreement(epoch=1, away={"standby": State.DEGRADED}))
    switch.leave_to_probe("standby", True)
    [position] = await queue.append([make("x", key=key)])
    assert position.via == ("standby2",)
    assert not any(change.scope == "primary" for change in switch.changes)
    await queue.close()


async def test_batch_with_lanes_away_is_refused_at_the_door_as_any_other() -> None:
    primary, standby, choice = MemoryQueue("t"), MemoryQueue("t", message_bytes_max=100), Listening()
    choice.lanes = {0}
    with pytest.raises(TooLarge):
        await Failover(primary=primary, standby=standby, choice=choice).append([make(b"x" * 101)])


async def test_what_steers_is_closed_with_the_ladder() -> None:
    queue, *_, choice = ladder()
    await queue.close()
    assert choice.closed
    choice.lanes = {1}
    with pytest.raises(Unavailable):
        await queue.append([make("x")])


async def test_what_fails_at_a_rung_that_is_kept_warm_goes_where_it_would_have_begun() -> None:
    class Trickling(Listening):
        home = 0

    primary, standby, last = (Faulty(MemoryQueue("t")) for _ in range(3))
    choice = Trickling()
    choice.rung = 1
    queue = Failover(primary=primary, standby=standby, last=last, choice=choice)
    standby.next(Fault.REFUSE)
    [position] = await queue.append([make("x")])
    assert position.via == ("primary",)
    assert [rung for rung, *_ in choice.heard] == ["standby", "primary"]
    await queue.close()


@pytest.mark.parametrize("error", [Denied("wrong password"), NoSuchTopic("nobody made it")])
async def test_rung_below_that_may_not_be_used_refuses_no_message(error: EvermqError) -> None:
    class Refusing(MemoryQueue):
        async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
            raise error

    class Trickling(Listening):
        home = 0

    choice = Trickling()
    choice.rung = 1
    queue = Failover(primary=MemoryQueue("t"), standby=Refusing("t"), choice=choice)
    [position] = await queue.append([make("x")])
    assert position.via == ("primary",)
    assert choice.heard == [("standby", 1, type(error).__name__), ("primary", 1, "")]
    await queue.close()
    refused = Failover(primary=Refusing("t"), standby=MemoryQueue("t"))
    with pytest.raises(type(error)):
        await refused.append([make("x")])
    await refused.close()
