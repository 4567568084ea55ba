"""What `evermq verify` says of groups, of topics without a catalog, and of segments that are not there any more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from evermq.adapters.log import segment
from evermq.adapters.log.cursor_file import Change, CursorFile
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.system_disk import SystemDisk
from evermq.adapters.log.verify import verify
from evermq.message import MessageFactory

_MAKE = MessageFactory()


async def log_in(directory: Path, count: int = 3, *, closed: bool = True) -> None:
    """A group that has settled all messages, one by one."""
    place = await LogPlace.open(directory, lanes=1, segment_bytes=65_536, retain_bytes=0)
    queue = await place.queue("t")
    reader = await queue.reader("g")
    for _ in range(count):
        await queue.append([_MAKE(b"x" * 1_000)])
        await reader.ack(await reader.read(count_max=1, wait_ms=0))
    await reader.close()
    place.tidy()
    if not closed:
        place.disown("it was killed")
        return
    await place.close()


def cursors(directory: Path) -> Path:
    [path] = directory.glob("cursors-*")
    return path


@pytest.mark.parametrize("closed", [True, False])
async def test_random_bytes_in_place_of_cursors_are_a_problem(
    tmp_path: Path, closed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    await log_in(tmp_path, closed=closed)
    assert verify(tmp_path).ok
    cursors(tmp_path).write_bytes(os.urandom(300))
    [problem] = verify(tmp_path).problems
    assert "cursors-00000001: 300 bytes at 0 are not intact: groups t/g will see messages again" in problem
    place = await LogPlace.open(tmp_path)
    assert "300 bytes of cursors-00000001 are not intact" in caplog.text
    await place.close()


@pytest.mark.parametrize("closed", [True, False])
async def test_bit_that_flipped_in_cursors_is_a_problem(tmp_path: Path, closed: bool) -> None:
    await log_in(tmp_path, closed=closed)
    whole = bytearray(cursors(tmp_path).read_bytes())
    whole[len(whole) - 2] ^= 1
    cursors(tmp_path).write_bytes(whole)
    [problem] = verify(tmp_path).problems
    assert "are not intact" in problem


@pytest.mark.parametrize("closed", [True, False])
async def test_end_of_cursors_that_a_loss_of_power_took_is_only_a_note(tmp_path: Path, closed: bool) -> None:
    await log_in(tmp_path, closed=closed)
    whole = cursors(tmp_path).read_bytes()
    for left in (whole[:-3], whole[:-3] + bytes(3), whole[:-18] + bytes(18)):
        cursors(tmp_path).write_bytes(left)
        report = verify(tmp_path)
        assert report.ok
        assert "a loss of power or a full disk leaves it so: groups t/g will see messages again" in str(report.notes)


async def test_record_of_another_shape_is_not_intact_and_does_no_harm(tmp_path: Path) -> None:
    await log_in(tmp_path)
    path = cursors(tmp_path)
    file = CursorFile(SystemDisk(tmp_path))
    list(file.load())
    file.add([7])  # type: ignore[list-item]
    file.close()
    assert path.name in str(verify(tmp_path).problems)
    place = await LogPlace.open(tmp_path)
    assert not await (await (await place.queue("t")).reader("g")).read(count_max=9, wait_ms=0)
    await place.close()


async def cursors_with(tmp_path: Path, change: Change) -> None:
    await log_in(tmp_path)
    file = CursorFile(SystemDisk(tmp_path))
    list(file.load())
    file.add([change])
    file.close()


async def test_lane_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    await cursors_with(tmp_path, Change(2, 7, next=1))
    [problem] = verify(tmp_path).problems
    assert "group t/g stands in lane 7 of 1" in problem


async def test_place_behind_the_end_of_a_lane_is_a_note_as_a_loss_of_power_leaves_it(tmp_path: Path) -> None:
    await cursors_with(tmp_path, Change(2, 0, next=99))
    report = verify(tmp_path)
    assert report.ok
    assert any("group t/g stands at offset 99 of lane 0, which ends at 3" in note for note in report.notes)


async def test_what_the_oldest_segments_held_is_a_note(tmp_path: Path) -> None:
    await log_in(tmp_path, 200)
    kept = min(int(path.name.partition("-")[2], 16) for path in tmp_path.glob("segment-*"))
    assert kept > 1
    report = verify(tmp_path)
    assert report.ok
    [note] = [note for note in report.notes if "messages below offset" in note]
    assert note.startswith("t: messages below offset ")
    assert "of lane 0 are not there any more" in note


async def test_topics_have_numbers_where_no_catalog_names_them(tmp_path: Path) -> None:
    await log_in(tmp_path)
    for copy in ("catalog-a", "catalog-b"):
        (tmp_path / copy).write_bytes(b"nothing")
    report = verify(tmp_path)
    assert not report.ok
    assert report.topics == {"(topic 1)": 3}


async def test_whoever_waits_is_told_of_every_segment(tmp_path: Path) -> None:
    await log_in(tmp_path, 200)
    told: list[tuple[int, int]] = []
    report = verify(tmp_path, lambda count, total: told.append((count, total)))
    assert told == [(count, report.segments) for count in range(1, report.segments + 1)]


async def many_segments(directory: Path) -> list[str]:
    place = await LogPlace.open(directory, lanes=1, segment_bytes=65_536)
    queue = await place.queue("t")
    for _ in range(400):
        await queue.append([_MAKE(b"x" * 1_000)])
    await place.close()
    names = sorted(path.name for path in directory.glob("segment-*"))
    assert len(names) > 6
    return names


def make_newer(directory: Path, name: str) -> None:
    """As a newer evermq would write it, which this one does not read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment, "FORMAT", 99)
        segment.write_header(SystemDisk(directory).open(name), segment.number_of(name) or 0, 0)


async def test_segment_of_a_newer_format_is_named_and_not_called_missing(tmp_path: Path) -> None:
    names = await many_segments(tmp_path)
    make_newer(tmp_path, names[1])
    [newer] = verify(tmp_path).problems
    assert newer == f"{names[1]} has format version 99, this evermq reads up to 1: use a newer evermq"


@pytest.mark.parametrize("unread", [0, 1])
@pytest.mark.parametrize("gone", [1, 2])
async def test_segment_that_is_missing_behind_one_that_cannot_be_read_is_named(
    tmp_path: Path, unread: int, gone: int
) -> None:
    names = await many_segments(tmp_path)
    make_newer(tmp_path, names[unread])
    for name in names[unread + 1 : unread + 1 + gone]:
        (tmp_path / name).unlink()
    newer, missing = verify(tmp_path).problems
    assert newer.startswith(f"{names[unread]} has format version 99")
    number = unread + 2
    assert missing.startswith(f"segment {number} is" if gone == 1 else f"segments {number} to {number + 1} are")
    assert " missing, groups up to " in missing


async def test_segment_that_is_missing_between_two_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    names = await many_segments(tmp_path)
    make_newer(tmp_path, names[1])
    (tmp_path / names[2]).unlink()
    make_newer(tmp_path, names[3])
    problems = verify(tmp_path).problems
    assert len(problems) == 3
    assert "segment 3 is missing: removed by somebody else, or lost by the disk" in problems


async def test_what_goes_behind_a_segment_that_was_put_aside_is_not_missing(tmp_path: Path) -> None:
    names = await many_segments(tmp_path)
    for name in names[1:4]:
        (tmp_path / name).unlink()
    (tmp_path / names[0]).rename(tmp_path / f"damaged-{names[0]}")
    assert not [problem for problem in verify(tmp_path).problems if "missing" in problem]
