"""Check offline what groups have done: records, lanes, places inside the log; and what follows where they are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from evermq.adapters.log.catalog import Catalog, GroupRecord
from evermq.adapters.log.cursor_file import Change, is_torn, newest, records
from evermq.adapters.log.disk import Disk
from evermq.adapters.log.index import LaneId

__all__ = ["Finding", "check_cursors"]

_NAMES_MAX = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """is_problem: it does not come from a crash or a loss of power."""

    text: str
    is_problem: bool


def check_cursors(disk: Disk, catalog: Catalog | None, ends: Mapping[LaneId, int]) -> Iterator[Finding]:
    """What is wrong with the cursors of a log. ends: of its lanes."""
    groups = {group.number: group for group in catalog.groups} if catalog else {}
    name = newest(disk.names())
    if name is None:
        if groups:
            yield Finding(f"nothing says what {_names(catalog)} did: they begin where they were made", False)
        return
    file = disk.open(name)
    try:
        buffer = file.pread(file.size(), 0)
    finally:
        file.close()
    reached: dict[tuple[int, int], int] = {}
    for begin, stop, changes in records(buffer):
        if changes is None:
            # An owner that was killed in the middle of a write leaves that, and a later one appends behind it.
            torn = begin > 0 and is_torn(buffer[begin:stop], begin)
            cause = "; a crash, a loss of power or a full disk leaves it so" if torn else ""
            what = f"{name}: {stop - begin} bytes at {begin} are not intact{cause}"
            yield Finding(f"{what}: {_names(catalog)} will see messages again that they had settled", not torn)
        for change in changes or ():
            if change.group in groups:
                key = (change.group, change.lane)
                reached[key] = max(reached.get(key, 0), _reach(change))
    for (number, lane), offset in reached.items():
        yield from _misplaced(name, groups[number], lane, offset, catalog, ends)


def _reach(change: Change) -> int:
    """The offset behind all that a change tells of."""
    stops = [stop for _, stop in change.settled] + [offset + 1 for offset, _, _ in change.parked]
    return max(change.next, *stops, 0)


def _misplaced(
    name: str,
    group: GroupRecord,
    lane: int,
    offset: int,
    catalog: Catalog | None,
    ends: Mapping[LaneId, int],
) -> Iterator[Finding]:
    who = f"{name}: group {_topics(catalog).get(group.topic)}/{group.name}"
    if lane >= len(group.starts):
        yield Finding(f"{who} stands in lane {lane} of {len(group.starts)}: that is left out of account", True)
        return
    end = ends.get((group.topic, lane), 0)
    if offset > max(end, group.starts[lane]):
        text = f"{who} stands at offset {offset} of lane {lane}, which ends at {end}: it gets what comes from there on"
        yield Finding(f"{text}; a loss of power leaves it so", False)


def _topics(catalog: Catalog | None) -> dict[int, str]:
    return {topic.number: topic.name for topic in catalog.topics} if catalog else {}


def _names(catalog: Catalog | None) -> str:
    if catalog is None:
        return "the groups, which no catalog names,"
    topics = _topics(catalog)
    names = sorted(f"{topics.get(group.topic)}/{group.name}" for group in catalog.groups)
    more = f" and {len(names) - _NAMES_MAX} more" if len(names) > _NAMES_MAX else ""
    return f"groups {', '.join(names[:_NAMES_MAX])}{more}"
