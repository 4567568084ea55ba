"""What a group has in hand in this process: received, handed out, released; a pure value."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from evermq.message import Message
from evermq.position import Position

__all__ = ["Item", "Window"]


@dataclass(slots=True, eq=False)
class Item:
    """A message that the broker hides from others.

    attempt: of the hand-out that comes next, or is under way. id: as RocketMQ knows it. handle: by which it is settled;
    a renewal gives another one. until_ms: the end of the lease. owner: the reader that has it, None while nobody does.
    """

    message: Message
    position: Position
    attempt: int
    id: str
    handle: str
    until_ms: float
    owner: Hashable = None


@dataclass(slots=True)
class _Park:
    """Released messages, of one key where order is kept, and when they come again."""

    due_ms: float
    tokens: list[int]


@dataclass(slots=True)
class Window:
    """items: by token, which rises in the order in which they were received. ordered: whether keys keep their order."""

    ordered: bool = False
    items: dict[int, Item] = field(default_factory=dict)
    _ready: deque[int] = field(default_factory=deque)
    _parks: dict[bytes | int, _Park] = field(default_factory=dict)
    _busy: dict[bytes, list[object]] = field(default_factory=dict)
    _next: int = 0

    @property
    def ready_count(self) -> int:
        """How many could be handed out."""
        return len(self._ready)

    def add(self, item: Item) -> None:
        """It was received."""
        self._next += 1
        self.items[self._next] = item
        self._ready.append(self._next)

    def take(self, owner: Hashable, count_max: int, now_ms: float) -> list[tuple[int, Item]]:
        """Hand out; where keys keep their order, a key is with one reader at a time and waits for what is parked."""
        self._unpark(now_ms)
        found: list[tuple[int, Item]] = []
        passed: list[int] = []
        while self._ready and len(found) < count_max:
            token = self._ready.popleft()
            item = self.items[token]
            if self.ordered and not self._may(item.message.key, owner):
                passed.append(token)
                continue
            item.owner = owner
            found.append((token, item))
        self._ready.extendleft(reversed(passed))
        return found

    def _may(self, key: bytes | None, owner: Hashable) -> bool:
        """Whether this reader may have the next message of a key; notes that it has."""
        if key is None:
            return True
        if key in self._parks:
            return False
        holders = self._busy.setdefault(key, [])
        if holders and holders[0] is not owner:
            return False
        holders.append(owner)
        return True

    def settle(self, owner: Hashable, tokens: Iterable[int]) -> None:
        """Forget those that this reader has."""
        for token in tokens:
            if self.holds(owner, token):
                self._free(self.items.pop(token))

    def holds(self, owner: Hashable, token: int) -> bool:
        """Whether this reader has it."""
        item = self.items.get(token)
        return item is not None and item.owner is owner

    def release(self, owner: Hashable, tokens: Iterable[int], due_ms: float) -> None:
        """Hand out again, not before `due_ms`; where order is kept, with what is out of the same key behind them."""
        given = sorted({token for token in tokens if self.holds(owner, token)})
        if self.ordered:
            firsts: dict[bytes, int] = {}
            for token in given:
                if (key := self.items[token].message.key) is not None:
                    firsts.setdefault(key, token)
            behind = [t for t, item in self.items.items() if item.owner is owner and self._is_behind(t, item, firsts)]
            given = sorted({*given, *behind})
        for token in given:
            key = self.items[token].message.key if self.ordered else None
            self._park(token if key is None else key, token, due_ms)

    @staticmethod
    def _is_behind(token: int, item: Item, firsts: dict[bytes, int]) -> bool:
        key = item.message.key
        return key is not None and token >= firsts.get(key, token + 1)

    def give_up(self, owner: Hashable, now_ms: float) -> None:
        """A reader goes: what it has comes again at once."""
        self.release(owner, [token for token, item in self.items.items() if item.owner is owner], now_ms)

    def _park(self, name: bytes | int, token: int, due_ms: float) -> None:
        item = self.items[token]
        self._free(item)
        item.owner = None
        item.attempt += 1
        park = self._parks.setdefault(name, _Park(due_ms, []))
        park.due_ms = max(park.due_ms, due_ms)
        park.tokens.append(token)

    def _free(self, item: Item) -> None:
        key = item.message.key
        if self.ordered and key is not None and item.owner is not None and (holders := self._busy.get(key)):
            holders.pop()
            if not holders:
                del self._busy[key]

    def _unpark(self, now_ms: float) -> None:
        due = [name for name, park in self._parks.items() if park.due_ms <= now_ms]
        if due:
            back = [token for name in due for token in self._parks.pop(name).tokens if token in self.items]
            self._ready = deque(sorted([*self._ready, *back]))

    def due_ms(self) -> float | None:
        """When the next one that was released comes again."""
        return min((park.due_ms for park in self._parks.values()), default=None)

    def delays(self) -> dict[int, float]:
        """When those that were released come again, by token."""
        return {token: park.due_ms for park in self._parks.values() for token in park.tokens}

    def drop(self, tokens: Iterable[int]) -> dict[int, Item]:
        """Forget them, whoever has them, and return them: the broker gives them out again."""
        gone = {token: self.items.pop(token) for token in tokens if token in self.items}
        for item in gone.values():
            self._free(item)
        if gone:
            self._ready = deque(token for token in self._ready if token not in gone)
            for name, park in list(self._parks.items()):
                park.tokens = [token for token in park.tokens if token not in gone]
                if not park.tokens:
                    del self._parks[name]
        return gone
