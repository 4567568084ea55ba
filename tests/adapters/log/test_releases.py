"""A lane of which much is out, or waits: what a release costs, and in which order it comes again."""

from __future__ import annotations

from collections.abc import Sequence

from evermq.adapters.log.lane_cursor import LaneCursor


class Keys:
    """Five keys in turn; notes which offsets were read for them."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def of(self, offsets: Sequence[int]) -> list[bytes | None]:
        self.read += offsets
        return [b"%d" % (offset % 5) for offset in offsets]


def taken(count: int) -> LaneCursor:
    cursor = LaneCursor(1, 0)
    cursor.take_new([range(count)], count)
    return cursor


def test_messages_are_read_for_their_keys_once_however_many_are_released() -> None:
    """All that is out was read from the disk with each release, megabytes for one message."""
    cursor, keys = taken(100), Keys()
    for offset in range(5):
        cursor.release([offset], 10, keys.of)
    assert sorted(keys.read) == list(range(100))
    assert cursor.unsettled == 100
    assert not cursor.out


def test_of_what_is_settled_no_key_is_kept() -> None:
    cursor, keys = taken(10), Keys()
    cursor.release([3], 10, keys.of)
    assert cursor.parks[b"3"].offsets == [3, 8]
    cursor.settle(range(3))
    taken_again, _ = cursor.take_again(10, 10)
    cursor.settle(taken_again)
    assert sorted(cursor.keys) == [4, 5, 6, 7, 9]


def test_what_is_due_comes_in_the_order_of_the_lane() -> None:
    """One key after the other, each of its messages was read by itself, with all that was written beside it."""
    cursor, keys = taken(20), Keys()
    cursor.release([4, 0, 13], 10, keys.of)
    assert cursor.again(20, 9) == []
    first, _ = cursor.take_again(3, 10)
    assert (first, cursor.again(20, 10)) == ([0, 4, 5], [9, 10, 13, 14, 15, 18, 19])


def test_what_is_given_back_already_waits_behind_a_release_of_its_key() -> None:
    cursor, keys = taken(10), Keys()
    cursor.give_back()
    first, _ = cursor.take_again(2, 0)
    cursor.release(first, 10, keys.of)
    assert (cursor.returned, cursor.again(20, 0)) == ([2, 3, 4, 7, 8, 9], [2, 3, 4, 7, 8, 9])
    assert {key: park.offsets for key, park in cursor.parks.items()} == {b"0": [0, 5], b"1": [1, 6]}
    assert [cursor.attempt(offset) for offset in (0, 5)] == [3, 2]
