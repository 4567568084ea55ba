"""Which producers are gone, by what a group has settled of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from sqlalchemy import and_, or_, select
from sqlalchemy.engine import Connection

from evermq.numbers import producer_of
from evermq.progress.fresh import fresh_of_all
from evermq.progress.tables import states
from evermq.settled import Settled

__all__ = ["alive_since"]


def alive_since(connection: Connection, own: Mapping[str, str], producers: Collection[str], day: int) -> set[str]:
    """Those of these producers of which some stream, in any lane, was written on this day or later.

    own: topic and group. One of which it is not known when it was written counts as well."""
    found = set()
    for stream, text in [*_states(connection, own, producers), *fresh_of_all(connection, own)]:
        producer = producer_of(stream)
        if producer in producers and producer not in found:
            written = Settled.unpack(text).day
            if not written or written >= day:
                found.add(producer)
    return found


def _states(connection: Connection, own: Mapping[str, str], producers: Collection[str]) -> Iterator[tuple[str, str]]:
    mine = and_(states.c.topic == own["topic"], states.c.grp == own["grp"])
    theirs = or_(*(states.c.stream.startswith(f"{producer}.", autoescape=True) for producer in sorted(producers)))
    for row in connection.execute(select(states.c.stream, states.c.state).where(mine, theirs)):
        yield row.stream, row.state
