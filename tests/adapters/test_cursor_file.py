"""The file of what groups have done: what a power cut left of it never stops a log from opening."""

import pytest

from evermq.adapters.log.cursor_file import Change, CursorFile, _record, is_torn
from evermq.testing.simulation.disk import FakeDisk


def test_head_torn_behind_its_magic_is_passed_over() -> None:
    disk = FakeDisk()
    CursorFile(disk).add([Change(1, 0, 5)])
    disk.open("cursors-00000001").pwrite([b"EVQC" + bytes(8)], disk.open("cursors-00000001").size(), sync=True)
    file = CursorFile(disk)
    assert [change.next for change in file.load()] == [5]
    file.add([Change(1, 0, 9)])
    assert [change.next for change in CursorFile(disk).load()] == [5, 9]


RECORD = _record([Change(5, 1, 1 << 40, [(1 << 41, 1 << 42)], [(1 << 43, 2, 7)])])


@pytest.mark.parametrize("first", range(1, len(RECORD)))
@pytest.mark.parametrize("second", range(4, len(RECORD), 5))
def test_owners_that_are_killed_one_after_the_other_leave_what_is_torn(first: int, second: int) -> None:
    assert is_torn(RECORD[:first] + RECORD[:second], 126)


@pytest.mark.parametrize("first", [12, 13, 30])
def test_rot_behind_what_is_torn_is_none_of_that(first: int) -> None:
    rotten = RECORD[:20] + bytes([RECORD[20] ^ 1]) + RECORD[21:]
    assert not is_torn(RECORD[:first] + rotten, 126)
    assert not is_torn(rotten, 126)
