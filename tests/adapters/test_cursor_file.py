"""The file of what groups have done: what a power cut left of it never stops a log from opening."""

from evermq.adapters.log.cursor_file import Change, CursorFile
from evermq.testing.simulation.disk import FakeDisk


def test_head_torn_behind_its_magic_is_passed_over() -> None:
    disk = FakeDisk()
    CursorFile(disk).add([Change(1, 0, 5)])
    disk.open("cursors-00000001").pwrite([b"EVQC" + bytes(8)], disk.open("cursors-00000001").size(), sync=True)
    file = CursorFile(disk)
    assert [change.next for change in file.load()] == [5]
    file.add([Change(1, 0, 9)])
    assert [change.next for change in CursorFile(disk).load()] == [5, 9]
