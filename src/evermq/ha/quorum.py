"""The processes of a system decide together: each says what it sees, one of them counts, all follow.

Whoever holds the lease counts, so that a coordinator is not asked by everybody; what it writes is checked by
compare-and-set all the same. Where the coordinator is gone, or says something that nobody can understand, what was
agreed last goes on to hold, and each process diverts itself by what it sees.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile

from evermq.clock import SYSTEM, Clock
from evermq.coordinator import Coordinator, Membership, Versioned
from evermq.errors import Damaged, EvermqError, Fenced, Rejected
from evermq.ha.agreement import Agreement, decode, encode, epoch_max
from evermq.ha.breaker import State
from evermq.ha.drained import Below
from evermq.ha.probe import Probe
from evermq.ha.switch import Change, Switch
from evermq.ha.votes import Vote, decide, decode_vote, encode_vote, tally

__all__ = ["Counts", "Quorum"]

_log = logging.getLogger("evermq.switch")

_PAUSE_MS = 1_000
_SAY_AGAIN_MS = 10_000
_REFUSED_PAUSE_MS = 60_000
_BEHIND_MS_MAX = 60_000


@dataclass(slots=True)
class Counts:
    """adopted: agreements followed; written: by this process; refused: values that were none, or older ones."""

    adopted: int = 0
    written: int = 0
    refused: int = 0


class Quorum:
    """Ties a switch to a coordinator, from `start` to `close`.

    host, name: of this process; a host is one voter. probes: by rung; they are closed with it.
    backlogs: what each group has left, by rung; of those that say it. trouble: why the
    coordinator could not be used the last time, else empty; refused: the last value that was not followed, and why.
    tick_ms: how often the switch looks at the time; decide_ms: how often votes are counted; ttl_ms: a process that is
    silent for so long has no vote.
    """

    def __init__(
        self,
        switch: Switch,
        coordinator: Coordinator | None,
        *,
        host: str,
        name: str,
        probes: Mapping[str, Probe] | None = None,
        backlogs: Callable[[], Awaitable[Mapping[str, Mapping[str, int]]]] | None = None,
        tick_ms: int = 200,
        decide_ms: int = 300,
        ttl_ms: int = 5_000,
        clock: Clock = SYSTEM,
    ) -> None:
        self.trouble = ""
        self.refused = ""
        self.counts = Counts()
        self._switch = switch
        self._coordinator = coordinator
        self._host, self._name = host, name
        self._tick_ms, self._decide_ms, self._ttl_ms = tick_ms, decide_ms, ttl_ms
        self._clock = clock
        self._probes = dict(probes or {})
        self._backlogs = backlogs
        self._stored: Versioned | None = None  # as it stands there, followed or not
        self._unfit = False
        self._changed_ms = clock.monotonic_ms()
        self._behind_ms: int | None = None  # since when others follow what this process never saw
        self._said: bytes | None = None
        self._warned: set[str] = set()
        self._told: Change | None = None
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    async def start(self) -> None:
        """Begin to follow, to vote and to count."""
        self._switch.runner = self
        acts: list[Callable[[], Awaitable[None]]] = [self._tick]
        if self._coordinator:
            acts += [self._follow, self._speak, self._count]
        if self._backlogs:
            acts.append(self._measure)
        for rung, probe in self._probes.items():
            self._switch.leave_to_probe(rung, True)
            acts.append(partial(self._probe, rung, probe))
        self._tasks = [asyncio.create_task(self._again(act)) for act in acts]

    async def close(self) -> None:
        """End, and close the coordinator; again is harmless."""
        self._closed = True
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(probe.close() for probe in self._probes.values()), return_exceptions=True)
        if tasks and self._coordinator:
            await self._coordinator.close()

    async def _again(self, act: Callable[[], Awaitable[None]]) -> None:
        while not self._closed:  # an error of cleaning up hides a cancellation
            try:
                await act()
            except Exception as error:  # steering must outlive whatever befalls a coordinator
                self.trouble = str(error) if isinstance(error, EvermqError) else f"a defect: {error!r}"
            await self._clock.sleep(_PAUSE_MS)

    async def _tick(self) -> None:
        while True:
            self._switch.tick()
            self._tell_changes()
            self._warn()
            if self._ballot() != self._said:
                self._news.set()
            await self._clock.sleep(self._tick_ms)

    def _tell_changes(self) -> None:
        """Into the log: where appends begin from now on, and why. The record has `scope` and `state` by themselves."""
        told, changes = self._told, self._switch.changes
        fresh = list(takewhile(lambda change: change is not told, reversed(changes)))
        for change in reversed(fresh):
            said = {"scope": change.scope, "state": change.state.name.lower()}
            level = logging.WARNING if change.state is State.DEGRADED else logging.INFO
            _log.log(level, "%s is %s: %s", *said.values(), change.why, extra=said)
            self._told = change

    def _warn(self) -> None:
        """Of a fallback that fails one should hear before it is needed."""
        troubles = self._switch.troubles
        for rung in troubles.keys() - self._warned:
            _log.warning("the rung %s, which appends fall back to, fails: %s", rung, troubles[rung])
        for rung in self._warned - troubles.keys():
            _log.warning("the rung %s is well again", rung)
        self._warned = set(troubles)

    async def _measure(self) -> None:
        """What is left below the rungs that are away."""
        assert self._backlogs
        switch = self._switch
        below = Below(switch.rungs, switch.settings.little, switch.settings.patience_ms)
        while True:
            found = await self._backlogs() if switch.away_rungs else {}
            switch.waiting = below.saw(switch.away_rungs, found, self._clock.monotonic_ms())
            await self._clock.sleep(_PAUSE_MS)

    async def _probe(self, rung: str, probe: Probe) -> None:
        """Try a rung while it is away, and a lower one now and then; where no probe may go, the traffic tries it."""
        pause_ms = self._switch.settings.probe_ms
        while True:
            await probe.expire()
            if self._switch.is_to_be_probed(rung):
                took_ms, error = 0, None
                try:
                    took_ms = await probe.trip()
                except Rejected as refused:
                    self.trouble = f"{rung} is tried by the traffic, as no probe may go there: {refused}"
                    self._switch.leave_to_probe(rung, False)
                    self._switch.doubt(rung, f"no probe may go there: {refused}")
                    await self._clock.sleep(_REFUSED_PAUSE_MS)
                    continue
                except EvermqError as failed:
                    error = failed
                self._switch.leave_to_probe(rung, True)
                self._switch.probed(rung, error, took_ms=took_ms)
            await self._clock.sleep(pause_ms)

    def _ballot(self, figures: Mapping[str, int] | None = None) -> bytes:
        return encode_vote(replace(self._switch.vote(), host=self._host, figures=figures or {}))

    async def _follow(self) -> None:
        assert self._coordinator
        async for found in self._coordinator.watch():
            self.trouble = ""
            self._stored = found
            self._take(found)

    def _take(self, found: Versioned) -> None:
        known = self._switch.agreed
        try:
            agreed = decode(found.value, self._clock.now_ms())
            if agreed.epoch < known.epoch:
                raise Damaged(f"it went back from epoch {known.epoch} to {agreed.epoch}")
            if agreed.epoch == known.epoch and agreed != known and known.epoch:
                raise Damaged(f"it is another one of epoch {known.epoch}")
        except Damaged as error:
            self._unfit = True
            self.counts.refused += 1
            self.refused = f"version {found.version}: {error}"
            return
        self._unfit = False
        if agreed.epoch > known.epoch:
            self._adopt(agreed)

    def _adopt(self, agreed: Agreement) -> None:
        self.counts.adopted += 1
        self._changed_ms = self._clock.monotonic_ms()
        self._switch.adopt(agreed)
        self._news.set()

    async def _speak(self) -> None:
        assert self._coordinator
        membership: Membership | None = None
        try:
            while True:
                self._news.clear()
                ballot = self._ballot()  # figures alone are no news: they go along when the same is said again
                told = self._ballot(self._switch.figures())
                if membership is None:
                    membership = await self._coordinator.join(self._name, told, ttl_ms=self._ttl_ms)
                else:
                    await membership.update(told)
                self._said = ballot
                await self._until_news()
        finally:
            self._said = None
            if membership:
                await membership.leave()

    async def _until_news(self) -> None:
        """Or until it is time to say the same again, in case somebody took the entry away."""
        waiting = asyncio.ensure_future(self._news.wait())
        pausing = asyncio.ensure_future(self._clock.sleep(_SAY_AGAIN_MS))
        try:
            await asyncio.wait([waiting, pausing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            pausing.cancel()

    async def _count(self) -> None:
        assert self._coordinator
        lease = await self._coordinator.lease("decider", ttl_ms=self._ttl_ms)
        try:
            while lease.held:
                members = await self._coordinator.members()
                votes = [vote for value in members.values() if (vote := _vote(value, self._clock.now_ms()))]
                if await self._is_behind(votes):
                    return  # one that knows more may count: what this one wrote would undo a pin
                await self._decide(votes)
                await self._clock.sleep(self._decide_ms)
        finally:
            await lease.release()

    async def _is_behind(self, votes: list[Vote]) -> bool:
        """Whether others follow a later epoch, which the coordinator lost. Not for ever: a vote may be forged."""
        assert self._coordinator
        latest = max((vote.epoch for vote in votes), default=0)
        if latest > self._switch.agreed.epoch:
            self._stored = await self._coordinator.get()
            self._take(self._stored)
        if latest <= self._switch.agreed.epoch:
            self._behind_ms = None
            return False
        now_ms = self._clock.monotonic_ms()
        if self._behind_ms is None:
            self._behind_ms = now_ms
        return now_ms - self._behind_ms < _BEHIND_MS_MAX

    async def _decide(self, votes: list[Vote]) -> None:
        known, stored = self._switch.agreed, self._stored
        if stored is None:
            return
        settled = self._clock.monotonic_ms() - self._changed_ms >= self._switch.settings.pace.returning_ms
        away = decide(known.away, votes, settled=settled, waiting=self._switch.waiting)
        # Others may follow a later epoch than this process ever saw, and be gone before one of them could count.
        latest = replace(known, epoch=max([known.epoch, *(vote.epoch for vote in votes)]))
        at_ms = self._clock.now_ms()
        if away != known.away:
            await self._write(latest.next(by="votes", why=_why(known, away, votes), at_ms=at_ms, away=away))
        elif self._unfit or (settled and latest.epoch > known.epoch):
            why = self.refused if self._unfit else f"others follow epoch {latest.epoch}"
            await self._write(latest.next(by="repair", why=why, at_ms=at_ms))

    async def _write(self, agreed: Agreement) -> None:
        assert self._coordinator
        assert self._stored
        try:
            self._stored = await self._coordinator.put(encode(agreed), version=self._stored.version)
        except Fenced:
            self._stored = await self._coordinator.get()
            self._take(self._stored)
            return
        self.counts.written += 1
        self._unfit = False
        self._adopt(agreed)


def _vote(value: bytes, now_ms: int) -> Vote | None:
    try:
        vote = decode_vote(value)
        return vote if vote.epoch <= epoch_max(now_ms) else None
    except Damaged:
        return None  # of a member of another version, or a forged one: it has no say


def _why(known: Agreement, away: dict[str, State], votes: list[Vote]) -> str:
    said = []
    for scope in sorted({*known.away, *away}):
        state = away.get(scope, State.NORMAL)
        if state is not known.away.get(scope, State.NORMAL):
            count = tally(scope, votes)
            alike = (count.normal, count.returning, count.degraded)[state]
            said.append(f"{scope} is {state.name.lower()}: {alike} of {count.asked} hosts find so")
    return "; ".join(said)
