"""The fourth port: what a group has settled, of every stream, and which of its readers may handle a lane.

The queue knows what was acknowledged on each rung; only here stands what was *done*, on whatever rung it came. A lane
is handled by one reader at a time: by the one that has claimed it, which works from memory and writes down what
changed. A state is text, `Settled.pack`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from evermq.port import Delivery

__all__ = ["COPY", "SENT", "Ahead", "Bounded", "Held", "Identified", "Part", "Pausable", "Progress", "Relaned"]
__all__ += ["Renewed", "Reopens", "Report", "Scatters", "States", "Wanted"]

COPY, SENT = "copy", "sent"
States = dict[int, dict[str, str]]  # by lane and stream, the packed state


class Held(NamedTuple):
    """Numbers that a reader has and does not handle, from `seq` to `last`, or `seq` alone where that is 0.

    open: numbers below it had landed when the last of these left. rung: where they were read; empty for what was given
    back to the engine and not seen again; COPY for those of which a sender has copies, or SENT where they were sent
    again not long ago, as far as they are not settled."""

    stream: str
    seq: int
    open: int
    rung: str
    last: int = 0

    @property
    def is_copy(self) -> bool:
        """Whether a sender has them, and no reader."""
        return self.rung in (COPY, SENT)

    @property
    def numbers(self) -> range:
        return range(self.seq, max(self.seq, self.last) + 1)


class Wanted(NamedTuple):
    """Numbers, first to last, that a reader waits for and that no rung has any more, though a sender has copies."""

    stream: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Report:
    """at: by `rung/lane`, the offset that a reader will read next. It belongs together with `held`: what is below `at`
    is settled, or held by somebody. A rung that tells which topic it has is named with a sign of that."""

    at: Mapping[str, int] = field(default_factory=dict)
    held: Collection[Held] = ()
    wanted: Collection[Wanted] = ()


class Renewed(NamedTuple):
    """wanted: lanes of this reader that another one asks for. reports: of all readers that are alive."""

    wanted: frozenset[int]
    reports: tuple[Report, ...]


class Part(Protocol):
    """One reader's part in the progress of a group. Every call raises Unavailable where the store does not answer, and
    Uncertain where it did not say whether it was done; each may be made again."""

    @property
    def silent_ms_max(self) -> int:
        """A reader of which the store hears nothing for so long loses what it has claimed."""
        ...

    async def claim(self, lanes: Collection[int]) -> States:
        """The lanes that are this reader's from now on, with the states of their streams. The rest is asked for."""
        ...

    async def give_back(self, lanes: Collection[int]) -> None:
        """Others may have these; what is not claimed is passed over."""
        ...

    async def settle(self, states: States) -> None:
        """Write these states down, all or none. Raises Fenced where a lane is not this reader's any more."""
        ...

    async def look(self, lanes: Collection[int], streams: Collection[str] | None = None) -> States:
        """The states in these lanes (of these streams alone), whoever has claimed them."""
        ...

    async def collect(self, streams: Mapping[int, Collection[str]], day: int) -> Collection[str]:
        """Forget the states of streams, by lane, whose producers have no state in any lane that was written on `day`
        or later; returns the names of these. Raises Fenced where a lane is not this reader's any more."""
        ...

    async def renew(self, report: Report) -> Renewed:
        """Say that this reader lives. One that is silent for `silent_ms_max` loses its claims.

        Raises Fenced, once, where it has lost them: what it has must be given back, and what it needs claimed anew."""
        ...

    async def leave(self) -> None:
        """Give everything back; again is harmless."""
        ...


class Progress(Protocol):
    """Where the progress of the groups of one topic is kept."""

    async def join(self, group: str) -> Part:
        """A new reader of a group."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class Ahead(Protocol):
    """A reader that has read further than it was asked to."""

    def take_behind(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """What it was not asked for yet and has to be released with these: their keys' messages behind them. It is the
        caller's from now on."""
        ...


@runtime_checkable
class Reopens(Protocol):
    """A reader of several rungs that opens the reader of one again which was lost."""

    @property
    def openings(self) -> Mapping[str, int]:
        """By rung, how often its reader was opened. What an earlier one read may have been another topic's."""
        ...


@runtime_checkable
class Pausable(Protocol):
    """A reader of several rungs that can leave some of them alone."""

    def pause(self, keys: Collection[str]) -> list[Delivery]:
        """Ask these for nothing more, until the next call, and all others again. Returns what they gave and was not
        handed on: it is the caller's to release."""
        ...


@runtime_checkable
class Scatters(Protocol):
    """A queue that hands out the messages of a lane to whichever reader asks first. A turn to read it is claimed as a
    lane is, under a number below zero."""

    @property
    def scatters(self) -> bool:
        """Whether it does; one that is not open yet cannot tell."""
        ...


@runtime_checkable
class Relaned(Protocol):
    """A queue that does not read everything at once. Where lanes may change in number, so that one key has messages in
    lanes of before and of now, those of before are read to their end first, which keeps the order of keys; where only
    so much can be noted of what is settled out of turn, a lane is read so far that no more would come again."""

    def read_at_once(self) -> None:
        """Not so from the next reader on: somebody above keeps the order, and drops what comes again. He may need what
        is behind before he can settle what is before it."""
        ...


@runtime_checkable
class Bounded(Protocol):
    """A queue whose lanes have ends, so that it can be proved that a message is not there."""

    async def end(self, lane: str) -> int:
        """The offset that the next message of the lane will get."""
        ...


@runtime_checkable
class Identified(Protocol):
    """A queue that can tell its topic from another one of that name, which somebody made after it was dropped."""

    @property
    def topic_id(self) -> str:
        """The same for all who have this very topic open; empty while that is not known."""
        ...
