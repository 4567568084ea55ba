"""What a group has done in a lane, against a plain model, over saves, crashes and new holders."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from evermq.adapters.redis.window import LaneWindow, Mark
from evermq.errors import Damaged

KEYS = (None, b"a", b"b")


def saved(window: LaneWindow, *, crashed: bool = False, handed: int = 0) -> LaneWindow:
    stands = f"{window.next},{window.entry},{window.base}".encode()
    return LaneWindow.load(stands, window.blob(), b"%d" % handed, crashed=crashed)


def taken(count: int, keys: list[bytes | None] | None = None) -> LaneWindow:
    window = LaneWindow(0, 0, 0)
    window.take_new([Mark(0, 0, count)], keys or [None] * count, count)
    return window


def test_all_settled_leaves_nothing_to_store() -> None:
    window = taken(10)
    window.settle(range(10))
    assert (window.blob(), window.low(), window.open_count) == (b"", (1, 10), 0)


def test_gap_is_kept_over_a_save() -> None:
    window = taken(5)
    window.settle([1, 3])
    again = saved(window)
    assert sorted(again.out) == [0, 2, 4]
    assert again.low() == (0, 0)


def test_crash_counts_as_an_attempt_of_what_was_out_alone() -> None:
    window = taken(4)
    window.settle([0])
    again = saved(window, crashed=True)
    assert again.take_again(9, 0) == [1, 2, 3]
    assert [again.attempt(o) for o in (1, 2, 3)] == [2, 2, 2]


def test_what_a_dead_reader_fetched_and_never_saved_is_its_second_attempt() -> None:
    window = LaneWindow.load(b"0,0,0", b"", b"3", crashed=True)
    assert window.take_new([Mark(0, 0, 5)], [None] * 5, 5) == [0, 1, 2, 3, 4]
    assert [window.attempt(offset) for offset in range(5)] == [2, 2, 2, 1, 1]


def test_released_key_waits_and_others_flow() -> None:
    window = taken(3, [b"a", b"b", b"a"])
    window.release([0], 100)
    assert list(window.out) == [1]
    assert window.take_new([Mark(1, 3, 2)], [b"a", b"b"], 5) == [4]
    assert window.take_again(9, 99) == []
    assert saved(window).take_again(9, 100) == [0, 2, 3]


class Looked(dict[int, int]):
    """Refuses to be gone through."""

    def __iter__(self) -> Iterator[int]:
        raise AssertionError("thousands may be parked, and each was looked for among all of them")


def test_what_is_settled_costs_the_same_however_much_is_parked() -> None:
    window = taken(100)
    window.release(range(98), 1_000)
    window.attempts = attempts = Looked(window.attempts)
    window.settle([5, 98])
    assert (window.attempt(5), window.attempt(98), window.open_count) == (2, 1, 99)
    window.take_again(100, 1_000)
    window.settle([5])
    assert len(attempts) == 97


def test_entry_that_is_half_handed_out_is_still_needed() -> None:
    window = LaneWindow(0, 0, 0)
    window.take_new([Mark(0, 0, 10)], [None] * 4, 4)
    window.settle(range(4))
    assert (window.next, window.entry, window.base) == (4, 0, 0)
    window.take_new([Mark(0, 0, 10), Mark(1, 10, 2)], [None] * 8, 12)
    assert window.marks == [Mark(0, 0, 10), Mark(1, 10, 2)]


@pytest.mark.parametrize("count", [1, 9, 10])
def test_entry_is_read_on_from_until_its_last_message_is_handed_out(count: int) -> None:
    window = LaneWindow(0, 0, 0)
    window.take_new([Mark(0, 0, 10)], [None] * count, count)
    window.settle(range(count))
    stands = (10, 1, 10) if count == 10 else (count, 0, 0)
    assert (window.next, window.entry, window.base) == stands
    assert window.low() == stands[1:]


def test_message_that_waits_keeps_its_entry_however_many_behind_it_are_settled() -> None:
    """What is below `low` is trimmed from the list."""
    count = 300
    window = LaneWindow(0, 0, 0)
    window.take_new([Mark(number, number, 1) for number in range(count)], [None] * count, count)
    window.release([7], 100)
    window.settle(set(range(count)) - {200, 250})
    window.settle([250])
    again = saved(window)
    assert len(again.marks) < count
    assert (window.low(), again.low()) == ((7, 7), (7, 7))
    again.settle([200])
    assert saved(again).low() == (7, 7)
    assert again.take_again(9, 100) == [7]
    assert again.mark_of(7) == Mark(7, 7, 1)


def test_rubbish_is_damaged() -> None:
    with pytest.raises(Damaged):
        LaneWindow.load(b"1,2", b"", b"0", crashed=False)
    with pytest.raises(Damaged):
        LaneWindow.load(b"1,2,3", b"\xc1", b"0", crashed=False)


class Windows(RuleBasedStateMachine):
    """Whatever happens, each offset is settled once, none is forgotten, and a key is never overtaken."""

    def __init__(self) -> None:
        super().__init__()
        self.window = LaneWindow(0, 0, 0)
        self.keys: list[bytes | None] = []
        self.done: set[int] = set()
        self.now_ms = 1

    @rule(keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=5))
    def take_new(self, keys: list[bytes | None]) -> None:
        if not self.window.returned:
            base = len(self.keys)
            self.keys += keys
            self.window.take_new([Mark(self.window.entry, base, len(keys))], keys, len(self.keys))

    @rule(count=st.integers(1, 4), later=st.integers(0, 3))
    def take_again(self, count: int, later: int) -> None:
        self.now_ms += later
        self.window.take_again(count, self.now_ms)

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        if self.window.out:
            chosen = data.draw(st.sets(st.sampled_from(sorted(self.window.out)), min_size=1))
            firsts = {
                key: min(o for o in self.window.out if self.keys[o] == key) for key in set(self.window.out.values())
            }
            chosen = {o for o in chosen if self.keys[o] is None or o == firsts[self.keys[o]]}
            assert not chosen & self.done
            self.window.settle(chosen)
            self.done |= chosen

    @rule(data=st.data(), delay=st.integers(0, 5))
    def release(self, data: st.DataObject, delay: int) -> None:
        if self.window.out:
            chosen = data.draw(st.sets(st.sampled_from(sorted(self.window.out)), min_size=1))
            self.window.release(chosen, self.now_ms + delay)

    @rule(crashed=st.booleans())
    def change_hands(self, crashed: bool) -> None:
        if not crashed:
            self.window.give_back()
        self.window = saved(self.window, crashed=crashed, handed=self.window.next)

    @invariant()
    def every_offset_is_somewhere(self) -> None:
        window = self.window
        parked = {offset for park in window.parks.values() for offset in park.offsets}
        places = [set(window.out), set(window.returned), parked, self.done]
        assert sum(map(len, places)) == len(set().union(*places)) == len(self.keys)
        if window.open_count:
            assert window.mark_of(min(*places[0], *places[1], *places[2], 1 << 40)).entry == window.low()[0]

    @invariant()
    def no_key_is_overtaken(self) -> None:
        waiting = {key: park.offsets[0] for key, park in self.window.parks.items() if isinstance(key, bytes)}
        for offset, key in self.window.out.items():
            assert key not in waiting or offset < waiting[key]


TestWindows = Windows.TestCase
TestWindows.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
