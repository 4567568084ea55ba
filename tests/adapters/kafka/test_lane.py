"""A lane hands out each record until it is settled, in order per key, and remembers over restarts."""

from random import Random

import pytest

from evermq.adapters.kafka.group import Group
from evermq.adapters.kafka.lane import Lane
from evermq.adapters.kafka.progress import unpack
from evermq.message import NO_HEADERS, Message

WINDOW = 10_000
ID = "topic"


def message(offset: int, key: bytes | None = None) -> Message:
    return Message(str(offset), key, b"", NO_HEADERS, 0)


class Reader:
    is_waiting = False

    def wake(self) -> None: ...


def lane_at(low: int = 0, metadata: str = "") -> Lane:
    return Lane.restore(0, "0", low, unpack(ID, low, metadata))


def handed_out(lane: Lane, count_max: int = 1_000, now_ms: int = 0, window: int = WINDOW) -> list[int]:
    return [offset for offset, _ in lane.take(count_max, now_ms, window)[0]]


def test_gaps_count_as_done() -> None:
    lane = lane_at()
    lane.add([(offset, message(offset)) for offset in (3, 4, 9)])
    assert handed_out(lane) == [3, 4, 9]
    assert lane.done.low == 3
    lane.settle([3, 4])
    assert lane.done.low == 9
    lane.settle([9])
    assert lane.done.low == 10


def test_end_behind_a_marker_is_reached() -> None:
    lane = lane_at()
    lane.add([(0, message(0))])
    handed_out(lane)
    lane.reach(3)
    assert lane.done.low == 0
    lane.settle([0])
    assert lane.snapshot(ID, bytes_max=4_096)[0] == 3
    lane.add([(3, message(3))])
    assert handed_out(lane) == [3]


def test_done_beyond_the_committed_offset_does_not_come_again() -> None:
    lane = lane_at()
    rows = [(offset, message(offset)) for offset in range(10)]
    lane.add(rows)
    handed_out(lane)
    lane.settle([2, 5, 6])
    again = lane_at(*lane.snapshot(ID, bytes_max=4_096))
    again.add(rows)
    found, attempts = again.take(100, 0, WINDOW)
    assert [offset for offset, _ in found] == [0, 1, 3, 4, 7, 8, 9]
    assert attempts == [2] * 7


def test_delay_and_attempt_outlive_a_restart() -> None:
    lane = lane_at()
    rows = [(offset, message(offset, b"k")) for offset in range(3)]
    lane.add(rows)
    handed_out(lane)
    lane.settle([0])
    lane.release([1], due_ms=500)
    again = lane_at(*lane.snapshot(ID, bytes_max=4_096))
    again.add([*rows[1:], (3, message(3, b"k"))])
    assert handed_out(again, now_ms=499) == []
    found, attempts = again.take(100, 500, WINDOW)
    assert [offset for offset, _ in found] == [1, 2, 3]
    assert attempts == [2, 2, 1]


def test_other_process_goes_by_the_wall_clock() -> None:
    lane = lane_at()
    lane.add([(offset, message(offset)) for offset in range(3)])
    handed_out(lane)
    lane.release([1], due_ms=500)
    low, metadata = lane.snapshot(ID, bytes_max=4_096, ahead_ms=1_000_000)
    progress = unpack(ID, low, metadata)
    assert [each.due_ms for each in progress.again if each.due_ms] == [1_000_500]
    again = Lane.restore(0, "0", low, progress, ahead_ms=999_900)  # its machine runs for longer
    assert again.snapshot(ID, bytes_max=4_096, ahead_ms=999_900) == (low, metadata)
    again.add([(offset, message(offset)) for offset in range(3)])
    assert handed_out(again, now_ms=599) == [0, 2]
    assert handed_out(again, now_ms=600) == [1]


def test_what_was_given_back_is_to_be_committed() -> None:
    """Else the next owner hands out before its time what was released, and counts an attempt too few."""
    lane = lane_at()
    lane.add([(offset, message(offset)) for offset in range(3)])
    handed_out(lane)
    assert not lane.dirty
    lane.release([1], due_ms=500)
    assert lane.dirty
    lane.dirty = False
    lane.give_back()
    assert lane.dirty


def test_attempts_of_what_is_settled_are_not_kept() -> None:
    lane = lane_at()
    lane.add([(offset, message(offset)) for offset in range(3)])
    handed_out(lane)
    lane.release([0, 1, 2], due_ms=0)
    assert lane.take(10, 0, WINDOW)[1] == [2, 2, 2]
    lane.settle([0, 2])
    assert lane.attempts == {1: 2}
    lane.settle([1])
    assert not lane.attempts


def test_window_is_kept() -> None:
    lane = lane_at()
    lane.add([(offset, message(offset)) for offset in range(50)])
    assert handed_out(lane, window=10) == list(range(10))
    assert handed_out(lane, window=10) == []
    lane.settle(range(5))
    assert handed_out(lane, window=10) == list(range(10, 15))


def test_one_message_that_is_held_lets_all_others_flow() -> None:
    lane, found = lane_at(), []
    lane.add([(offset, message(offset)) for offset in range(3_000)])
    while taken := handed_out(lane, count_max=7, window=50):
        found += taken
        lane.settle([offset for offset in taken if offset])
    assert found == list(range(3_000))
    again = lane_at(*lane.snapshot(ID, bytes_max=4_096))
    again.add([(offset, message(offset)) for offset in range(3_010)])
    assert handed_out(again) == [0, *range(3_000, 3_010)]


def test_what_waits_behind_its_key_counts_for_the_window() -> None:
    lane = lane_at()
    lane.add([(offset, message(offset, b"k" if offset % 2 else None)) for offset in range(50)])
    lane.settle([0, *handed_out(lane, count_max=2)[:1]])
    lane.release([1], due_ms=100)
    while taken := handed_out(lane, window=10):
        lane.settle(taken)
    assert lane.open_count == 10
    assert handed_out(lane, now_ms=100, window=10) == list(range(1, 21, 2))
    lane.settle(range(21))
    assert lane.open_count == 0
    assert handed_out(lane, now_ms=100, window=10) == list(range(20, 30))


def test_restart_repeats_no_more_than_a_window_however_little_a_commit_can_tell() -> None:
    rows = [(offset, message(offset)) for offset in range(10_000)]
    lane, settled = lane_at(), set()
    lane.snapshot(ID, bytes_max=200)
    lane.add(rows)
    while taken := handed_out(lane, count_max=100, window=1_000):
        done = [offset for offset in taken if offset % 3]
        lane.settle(done)
        settled |= {*done}
    assert lane.open_count < 1_000
    again = lane_at(*lane.snapshot(ID, bytes_max=200))
    again.add(rows)
    assert 100 < len(settled.intersection(handed_out(again, count_max=5_000))) <= 1_000
    lane.settle([offset for offset, _ in rows])
    assert handed_out(lane, count_max=100, window=1_000)


def test_group_above_which_doubles_are_dropped_reads_on() -> None:
    handed: dict[bool, int] = {}
    for at_once in (False, True):
        group, reader = Group("g", 1_000, at_once=at_once), Reader()
        group.readers[reader] = {}
        lane = lane_at()
        lane.snapshot(ID, bytes_max=200)
        lane.add([(offset, message(offset)) for offset in range(10_000)])
        group.assign([lane])
        while taken := group.take(reader, 100, 0):
            offsets = [offset for _, rows, _ in taken for offset, _ in rows]
            handed[at_once] = handed.get(at_once, 0) + len(offsets)
            group.settle(reader, {0: [offset for offset in offsets if offset % 20]})
    assert handed[False] < 3_000
    assert handed[True] == 10_000


@pytest.mark.parametrize("seed", range(300))
def test_nothing_is_lost_doubled_or_reordered(seed: int) -> None:
    """Any gaps, any order of completion, releases, restarts: each key in order, each offset settled once."""
    chance = Random(seed)
    offsets = sorted(chance.sample(range(150), chance.randint(1, 60)))
    keys = {offset: chance.choice([None, b"a", b"b"]) for offset in offsets}
    rows = [(offset, message(offset, keys[offset])) for offset in offsets]
    lane, fetched, now_ms = lane_at(), 0, 0
    out: set[int] = set()
    settled: list[int] = []
    while len(settled) < len(rows):
        now_ms += 10
        act = chance.choice(["fetch", "take", "take", "settle", "settle", "settle", "release", "restart"])
        if act == "fetch" and fetched < len(rows):
            stop = min(fetched + chance.randint(1, 20), len(rows))
            lane.add(rows[fetched:stop])
            fetched = stop
        elif act == "take":
            found = handed_out(lane, chance.randint(1, 10), now_ms)
            assert not out & {*found}
            assert not {*settled} & {*found}
            out |= {*found}
        elif act == "settle" and out:
            key = keys[chance.choice(sorted(out))]
            done = min(offset for offset in out if keys[offset] == key)
            out.discard(done)
            lane.settle([done])
            settled.append(done)
        elif act == "release" and out:
            first = chance.choice(sorted(out))
            lane.release([first], now_ms + 15)
            key = keys[first]
            out -= {o for o in out if o == first or (key is not None and keys[o] == key and o > first)}
        elif act == "restart" and chance.random() < 0.3:
            lane = lane_at(*lane.snapshot(ID, bytes_max=4_096))
            fetched = sum(offset < lane.next for offset in offsets)
            out.clear()
    assert sorted(settled) == offsets
    for key in (b"a", b"b"):
        mine = [offset for offset in settled if keys[offset] == key]
        assert mine == sorted(mine)
    assert lane.done.low > offsets[-1]


def test_log_that_lost_its_end_takes_nothing_else_with_it() -> None:
    """What is below the new end stays as it is; of what comes from there on anew nothing is passed over."""
    lane = lane_at()
    lane.add([(offset, message(offset)) for offset in range(12)])
    assert handed_out(lane, 9) == list(range(9))
    lane.settle([0, 1, 3, 7, 8])
    lane.release([4, 6], 50)
    lane.cut(6)
    assert (lane.next, lane.done.low, sorted(lane.out), lane.parked) == (6, 2, [2, 5], 1)
    lane.add([(offset, message(offset)) for offset in range(6, 12)])
    assert handed_out(lane, now_ms=50) == [4, *range(6, 12)]
    assert lane.settle([2, 4, 5, *range(6, 11)]) == 8
    assert lane.snapshot(ID, bytes_max=4_096)[0] == 11


@pytest.mark.parametrize("seed", range(40))
def test_lane_that_is_cut_hands_out_all_that_was_not_settled_below_and_all_beyond(seed: int) -> None:
    random = Random(seed)
    lane = lane_at()
    lane.add([(offset, message(offset, random.choice([None, b"a", b"b"]))) for offset in range(40)])
    taken = handed_out(lane, random.randint(1, 40))
    settled = random.sample(taken, random.randint(1, len(taken)))
    lane.settle(settled)
    lane.release(random.sample(taken, random.randint(0, len(taken))), 10)
    end = random.randint(0, 40)
    lane.cut(end)
    lane.add([(offset, message(offset)) for offset in range(end, 50)])
    lane.give_back()
    again = handed_out(lane, now_ms=10) + handed_out(lane, now_ms=10)
    assert sorted(again) == sorted({*range(50)} - {offset for offset in settled if offset < end})
    lane.settle(again)
    assert lane.snapshot(ID, bytes_max=4_096)[0] == 50
