"""Numbers of a producer, and what a group has settled of them, against naive models."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evermq.errors import Misconfigured
from evermq.lanes import lane_of
from evermq.message import MessageFactory
from evermq.numbering import Numbering, in_flight, land_all, voids_in_flight
from evermq.numbers import FLAGGED, RESET, SEQ, VOID, Number, lane_of_stream, number_of, void_of
from evermq.settled import Settled

make = MessageFactory()
TOKEN = "0123456789abcdef"
KEYS = st.sampled_from([None, *(b"key-%d" % n for n in range(12))])


def numbering(memory: bytearray, lanes: int = 6, incarnation: int = 1, token: str = TOKEN) -> Numbering:
    return Numbering(memoryview(memory), lanes=lanes, incarnation=incarnation, token=lambda: token)


def memory(lanes: int = 6) -> bytearray:
    return bytearray(Numbering.size_bytes(lanes))


def leave(numbers: Numbering, keys: list[bytes | None]) -> list[Number]:
    messages = [make(b"", key=key) for key in keys]
    found = [number_of(m) for m in numbers.number(messages, numbers.places(messages))]
    return [each for each in found if each]


@given(st.lists(st.lists(KEYS, min_size=1, max_size=8), max_size=12))
def test_numbers_are_dense_and_point_at_the_one_before_of_the_key(
    batches: list[list[bytes | None]],
) -> None:
    numbers = numbering(memory())
    count: dict[int, int] = defaultdict(int)
    landed: dict[int, int] = defaultdict(int)
    last: dict[bytes, int] = {}
    for keys in batches:
        for key, number in zip(keys, leave(numbers, keys), strict=True):
            lane = lane_of_stream(number.stream)
            assert key is None or lane == lane_of(key, 6)
            count[lane] += 1
            assert number.seq == count[lane]
            assert number.prev == (last.get(key, 0) if key else 0)
            assert number.open == landed[lane] + 1
            assert number.has_key == (key is not None)
            if key:
                last[key] = number.seq
        numbers.landed(count)
        landed.update(count)


@given(st.lists(KEYS, min_size=1, max_size=20), st.integers(0, 20))
def test_numbers_go_on_after_a_kill_and_what_was_under_way_is_voided(keys: list[bytes | None], landed: int) -> None:
    cells = memory()
    first = numbering(cells)
    gone = leave(first, keys[:landed]) if keys[:landed] else []
    first.landed(range(6))
    flying = leave(first, keys[landed:]) if keys[landed:] else []
    voids = voids_in_flight(memoryview(cells))
    found = [number_of(m) for m in voids]
    assert {(n.stream, n.seq) for n in found if n} == {(n.stream, n.seq) for n in flying}
    for message in voids:
        number = number_of(message)
        assert number
        assert VOID in message.headers
        assert message.body == b""
        assert message.key is not None
        assert lane_of(message.key, 6) == lane_of_stream(number.stream)
        assert number.prev == number.seq - 1
    land_all(memoryview(cells))
    assert in_flight(memoryview(cells)) == {}
    again = leave(numbering(cells), [b"key-1"] * 3)
    mine = [n.seq for n in [*gone, *flying] if n.stream == again[0].stream]
    assert [n.seq for n in again] == [max(mine, default=0) + i for i in (1, 2, 3)]


def test_incarnation_and_lane_count_begin_new_streams() -> None:
    cells = memory(12)
    first = leave(numbering(cells, 12), [b"a"])
    other = leave(numbering(cells, 12, incarnation=2, token="fedcba9876543210"), [b"a"])
    fewer = leave(numbering(cells, 6, incarnation=2, token="00000000000000ff"), [b"a"])
    assert [n.seq for n in (*first, *other, *fewer)] == [1, 1, 1]
    assert len({n.stream.partition(".")[0] for n in (*first, *other, *fewer)}) == 3


def test_number_of_lanes_is_bounded() -> None:
    with pytest.raises(Misconfigured, match="lanes = 0"):
        numbering(memory(), lanes=0)


@pytest.mark.parametrize(
    "text", ["", "s", "s.1 1 0", "s.1 x 0 0", "s.1 1 1 0", "s.zz 1 0 0", "s.1 2 0 5", "s.fffff 1 0 0"]
)
def test_header_that_evermq_does_not_write_is_foreign(text: str) -> None:
    message = make(b"", headers={SEQ: text})
    assert number_of(message) is None
    assert void_of(message) is None


@given(st.lists(st.integers(1, 40), max_size=60))
def test_settled_numbers_are_those_that_were_settled(order: list[int]) -> None:
    settled, model = Settled(), set()
    for seq in order:
        settled.add(seq)
        model.add(seq)
        assert {n for n in range(1, 45) if n in settled} == model
        assert settled.next == next(n for n in range(1, 45) if n not in model)
    again = Settled.unpack(settled.pack())
    assert {n for n in range(1, 45) if n in again} == model
    assert again.pack() == settled.pack()
    assert settled.holes == sum(n in model and n - 1 not in model for n in range(settled.next + 1, 45))


@given(st.sets(st.integers(1, 30)), st.integers(1, 30), st.sets(st.integers(1, 30)))
def test_all_below_is_settled_but_what_is_excepted(before: set[int], stop: int, but: set[int]) -> None:
    settled = Settled()
    for seq in before:
        settled.add(seq)
    settled.add_below(stop, but=but)
    assert {n for n in range(1, 35) if n in settled} == before | (set(range(1, stop)) - but)
    assert Settled.unpack(settled.pack()).pack() == settled.pack()
    settled.add(31)
    assert 31 in settled


@pytest.mark.parametrize(("waived", "tries", "day"), [(0, {}, 20_000), (7, {}, 20_000), (0, {9: 2}, 0), (7, {9: 2}, 1)])
def test_what_is_packed_at_the_end_is_unpacked(waived: int, tries: dict[int, int], day: int) -> None:
    settled = Settled()
    settled.add(1)
    settled.waived, settled.tries, settled.day = waived, tries, day
    again = Settled.unpack(settled.pack())
    assert (again.next, again.waived, again.tries, again.day) == (2, waived, tries, day)


def test_producer_that_was_silent_for_more_than_a_month_begins_new_streams() -> None:
    cells = memory()
    first = numbering(cells)
    first.use(100, is_idle=True)
    [one] = leave(first, [b"a"])
    first.landed(range(6))
    first.use(130, is_idle=True)
    [two] = leave(first, [b"a"])
    assert (two.stream, two.seq, two.prev) == (one.stream, 2, 1)
    first.landed(range(6))
    again = numbering(cells, token="f" * 16)
    again.use(161, is_idle=True)
    [three] = leave(again, [b"a"])
    assert (three.seq, three.prev) == (1, 0)
    assert three.stream != one.stream
    assert lane_of_stream(three.stream) == lane_of_stream(one.stream)
    again.landed(range(6))
    assert leave(numbering(cells, token="e" * 16), [b"a"])[0].stream == three.stream


def test_no_stream_begins_while_numbers_of_the_old_one_are_under_way() -> None:
    numbers = numbering(memory())
    numbers.use(100, is_idle=True)
    [one] = leave(numbers, [b"a"])
    numbers.use(200, is_idle=False)
    assert leave(numbers, [b"a"])[0].stream == one.stream


def test_what_has_no_key_takes_no_lane_that_is_shunned_unless_all_are() -> None:
    numbers = numbering(memory())
    numbers.shuns, numbers.lanes_of_first = lambda: {1}, lambda: 3
    found = numbers.places([make(b"") for _ in range(8)] + [make(b"", key=b"key-1")])
    assert {lane for lane, _ in found[:8]} == {0, 2, 3, 5}
    assert found[8][0] == lane_of(b"key-1", 6)  # a key stays where it lives
    numbers.shuns = lambda: {0, 1, 2}
    assert {lane for lane, _ in numbers.places([make(b"") for _ in range(6)])} == {*range(6)}


def flagged(memory: bytearray, keys: list[bytes | None], **how: Any) -> list[str]:
    """What messages with these keys are flagged with."""
    said: dict[str, Any] = {"incarnation": 1, "tells_reset": True, **how}
    numbers = Numbering(memoryview(memory), lanes=6, token=lambda: TOKEN, **said)
    messages = [make(b"", key=key, headers={"a": "b"}) for key in keys]
    return [each.headers.get(FLAGGED, "") for each in numbers.number(messages, numbers.places(messages))]


def test_first_message_of_each_bucket_is_flagged_once_counters_were_reset() -> None:
    cells = memory()
    assert flagged(cells, [b"a", b"b", None]) == ["", "", ""]
    assert flagged(cells, [b"a"]) == [""]
    assert flagged(memory(), [b"a", b"a", None], incarnation=2) == [RESET, "", ""]  # zeros, as after a loss of power
    assert flagged(cells, [b"a", b"a"], incarnation=2) == [RESET, ""]
    assert flagged(cells, [b"b", b"a"], incarnation=2) == [RESET, ""]  # the process was started again meanwhile


def test_nothing_is_flagged_of_a_producer_that_nobody_knows_by_name() -> None:
    assert flagged(memory(), [b"a"], incarnation=2, tells_reset=False) == [""]


def test_counters_are_reset_as_well_by_another_count_of_lanes() -> None:
    cells = memory(12)
    leave(numbering(cells, 12), [b"a"])
    assert flagged(cells, [b"a"]) == [RESET]
