"""What each process says of the rungs, and what follows from it for all. Pure.

Hosts are asked, not processes: of a host's processes the majority speaks for it, and of the hosts that have something
to say the majority decides. So a host that is sick itself diverts itself alone, however many processes it has; and one
that has not tried lately says nothing. Where several hosts send, one alone moves nobody, though the others be quiet: it
diverts itself, and they find out as soon as they try.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from evermq.errors import Damaged
from evermq.ha.breaker import State

__all__ = ["Tally", "Vote", "decide", "decode_vote", "encode_vote", "tally"]

_NAMES = {state.name.lower(): state for state in State}


@dataclass(frozen=True, slots=True)
class Vote:
    """Of one process. seen: rungs that answered it lately; away: scopes that it finds otherwise. epoch: of the last
    agreement that it follows. figures: what it counts, for whoever watches; nothing is decided by them.
    troubles: rungs below the primary that failed when they were tried last, and why; they may count as normal.
    sends: it has sent something since it began."""

    host: str
    seen: frozenset[str] = frozenset()
    away: Mapping[str, State] = field(default_factory=dict)
    epoch: int = 0
    figures: Mapping[str, int] = field(default_factory=dict)
    troubles: Mapping[str, str] = field(default_factory=dict)
    sends: bool = False

    def on(self, scope: str) -> State | None:
        """None: nothing to say."""
        return self.away.get(scope, State.NORMAL if scope.partition("/")[0] in self.seen else None)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many hosts find a scope so. hosts: how many there are that send, the quiet ones included."""

    normal: int = 0
    returning: int = 0
    degraded: int = 0
    hosts: int = 1

    @property
    def asked(self) -> int:
        """Those that have something to say."""
        return self.normal + self.returning + self.degraded


def tally(scope: str, votes: Iterable[Vote]) -> Tally:
    """Count the hosts."""
    hosts: dict[str, list[State]] = {}
    for vote in votes:
        state = vote.on(scope)
        if state is not None or vote.sends:
            hosts.setdefault(vote.host, []).extend([] if state is None else [state])
    found = [_of_host(states) for states in hosts.values() if states]
    normal, returning, degraded = (found.count(state) for state in State)
    return Tally(normal, returning, degraded, len(hosts))


def decide(
    away: Mapping[str, State], votes: Iterable[Vote], *, settled: bool = True, waiting: Collection[str] = ()
) -> dict[str, State]:
    """What holds for all from now on. settled: the last change is old enough that something may come back. waiting:
    rungs that may not, for what is left below them.

    Where nobody has anything to say, it stays as it is.
    """
    votes = list(votes)
    scopes = sorted({*away, *(scope for vote in votes for scope in vote.away)})
    may_return = {scope: settled and scope.partition("/")[0] not in waiting for scope in scopes}
    found = {scope: _next(away.get(scope, State.NORMAL), tally(scope, votes), may_return[scope]) for scope in scopes}
    return {scope: state for scope, state in found.items() if state}


def _next(state: State, count: Tally, may_return: bool) -> State:
    if 2 * count.degraded > count.asked and (count.degraded > 1 or count.hosts <= 1):
        return State.DEGRADED
    if not may_return or not count.asked:
        return state
    if state is State.DEGRADED and 2 * count.degraded < count.asked:
        return State.RETURNING
    if state is State.RETURNING and 2 * count.normal > count.asked:
        return State.NORMAL
    return state


def _of_host(states: list[State]) -> State:
    if 2 * states.count(State.DEGRADED) > len(states):
        return State.DEGRADED
    return State.NORMAL if 2 * states.count(State.NORMAL) > len(states) else State.RETURNING


def encode_vote(vote: Vote) -> bytes:
    """As a member says it."""
    away = {scope: state.name.lower() for scope, state in vote.away.items()}
    content = {"host": vote.host, "seen": sorted(vote.seen), "away": away, "epoch": vote.epoch}
    told = {"figures": dict(vote.figures), "troubles": dict(vote.troubles), "sends": vote.sends}
    return json.dumps(content | {name: each for name, each in told.items() if each}, sort_keys=True).encode()


def decode_vote(value: bytes) -> Vote:
    """Raises Damaged for what is no vote."""
    try:
        content = json.loads(value)
        away = {str(scope): _NAMES[state] for scope, state in content["away"].items()}
        figures = {str(name): int(value) for name, value in content.get("figures", {}).items()}
        troubles = {str(rung): str(why) for rung, why in content.get("troubles", {}).items()}
        seen = frozenset(map(str, content["seen"]))
        sends = bool(content.get("sends", False))
        return Vote(str(content["host"]), seen, away, int(content["epoch"]), figures, troubles, sends)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Damaged(f"it is no vote: {error!r}") from None
