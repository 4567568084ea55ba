"""The lanes that one reader leases: what there is, taking it, keeping the lease, saving what was done, giving it back.

A lane is leased from the first message that is handed out of it until everything handed out is settled or given back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evermq.adapters.redis.handing import deliver, fresh, picked, wanted
from evermq.adapters.redis.lane import Lane, readers_key
from evermq.adapters.redis.script import Argument, Script
from evermq.adapters.redis.window import LaneWindow
from evermq.errors import EvermqError
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
_FOREVER_MS = 3_600_000.0

Change = Callable[[LaneWindow, Iterable[int]], None]


class Leases:
    """Of one reader of a group."""

    def __init__(self, topic: Topic, group: str) -> None:
        self._topic = topic
        self._group = group
        self._token = topic.clock.token()
        self._held: dict[Lane, LaneWindow] = {}
        self._unsaved: set[Lane] = set()
        self._candidates: deque[Lane] = deque()
        self._looked_ms = -_LOOK_MS
        self._turn = int(self._token, 16)
        self._share = len(topic.lanes)
        self._wake_ms = _FOREVER_MS
        self._ahead_ms = (0, 0)  # of the server's clock: at least, at most
        self._lock = asyncio.Lock()
        self._keeper = asyncio.create_task(self._keep())

    def server_ms(self) -> int:
        """The latest time that the server's clock may show."""
        return self._topic.clock.now_ms() + self._ahead_ms[1]

    def wake_ms(self) -> float:
        """In how long something may be due, as far as is known."""
        now_ms = self._topic.clock.now_ms() + self._ahead_ms[0]
        dues = [due - now_ms for window in self._held.values() if (due := window.again_ms) is not None]
        return min([self._wake_ms, *dues])

    async def fetch(self, count_max: int) -> list[Delivery]:
        """Up to `count_max` deliveries of lanes that are leased or can be; perhaps none."""
        async with self._lock:
            again = [lane for lane, window in self._held.items() if self._is_due(window)]
            if again and (found := await self._hand_again(again, count_max)):
                return found
            if self._topic.clock.monotonic_ms() - self._looked_ms > _LOOK_MS:
                self._candidates.clear()
            found = await self._take(count_max)
            if not found and await self._look():
                found = await self._take(count_max)
            return found

    def _is_due(self, window: LaneWindow) -> bool:
        due_ms = window.again_ms
        return due_ms is not None and due_ms <= self._topic.clock.now_ms() + self._ahead_ms[0]

    async def _look(self) -> bool:
        """Which lanes have something; old lanes come first, and the new ones wait for them."""
        topic = self._topic
        lanes, old = topic.every_lane, len(topic.old)
        letters, _ = await asyncio.gather(
            topic.wire.call(_LOOK, lanes, [topic.id, self._group, self._token]), self._ask()
        )
        self._looked_ms = topic.clock.monotonic_ms()
        self._wake_ms = min((float(letter[1:]) for letter in letters if len(letter) > 1), default=_FOREVER_MS)
        kinds = b"".join([letter[:1] for letter in letters])
        if old and not kinds[:old].strip(b"ex"):
            await topic.retire()
        if b"x" in kinds[old:]:
            await topic.reload()
        stop = old if kinds[:old].strip(b"x") else len(lanes)
        ready = [lane for lane, kind in zip(lanes[:stop], kinds, strict=False) if kind == b"r"[0]]
        self._turn += 1
        first = self._turn % len(ready) if ready else 0
        self._candidates = deque(ready[first:] + ready[:first])
        return bool(ready)

    async def _ask(self, stays: str = "stay") -> None:
        """Be counted, and learn the fair share and the server's time."""
        topic = self._topic
        before_ms = topic.clock.now_ms()
        key = readers_key(topic.name, self._group)
        alive, now_ms = await topic.wire.on_key(_ASKED, topic.name, key, [self._token, _WINDOW_MS, stays])
        self._share = -(-len(topic.every_lane) // max(1, alive))
        self._ahead_ms = (now_ms - topic.clock.now_ms(), now_ms + 1 - before_ms)

    async def _take(self, count_max: int) -> list[Delivery]:
        """From the lanes that have something; no more than a fair share of them."""
        found: list[Delivery] = []
        while self._candidates and not found:
            lanes = self._choose(1 if self._topic.wire.splits else _LANES_MAX)
            if not lanes:
                break
            found = await self._take_from(lanes, count_max)
        return found

    def _choose(self, count: int) -> list[Lane]:
        chosen: list[Lane] = []
        room = self._share - len(self._held)
        while self._candidates and len(chosen) < count:
            lane = self._candidates.popleft()
            if lane in self._held:
                chosen.append(lane)
            elif room > 0:
                room -= 1
                chosen.append(lane)
        return chosen

    async def _take_from(self, lanes: list[Lane], count_max: int) -> list[Delivery]:
        topic, held = self._topic, len(self._held)
        shared: list[Argument] = [topic.id, self._group, self._token, topic.options.lease_ms, count_max, _BYTES_MAX]
        shared += [len(topic.every_lane) - held, held, _WINDOW_MS]
        each = [[_stands(self._held.get(lane))] for lane in lanes]
        beside = readers_key(topic.name, self._group)
        replies = await topic.wire.call(_TAKE, lanes, shared, each, beside=beside)
        found: list[Delivery] = []
        unsaved: list[Lane] = []
        again: list[Lane] = []
        for lane, reply in zip(lanes, replies, strict=True):
            if not reply:
                if len(found) >= count_max:
                    self._candidates.appendleft(lane)
                continue
            stands, blob, handed, crashed, *entries = reply
            window = self._held.get(lane)
            if window is None:
                window = self._held[lane] = LaneWindow.load(stands, blob, handed, crashed=bool(crashed))
            if entries:
                found += fresh(lane, window, entries, count_max - len(found))
                self._candidates.append(lane)
            if self._is_due(window):
                again.append(lane)
            elif crashed or not window.out:
                unsaved.append(lane)
        await self._save(unsaved)
        if again:
            found += await self._hand_again(again, count_max - len(found))
        return found

    async def _hand_again(self, lanes: Sequence[Lane], count_max: int) -> list[Delivery]:
        """What comes again; that it does is saved first, so that attempts are counted if this reader dies."""
        now_ms = self._topic.clock.now_ms() + self._ahead_ms[0]
        taken: dict[Lane, list[int]] = {}
        for lane in lanes:
            taken[lane] = self._held[lane].take_again(count_max, now_ms)
            count_max -= len(taken[lane])
        try:
            asked = [wanted(self._held[lane], offsets) for lane, offsets in taken.items()]
            values: list[list[Argument]] = [[len(marks), *(mark.entry for mark in marks)] for marks in asked]
            entries = await self._topic.wire.call(_PICK, list(taken), [], values)
            found = []
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
        return found

    async def change(self, by_lane: Mapping[str, Sequence[int]], change: Change) -> None:
        """Apply to the lanes that are still leased, and save them."""
        async with self._lock:
            changed = [lane for lane in self._held if lane.name in by_lane]
            for lane in changed:
                change(self._held[lane], by_lane[lane.name])
            self._unsaved.update(changed)
            if await self._save(list(self._unsaved)):
                self._topic.wake()

    async def leave(self, unseen: Mapping[str, Sequence[int]]) -> None:
        """Give back everything; what cannot be told to the server comes free when the lease ends."""
        self._keeper.cancel()
        await asyncio.wait([self._keeper])
        async with self._lock:
            for lane, window in self._held.items():
                window.give_back(unseen.get(lane.name, ()))
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
        each = [_state(self._held[lane]) for lane in lanes]
        shared: list[Argument] = [self._group, self._token, self._topic.options.lease_ms]
        replies = await self._topic.wire.call(_SAVE, lanes, shared, each)
        self._unsaved.difference_update(lanes)
        freed = False
        for lane, kept in zip(lanes, replies, strict=True):
            if not kept or not self._held[lane].out:
                del self._held[lane]
                freed = True
        return freed

    async def _keep(self) -> None:
        """Renew in time, and save what could not be saved."""
        pause_ms = self._topic.options.lease_ms / 3
        while True:
            await self._topic.clock.sleep(pause_ms)
            async with self._lock:
                lanes = list(self._held)
                if not lanes:
                    continue
                try:
                    await self._save([lane for lane in lanes if lane in self._unsaved])
                    await self._renew([lane for lane in lanes if lane in self._held])
                except EvermqError:
                    continue  # the next turn, or the lease ends; every save is fenced

    async def _renew(self, lanes: list[Lane]) -> None:
        if not lanes:
            return
        replies = await self._topic.wire.call(_RENEW, lanes, [self._group, self._token, self._topic.options.lease_ms])
        for lane, kept in zip(lanes, replies, strict=True):
            if not kept:
                del self._held[lane]
                self._unsaved.discard(lane)


def _stands(window: LaneWindow | None) -> str:
    return f"{window.next},{window.entry},{window.base}" if window else ""


def _state(window: LaneWindow) -> list[Any]:
    """What lua/save.lua writes of a lane."""
    blob, again_ms, low = window.blob(), window.again_ms, window.low()
    return [
        "keep" if window.out else "free",
        _stands(window),
        window.handed if window.handed > window.next else "",
        blob,
        "" if again_ms is None else again_ms,
        window.open_count or "",
        f"{low[0]},{low[1]}",
    ]
