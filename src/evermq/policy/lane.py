"""What one reader knows of a lane: what is settled of its streams, what waits, and what the application has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from evermq.errors import Fenced
from evermq.message import Message
from evermq.numbers import Number
from evermq.policy.waiting import Parked, Waiting
from evermq.port import Delivery
from evermq.position import Position
from evermq.settled import Settled
from evermq.settling import Part

__all__ = ["ABSENT", "Drops", "GateCounts", "Lane", "Stream", "Ticket"]

ABSENT = "absent"


@dataclass(slots=True)
class GateCounts:
    """held: messages that had to wait for another one. dropped: copies of what was settled. voids: numbers that no
    message has. flagged: handed out although what is before it never came, or came after it. foreign: without a
    number. returned: lanes that went to another reader of the group which asked for them. failed: turns
    of the background task that ended in an error nobody listed, of which the last is in `error`."""

    held: int = 0
    dropped: int = 0
    voids: int = 0
    flagged: int = 0
    foreign: int = 0
    returned: int = 0
    failed: int = 0
    error: str = ""


@dataclass(slots=True, eq=False)
class Stream:
    """A stream as its lane's reader sees it. out: what the application has. why: flags of what may go although what is
    before it is not settled. latest: the message that was let through last. unwritten: what was settled here, and is
    not in a state that the store is known to have; writing: what is in one that is being written."""

    name: str
    settled: Settled
    out: dict[int, Ticket] = field(default_factory=dict)
    why: dict[int, str] = field(default_factory=dict)
    latest: Message | None = None
    unwritten: dict[int, Position] = field(default_factory=dict)
    writing: dict[int, Position] = field(default_factory=dict)

    def settle(self, seq: int, place: Position) -> None:
        """This number, which was read there, is done with."""
        self.settled.add(seq)
        self.unwritten[seq] = place
        if self.why:
            self.why.pop(seq, None)

    def write(self, day: int) -> str:
        """Its state, which is being written down on this day: the outcome is to be told."""
        self.settled.day = day
        self.writing, self.unwritten = self.unwritten, {}
        return self.settled.pack()

    def was_written(self, *, is_known: bool = True) -> None:
        """The store has that state, as far as is known."""
        if not is_known:
            self.unwritten = self.writing | self.unwritten
        self.writing = {}

    def has(self, seq: int, *, handed_out: bool = True) -> bool:
        """Whether what depends on this number may be handed out behind it.

        handed_out: it is enough that the application has it. Not so for a void, which is settled at once: it would
        let pass what comes behind it, should the application give back what is before it."""
        if seq == 0 or seq in self.settled or self.settled.is_passed_over(seq):
            return True
        return handed_out and seq in self.out

    def pass_over(self, number: Number, why: str, held: Collection[int], *, drops_older: bool) -> None:
        """What comes before this number is nowhere (or was waited for long enough): it may go on, flagged.

        Where that is proved, all is passed over that is from before the group's time, but for what is held somewhere.
        held: numbers of the stream that some reader has. drops_older: what is from before that time is settled."""
        settled = self.settled
        self.why[number.seq] = why
        if why == ABSENT:
            settled.passed = max(settled.passed, number.seq)
        before = min(number.open, settled.floor) if why == ABSENT and number.prev < settled.floor else 0
        if before and drops_older:
            settled.add_below(before, but=held)
            settled.add(number.prev)
            self.why = {seq: flag for seq, flag in self.why.items() if seq not in settled}
        else:
            settled.waived = max(settled.waived, before)
            if not settled.is_passed_over(number.prev):
                settled.absent.add(number.prev)


@dataclass(slots=True, eq=False)
class Ticket:
    """The receipt of what was handed out. lane: None for a foreign message. attempt: of the application. is_swept: the
    engine is to forget it, or to have it again, without another word of the application."""

    inner: Delivery
    lane: Lane | None = None
    stream: Stream | None = None
    seq: int = 0
    prev: int = 0
    attempt: int = 1
    is_swept: bool = False

    @property
    def is_live(self) -> bool:
        """Whether the lane is still claimed as it was when the ticket was given."""
        return self.lane is None or (self.stream is not None and self.lane.streams.get(self.stream.name) is self.stream)

    @property
    def is_lost(self) -> bool:
        """Whether another reader may have the lane by now, as far as this one or its handlers heard."""
        return not self.is_live or (self.lane is not None and self.lane.is_doubted)

    @property
    def is_out(self) -> bool:
        """Whether the application may still settle it, or give it back."""
        return self.stream is None or self.stream.out.get(self.seq) is self

    @property
    def is_settled(self) -> bool:
        """Whether the engine may forget it."""
        return self.stream is None or (self.is_live and self.seq in self.stream.settled)

    def is_due(self) -> bool:
        """Whether a handler may let it take effect now; False: it is settled. Raises Fenced where it is another's by
        now: another reader's, or that of who was handed it again."""
        if self.lane is None or self.stream is None:
            return True
        if not self.is_live:
            raise Fenced(f"lane {self.lane.number} was another reader's since")
        if self.is_out:
            return True
        if self.seq in self.stream.settled:
            return False
        raise Fenced("this delivery was given back, and may have been handed out again")

    def count(self) -> None:
        """This attempt failed, as far as is known."""
        if self.lane and self.stream:
            self.stream.settled.tries[self.seq] = self.attempt
            self.lane.changed.add(self.stream)


@dataclass(slots=True, eq=False)
class Lane:
    """part: this reader's in the progress of its group. claimed: this reader may hand out. is_closing: another reader
    asked for it, so nothing more is handed out. changed: streams whose state has to be written down. drops: to be
    acknowledged without showing them to anybody, once that is done. losses: how often the lane was lost before it was.
    is_doubted: a handler that settled in its own transaction heard that the lane is another reader's. was_asked: it
    was asked for once; from then on it is looked at first. touched: settled since what may move was looked for.
    is_unlooked: so much may move that all of it is to be looked at."""

    number: int
    part: Part | None = None
    claimed: bool = False
    is_closing: bool = False
    streams: dict[str, Stream] = field(default_factory=dict)
    parked: Waiting = field(default_factory=Waiting)
    touched: list[tuple[str, int]] = field(default_factory=list)
    out: int = 0
    changed: set[Stream] = field(default_factory=set)
    drops: list[Delivery] = field(default_factory=list)
    losses: int = 0
    is_doubted: bool = False
    proof: Any = None
    was_asked: bool = False
    is_unlooked: bool = False

    def may_move(self, states: Mapping[str, str], old_ms: int) -> bool:
        """Whether something that waits could go on, by states that were only looked at, or has waited since `old_ms`,
        so that its reader should find out what is wrong."""
        streams = {name: Stream(name, Settled.unpack(text)) for name, text in states.items()}
        for parked in self.parked:
            stream = streams.get(parked.number.stream)
            if (
                parked.since_ms <= old_ms
                or stream is None
                or parked.number.seq in stream.settled
                or stream.has(parked.number.prev)
            ):
                return True
        return False

    def heads(self, until_ms: int) -> list[Parked]:
        """What has to go on so that all can which has waited since then: what it waits for may wait here as well."""
        heads: dict[Parked, Parked] = {}
        for parked in self.parked:
            if parked.since_ms <= until_ms and parked.number.prev:
                chain, head = [], parked
                while head not in heads and (before := [*self.parked.of(head.awaits)]):
                    chain.append(head)
                    head = before[-1]
                head = heads.get(head, head)
                heads.update(dict.fromkeys((*chain, head), head))
        return [head for head in dict.fromkeys(heads.values()) if head.number.prev]

    def not_written(self, streams: Iterable[Stream]) -> None:
        """That was tried, and it is not known to have been done."""
        for stream in streams:
            stream.was_written(is_known=False)
            if self.streams.get(stream.name) is stream:
                self.changed.add(stream)


class Drops(NamedTuple):
    """What was taken of a lane's drops."""

    lane: Lane
    losses: int
    deliveries: list[Delivery]

    @property
    def are_due(self) -> bool:
        """Whether what makes them superfluous was written down: asked after the next write."""
        return self.lane.losses == self.losses
