"""Where appends begin, by what is seen here and what is agreed with others. No I/O and no waiting in it.

Every rung has a breaker of this process; the agreement of all processes says the same of the whole system. A rung is
as far away as the more careful of the two finds it, so a process never waits for others to divert itself, and one that
cannot reach the coordinator keeps what was agreed last. Single lanes of the primary have breakers too, once they fail
alone; beyond half of them the whole rung is away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from evermq.clock import SYSTEM, Clock
from evermq.errors import Closed, Denied, EvermqError, NoSuchTopic, Partial, Rejected
from evermq.ha.agreement import Agreement
from evermq.ha.breaker import Pace, State
from evermq.ha.health import Limits, tells
from evermq.ha.scope import Scope
from evermq.ha.votes import Vote
from evermq.lanes import lane_of
from evermq.message import Message

__all__ = ["Change", "Settings", "Switch"]

_CHANGES_KEPT = 100
_WHY_MAX = 200
_WHY = {State.NORMAL: "it is well again", State.RETURNING: "it answers again"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Of a switch.

    canary: of a rung on its way back, one batch in so many begins there. probe_ms: one that is away is tried so often.
    little, patience_ms: a rung is not taken up again while the ones below hold more messages of a group, unless these
    have not become fewer for so long. trickle: one batch in so many begins one rung lower while all is well, so that no
    fallback is ever cold; 0 for none. evidence_ms: what was seen longer ago counts for nothing when others ask.
    warm_ms: a lower rung of which nothing was heard for so long is probed, though all is well.
    """

    limits: Limits = field(default_factory=Limits)
    pace: Pace = field(default_factory=Pace)
    canary: int = 100
    probe_ms: int = 2_000
    trickle: int = 1_000
    warm_ms: int = 60_000
    evidence_ms: int = 10_000
    little: int = 1_000
    patience_ms: int = 10_000


class Change(NamedTuple):
    """Of what holds for this process. at_ms: wall clock."""

    at_ms: int
    scope: str
    state: State
    why: str


class _Closes(Protocol):
    async def close(self) -> None: ...


class Switch:
    """See `Steers`.

    rungs: their keys, the primary first. lanes: how many the primary has. warm: rungs that the trickle goes through,
    all below the primary if None. `tick` is to be called a few times a second.
    runner: closed with it. waiting: rungs that are not to be taken up again yet, for what is left below them.
    figures: what this process counts of its messages, to be told to whoever watches.
    """

    def __init__(
        self,
        rungs: Sequence[str],
        *,
        lanes: int | Callable[[], int] = 1,
        warm: Sequence[str] | None = None,
        settings: Settings | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self.settings = settings or Settings()
        self.rungs = list(rungs)
        self.agreed = Agreement()
        self.epoch = 0
        self.changes: deque[Change] = deque(maxlen=_CHANGES_KEPT)
        self.runner: _Closes | None = None
        self.waiting: Collection[str] = ()
        self.figures: Callable[[], Mapping[str, int]] = dict
        self._clock = clock
        self._lanes_of_primary = lanes
        self._warm = [rung for rung, key in enumerate(rungs) if rung and (warm is None or key in warm)]
        self._scopes = {
            rung: Scope(self.settings.limits, self.settings.pace, clock.monotonic_ms()) for rung in self.rungs
        }
        self._primary = self._scopes[self.rungs[0]]
        self._away_lanes: dict[int, Scope] = {}
        self._watches_lanes = False
        self._calm = True
        self._pinned: int | None = None
        self._turn = 0
        self._sends = False
        self.home = 0

    @property
    def state(self) -> State:
        """Of the primary, as it holds for this process."""
        return self._primary.state

    @property
    def states(self) -> dict[str, State]:
        """Of every rung, and of the lanes that are not normal."""
        lanes = {f"{self.rungs[0]}/{lane}": scope.state for lane, scope in self._away_lanes.items()}
        return {rung: self._scopes[rung].state for rung in self.rungs} | lanes

    @property
    def away_rungs(self) -> Collection[str]:
        """Those that are not normal, or of which a lane is not."""
        return {key.partition("/")[0] for key, scope in self._scopes.items() if scope.state}

    @property
    def _lanes(self) -> int:
        """A primary that was away when the ladder was opened tells it later."""
        lanes = self._lanes_of_primary
        return lanes if isinstance(lanes, int) else lanes()

    def begin(self) -> int:
        self._turn += 1
        self.home = 0
        if self._calm:
            trickle = self.settings.trickle
            return self._lower() if trickle and not self._turn % trickle else 0
        if self._pinned is not None:
            self.home = self._pinned
            return self._pinned
        chosen = len(self.rungs) - 1
        for rung, key in enumerate(self.rungs):
            if not self._is_passed_over(self._scopes[key]):
                chosen = rung
                break
        self.home = chosen
        lower = (rung for rung in range(chosen + 1, len(self.rungs)) if self._is_due(self._scopes[self.rungs[rung]]))
        return next(lower, chosen)

    def away(self) -> Collection[int]:
        if not self._away_lanes or self._primary.state or self._pinned is not None:
            return ()
        return self._away_lanes

    def shuns(self) -> Collection[int]:
        """Lanes that are away and are not to be tried yet: what belongs to no lane should go to another one."""
        away = self.away()
        return {lane for lane in away if self._clock.monotonic_ms() < self._away_lanes[lane].try_ms} if away else ()

    def tries(self, lane: int) -> bool:
        scope = self._away_lanes[lane]
        scope.turn += 1
        if scope.state is State.RETURNING and not scope.turn % self.settings.canary:
            return True
        return self._is_due(scope)

    def lower(self) -> int:
        below = (rung for rung, key in enumerate(self.rungs) if rung and not self._is_passed_over(self._scopes[key]))
        return next(below, len(self.rungs) - 1)

    def saw(
        self,
        rung: str,
        messages: Sequence[Message],
        error: EvermqError | None,
        *,
        began_ms: int,
        ended_ms: int,
        epoch: int,
    ) -> None:
        self._sends = True
        self._note(rung, error, ended_ms)
        if epoch != self.epoch:
            return  # it began before the last change, and speaks of another time
        scope = self._scopes[rung]
        if isinstance(error, Partial):
            self._saw_partial(rung, messages, error, ended_ms - began_ms, ended_ms)
        else:
            self._heard(scope, messages, error, ended_ms - began_ms, ended_ms)
            if error is None and scope is self._primary and self._watches_lanes:
                self._saw_lanes(messages, [None] * len(messages), 0, ended_ms)
        if scope.health.verdict or scope.breaker.state > scope.state:
            self.tick()

    def probed(self, rung: str, error: EvermqError | None, *, took_ms: int) -> None:
        """A probe went to a rung and came back; or it did not, or took too long."""
        scope, now_ms = self._scopes[rung], self._clock.monotonic_ms()
        self._note(rung, error, now_ms)
        if scope.breaker.state:
            self._heard(scope, (), error, took_ms, now_ms)
            self.tick()
        elif error is None and took_ms < self.settings.limits.slow_ms and not scope.health.fails:
            scope.good_ms = now_ms

    def is_to_be_probed(self, rung: str) -> bool:
        """What is away, and of the others what failed last, or was not heard of for long."""
        scope = self._scopes[rung]
        silent_ms = self._clock.monotonic_ms() - scope.told_ms
        return bool(scope.state or scope.trouble or (self._is_warm(rung) and silent_ms >= self.settings.warm_ms))

    def doubt(self, rung: str, why: str) -> None:
        """Nothing can try a rung but messages, and none ever did."""
        scope = self._scopes[rung]
        if self._is_warm(rung) and not scope.was_told:
            scope.trouble = scope.trouble or why[:_WHY_MAX]

    @property
    def troubles(self) -> dict[str, str]:
        """Rungs below the primary that failed when they were tried last, though they may count as normal, and why."""
        return {rung: self._scopes[rung].trouble for rung in self.rungs if self._scopes[rung].trouble}

    def _is_warm(self, rung: str) -> bool:
        return self.rungs.index(rung) in self._warm

    def _note(self, rung: str, error: EvermqError | None, now_ms: int) -> None:
        """A lower rung was tried. What is wrong with a message says nothing of the rung."""
        of_message = isinstance(error, Rejected) and not isinstance(error, Denied | NoSuchTopic)
        if of_message or isinstance(error, Partial | Closed) or not self._is_warm(rung):
            return
        scope = self._scopes[rung]
        scope.told_ms, scope.was_told = now_ms, True
        scope.trouble = (scope.trouble or str(error)[:_WHY_MAX]) if error else ""
        scope.refuses = isinstance(error, Rejected)

    def leave_to_probe(self, rung: str, probed: bool) -> None:
        """Whether a probe tries the rung while it is away, so that no traffic has to."""
        self._scopes[rung].probed = probed

    def adopt(self, agreed: Agreement) -> None:
        """This is agreed from now on. What is away for all is away here too, until it is seen here to be well, or is
        agreed to be where nothing was seen of it here."""
        now_ms = self._clock.monotonic_ms()
        for key, state in agreed.away.items():
            scope = self._find(key, now_ms)
            news = state is State.DEGRADED and self.agreed.away.get(key) is not state
            if news and scope and not scope.breaker.state:
                scope.breaker.trip(f"agreed: {agreed.why}", now_ms)
                scope.follows = True
            if scope and state is State.DEGRADED:
                scope.agreed_trips = scope.breaker.trips
        for key, scope in self._scopes.items():
            state = agreed.away.get(key, State.NORMAL)
            if scope.follows and state < scope.breaker.state:
                scope.breaker.follow(state, now_ms)
        self.agreed = agreed
        self.tick()

    def vote(self) -> Vote:
        """What this process has to say; the host is for whoever sends it to fill in."""
        since_ms = self._clock.monotonic_ms() - self.settings.evidence_ms
        seen = {rung for rung in self.rungs if (self._scopes[rung].good_ms or -1) >= since_ms}
        away = {
            key: scope.opinion(self.agreed.away.get(key, State.NORMAL))
            for key, scope in self._scopes.items()
            if scope.breaker.state and (scope.breaker.heard_ms or -1) >= since_ms - 2 * self.settings.probe_ms
        }
        seen -= away.keys()
        return Vote("", frozenset(seen), away, self.agreed.epoch, troubles=self.troubles, sends=self._sends)

    def tick(self) -> None:
        """Time passes."""
        now_ms = self._clock.monotonic_ms()
        for key, scope in list(self._scopes.items()):
            if scope.health.verdict and not scope.breaker.state:
                scope.breaker.heard_ms = now_ms
                scope.breaker.trip(scope.health.verdict, now_ms)
            scope.breaker.tick(now_ms, clear=key.partition("/")[0] not in self.waiting)
            self._enter(key, scope, max(scope.breaker.state, self.agreed.away.get(key, State.NORMAL)))
        self._spread(now_ms)
        pin = self.agreed.pin
        self._pinned = self.rungs.index(pin.rung) if pin and pin.rung in self.rungs else None
        self._away_lanes = {
            int(key.partition("/")[2]): scope for key, scope in self._scopes.items() if "/" in key and scope.state
        }
        self._calm = self._pinned is None and not any(self._scopes[rung].state for rung in self.rungs)

    async def close(self) -> None:
        if self.runner:
            await self.runner.close()

    def _enter(self, key: str, scope: Scope, state: State) -> None:
        if state is not scope.state:
            scope.good_ms = None if state > scope.state else scope.good_ms
            scope.state = state
            scope.health.reset()
            self.epoch += 1
            why = scope.breaker.reason if state is State.DEGRADED else _WHY[state]
            self.changes.append(Change(self._clock.now_ms(), key, state, why))

    def _is_passed_over(self, scope: Scope) -> bool:
        if scope.state is State.NORMAL:
            return False
        if scope.state is State.RETURNING and not self._turn % self.settings.canary:
            return False
        return not self._is_due(scope)

    def _is_due(self, scope: Scope) -> bool:
        """Whether what is away, and nothing else tries, is to be tried with this batch."""
        now_ms = self._clock.monotonic_ms()
        if not scope.state or scope.probed or now_ms < scope.try_ms:
            return False
        scope.try_ms = now_ms + self.settings.probe_ms
        return True

    def _lower(self) -> int:
        """The rung whose turn it is to be kept warm; what said no is probed, and no batch is held up by it."""
        warm = [rung for rung in self._warm if not self._scopes[self.rungs[rung]].refuses]
        return warm[self._turn // self.settings.trickle % len(warm)] if warm else 0

    def _heard(
        self, scope: Scope, messages: Sequence[Message], error: EvermqError | None, took_ms: int, now_ms: int
    ) -> None:
        if error is not None and not tells(error):
            return
        good = error is None and took_ms < self.settings.limits.slow_ms
        scope.good_ms = now_ms if good else None
        scope.bad_ms = scope.bad_ms if good else now_ms
        scope.follows = scope.follows and good
        if not scope.breaker.state:
            scope.health.saw(messages, error, took_ms, now_ms, scope.health.generation)
        elif good:
            scope.breaker.good(now_ms)
        else:
            scope.breaker.bad(str(error) if error else f"it took {took_ms} ms", now_ms)

    def _saw_partial(self, rung: str, messages: Sequence[Message], error: Partial, took_ms: int, now_ms: int) -> None:
        """More than half failed: the rung did. Less: the lanes did that can be told."""
        errors = [each if isinstance(each, EvermqError) and tells(each) else None for each in error.outcomes]
        failed = [each for each in errors if each]
        whole = failed[0] if 2 * len(failed) > len(errors) else None
        self._heard(self._scopes[rung], messages, whole, took_ms, now_ms)
        if rung == self.rungs[0] and self._lanes > 1:
            self._saw_lanes(messages, errors, took_ms, now_ms)

    def _saw_lanes(
        self, messages: Sequence[Message], errors: Iterable[EvermqError | None], took_ms: int, now_ms: int
    ) -> None:
        found: dict[int, tuple[list[Message], EvermqError | None]] = {}
        for message, error in zip(messages, errors, strict=True):
            if message.key is not None:
                lane = lane_of(message.key, self._lanes)
                mine, heard = found.get(lane, ([], None))
                mine.append(message)
                found[lane] = mine, heard or error
        for lane, (mine, error) in found.items():
            key = f"{self.rungs[0]}/{lane}"
            scope = self._scopes.get(key) if error is None else self._find(key, now_ms)
            if scope:
                self._heard(scope, mine, error, took_ms if error else 0, now_ms)
        self.tick()

    def _find(self, key: str, now_ms: int) -> Scope | None:
        """The scope of a name; a lane gets one when it is first heard of."""
        rung, _, lane = key.partition("/")
        if key not in self._scopes and rung == self.rungs[0] and lane.isdecimal() and int(lane) < self._lanes:
            self._scopes[key] = Scope(self.settings.limits, self.settings.pace, now_ms)
        return self._scopes.get(key)

    def _spread(self, now_ms: int) -> None:
        """Beyond half of the lanes the whole rung is away; and what has long been well is forgotten."""
        lanes = {key: scope for key, scope in self._scopes.items() if "/" in key}
        sick = [key for key, scope in lanes.items() if scope.breaker.state is State.DEGRADED]
        if 2 * len(sick) > self._lanes and not self._primary.breaker.state:
            self._primary.breaker.heard_ms = now_ms
            self._primary.breaker.trip(f"{len(sick)} of {self._lanes} lanes are away", now_ms)
            self._enter(self.rungs[0], self._primary, State.DEGRADED)
        for key, scope in lanes.items():
            keep_ms = self.settings.pace.dwell_ms_max if scope.breaker.trips else self.settings.limits.window_ms
            if not scope.state and now_ms - scope.bad_ms > keep_ms:
                del self._scopes[key]
        recent_ms = now_ms - self.settings.limits.window_ms
        self._watches_lanes = any(scope.state or scope.bad_ms >= recent_ms for scope in lanes.values())
