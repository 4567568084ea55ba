"""The latest states of a reader's lanes, in one row: to write many lanes down costs what one costs.

The row has a generation, which changes when another reader takes a lane over. So a write under a generation proves by
itself that those lanes are still this reader's which were so under that one: these are trusted, and of each other lane
the claim is looked at first, as it is of all where the row is another one by now. What is in the row is newer than the
table of states, and true of the lanes that its reader has claimed. Whoever moves a lane writes its states to that table
first, and takes them out of the row, all in one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import and_, bindparam, delete, select, update
from sqlalchemy.engine import Connection

from evermq.progress.tables import fresh, put, put_new, states
from evermq.settling import States

__all__ = ["Fresh", "drop_empty", "fresh_of", "fresh_of_all"]

_STREAMS_MAX = 2_048  # in the row; beyond it, they go to the table of states

_WRITE = (
    update(fresh)
    .where(
        fresh.c.topic == bindparam("of_topic"),
        fresh.c.grp == bindparam("of_grp"),
        fresh.c.reader == bindparam("of_reader"),
        fresh.c.generation == bindparam("known"),
    )
    .values(states=bindparam("written"))
)


class Fresh:
    """own: topic and group. reader: whose row it is. Used in one transaction at a time; after one that failed, call
    `forget`, and the row is read again before the next write."""

    def __init__(self, own: Mapping[str, str], reader: str) -> None:
        self._own = dict(own)
        self._reader = reader
        self._generation: int | None = None
        self._states: States = {}
        self._trusted: set[int] = set()

    def forget(self) -> None:
        """What is in the row is not known any more."""
        self._generation = None

    def load(self, connection: Connection) -> None:
        """Read the row, or make it. No lane is trusted where it is not the one that was known."""
        found = _row(connection, self._own, self._reader)
        if found is None:
            row = {**self._own, "reader": self._reader, "generation": 1, "states": "{}"}
            connection.execute(put_new(fresh, connection.dialect), row)
            self._generation, found = None, (1, {})
        if found[0] != self._generation:
            self._trusted.clear()
        self._generation, self._states = found

    def trust(self, lanes: Collection[int]) -> None:
        """These are this reader's, as the claims say that it has locked, or taken, in this transaction."""
        self._trusted.update(lanes)

    def write(self, connection: Connection, found: States) -> bool:
        """Add these to the row; False where that is not known, a lane is not trusted, or another reader has taken one:
        nothing is written."""
        if self._generation is None or not self._trusted.issuperset(found):
            return False
        merged = {**self._states}
        for lane, streams in found.items():
            before = merged.get(lane)
            merged[lane] = {**before, **streams} if before else streams
        whole: States = {}
        if sum(map(len, merged.values())) > _STREAMS_MAX:
            whole, merged = merged, {}
        if not self._replace(connection, merged):
            return False
        self._settle_down(connection, whole)
        return True

    def move_out(self, connection: Connection, lanes: Collection[int]) -> None:
        """Before others may have these lanes: their states go to the table."""
        self._trusted.difference_update(lanes)
        if self._generation is None:
            self.load(connection)
        while True:
            gone = {lane: self._states[lane] for lane in lanes if lane in self._states}
            if not gone:
                return None
            rest = {lane: streams for lane, streams in self._states.items() if lane not in gone}
            if self._replace(connection, rest):
                return self._settle_down(connection, gone)
            self.load(connection)

    def remove(self, connection: Connection, streams: Mapping[int, Collection[str]]) -> bool:
        """These are forgotten; False as of `write`."""
        if self._generation is None or not self._trusted.issuperset(streams):
            return False
        rest = {
            lane: {name: state for name, state in states.items() if name not in streams.get(lane, ())}
            for lane, states in self._states.items()
        }
        return self._replace(connection, rest)

    def take_from(self, connection: Connection, owner: str, lanes: Collection[int]) -> None:
        """Before these lanes of a reader that is gone may be this one's: what it writes from now on does not count."""
        found = _row(connection, self._own, owner)
        if found is None:
            return
        generation, before = found
        rest = {lane: streams for lane, streams in before.items() if lane not in lanes}
        row = _of(self._own, owner)
        if rest:
            connection.execute(update(fresh).where(row).values(generation=generation + 1, states=_dump(rest)))
        else:
            connection.execute(delete(fresh).where(row))  # a write of the owner finds no row, which fences it as well
        self._settle_down(connection, {lane: before[lane] for lane in lanes if lane in before})

    def drop(self, connection: Connection) -> None:
        """The reader leaves, and has nothing any more."""
        connection.execute(delete(fresh).where(_of(self._own, self._reader)))

    def _replace(self, connection: Connection, found: States) -> bool:
        row = {"of_topic": self._own["topic"], "of_grp": self._own["grp"], "of_reader": self._reader}
        written = {**row, "known": self._generation, "written": _dump(found)}
        if not (connection.execute(_WRITE, written)).rowcount:
            return False
        self._states = found
        return True

    def _settle_down(self, connection: Connection, found: States) -> None:
        """Into the table of states."""
        rows = [
            {**self._own, "stream": stream, "lane": lane, "state": state}
            for lane, streams in found.items()
            for stream, state in streams.items()
        ]
        if rows:
            connection.execute(put(states, connection.dialect, "lane", "state"), rows)


def fresh_of(connection: Connection, own: Mapping[str, str], owners: Mapping[int, str]) -> States:
    """What the rows of these owners, by lane, say of their lanes."""
    if not owners:
        return {}
    mine = and_(fresh.c.topic == own["topic"], fresh.c.grp == own["grp"], fresh.c.reader.in_(set(owners.values())))
    found: States = {}
    for row in connection.execute(select(fresh.c.reader, fresh.c.states).where(mine)):
        found.update({lane: s for lane, s in _load(row.states).items() if owners.get(lane) == row.reader})
    return found


def fresh_of_all(connection: Connection, own: Mapping[str, str]) -> list[tuple[str, str]]:
    """The streams in the rows of all readers of a group, and their states."""
    mine = and_(fresh.c.topic == own["topic"], fresh.c.grp == own["grp"])
    rows = [_load(text) for text in connection.execute(select(fresh.c.states).where(mine)).scalars()]
    return [item for lanes in rows for streams in lanes.values() for item in streams.items()]


def drop_empty(connection: Connection, own: Mapping[str, str], reader: str) -> None:
    """The row of a reader that ended, if it has nothing. Should it live all the same, it makes another one."""
    connection.execute(delete(fresh).where(_of(own, reader), fresh.c.states == _dump({})))


def _row(connection: Connection, own: Mapping[str, str], reader: str) -> tuple[int, States] | None:
    query = select(fresh.c.generation, fresh.c.states).where(_of(own, reader)).with_for_update()
    row = (connection.execute(query)).one_or_none()
    return (row.generation, _load(row.states)) if row else None


def _of(own: Mapping[str, str], reader: str) -> Any:
    return and_(fresh.c.topic == own["topic"], fresh.c.grp == own["grp"], fresh.c.reader == reader)


def _dump(found: States) -> str:
    return json.dumps(found, separators=(",", ":"))


def _load(text: str) -> States:
    return {int(lane): streams for lane, streams in json.loads(text).items()}
