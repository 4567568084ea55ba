"""What one reader may hand out, drop or must hold: pure state, without any I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from evermq.message import NO_HEADERS, Message
from evermq.numbers import BEHIND_ALL, SEQ, VOID, Number, lane_of_stream, number_of, plain
from evermq.policy.gone import Gone
from evermq.policy.landed import Landed
from evermq.policy.lane import ABSENT, Drops, GateCounts, Lane, Stream, Ticket
from evermq.policy.waiting import Parked
from evermq.port import Delivery
from evermq.position import Position
from evermq.settled import Settled
from evermq.settling import Held, Part

__all__ = ["ABSENT", "LATE", "UNPROVED", "Gate"]

_NEW: Any = tuple.__new__  # half the cost of the named tuple's own
_NOTHING_BEFORE = ("-", "0")
LATE, UNPROVED = "late", "unproved"


class Gate:
    """has_order: hold what is early; without it only copies are dropped. drops_older: the group began in the midst of
    things, so that what is from before its time is dropped where it still comes, and not handed out late."""

    def __init__(self, *, part: Part | None = None, has_order: bool = True, drops_older: bool = False) -> None:
        self.lanes: dict[int, Lane] = {}
        self.counts = GateCounts()
        self._landed = Landed()
        self._usual: dict[str, tuple[Lane, Stream]] = {}  # the streams of the lanes that are claimed
        self.underway = Gone()
        self._now_ms = 0
        self.is_dropping = False  # some lane has drops
        self.is_ahead = False  # an attempt is to be written down before it begins
        self._part = part
        self._has_order = has_order
        self._drops_older = drops_older

    def offer(self, found: Iterable[Delivery], now_ms: int) -> list[Delivery]:
        """Take what the engine gave; returns what may be handed out, in order."""
        ready: list[Delivery] = []
        self._now_ms = now_ms
        for delivery in found:
            if self.underway or not self._pass_usual(delivery, ready):
                self._offer(delivery, now_ms, ready)
        return ready

    def _pass_usual(self, delivery: Delivery, ready: list[Delivery]) -> bool:
        """Let through what comes in its turn, as nearly everything does; False: look closer."""
        message = delivery.message
        id, key, body, headers, created_ms = message
        if delivery.attempt > 1 or len(headers) != 1 or SEQ not in headers:
            return False
        try:
            name, seq_text, back_text, _ = headers[SEQ].split(" ")
            lane, stream = self._usual[name]
            seq = int(seq_text)
            prev = 0 if back_text in _NOTHING_BEFORE else seq - int(back_text)
        except (KeyError, ValueError):
            return False  # a stream that is new here, or not what evermq writes
        settled, out = stream.settled, stream.out
        following = settled.front(seq)
        if (
            seq < following
            or (prev >= following and prev not in out)
            or seq in out
            or lane.parked
            or lane.is_closing
            or seq in stream.why
            or seq < settled.floor
            or not following
        ):
            return False
        stream.latest = message
        attempt = settled.tries.get(seq, 0) + 1 if settled.tries else 1
        ticket = out[seq] = Ticket(delivery, lane, stream, seq, prev, attempt)
        lane.out += 1
        sent = _NEW(Message, (id, None if back_text == "-" else key, body, NO_HEADERS, created_ms))
        ready.append(Delivery(sent, delivery.position, ticket, attempt))
        return True

    def _offer(self, delivery: Delivery, now_ms: int, ready: list[Delivery]) -> None:
        number = number_of(delivery.message)
        if number is None:
            self.counts.foreign += 1
            ready.append(Delivery(delivery.message, delivery.position, Ticket(delivery), delivery.attempt))
            return
        lane = self._lane(lane_of_stream(number.stream))
        stream = self._stream(lane, number) if lane.claimed else None
        self._landed.note(number)
        self.underway.seen(number)
        parked = Parked(delivery, number, now_ms, delivery.attempt)
        if stream is None or lane.is_closing:
            self._park(lane, parked)
            return
        known = len(stream.why)
        if self._pass(lane, stream, parked, ready):
            settled = (number.stream,) if VOID in delivery.message.headers else ()
            self._move(lane, lane.parked.behind(parked.place), ready, settled)
            return
        self._park(lane, parked)
        if len(stream.why) > known:
            self._move(lane, lane.parked.of(parked.awaits), ready)

    def opened(self, stream: str) -> int:
        """Numbers below this one have landed for good."""
        if found := self._usual.get(stream):
            self._landed.note_last(found[1])
        return self._landed.below(stream)

    def wants(self) -> set[int]:
        """Lanes in which something waits, and which this reader has not claimed."""
        return {lane.number for lane in self.lanes.values() if lane.parked and not lane.claimed}

    def claimed(self, number: int, states: Mapping[str, str]) -> list[Delivery]:
        """The lane is this reader's, with these states; returns what may be handed out of what waited."""
        lane = self._lane(number)
        lane.claimed, lane.is_closing, lane.proof = True, False, None
        lane.streams = {name: Stream(name, Settled.unpack(text)) for name, text in states.items()}
        self._usual.update({name: (lane, stream) for name, stream in lane.streams.items()})
        self.underway.settled({name: stream.settled for name, stream in lane.streams.items()})
        return self.woken(lane)

    def quiet(self) -> set[int]:
        """Lanes of which the application has nothing, and is given nothing more."""
        return {lane.number for lane in self.lanes.values() if lane.is_closing and not lane.out}

    def not_asked_for(self, wanted: Collection[int]) -> list[Lane]:
        """Lanes that were to be given back and that nobody asks for any more: they are handed out again."""
        lanes = [lane for lane in self.lanes.values() if lane.is_closing and lane.number not in wanted]
        for lane in lanes:
            lane.is_closing = False
        return lanes

    def lost(self, number: int, *, is_written: bool = False) -> list[Delivery]:
        """The lane is not this reader's any more. What the application still has of it settles nothing.

        is_written: everything that changed was. Returns what must go back to the engine: else nobody would have it."""
        lane = self.lanes[number]
        back = [ticket.inner for stream in lane.streams.values() for ticket in stream.out.values()]
        if not is_written:
            back += lane.drops
            lane.drops, lane.losses = [], lane.losses + 1
        lane.claimed, lane.is_closing, lane.is_doubted, lane.out = False, False, False, 0
        lane.changed.clear()
        for stream in lane.streams.values():
            self._landed.note_last(stream)
            self._usual.pop(stream.name, None)
            # What is settled and not written down is nowhere else by now, and may be on its way back to the engine.
            out = {seq: ticket.inner.position for seq, ticket in stream.out.items()}
            self._let_go(stream.name, out | stream.writing | stream.unwritten)
        lane.streams = {}
        return back

    def forget(self, lane: Lane, stream: str) -> None:
        """Its producer is gone: what comes of it all the same begins anew."""
        lane.streams.pop(stream, None)
        self._usual.pop(stream, None)
        self._landed.forget(stream)

    def forget_moved(self) -> None:
        """What came of streams whose lanes are other readers', and of which nothing waits here: what their next reader
        knows as little goes by what comes then."""
        waiting = {parked.number.stream for lane in self.lanes.values() for parked in lane.parked}
        self._landed.keep(waiting | self._usual.keys())

    def unwritten(self, tickets: Iterable[Ticket]) -> list[Delivery]:
        """Those that were settled here, while their lane was lost before that was written down; each of them once."""
        lost = [ticket for ticket in tickets if not (ticket.is_live or ticket.is_out or ticket.is_swept)]
        for ticket in lost:
            ticket.is_swept = True
        return [ticket.inner for ticket in lost]

    @property
    def unwritten_count(self) -> int:
        """How many are settled here, and not written down as far as is known."""
        streams = (stream for lane in self.lanes.values() for stream in lane.streams.values())
        return sum(len(stream.unwritten) + len(stream.writing) for stream in streams)

    def owe(self, tickets: Iterable[Ticket]) -> None:
        """The engine may forget these once they are written down, which did not work yet. Again is harmless."""
        for ticket in tickets:
            if ticket.lane and ticket.is_settled and not ticket.is_swept:
                ticket.is_swept = True
                self._drop(ticket.lane, ticket.inner)

    def take_drops(self) -> list[Drops]:
        """What nobody has to see."""
        taken = [Drops(lane, lane.losses, lane.drops) for lane in self.lanes.values() if lane.drops]
        self.is_dropping = False
        for lane, _, _ in taken:
            lane.drops = []
        return taken

    def _drop(self, lane: Lane, delivery: Delivery) -> None:
        lane.drops.append(delivery)
        self.is_dropping = True

    def own(self, deliveries: Iterable[Delivery]) -> list[Ticket]:
        """The tickets of these; what another reader was given is its own to settle."""
        tickets: list[Ticket] = [delivery.receipt for delivery in deliveries]
        lanes = self.lanes
        return [t for t in tickets if t.lane is None or lanes.get(t.lane.number) is t.lane]

    def settle(self, tickets: Iterable[Ticket]) -> list[Lane]:
        """These are done; returns the lanes in which something may move now."""
        touched: dict[int, Lane] = {}
        for ticket in tickets:
            lane, stream = ticket.lane, ticket.stream
            if lane is not None and stream is not None and stream.out.get(ticket.seq) is ticket and ticket.is_live:
                del stream.out[ticket.seq]
                stream.settle(ticket.seq, ticket.inner.position)
                lane.changed.add(stream)
                lane.out -= 1
                if lane.parked:
                    lane.touched.append((stream.name, ticket.seq))
                    touched[lane.number] = lane
        return list(touched.values())

    def release(
        self, tickets: Sequence[Ticket], delay_ms: int = 0, *, unseen: Collection[Ticket] = ()
    ) -> list[Delivery]:
        """The application gives these back; returns them with all that it has behind them, and with their copies.

        unseen: what the application was not given yet, so that this was no attempt."""
        streams: dict[int, tuple[Lane, Stream, dict[int, Position]]] = {}
        for ticket in tickets:
            if ticket.lane and ticket.stream and ticket.is_out and ticket.is_live:
                given = streams.setdefault(id(ticket.stream), (ticket.lane, ticket.stream, {}))[2]
                given[ticket.seq] = ticket.inner.position
        back = [ticket.inner for ticket in tickets if ticket.lane is None]
        for lane, stream, given in streams.values():
            for seq in sorted(stream.out):
                ticket = stream.out[seq]
                if seq in given or (self._has_order and ticket.prev in given):
                    given[seq] = ticket.inner.position
                    back.append(ticket.inner)
                    lane.out -= 1
                    del stream.out[seq]
                    if ticket not in unseen:
                        ticket.count()
            # Copies of what is released wait for it, and must not come in its place before its time.
            back += lane.parked.take(stream.name, given)
            self._let_go(stream.name, given, delay_ms)
        return back

    def count_open(self, unseen: Collection[Ticket]) -> None:
        """What the application has will be another reader's: these were attempts."""
        for lane in self.lanes.values():
            for stream in lane.streams.values():
                for ticket in stream.out.values():
                    if ticket not in unseen:
                        ticket.count()

    def woken(self, lane: Lane) -> list[Delivery]:
        """What may be handed out now of what waits in a lane."""
        return self._moved(lane, lane.parked, ())

    def followed(self, lane: Lane) -> list[Delivery]:
        """As `woken`, looking only at what is behind what was settled since."""
        due = [parked for place in lane.touched for parked in lane.parked.behind(place)]
        return self._moved(lane, due, {stream for stream, _ in lane.touched})

    def _moved(self, lane: Lane, due: Iterable[Parked], settled: Iterable[str]) -> list[Delivery]:
        lane.touched, lane.is_unlooked = [], False
        ready: list[Delivery] = []
        if lane.claimed and not lane.is_closing:
            self._move(lane, due, ready, settled)
        return ready

    def pass_over(self, lane: Lane, parked: Parked, why: str, held: Collection[int] = ()) -> None:
        """What comes before this one is nowhere (or was waited for long enough): see `Stream.pass_over`."""
        stream = self._stream(lane, parked.number)
        stream.pass_over(parked.number, why, held, drops_older=self._drops_older)
        lane.changed.add(stream)
        lane.is_unlooked = True

    def overflow(self, lane: Lane, count_max: int) -> list[Parked]:
        """Take what a lane holds beyond `count_max` out of it, the latest first."""
        over = lane.parked.beyond(count_max)
        for parked in over:
            lane.parked.remove(parked)
            self._let_go(parked.number.stream, {parked.number.seq: parked.delivery.position})
        return over

    def held(self, now_ms: int) -> list[Held]:
        """What waits here, or was given back to the engine not long ago and not seen again."""
        self._now_ms = now_ms
        return [*self.underway.held(now_ms), *chain.from_iterable(lane.parked.held() for lane in self.lanes.values())]

    def _let_go(self, stream: str, places: Mapping[int, Position], delay_ms: int = 0) -> None:
        self.underway.add(stream, places, self._now_ms + delay_ms)

    def gone(self, deliveries: Iterable[Delivery], delay_ms: int = 0) -> None:
        """These go back to the engine."""
        for delivery in deliveries:
            if number := number_of(delivery.message):
                self._let_go(number.stream, {number.seq: delivery.position}, delay_ms)

    def _lane(self, number: int) -> Lane:
        lane = self.lanes.get(number)
        if lane is None:
            lane = self.lanes[number] = Lane(number, self._part)
        return lane

    def _stream(self, lane: Lane, number: Number) -> Stream:
        stream = lane.streams.get(number.stream)
        if stream is None:
            stream = lane.streams[number.stream] = Stream(number.stream, Settled(floor=number.seq))
            if lane.claimed:
                self._usual[number.stream] = (lane, stream)
        return stream

    def _park(self, lane: Lane, parked: Parked) -> None:
        """Hold one copy of a number from each rung: copies alone must not fill a window that its predecessor needs."""
        if lane.parked.find(parked) is None:
            self.counts.held += 1
            lane.parked.add(parked)
        elif superfluous := lane.parked.renew(parked):
            self.counts.dropped += 1
            self._drop(lane, superfluous)

    def _move(self, lane: Lane, due: Iterable[Parked], ready: list[Delivery], settled: Iterable[str] = ()) -> None:
        """Drop or let through what can move of these, then what is behind it, and so on.

        settled: streams in which something was; what waits for all before it is looked at once for all of that."""
        todo, stirred = deque(due), set(settled)
        while todo or stirred:
            if not todo:
                todo += lane.parked.behind_all(stirred)
                stirred.clear()
                continue
            parked = todo.popleft()
            if parked not in lane.parked:
                continue
            stream = self._stream(lane, parked.number)
            known = len(stream.why)
            if self._pass(lane, stream, parked, ready):
                lane.parked.remove(parked)
                todo += lane.parked.behind(parked.place)
                if VOID in parked.delivery.message.headers:
                    stirred.add(stream.name)
            elif len(stream.why) > known:
                todo += lane.parked.of(parked.awaits)

    def _pass(self, lane: Lane, stream: Stream, parked: Parked, ready: list[Delivery]) -> bool:
        """Drop it, or let it through to `ready`; False: it has to wait."""
        delivery, number = parked.delivery, parked.number
        settled, seq = stream.settled, number.seq
        if seq in settled:
            self.counts.dropped += 1
            self._drop(lane, delivery)
            return True
        void = delivery.message.headers.get(VOID)
        is_void = void is not None
        if void == BEHIND_ALL:
            number = parked.number = number._replace(prev=settled.first_open(seq))
        is_early = self._has_order and not stream.has(number.prev, handed_out=not is_void)
        if seq in stream.out or is_early:
            if is_early and (settled.is_passed_over(seq) or seq in stream.why):
                stream.why.setdefault(number.prev, LATE)  # it was passed over, and so was what is before it
            return False
        settled.floor = min(settled.floor, seq)
        if is_void:
            self.counts.voids += 1
            stream.settle(seq, delivery.position)
            lane.changed.add(stream)
            self._drop(lane, delivery)
            return True
        why = LATE if settled.is_passed_over(seq) or seq < settled.passed else stream.why.pop(seq, "")
        self.counts.flagged += bool(why)
        attempt = self._attempt(lane, stream, parked)
        ticket = stream.out[seq] = Ticket(delivery, lane, stream, seq, number.prev, attempt)
        lane.out += 1
        ready.append(Delivery(plain(delivery.message, number, why), delivery.position, ticket, attempt))
        return True

    def _attempt(self, lane: Lane, stream: Stream, parked: Parked) -> int:
        """Which attempt of the application this is.

        What the engine counts has also what was only held here, and a consumer would bury messages that it never had.
        But what came here as a second attempt may be what ended another reader's process: that is written down before
        the next attempt begins, which may end this one."""
        seq = parked.number.seq
        tries = stream.settled.tries
        if parked.attempt == 1:
            return tries.get(seq, 0) + 1
        attempt = tries[seq] = tries.get(seq, 1) + 1
        lane.changed.add(stream)
        self.is_ahead = True
        return attempt
