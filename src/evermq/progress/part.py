"""One reader's part in the progress of a group, in SQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import and_, bindparam, delete, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncSession

from evermq.clock import Clock
from evermq.errors import Fenced, Unavailable
from evermq.numbers import producer_of
from evermq.progress.collecting import alive_since
from evermq.progress.database import LONG_MS_MAX, Database
from evermq.progress.fresh import Fresh, drop_empty, fresh_of
from evermq.progress.tables import claims, put, put_new, readers, settled, states
from evermq.progress.transaction import begin
from evermq.settled import Settled
from evermq.settling import Held, Renewed, Report, States, Wanted

__all__ = ["SqlPart"]

T = TypeVar("T")
_STILL_TIMES = 12  # as long as a reader may be silent: by then it ended
_BURIED_COUNT_MAX = 100  # in one renewal


class SqlPart:
    """See `Part`."""

    def __init__(self, database: Database, topic: str, group: str, *, silent_ms_max: int, clock: Clock) -> None:
        self._database = database
        self.silent_ms_max = silent_ms_max
        self._clock = clock
        self._own = {"topic": topic, "grp": group}
        self._reader = clock.token()
        self._beat = 0
        self._seen: dict[str, tuple[int, int]] = {}  # of other readers: their last beat, and when it changed
        self._looked_ms = 0
        self._left = False
        self._is_there = False  # has a row among the readers, unless others took it for gone
        self._fresh = Fresh(self._own, self._reader)
        self._recorded: set[str] = set()  # streams of which numbers were settled in a handler's own transaction
        self._turn = asyncio.Lock()
        self._reports: dict[str, tuple[str, Report]] = {}  # of each reader: what it says, and that as it was read

    async def claim(self, lanes: Collection[int]) -> States:
        if lanes and not self._is_there:
            raise Unavailable("this reader lost its lanes, and has to be heard of again before it claims others")
        return await self._run(partial(self._claim, lanes)) if lanes else {}

    async def give_back(self, lanes: Collection[int]) -> None:
        if lanes:
            await self._run(partial(self._give_back, lanes))

    async def settle(self, found: States) -> None:
        if found:
            await self._run(partial(self._settle, found))

    async def look(self, lanes: Collection[int], streams: Collection[str] | None = None) -> States:
        return await self._database.run(partial(self._look, lanes, streams))

    async def collect(self, streams: Mapping[int, Collection[str]], day: int) -> Collection[str]:
        return await self._run(partial(self._collect, streams, day), answer_ms_max=LONG_MS_MAX)

    async def renew(self, report: Report) -> Renewed:
        self._beat += 1
        row = {**self._own, "reader": self._reader, "beat": self._beat, "report": _dump(report)}
        everybody, wanted = await self._database.run(partial(self._renew, row))
        self._is_there = True
        beats = {each.reader: each.beat for each in everybody}
        self._look_at(beats)
        self._reports = {reader: each for reader, each in self._reports.items() if reader in beats}
        alive = [each for each in everybody if not self._is_gone(each.reader, beats)]
        lanes = frozenset(lane for lane, asking in wanted if not self._is_gone(asking, beats))
        return Renewed(lanes, tuple(self._loaded(each.reader, each.report) for each in alive))

    def _loaded(self, reader: str, text: str) -> Report:
        """What a reader says, read again only where it says something else."""
        before = self._reports.get(reader)
        if before is None or before[0] != text:
            before = self._reports[reader] = (text, _load(text))
        return before[1]

    async def leave(self) -> None:
        if not self._left:
            await self._run(self._leave)
            self._left = True

    async def record(
        self, session: AsyncSession, lane: int, stream: str, seq: int, is_due: Callable[[], bool] = lambda: True
    ) -> bool:
        """One number is settled in a transaction of the handler; False if it was already. Raises Fenced, and
        Misconfigured where this session would not undo it with the rest.

        is_due: asked once nobody else may take the lane before the transaction ends; False as well if it is not."""
        connection = await session.connection()
        await connection.run_sync(begin)
        return await connection.run_sync(partial(self._record, lane, stream, seq, is_due))

    def _claim(self, lanes: Collection[int], connection: Connection) -> States:
        mine, free, held, asked = self._who_has(connection, lanes)
        beats = self._beats(connection) if held else {}
        gone = {owner for owner in set(held.values()) if self._end(connection, owner, beats)}
        mine |= self._take_over(connection, {n: owner for n, owner in held.items() if owner in gone})
        for lane in held.keys() - mine:
            if asked[lane] is None or self._is_gone(asked[lane], beats):
                connection.execute(self._claim_of(lane).values(asking=self._reader))
        for lane in sorted(free):
            row = {**self._own, "lane": lane, "owner": self._reader, "asking": None}
            if connection.execute(put_new(claims, connection.dialect), row).rowcount:
                mine.add(lane)
        self._fresh.trust(mine)
        return self._states(connection, dict.fromkeys(mine, self._reader))

    def _settle(self, found: States, connection: Connection) -> None:
        if not self._fresh.write(connection, found):
            self._hold(connection, found)
            if not self._fresh.write(connection, found):
                raise Fenced("what this reader settles could not be written: its row is another one by now")
        if self._recorded:
            self._forget_settled(connection, found)

    def _collect(self, streams: Mapping[int, Collection[str]], day: int, connection: Connection) -> Collection[str]:
        self._hold(connection, streams)
        names = {name for each in streams.values() for name in each}
        alive = alive_since(connection, self._own, {producer_of(name) for name in names}, day)
        gone = {name for name in names if producer_of(name) not in alive}
        if not gone:
            return gone
        if not self._fresh.remove(connection, {lane: gone.intersection(each) for lane, each in streams.items()}):
            raise Fenced("what this reader forgets could not be written: its row is another one by now")
        for table in (states, settled):
            connection.execute(delete(table).where(self._mine(table), table.c.stream.in_(gone)))
        return gone

    def _look(self, lanes: Collection[int], streams: Collection[str] | None, connection: Connection) -> States:
        query = select(claims.c.lane, claims.c.owner).where(self._mine(claims), claims.c.lane.in_(lanes))
        owners = {row.lane: row.owner for row in connection.execute(query)}
        found = self._states(connection, dict.fromkeys(lanes, "") | owners, streams)
        if streams is None:
            return found
        return {lane: {name: each[name] for name in each.keys() & streams} for lane, each in found.items()}

    def _renew(self, row: dict[str, Any], connection: Connection) -> tuple[Sequence[Any], Sequence[Any]]:
        self._show(connection, row)
        everybody = connection.execute(select(readers).where(self._mine(readers))).all()
        still = [each for each in everybody if self._stood_still(each.reader, each.beat)]
        self._bury(connection, still[:_BURIED_COUNT_MAX])
        asked = select(claims.c.lane, claims.c.asking).where(
            self._mine(claims), claims.c.owner == self._reader, claims.c.asking.is_not(None)
        )
        return everybody, connection.execute(asked).all()

    def _leave(self, connection: Connection) -> None:
        lanes = select(claims.c.lane).where(self._mine(claims), claims.c.owner == self._reader)
        self._give_back(connection.execute(lanes).scalars().all(), connection)
        connection.execute(delete(readers).where(self._mine(readers), readers.c.reader == self._reader))
        self._fresh.drop(connection)

    def _record(self, lane: int, stream: str, seq: int, is_due: Callable[[], bool], connection: Connection) -> bool:
        self._check_claims(connection, {lane})
        if not is_due():
            return False
        self._recorded.add(stream)
        row = {**self._own, "stream": stream, "seq": seq, "lane": lane}
        is_new = bool(connection.execute(put_new(settled, connection.dialect), row).rowcount)
        # Whoever is handed the same number waits for this mark from here on; until it was there, he did not.
        return is_new and is_due()

    def _forget_settled(self, connection: Connection, found: States) -> None:
        """The numbers of handlers' own transactions that these states include."""
        known = {
            name: Settled.unpack(state)
            for streams in found.values()
            for name, state in streams.items()
            if name in self._recorded
        }
        if not known:
            return
        left = select(settled.c.stream, settled.c.seq).where(self._mine(settled), settled.c.stream.in_(known))
        done = [row for row in connection.execute(left) if row.seq in known[row.stream]]
        if done:
            # Each by its whole key: a range locks what is next to it as well, which an open handler may have.
            key = and_(self._mine(settled), settled.c.stream == bindparam("s"), settled.c.seq == bindparam("n"))
            connection.execute(delete(settled).where(key), [{"s": row.stream, "n": row.seq} for row in done])

    def _hold(self, connection: Connection, lanes: Collection[int]) -> None:
        """These stay this reader's until the commit, and may be written. Raises Fenced."""
        self._check_claims(connection, set(lanes))
        self._fresh.load(connection)
        self._fresh.trust(lanes)

    def _check_claims(self, connection: Connection, lanes: set[int]) -> None:
        held = select(claims.c.lane).where(self._mine(claims), claims.c.lane.in_(lanes), claims.c.owner == self._reader)
        # Locked until the commit, so that nobody takes the lane over in between. Shared, since nothing of the row is
        # changed then: handlers that have it do not wait for each other, nor does what this reader writes.
        found = set((connection.execute(held.with_for_update(read=True))).scalars())
        if lanes - found:
            raise Fenced(f"lanes {sorted(lanes - found)} are another reader's by now")

    def _who_has(
        self, connection: Connection, lanes: Collection[int]
    ) -> tuple[set[int], set[int], dict[int, str], dict[int, str | None]]:
        """Which of these lanes are this reader's, free, or another's, and who asked for them. One that is locked, as by
        a handler for as long as its transaction takes, is none of these: it is to be asked for again."""
        of_group = and_(self._mine(claims), claims.c.lane.in_(lanes))
        there = set(connection.execute(select(claims.c.lane).where(of_group)).scalars())
        query = select(claims).where(of_group).order_by(claims.c.lane)
        rows = connection.execute(query.with_for_update(skip_locked=True)).all()
        mine = {row.lane for row in rows if row.owner == self._reader}
        held = {row.lane: row.owner for row in rows if row.owner != self._reader}
        return mine, set(lanes) - there - mine - held.keys(), held, {row.lane: row.asking for row in rows}

    def _take_over(self, connection: Connection, held: Mapping[int, str]) -> set[int]:
        """Of the lanes of readers that are gone, those that nobody else has taken meanwhile."""
        for owner in sorted(set(held.values())):
            self._fresh.take_from(connection, owner, [lane for lane in held if held[lane] == owner])
        taken = set()
        for lane, owner in held.items():
            take = self._claim_of(lane).where(claims.c.owner == owner).values(owner=self._reader, asking=None)
            if (connection.execute(take)).rowcount:
                taken.add(lane)
        return taken

    def _give_back(self, lanes: Collection[int], connection: Connection) -> None:
        """Whoever asked has the lane from now on."""
        if not lanes:
            return
        self._fresh.move_out(connection, lanes)
        held = select(claims.c.lane, claims.c.asking).where(
            self._mine(claims), claims.c.lane.in_(lanes), claims.c.owner == self._reader
        )
        # Locked, so that a lane which is given to this reader in between is not taken for one that it gives back.
        for lane, asking in connection.execute(held.order_by(claims.c.lane).with_for_update()).all():
            if asking is None or asking == self._reader:
                connection.execute(delete(claims).where(self._mine(claims), claims.c.lane == lane))
            else:
                connection.execute(self._claim_of(lane).values(owner=asking, asking=None))

    def _states(
        self, connection: Connection, owners: Mapping[int, str], streams: Collection[str] | None = None
    ) -> States:
        """Of these lanes, by their owners, "" for none. streams: asked for in the table of states, None for all."""
        found: dict[int, dict[str, Settled]] = {lane: {} for lane in owners}
        if not found:
            return {}
        # First: a mark is gone as soon as a state includes it, and each of these queries sees what is there by then.
        marks = select(settled).where(self._mine(settled), settled.c.lane.in_(owners)).order_by(settled.c.seq)
        recorded = connection.execute(marks).all()
        query = select(states).where(self._mine(states), states.c.lane.in_(owners))
        for row in connection.execute(query if streams is None else query.where(states.c.stream.in_(streams))):
            found[row.lane][row.stream] = Settled.unpack(row.state)
        for lane, newer in (fresh_of(connection, self._own, owners)).items():
            found[lane].update({stream: Settled.unpack(state) for stream, state in newer.items()})
        for row in recorded:
            self._recorded.add(row.stream)
            found[row.lane].setdefault(row.stream, Settled(floor=row.seq)).add(row.seq)
        return {lane: {name: each.pack() for name, each in streams.items()} for lane, streams in found.items()}

    async def _run(self, work: Callable[[Connection], T], **limit: int) -> T:
        """One transaction at a time that changes what this reader has; after one that failed, nothing is taken as
        known."""
        async with self._turn:
            try:
                return await self._database.run(work, **limit)
            except BaseException:
                self._fresh.forget()
                raise

    def _claim_of(self, lane: int) -> Any:
        return update(claims).where(self._mine(claims), claims.c.lane == lane)

    def _mine(self, table: Any) -> Any:
        return and_(table.c.topic == self._own["topic"], table.c.grp == self._own["grp"])

    def _show(self, connection: Connection, row: dict[str, Any]) -> None:
        """Raises Fenced where the row is gone, which others remove when they take over what this reader had."""
        if not self._is_there:
            connection.execute(put(readers, connection.dialect, "beat", "report"), row)
            return
        mine = update(readers).where(self._mine(readers), readers.c.reader == self._reader)
        if not connection.execute(mine.values(beat=row["beat"], report=row["report"])).rowcount:
            self._is_there = False
            raise Fenced("this reader was silent for so long that others took its lanes")

    def _beats(self, connection: Connection) -> dict[str, int]:
        """Of all readers, as they are now: what was seen last may be old, where this one stood still itself."""
        found = connection.execute(select(readers.c.reader, readers.c.beat).where(self._mine(readers)))
        beats = {row.reader: row.beat for row in found}
        self._look_at(beats)
        return beats

    def _end(self, connection: Connection, reader: str, beats: dict[str, int]) -> bool:
        """Whether a reader is gone; it hears of that should it speak again."""
        if not self._is_gone(reader, beats):
            return False
        if reader in beats:
            row = and_(self._mine(readers), readers.c.reader == reader, readers.c.beat == beats[reader])
            if not connection.execute(delete(readers).where(row)).rowcount:
                return False  # it just spoke
            del beats[reader]
        return True

    def _bury(self, connection: Connection, still: Sequence[Any]) -> None:
        """Readers that ended without a word, and from which nobody takes over since they have no lane."""
        for each in sorted(still, key=lambda row: str(row.reader)):  # in one order, since others do so as well
            owned = select(claims.c.lane).where(self._mine(claims), claims.c.owner == each.reader).exists()
            row = and_(self._mine(readers), readers.c.reader == each.reader, readers.c.beat == each.beat, ~owned)
            if connection.execute(delete(readers).where(row)).rowcount:
                drop_empty(connection, self._own, each.reader)

    def _stood_still(self, reader: str, beat: int) -> bool:
        """Whether a reader's beat has been this one for very long, in which it could be heard."""
        now_ms = self._clock.monotonic_ms()
        known, since_ms = self._seen.get(reader, (beat, now_ms))
        if reader == self._reader or known != beat or self._is_late(now_ms):
            return False
        return now_ms - since_ms > _STILL_TIMES * self.silent_ms_max

    def _is_late(self, now_ms: int) -> bool:
        """Where this one could not look for long, the store was away, perhaps for all: nobody was silent then."""
        return now_ms - self._looked_ms > self.silent_ms_max / 2

    def _look_at(self, beats: dict[str, int]) -> None:
        now_ms = self._clock.monotonic_ms()
        before, self._seen, self._looked_ms = {} if self._is_late(now_ms) else self._seen, {}, now_ms
        for reader, beat in beats.items():
            known, since_ms = before.get(reader, (-1, now_ms))
            self._seen[reader] = (beat, since_ms if known == beat else now_ms)

    def _is_gone(self, reader: str | None, beats: dict[str, int]) -> bool:
        """Whether a reader has left, or its beat stands still."""
        if reader == self._reader:
            return False
        if reader not in beats:
            return True
        return self._clock.monotonic_ms() - self._seen[reader][1] > self.silent_ms_max


def _dump(report: Report) -> str:
    return json.dumps({"at": dict(report.at), "held": list(report.held), "wanted": list(report.wanted)})


def _load(text: str) -> Report:
    content = json.loads(text)
    wanted = [Wanted(*each) for each in content.get("wanted", ())]
    return Report(content["at"], [Held(*each) for each in content["held"]], wanted)
