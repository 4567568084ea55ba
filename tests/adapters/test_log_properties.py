"""Parts of the embedded log against simple models of them."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from evermq.adapters.log.columns import decode, encode, encode_many, encode_one, transpose
from evermq.adapters.log.cursor_file import Change
from evermq.adapters.log.lane_cursor import LaneCursor, ranges_of
from evermq.adapters.log.restore import Replay
from evermq.adapters.log.retention import Retention
from evermq.adapters.log.segment import Segment
from evermq.errors import Rejected
from evermq.message import NO_HEADERS, Message
from evermq.testing.simulation.disk import FakeDisk

TEXT = st.text(max_size=12) | st.binary(max_size=12).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
IDS = TEXT.filter(lambda text: "\0" not in text)
MESSAGES = st.builds(
    Message,
    id=IDS,
    key=st.none() | st.binary(max_size=8),
    body=st.binary(max_size=40) | st.binary(min_size=6000, max_size=6100),
    headers=st.just(NO_HEADERS) | st.dictionaries(TEXT, TEXT, max_size=3),
    created_ms=st.integers(0, 1 << 50),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(MESSAGES, min_size=1, max_size=9))
@example([Message("", None, b"", NO_HEADERS, 0)])
@example([Message("", b"", b"", {}, 0), Message("", None, b"", {"": ""}, 0)])
@example([Message("\udcff", b"\0", b"\0", {"\udc80": "\udcff\0"}, 1)])
def test_messages_are_decoded_as_they_were_encoded(messages: list[Message]) -> None:
    payload = b"".join(encode(transpose(messages)))
    assert decode(memoryview(payload), len(messages)) == messages


@pytest.mark.parametrize("size", [0, 10, 6_000])
@pytest.mark.parametrize("count", [501, 1_000, 1_203])
def test_many_messages_are_encoded_as_a_batch_of_any_size_is(count: int, size: int) -> None:
    messages = [Message(f"é{n}", None, b"x" * (size + n % 3), NO_HEADERS, n) for n in range(count)]
    encoded = encode_many(messages, lambda size: BytesIO())
    assert encoded
    assert b"".join(encoded) == b"".join(encode(transpose(messages)))
    assert decode(memoryview(b"".join(encoded)), count) == messages


@pytest.mark.parametrize("at", [0, 600, 1_000])
@pytest.mark.parametrize("other", [{"key": b""}, {"headers": {"a": "b"}}, {"headers": None}])
def test_many_messages_are_looked_at_one_by_one_where_one_has_more_than_a_body(at: int, other: dict[str, Any]) -> None:
    messages = [Message(str(n), None, b"x", NO_HEADERS, n) for n in range(1_001)]
    messages[at] = messages[at]._replace(**other)
    assert encode_many(messages, lambda size: BytesIO()) is None


@pytest.mark.parametrize("at", [0, 600, 1_000])
@pytest.mark.parametrize("id", ["\0", "a\0b", "\udcc2\udc80"])
def test_id_among_many_that_cannot_be_stored_is_rejected(at: int, id: str) -> None:
    messages = [Message(str(n), None, b"x", NO_HEADERS, n) for n in range(1_001)]
    messages[at] = messages[at]._replace(id=id)
    with pytest.raises(Rejected):
        encode_many(messages, lambda size: BytesIO())


@given(IDS, IDS)
@example("", "")
def test_id_with_nul_is_rejected(before: str, behind: str) -> None:
    with pytest.raises(Rejected, match="NUL"):
        encode(transpose([Message(f"{before}\0{behind}", None, b"", NO_HEADERS, 0)]))


@pytest.mark.parametrize("text", ["\udcc2\udc80", "caf\udcc3\udca9"])
@pytest.mark.parametrize("count", [1, 2])
def test_text_that_would_not_read_back_is_rejected(text: str, count: int) -> None:
    named = Message(text, None, b"", NO_HEADERS, 0)
    with pytest.raises(Rejected, match="read back"):
        encode_one(named) if count == 1 else encode(transpose([named] * count))
    with pytest.raises(Rejected, match="read back"):
        encode(transpose([Message("a", None, b"", {"name": text}, 0)] * count))


@given(st.sets(st.integers(0, 60)))
@example(set())
@example({0, 1, 3})
def test_ranges_cover_exactly_their_numbers(numbers: set[int]) -> None:
    ranges = ranges_of(numbers)
    assert [n for first, stop in ranges for n in range(first, stop)] == sorted(numbers)
    assert all(stop < first for (_, stop), (first, _) in pairwise(ranges))


def keys_of(offsets: Sequence[int]) -> list[bytes | None]:
    """Two keys, and every third message without one."""
    return [None if offset % 3 == 2 else b"%d" % (offset % 3) for offset in offsets]


class CursorMachine(RuleBasedStateMachine):
    """A lane cursor against a set of settled offsets; and its changes, replayed up to any point, skip nothing."""

    @initialize()
    def begin(self) -> None:
        self.cursor = LaneCursor(1, 0)
        self.settled: set[int] = set()
        self.changes: list[Change] = []
        self.settled_by: list[set[int]] = []  # what was settled when each change was written
        self.now_ms = 1_000

    def note(self, *changes: Change | None) -> None:
        for change in changes:
            if change:
                self.changes.append(change)
                self.settled_by.append(set(self.settled))

    @rule(count=st.integers(1, 6))
    def take_new(self, count: int) -> None:
        first = self.cursor.next
        offsets = range(first, first + count)
        self.note(self.cursor.take_new([offsets], offsets.stop))
        _, change = self.cursor.hold_back(list(zip(offsets, keys_of(offsets), strict=True)))
        self.note(change)

    @rule(count=st.integers(1, 9), later_ms=st.integers(0, 60))
    def take_again(self, count: int, later_ms: int) -> None:
        self.now_ms += later_ms
        wanted = self.cursor.again(count, self.now_ms)
        taken, change = self.cursor.take_again(count, self.now_ms)
        assert taken == wanted
        assert len(taken) <= count
        assert not self.settled.intersection(taken)
        self.note(change)

    @precondition(lambda self: self.cursor.out)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sets(st.sampled_from(sorted(self.cursor.out)), min_size=1))
        change = self.cursor.settle(chosen)
        self.settled |= chosen
        self.note(change)

    @precondition(lambda self: self.cursor.out)
    @rule(count=st.integers(1, 9))
    def settle_in_order(self, count: int) -> None:
        run = range(min(self.cursor.out), min(self.cursor.out) + count)
        mine = set(self.cursor.out).intersection(run)
        change = self.cursor.settle(run)
        self.settled |= mine
        self.note(change)

    @precondition(lambda self: self.cursor.out)
    @rule(data=st.data(), delay_ms=st.integers(0, 50))
    def release(self, data: st.DataObject, delay_ms: int) -> None:
        chosen = data.draw(st.sets(st.sampled_from(sorted(self.cursor.out)), min_size=1, max_size=2))
        attempts = {offset: self.cursor.attempt(offset) for offset in chosen}
        self.note(self.cursor.release(chosen, self.now_ms + delay_ms, keys_of))
        assert all(self.cursor.attempt(offset) == attempts[offset] + 1 for offset in chosen)

    @rule()
    def give_back(self) -> None:
        self.note(self.cursor.give_back())
        assert not self.cursor.out

    @rule()
    def compact(self) -> None:
        """Everything before is replaced by one change."""
        self.changes, self.settled_by = [], []
        self.note(self.cursor.snapshot())

    @rule()
    def reopen(self) -> None:
        self.cursor = self.replayed(len(self.changes))

    @rule(data=st.data())
    def crash_anywhere(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(0, len(self.changes)))
        cursor = self.replayed(count)
        known = self.settled_by[count - 1] if count else set()
        assert set(range(cursor.low)) <= self.settled
        assert open_of(cursor) == set(range(cursor.next)) - known
        missing = data.draw(st.integers(0, max(0, count - 1)))
        damaged = self.replayed(count, without=missing)
        assert set(range(damaged.next)) - open_of(damaged) <= self.settled

    def replayed(self, count: int, without: int = -1) -> LaneCursor:
        progress = Replay(0)
        for i, change in enumerate(self.changes[:count]):
            if i != without:
                progress.apply(change)
        return progress.cursor(1, 0, 0, keys_of)

    @invariant()
    def nothing_is_lost_and_nothing_settled_is_open(self) -> None:
        if hasattr(self, "cursor"):
            assert open_of(self.cursor) == set(range(self.cursor.next)) - self.settled
            assert self.cursor.unsettled == len(open_of(self.cursor))
            assert self.cursor.low == min(open_of(self.cursor), default=self.cursor.next)

    @invariant()
    def keys_keep_their_order_while_they_wait(self) -> None:
        if hasattr(self, "cursor"):
            assert self.cursor.returned == sorted(self.cursor.returned)
            for park in self.cursor.parks.values():
                assert park.offsets == sorted(park.offsets)
                assert len(set(keys_of(park.offsets))) == 1


def open_of(cursor: LaneCursor) -> set[int]:
    parked = [offset for park in cursor.parks.values() for offset in park.offsets]
    everything = [*cursor.out, *cursor.returned, *parked]
    assert len(everything) == len(set(everything))
    return set(everything)


CursorMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestLaneCursor = CursorMachine.TestCase

SIZE = 1000


@settings(max_examples=100, deadline=None)
@given(
    ages_ms=st.lists(st.integers(0, 1000), min_size=0, max_size=5),
    retain_bytes=st.integers(0, 6 * SIZE),
    retain_ms=st.integers(0, 1000),
    bytes_max=st.sampled_from((0, 2 * SIZE, 4 * SIZE)),
)
@example(ages_ms=[1000, 0], retain_bytes=0, retain_ms=0, bytes_max=0)
def test_unread_segments_stay_and_the_last_always_does(
    ages_ms: list[int], retain_bytes: int, retain_ms: int, bytes_max: int
) -> None:
    file = FakeDisk().create("a", 0)
    segments = [
        Segment(number, file, SIZE, time_last_ms=1000 - age)
        for number, age in enumerate(sorted(ages_ms, reverse=True), 1)
    ]
    retention = Retention(retain_bytes, retain_ms, bytes_max)
    goes = retention.next_to_go(segments, lambda segment: True, 1000)
    total = SIZE * len(segments)
    may = len(segments) > 1 and (
        total > retain_bytes
        or segments[0].time_last_ms < 1000 - retain_ms
        or bool(bytes_max and total + SIZE > bytes_max)
    )
    assert (goes is segments[0]) if may else (goes is None)
    assert retention.may_grow(segments) == (not bytes_max or not segments or total + SIZE <= bytes_max)


@given(unread=st.sampled_from(("refuse", "drop")), count=st.integers(2, 6))
@example(unread="drop", count=2)
def test_unread_goes_only_where_that_was_asked_for(unread: str, count: int) -> None:
    file = FakeDisk().create("a", 0)
    segments = [Segment(number, file, SIZE) for number in range(1, count + 1)]
    retention = Retention(0, 0, 2 * SIZE, unread)
    goes = retention.next_to_go(segments, lambda segment: False, 10**9)
    assert (goes is segments[0]) == (unread == "drop")
