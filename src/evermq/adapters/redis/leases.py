"""The lanes that one reader leases: what there is, taking it, keeping the lease, saving what was done, giving it back.

A lane is leased from the first message that is handed out of it until everything handed out is settled or given back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from evermq.adapters.redis.handing import deliver, fresh, picked, wanted
from evermq.adapters.redis.lane import Lane, readers_key
from evermq.adapters.redis.rest import with_the_rest
from evermq.adapters.redis.script import Script, pack
from evermq.adapters.redis.state import stands, state
from evermq.adapters.redis.window import LaneWindow
from evermq.adapters.redis.wire import Request
from evermq.errors import Damaged, EvermqError, NoSuchTopic
from evermq.port import Delivery

if TYPE_CHECKING:
    from evermq.adapters.redis.topic import Topic

__all__ = ["Leases"]

_ASKED = Script.load("asked", "k")
_LOOK = Script.load("look", "sld")
_PICK = Script.load("pick", "sl")
_RENEW = Script.load("renew", "s")
_SAVE = Script.load("save", "sl")
_TAKE = Script.load("take", "sl")

_BYTES_MAX = 4 << 20  # of one answer
_LANES_MAX = 8  # of one request
_LOOK_MS = 500  # what is known of the lanes is not older
_WINDOW_MS = 2_000  # who asked within it counts for the shares
_READY, _MINE, _GONE = b"rmx"  # letters of lua/look.lua
_FOREVER_MS = 3_600_000.0

Change = Callable[[LaneWindow, Iterable[int]], None]


class Leases:
    """Of one reader of a group. in_turn: lanes of an earlier epoch are emptied first, so that keys keep their order."""

    def __init__(self, topic: Topic, group: str, *, in_turn: bool = True) -> None:
        self._topic = topic
        self._group = group
        self._in_turn = in_turn
        self._id = topic.id
        self._token = topic.clock.token()
        self._held: dict[Lane, LaneWindow] = {}
        self._unsaved: set[Lane] = set()
        self._candidates: deque[Lane] = deque()
        self._looked_ms = -_LOOK_MS
        self._turn = int(self._token, 16)
        self._share = len(topic.lanes)
        self._count_max = 1
        self._wake_ms = _FOREVER_MS
        self._clock_ms = (0, 0)  # how far the server's clock is ahead: at least, at most
        self._ready: list[Delivery] = []  # handed out to this reader, and not yet by it
        self._ready_ms = 0
        self._lock = asyncio.Lock()
        self._keeper = asyncio.create_task(self._keep())

    def server_ms(self) -> int:
        """The latest time that the server's clock may show."""
        return self._topic.clock.now_ms() + self._clock_ms[1]

    def wake_ms(self) -> float:
        """In how long something may be due, as far as is known."""
        now_ms = self._topic.clock.now_ms() + self._clock_ms[0]
        dues = [due - now_ms for window in self._held.values() if (due := window.again_ms) is not None]
        return min([self._wake_ms, *dues])

    def pop(self, count_max: int) -> list[Delivery]:
        """What is there already."""
        found, self._ready = self._ready[:count_max], self._ready[count_max:]
        return found

    async def fill(self, count_max: int) -> None:
        """Get up to `count_max` deliveries of lanes that are leased or can be; perhaps none."""
        async with self._lock:
            self._count_max = count_max
            if self._id != self._topic.id:
                self._begin_anew()
            if self._ready:
                return
            await self._save_late()
            again = [lane for lane, window in self._held.items() if self._is_due(window)]
            if again:
                await self._hand_again(again, count_max)
            if not self._ready and not self._is_stale():
                await self._take(count_max)
            if not self._ready and await self._look():
                await self._take(count_max)

    def _begin_anew(self) -> None:
        """The topic was dropped and made again: nothing of the one before is of any use, and by a token of its own
        nothing that is still under way can be taken for this one's."""
        self._id, self._token = self._topic.id, self._topic.clock.token()
        self._forget(list(self._held))
        self._candidates.clear()

    async def _save_late(self) -> None:
        """Where an answer got lost it is not known whether the lanes are still ours."""
        try:
            await self._save(list(self._unsaved))
        except EvermqError:
            if not self._topic.wire.splits:
                raise  # else the lanes of other nodes can be read

    def _is_stale(self) -> bool:
        return self._topic.clock.monotonic_ms() - self._looked_ms > _LOOK_MS

    def _is_due(self, window: LaneWindow) -> bool:
        due_ms = window.again_ms
        return due_ms is not None and due_ms <= self._topic.clock.now_ms() + self._clock_ms[0]

    async def _look(self) -> bool:
        """Which lanes have something."""
        topic = self._topic
        lanes, old = topic.every_lane, len(topic.old)
        request = Request(_LOOK, lanes, pack(self._id, self._group, self._token))
        replies, _ = await asyncio.gather(topic.wire.each(request), self._ask())
        letters = _known(replies)
        self._looked_ms = topic.clock.monotonic_ms()
        self._wake_ms = min((float(letter[1:]) for letter in letters if len(letter) > 1), default=_FOREVER_MS)
        kinds = b"".join([letter[:1] for letter in letters])
        now = next((lane.epoch for lane, kind in zip(lanes, kinds, strict=True) if kind != _GONE), topic.epoch)
        mine = bytes(kind for lane, kind in zip(lanes, kinds, strict=True) if lane.epoch == now)
        if old and (now == topic.epoch or not mine.strip(b"ex")):
            await topic.retire()
        if b"x" in kinds[old:]:
            await topic.reload()
            if self._group not in topic.groups:
                raise NoSuchTopic(f"topic {topic.name} has no group {self._group} any more: it was dropped")
        ready = [
            lane
            for lane, kind in zip(lanes, kinds, strict=True)
            if (lane.epoch == now or not self._in_turn)
            and (kind == _READY or (kind == _MINE and lane not in self._held))
        ]
        self._turn += 1
        first = self._turn % len(ready) if ready else 0
        self._candidates = deque(ready[first:] + ready[:first])
        return bool(ready)

    async def _ask(self, stays: str = "stay") -> None:
        """Be counted, and learn the fair share and the server's time."""
        topic = self._topic
        before_ms = topic.clock.now_ms()
        key = readers_key(topic.name, self._group)
        try:
            alive, now_ms = await topic.wire.on_key(_ASKED, topic.name, key, [self._token, _WINDOW_MS, stays])
        except EvermqError:
            if not topic.wire.splits:
                raise
            return  # the node that counts readers is down; lanes of others can be read
        self._share = -(-len(topic.every_lane) // max(1, alive))
        self._clock_ms = (now_ms - topic.clock.now_ms(), now_ms + 1 - before_ms)

    async def _take(self, count_max: int) -> None:
        """From the lanes that have something; no more than a fair share of them."""
        while not self._ready and (lanes := self._choose()):
            busy = self._busy()
            [replies] = await self._call(self._request(lanes, busy, count_max), busy)
            await self._taken(lanes, busy, replies, count_max)

    async def _call(self, request: Request, busy: Iterable[Lane]) -> list[list[Any]]:
        """What comes of a lost answer is handed out again, once the server was told anew how far its lane was read."""
        try:
            return await self._topic.wire.calls(request)
        except EvermqError:
            self._unsaved.update(busy)
            raise

    def _choose(self) -> list[Lane]:
        chosen: list[Lane] = []
        count = 1 if self._topic.wire.splits else _LANES_MAX
        room = self._share - len(self._held)
        while self._candidates and len(chosen) < count:
            lane = self._candidates.popleft()
            if self._topic.wire.splits and lane in self._unsaved:
                continue
            if lane in self._held:
                chosen.append(lane)
            elif room > 0:
                room -= 1
                chosen.append(lane)
        return chosen

    def _busy(self) -> dict[Lane, LaneWindow]:
        """Lanes that stay leased: one of which nothing is out is let go of with its next save."""
        return {lane: window for lane, window in self._held.items() if window.out}

    def _request(self, lanes: list[Lane], busy: Mapping[Lane, LaneWindow], count_max: int) -> Request:
        topic, group = self._topic, self._group
        room = len(topic.every_lane) - len(busy)
        limits = (topic.options.lease_ms, count_max, _BYTES_MAX, room, len(busy), _WINDOW_MS)
        each = [pack(stands(busy.get(lane))) for lane in lanes]
        return Request(_TAKE, lanes, pack(self._id, group, self._token, *limits), each, readers_key(topic.name, group))

    async def _taken(
        self, lanes: list[Lane], busy: Mapping[Lane, LaneWindow], replies: Sequence[Any], count_max: int
    ) -> None:
        """Hand out what came. busy: the lanes that were leased before."""
        left = count_max
        try:
            replies = await with_the_rest(self._topic.wire, self._id, lanes, replies)
        except EvermqError:
            self._unsaved.update(busy)  # as if the answer had been lost
            raise
        unsaved: list[Lane] = []
        again: list[Lane] = []
        for lane, reply in zip(lanes, replies, strict=True):
            if not reply:
                if left <= 0:
                    self._candidates.appendleft(lane)
                continue
            at, blob, handed, crashed, end, _, *entries = reply
            window = busy.get(lane) or LaneWindow.load(at, blob, handed, crashed=bool(crashed))
            self._held[lane] = window
            begin = window.next
            if entries:
                self._add(fresh(lane, window, entries, left))
                left -= window.next - begin
                if window.next < int(end):
                    self._candidates.append(lane)
            if self._is_due(window):
                again.append(lane)
            elif crashed or not window.out:
                unsaved.append(lane)
            if not entries and not crashed and not window.open_count and begin < int(end):
                raise self._damaged(lane, window, int(end))
        await self._save(unsaved)
        if again and left > 0:
            await self._hand_again(again, left)

    def _damaged(self, lane: Lane, window: LaneWindow, end: int) -> Damaged:
        self._unsaved.add(lane)
        return Damaged(
            f"lane {lane.name} of {self._topic.name} should hold the messages from {window.next} to {end - 1}, and its "
            "list does not: somebody else removed entries; to go on: "
            f"evermq topics reset URL --group {self._group} --to newest"
        )

    def _add(self, deliveries: list[Delivery]) -> None:
        self._ready += deliveries
        self._ready_ms = self._topic.clock.monotonic_ms()

    async def _hand_again(self, lanes: Sequence[Lane], count_max: int) -> None:
        """What comes again; that it does is saved first, so that attempts are counted if this reader dies."""
        now_ms = self._topic.clock.now_ms() + self._clock_ms[0]
        taken: dict[Lane, list[int]] = {}
        for lane in lanes:
            taken[lane] = self._held[lane].take_again(count_max, now_ms)
            count_max -= len(taken[lane])
        try:
            asked = [wanted(self._held[lane], offsets) for lane, offsets in taken.items()]
            values = [pack(len(marks), *(mark.entry for mark in marks)) for marks in asked]
            entries = await self._topic.wire.call(_PICK, list(taken), [], values)
            found: list[Delivery] = []
            for (lane, offsets), marks, some in zip(taken.items(), asked, entries, strict=True):
                messages = picked(marks, some)
                there = [offset for offset in offsets if offset in messages]
                self._held[lane].settle(set(offsets) - messages.keys())
                found += deliver(lane, self._held[lane], there, [messages[offset] for offset in there])
            await self._save(list(taken))
        except BaseException:
            for lane, offsets in taken.items():
                if lane in self._held:
                    self._held[lane].put_back(offsets)
            raise
        self._add([delivery for delivery in found if delivery.receipt in self._held])

    async def change(self, by_lane: Mapping[Lane, Sequence[int]], change: Change) -> None:
        """Apply to the lanes that are still leased, and save them; if that leaves nothing to do, take more with it."""
        async with self._lock:
            changed = [lane for lane in self._held if lane in by_lane]
            for lane in changed:
                change(self._held[lane], by_lane[lane])
            self._unsaved.update(changed)
            if self._is_idle() and (lanes := self._choose()):
                saving = [lane for lane in self._unsaved if lane in self._held]
                more = self._request(lanes, {}, self._count_max)
                saved, taken = await self._topic.wire.calls(self._saving(saving), more)
                freed = self._saved(saving, saved)
                with suppress(EvermqError):  # the next read meets it: what was changed is saved
                    await self._taken(lanes, {}, taken, self._count_max)
            else:
                freed = await self._save(list(self._unsaved))
            if freed:
                self._topic.wake()

    def _is_idle(self) -> bool:
        """Everything is settled, and there is more: the next read is likely to come at once."""
        splits, settled = self._topic.wire.splits, not any(window.out for window in self._held.values())
        return bool(self._candidates) and bool(self._unsaved) and settled and not splits and not self._is_stale()

    def stop(self) -> None:
        """Renew nothing any more: whatever becomes of giving back, the leases end."""
        self._keeper.cancel()

    async def leave(self) -> None:
        """Once stopped, give back everything; what cannot be told to the server comes free when the lease ends."""
        await asyncio.wait([self._keeper])
        async with self._lock:
            self._unhand()
            for window in self._held.values():
                window.give_back()
            try:
                await self._save(list(self._held))
                await self._ask("leave")
            except EvermqError:
                pass
            self._held.clear()

    async def _save(self, lanes: list[Lane]) -> bool:
        """Write their state, and let go of those of which nothing is out; a lane that was lost is forgotten.

        Whether any is free now."""
        lanes = [lane for lane in lanes if lane in self._held]
        self._unsaved.update(lanes)
        if not lanes:
            return False
        [replies] = await self._topic.wire.calls(self._saving(lanes))
        return self._saved(lanes, replies)

    def _saving(self, lanes: list[Lane]) -> Request:
        shared = pack(self._group, self._token, self._topic.options.lease_ms)
        return Request(_SAVE, lanes, shared, [state(self._held[lane]) for lane in lanes])

    def _saved(self, lanes: list[Lane], replies: Sequence[int]) -> bool:
        self._unsaved.difference_update(lanes)
        gone = [lane for lane, kept in zip(lanes, replies, strict=True) if not kept or not self._held[lane].out]
        self._forget(gone)
        return bool(gone)

    def _forget(self, lanes: Iterable[Lane]) -> None:
        lost = False
        for lane in lanes:
            self._unsaved.discard(lane)
            lost |= bool(self._held.pop(lane).out)
        if lost:
            self._ready = [delivery for delivery in self._ready if delivery.receipt in self._held]

    def _unhand(self) -> None:
        """What nobody was handed goes back without counting as an attempt."""
        for delivery in self._ready:
            self._held[delivery.receipt].put_back([delivery.position.offset or 0])
        self._unsaved.update(self._held)
        self._ready.clear()

    async def _keep(self) -> None:
        """Renew in time, and save what could not be saved."""
        pause_ms = self._topic.options.lease_ms / 3
        while True:
            await self._topic.clock.sleep(pause_ms)
            async with self._lock:
                lanes = list(self._held)
                if not lanes:
                    continue
                if self._ready and self._topic.clock.monotonic_ms() - self._ready_ms > pause_ms:
                    self._unhand()  # its owner does not read: somebody else may
                try:
                    await self._save([lane for lane in lanes if lane in self._unsaved])
                    await self._renew([lane for lane in lanes if lane in self._held])
                except EvermqError:
                    continue  # the next turn, or the lease ends; every save is fenced

    async def _renew(self, lanes: list[Lane]) -> None:
        if not lanes:
            return
        replies = await self._topic.wire.call(_RENEW, lanes, [self._group, self._token, self._topic.options.lease_ms])
        self._forget([lane for lane, kept in zip(lanes, replies, strict=True) if not kept])


def _known(replies: Sequence[Any]) -> list[bytes]:
    """What lua/look.lua says of each lane; a lane whose node is down has something that cannot be had now."""
    errors = [reply for reply in replies if isinstance(reply, EvermqError)]
    if errors and len(errors) == len(replies):
        raise errors[0]
    return [b"o" if isinstance(reply, EvermqError) else reply for reply in replies] if errors else list(replies)
