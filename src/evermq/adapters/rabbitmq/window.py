"""What a reader has of a lane: fetched, handed out, released; a pure value."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from evermq.message import Message

__all__ = ["Item", "LaneWindow"]


@dataclass(slots=True)
class Item:
    """A message that the broker sent to this reader. out: the application has it. attempt: of this hand-out."""

    message: Message
    attempt: int
    out: bool = False


@dataclass(slots=True)
class _Park:
    """Released messages of one key (or one without a key), in order, and when they come again."""

    due_ms: float
    tags: list[int]


@dataclass(slots=True)
class LaneWindow:
    """items: by delivery tag, which rises with the order of the lane."""

    items: dict[int, Item] = field(default_factory=dict)
    out_count: int = 0
    _waiting: deque[int] = field(default_factory=deque)
    _parks: dict[bytes | int, _Park] = field(default_factory=dict)

    def add(self, tag: int, message: Message, attempt: int) -> None:
        """It came from the broker."""
        self.items[tag] = Item(message, attempt)
        self._waiting.append(tag)

    def take(self, count_max: int, now_ms: float) -> list[tuple[int, Item]]:
        """Hand out what may be handed out; what stands behind something that is parked waits with it."""
        self._unpark(now_ms)
        found: list[tuple[int, Item]] = []
        passed: list[int] = []
        waiting, parks = self._waiting, self._parks
        while waiting and len(found) < count_max:
            tag = waiting.popleft()
            item = self.items[tag]
            if parks and item.message.key in parks:
                passed.append(tag)
                continue
            item.out = True
            found.append((tag, item))
        waiting.extendleft(reversed(passed))
        self.out_count += len(found)
        return found

    def settle(self, tags: Iterable[int]) -> tuple[int, list[int]]:
        """Of what is out: the tag up to which all is settled now (0 for none), and the other tags by themselves."""
        done = {tag for tag in tags if (item := self.items.get(tag)) and item.out}
        self.out_count -= len(done)
        upto = 0
        for tag in self.items:
            if tag not in done:
                break
            upto = tag
        for tag in done:
            del self.items[tag]
        return upto, sorted(tag for tag in done if tag > upto)

    def release(self, tags: Iterable[int], due_ms: float) -> None:
        """Hand out again, not before `due_ms`; what is out of the same key behind them comes again as well."""
        firsts: dict[bytes, int] = {}
        for tag in sorted({tag for tag in tags if (item := self.items.get(tag)) and item.out}):
            key = self.items[tag].message.key
            if key is None:
                self._park(tag, tag, due_ms)
            else:
                firsts.setdefault(key, tag)
        if firsts:
            for tag, item in self.items.items():
                key = item.message.key
                if item.out and key in firsts and tag >= firsts[key]:
                    self._park(key, tag, due_ms)

    def _park(self, name: bytes | int, tag: int, due_ms: float) -> None:
        item = self.items[tag]
        item.out = False
        item.attempt += 1
        self.out_count -= 1
        park = self._parks.setdefault(name, _Park(due_ms, []))
        park.due_ms = max(park.due_ms, due_ms)
        park.tags.append(tag)

    def _unpark(self, now_ms: float) -> None:
        due = [name for name, park in self._parks.items() if park.due_ms <= now_ms]
        if due:
            self._waiting = deque(sorted([*self._waiting, *(t for name in due for t in self._parks.pop(name).tags)]))

    def due_ms(self) -> float | None:
        """When the next one that was released comes again."""
        return min((park.due_ms for park in self._parks.values()), default=None)

    def last_due_ms(self) -> float:
        """When the last one does; 0 where there is none."""
        return max((park.due_ms for park in self._parks.values()), default=0.0)

    def comes_again(self, now_ms: float) -> bool:
        """Nothing is out, and something that was released is due."""
        return not self.out_count and bool(self._parks) and self.last_due_ms() <= now_ms
