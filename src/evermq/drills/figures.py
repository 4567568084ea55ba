"""The figures of a drill, from its histories: when senders left the primary, stood still, and were back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from evermq.testing.history import Event

__all__ = ["Cycle", "Figures", "measure"]

_S = 1_000_000_000
_AWAY = "primary is degraded"
_ENDS = ("send_ok", "send_fail", "send_unknown")
_HOME_MIN = 2  # batches at the primary that make a return


class _Sent(NamedTuple):
    """A send that ended; `began` by the process that heard of it. acknowledged: it was not refused or uncertain."""

    producer: str
    began: int
    ended: int
    rung: str
    acknowledged: bool


@dataclass(slots=True)
class Cycle:
    """One outage. Seconds from its begin until the last sender had left the primary for good, and from its end until
    the last one was back (None: never left, never back); the longest send, however it ended; how long a restarted
    sender took to its first."""

    flip_s: float | None
    return_s: float | None
    stall_max_s: float
    restart_max_s: float


@dataclass(slots=True)
class Figures:
    """The worst of all cycles. send_p99_ms: of sends that began in the healthy phases, in the outages once all senders
    had left the primary, and from when it is being healed until all are back; None where there were none."""

    flip_s: float | None = None
    return_s: float | None = None
    stall_max_s: float = 0.0
    restart_max_s: float = 0.0
    send_p99_ms: dict[str, float | None] = field(default_factory=dict)
    through: dict[str, int] = field(default_factory=dict)
    cycles: list[Cycle] = field(default_factory=list)


def measure(events: Sequence[Event]) -> Figures:
    """Events in the order of their times, of a run with at least one pair of fault_on and fault_off."""
    ended = sorted(_sends(events), key=lambda each: each.ended)
    sent = [each for each in ended if each.acknowledged]
    ons = [event.t for event in events if event.ev == "fault_on"]
    offs = [event.t for event in events if event.ev == "fault_off"]
    heals = [event.t for event in events if event.ev == "heal"] or offs
    starts = [event.t for event in events if event.ev == "start"]
    figures = Figures(through=dict(Counter(each.rung for each in sent)))
    began = starts[0] if starts else 0
    phases: dict[str, list[float]] = {"healthy": [], "outage": [], "return": []}
    for on, heal, off, end in zip(ons, heals, offs, [*ons[1:], 1 << 63], strict=False):
        left, back = _flip(events, sent, on, heal), _return(sent, off, end)
        figures.cycles.append(
            Cycle(
                None if left is None else (left - on) / _S,
                None if back is None else (back - off) / _S,
                max((each.ended - each.began for each in ended if on <= each.ended and each.began < end), default=0)
                / _S,
                _restart_s(events, sent, on, end),
            )
        )
        _collect(phases["healthy"], sent, began, on)
        _collect(phases["outage"], sent, left or heal, heal)
        _collect(phases["return"], sent, heal, back or off)
        began = back or off
    _collect(phases["healthy"], sent, began, 1 << 63)
    figures.send_p99_ms = {phase: _p99(found) for phase, found in phases.items()}
    figures.flip_s = _worst(cycle.flip_s for cycle in figures.cycles)
    figures.return_s = _worst(cycle.return_s for cycle in figures.cycles)
    figures.stall_max_s = max((cycle.stall_max_s for cycle in figures.cycles), default=0.0)
    figures.restart_max_s = max((cycle.restart_max_s for cycle in figures.cycles), default=0.0)
    return figures


def _sends(events: Iterable[Event]) -> Iterator[_Sent]:
    """A message that a killed process had tried is begun anew by its successor."""
    begun: dict[str, Event] = {}
    for event in events:
        if event.ev == "send_invoke":
            begun[event.id] = event
        elif event.ev in _ENDS and event.id in begun:
            tried = begun[event.id]
            yield _Sent(tried.producer, tried.t, event.t, event.via, event.ev == "send_ok")


def _flip(events: Sequence[Event], sent: Sequence[_Sent], on: int, heal: int) -> int | None:
    """When the last producer had left: it said that the primary is away, so that sends begin elsewhere; one that never
    said so left with its first acknowledgement from elsewhere."""
    left: dict[str, int] = {}
    for each in sent:
        if on <= each.ended <= heal and each.rung != "primary":
            left.setdefault(each.producer, each.ended)
    said: dict[str, int] = {}
    for event in events:
        if event.ev == "switch" and on <= event.t <= heal and event.detail == _AWAY:
            said.setdefault(event.proc, event.t)
    return max({**left, **said}.values(), default=None)


def _return(sent: Sequence[_Sent], off: int, end: int) -> int | None:
    """When the last producer got its first acknowledgement from the primary after it was last at home elsewhere.

    Two batches on end are a home: a single one may be a trickle that keeps a lower rung warm, or one that tries the
    primary before all come back.
    """
    times: list[int] = []
    for batches in _batches(sent, off, end).values():
        homes = [i for i in range(1, len(batches)) if "primary" not in (batches[i].rung, batches[i - 1].rung)]
        rest = batches[homes[-1] + 1 if homes else 0 :]
        back = [batch.ended for batch in rest if batch.rung == "primary"]
        if len(back) < _HOME_MIN:
            return None
        times.append(back[0])
    return max(times, default=None)


def _batches(sent: Sequence[_Sent], begin: int, end: int) -> dict[str, list[_Sent]]:
    """One send of each batch of each producer."""
    found: dict[str, list[_Sent]] = {}
    for each in sent:
        if begin <= each.ended < end:
            mine = found.setdefault(each.producer, [])
            if not mine or mine[-1].ended != each.ended:
                mine.append(each)
    return found


def _restart_s(events: Sequence[Event], sent: Sequence[_Sent], on: int, end: int) -> float:
    """From the start of a process until its first acknowledgement; one that never had any counts to the end."""
    longest = 0
    for event in events:
        if event.ev == "recover" and on <= event.t < end and (name := event.detail.partition(" ")[0]):
            times = [each.ended for each in sent if each.producer == name and each.began >= event.t]
            if name.startswith("producer"):
                longest = max(longest, (min(times) if times else events[-1].t) - event.t)
    return longest / _S


def _collect(into: list[float], sent: Sequence[_Sent], begin: int, end: int) -> None:
    into += [(each.ended - each.began) / 1e6 for each in sent if begin <= each.began < end]


def _p99(times: list[float]) -> float | None:
    return round(sorted(times)[int(0.99 * (len(times) - 1))], 3) if times else None


def _worst(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if not known or None in known else max(value for value in known if value is not None)
