"""What one reader may hand out, without any engine."""

from random import Random

import pytest
from msgspec.structs import replace

from evermq.message import HOPS, Message
from evermq.numbers import FLAGGED, SEQ, void, void_of
from evermq.policy.gate import ABSENT, LATE, Gate
from evermq.port import Delivery
from evermq.position import Position
from evermq.settled import Settled

STREAM = "producer.5"
LANE = 5


def delivery(seq: int, *, back: int = 1, opened: int = 0, rung: str = "primary") -> Delivery:
    """The number `seq` of the stream, whose bucket had the one `back` before it."""
    message = Message(f"m{seq}", b"k", b"x", {SEQ: f"{STREAM} {seq} {back} {opened}"}, 0)
    return Delivery(message, Position("0", seq, (rung,)), (rung, seq), 1)


def claimed() -> Gate:
    gate = Gate()
    gate.offer([delivery(1, back=0)], 0)
    for each in gate.claimed(LANE, {}):
        gate.settle([each.receipt])
    return gate


def numbers(found: list[Delivery]) -> list[tuple[str, str]]:
    return [(each.message.id, each.message.headers.get(FLAGGED, "")) for each in found]


def test_headers_of_the_protocol_are_hidden_and_those_of_the_application_are_not() -> None:
    pumped = delivery(2)
    pumped.message.headers[HOPS] = "1"  # type: ignore[index]
    own = delivery(3)
    own.message.headers["colour"] = "red"  # type: ignore[index]
    found = claimed().offer([pumped, own], 0)
    assert [each.message.headers for each in found] == [{}, {"colour": "red"}]


def test_void_is_not_settled_while_what_is_before_it_may_still_be_given_back() -> None:
    gate = claimed()
    nothing = void_of(delivery(3).message)
    assert nothing
    found = gate.offer([delivery(2), replace(delivery(3), message=nothing), delivery(4)], 0)
    assert numbers(found) == [("m2", "")]
    gate.release([found[0].receipt])
    assert gate.offer([delivery(4, rung="standby")], 0) == []
    [again] = gate.offer([delivery(2)], 0)
    gate.settle([again.receipt])
    assert numbers(gate.woken(gate.lanes[LANE])) == [("m4", "")]


def test_void_of_a_restart_waits_for_all_before_it_since_its_bucket_is_not_known() -> None:
    gate = claimed()
    nothing = void(STREAM, 5, key=b"k", opened=0, created_ms=0)
    [other] = gate.offer([delivery(4, back=0)], 0)
    gate.settle([other.receipt])
    assert gate.offer([replace(delivery(5), message=nothing), delivery(6)], 0) == []
    [second] = gate.offer([delivery(2)], 0)
    gate.settle([second.receipt])
    assert gate.woken(gate.lanes[LANE]) == []
    lane = gate.lanes[LANE]
    gate.pass_over(lane, next(iter(lane.parked)), ABSENT)  # it waits for 3, of whichever bucket
    assert numbers(gate.woken(lane)) == [("m6", "")]


def placeless(seq: int, session: str, tag: int) -> Delivery:
    """As a reader of several hands it on, of a rung that tells no offsets."""
    inner = replace(delivery(seq), position=Position("0", None), receipt=(session, tag))
    return replace(inner, position=Position("0", None, ("standby",)), receipt=("leg", inner))


def receipts(found: list[Delivery]) -> list[object]:
    return [each.receipt[1].receipt for each in found]


def test_copy_without_a_place_takes_the_earlier_ones_place_which_is_dropped() -> None:
    gate = claimed()
    gate.offer([placeless(3, "a", 7), placeless(3, "a", 9)], 0)
    [drops] = gate.take_drops()
    assert receipts(drops.deliveries) == [("a", 7)]
    assert receipts([parked.delivery for parked in gate.lanes[LANE].parked]) == [("a", 9)]


def test_what_comes_again_under_its_receipt_is_not_dropped() -> None:
    gate = claimed()
    again = replace(placeless(3, "a", 7), attempt=2)
    gate.offer([placeless(3, "a", 7), replace(again, receipt=("leg", replace(again.receipt[1], attempt=2)))], 0)
    assert gate.take_drops() == []
    assert receipts([parked.delivery for parked in gate.lanes[LANE].parked]) == [("a", 7)]


def test_copy_goes_back_with_the_message_that_is_released() -> None:
    gate = claimed()
    [first] = gate.offer([delivery(2)], 0)
    assert gate.offer([delivery(2, rung="standby"), delivery(4)], 0) == []
    back = gate.release([first.receipt])
    assert {each.position.via for each in back} == {("primary",), ("standby",)}
    assert [parked.number.seq for parked in gate.lanes[LANE].parked] == [4]


def test_what_is_released_for_a_while_counts_as_held_until_long_after_it() -> None:
    gate = claimed()
    [first] = gate.offer([delivery(2)], 0)
    gate.release([first.receipt], 60_000)
    assert 2 in {each.seq for each in gate.held(80_000)}
    assert 2 not in {each.seq for each in gate.held(100_000)}


def test_what_was_settled_and_is_not_written_down_counts_as_held_once_the_lane_is_lost() -> None:
    """It is nowhere but on its way back to the engine, and others must not take it for absent."""
    gate = claimed()
    lane = gate.lanes[LANE]
    nothing = void_of(delivery(3).message)
    assert nothing
    gate.settle([each.receipt for each in gate.offer([delivery(2), replace(delivery(3), message=nothing)], 0)])
    for each in gate.offer([replace(delivery(3), message=nothing)], 0):
        gate.settle([each.receipt])
    [stream] = lane.streams.values()
    stream.write(1)
    gate.settle([each.receipt for each in gate.offer([delivery(4)], 0)])
    gate.take_drops()
    gate.lost(LANE)
    assert {each.seq for each in gate.held(0)} == {1, 2, 3, 4}


def test_what_was_written_down_does_not_count_as_held() -> None:
    gate = claimed()
    [stream] = gate.lanes[LANE].streams.values()
    stream.write(1)
    stream.was_written()
    gate.settle([each.receipt for each in gate.offer([delivery(2)], 0)])
    gate.lost(LANE)
    assert {each.seq for each in gate.held(0)} == {2}


def test_what_may_have_been_written_down_counts_as_held() -> None:
    gate = claimed()
    lane = gate.lanes[LANE]
    [stream] = lane.streams.values()
    stream.write(1)
    lane.not_written([stream])
    gate.lost(LANE)
    assert {each.seq for each in gate.held(0)} == {1}


def test_what_was_nowhere_before_a_group_that_began_at_the_oldest_is_late_when_it_comes() -> None:
    gate = Gate()
    gate.offer([delivery(8)], 0)
    gate.claimed(LANE, {})
    lane = gate.lanes[LANE]
    gate.pass_over(lane, next(iter(lane.parked)), ABSENT)
    found = gate.woken(lane) + gate.offer([delivery(5, back=2), delivery(3), delivery(9)], 0)
    assert numbers(found) == [("m8", ABSENT), ("m5", LATE), ("m3", LATE), ("m9", "")]
    gate.settle([each.receipt for each in found])
    assert gate.offer([delivery(3, rung="standby"), delivery(8, rung="standby")], 0) == []
    assert not lane.parked
    [stream] = lane.streams.values()
    again = Settled.unpack(stream.settled.pack())
    assert (3 in again, 4 in again, again.is_passed_over(4)) == (True, False, True)


def test_all_that_comes_behind_what_went_past_it_is_late_in_another_reader_too() -> None:
    gate = claimed()
    gate.offer([delivery(6)], 0)
    lane = gate.lanes[LANE]
    gate.pass_over(lane, next(iter(lane.parked)), ABSENT)
    assert numbers(gate.woken(lane)) == [("m6", ABSENT)]
    [stream] = lane.streams.values()
    other = Gate()
    other.offer([delivery(2), delivery(3)], 0)
    assert numbers(other.claimed(LANE, {STREAM: stream.settled.pack()})) == [("m2", LATE), ("m3", LATE)]


def test_what_is_from_before_the_time_of_a_new_group_is_dropped() -> None:
    gate = Gate(drops_older=True)
    gate.offer([delivery(8)], 0)
    gate.claimed(LANE, {})
    lane = gate.lanes[LANE]
    gate.pass_over(lane, next(iter(lane.parked)), ABSENT)
    assert numbers(gate.woken(lane) + gate.offer([delivery(5)], 0)) == [("m8", ABSENT)]
    assert [each.message.id for drops in gate.take_drops() for each in drops.deliveries] == ["m5"]


def test_held_and_given_back_many_times_is_still_an_early_attempt() -> None:
    """Given back for want of room seven times, it would be buried by a consumer that never had it."""
    gate = claimed()
    assert gate.offer([replace(delivery(2), attempt=7), replace(delivery(4), attempt=1)], 0)
    assert gate.offer([replace(delivery(4), attempt=9)], 0) == []  # its lease ended while it was held
    [third, fourth] = gate.offer([delivery(3)], 0)
    assert [third.attempt, fourth.attempt] == [1, 1]
    gate.release([third.receipt])
    third, fourth = gate.offer([delivery(3), delivery(4)], 0)
    assert [third.attempt, fourth.attempt] == [2, 2]
    gate.release([third.receipt], unseen=[fourth.receipt])
    third, fourth = gate.offer([delivery(3), delivery(4)], 0)
    assert [third.attempt, fourth.attempt] == [3, 2]


def test_attempt_that_may_have_ended_a_process_is_noted_before_the_next() -> None:
    attempts = []
    states: dict[str, str] = {}
    for engine in (5, 6, 7):
        gate = Gate()
        gate.offer([replace(delivery(1, back=0), attempt=engine)], 0)
        [found] = gate.claimed(LANE, states)
        assert gate.is_ahead
        attempts.append(found.attempt)
        states = {stream.name: stream.settled.pack() for stream in gate.lanes[LANE].changed}
    assert attempts == [2, 3, 4]


def test_next_reader_counts_on_from_what_the_application_had_of_the_one_before() -> None:
    gate = claimed()
    _, third = gate.offer([delivery(2), delivery(3)], 0)
    gate.count_open([third.receipt])
    states = {stream.name: stream.settled.pack() for stream in gate.lanes[LANE].changed}
    other = Gate()
    other.offer([delivery(2), delivery(3)], 0)
    found = other.claimed(LANE, states)
    assert [each.attempt for each in found] == [2, 1]
    other.settle([each.receipt for each in found])
    assert Settled.unpack(other.lanes[LANE].streams[STREAM].settled.pack()).tries == {}


def test_flag_is_kept_no_longer_than_what_it_is_for() -> None:
    gate = claimed()
    gate.offer([delivery(6)], 0)
    lane = gate.lanes[LANE]
    gate.pass_over(lane, next(iter(lane.parked)), ABSENT)
    found = gate.woken(lane) + gate.offer([delivery(5), delivery(4), delivery(3), delivery(2)], 0)
    assert numbers(found) == [("m6", ABSENT), *((f"m{seq}", LATE) for seq in (2, 3, 4, 5))]
    assert gate.offer([delivery(5, rung="standby"), delivery(6, rung="standby")], 0) == []
    gate.settle([each.receipt for each in found[:3]])
    gate.woken(lane)
    gate.settle([each.receipt for each in found[3:]])
    gate.woken(lane)
    [stream] = lane.streams.values()
    assert stream.why == {}


def test_flag_of_what_is_from_before_the_time_of_a_new_group_is_not_kept() -> None:
    gate = Gate(drops_older=True)
    gate.offer([delivery(8)], 0)
    gate.claimed(LANE, {})
    lane = gate.lanes[LANE]
    [stream] = lane.streams.values()
    stream.why.update({3: LATE, 9: LATE})
    gate.pass_over(lane, next(iter(lane.parked)), ABSENT)
    assert set(stream.why) == {8, 9}


def test_what_is_known_of_a_lane_that_moved_is_forgotten_once_nothing_of_it_waits() -> None:
    gate = claimed()
    gate.offer([delivery(9)], 0)
    gate.lost(LANE)
    gate.forget_moved()
    assert gate.opened(STREAM) == 9
    [parked] = gate.lanes[LANE].parked
    gate.lanes[LANE].parked.remove(parked)
    gate.forget_moved()
    assert gate.opened(STREAM) == 0


def test_what_is_known_of_a_lane_that_is_claimed_is_not_forgotten() -> None:
    gate = claimed()
    gate.offer([delivery(2)], 0)
    gate.forget_moved()
    assert gate.opened(STREAM) == 2


def lost(gate: Gate) -> None:
    """3 comes, and 2 is nowhere."""
    gate.offer([delivery(3)], 0)
    lane = gate.lanes[LANE]
    gate.pass_over(lane, next(iter(lane.parked)), ABSENT)
    gate.settle([each.receipt for each in gate.woken(lane)])


def test_stream_of_which_a_number_is_nowhere_goes_the_quick_way_again_behind_it() -> None:
    gate = claimed()
    lost(gate)
    ready: list[Delivery] = []
    for seq in (4, 5):
        assert gate._pass_usual(delivery(seq), ready)
    gate.settle([ready[1].receipt])
    assert not gate._pass_usual(delivery(6), ready), "4 may be given back"
    gate.settle([ready[0].receipt])
    assert gate._pass_usual(delivery(6), ready)
    assert not gate._pass_usual(delivery(2), ready)
    assert numbers(gate.offer([delivery(2)], 0)) == [("m2", LATE)]


class Played:
    """Numbers of four buckets, some of them lost and some of these late: what is handed out, and how."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.gate = claimed()
        self.out: list[Delivery] = []
        self.told: list[tuple[str, str]] = []

    def take(self, found: list[Delivery]) -> None:
        self.told += numbers(found)
        self.out += found

    def settle(self, count: int) -> None:
        self.random.shuffle(self.out)
        done, self.out = self.out[:count], self.out[count:]
        for lane in self.gate.settle([each.receipt for each in done]):
            self.take(self.gate.followed(lane))

    def search(self) -> None:
        """What is nowhere is proved to be."""
        lane = self.gate.lanes[LANE]
        if lane.parked and not lane.out:
            self.gate.pass_over(lane, min(lane.parked, key=lambda each: each.number.seq), ABSENT)
            self.take(self.gate.woken(lane))

    def play(self) -> list[tuple[str, str]]:
        late: list[Delivery] = []
        for seq in range(5, 120):
            each = delivery(seq, back=4 if seq > 8 else seq - 1)
            if self.random.random() < 0.08:
                late.append(each)
            else:
                self.take(self.gate.offer([each], 0))
            if late and self.random.random() < 0.08:
                self.take(self.gate.offer([late.pop(self.random.randrange(len(late)))], 0))
            self.settle(self.random.randrange(3))
            if self.random.random() < 0.2:
                self.settle(len(self.out))
                self.search()
        return self.told


def test_quick_way_hands_out_what_the_long_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = [Played(seed).play() for seed in range(300)]
    assert any(flag == LATE for told in quick for _, flag in told)
    monkeypatch.setattr(Gate, "_pass_usual", lambda self, delivery, ready: False)
    assert [Played(seed).play() for seed in range(300)] == quick
