"""Whose turn it is to read a rung that hands the messages of a lane to whoever asks first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from evermq.clock import Clock
from evermq.port import Delivery, Queue, Reader
from evermq.settling import Part, Pausable, Scatters

__all__ = ["Turns"]

_ASK_MS = 500
_IDLE_MS = 10_000


class Turns:
    """One reader of a group at a time reads such a rung: if all did, each would be handed what is to be handled behind
    what another one has, and every lane would go to and fro between them.

    A turn is claimed as a lane is, under a number below zero, and ends with its reader; or once its application has
    read nothing for ten seconds, if another reader waits for it. Lanes alone keep the order: two readers that believe
    to have the same turn for a moment are slow, and nothing else. give_back: is handed what came of a rung
    before another reader had the turn.
    """

    def __init__(
        self,
        inner: Reader,
        part: Part,
        rungs: Mapping[str, Queue],
        clock: Clock,
        give_back: Callable[[list[Delivery]], None],
    ) -> None:
        self._inner = inner if isinstance(inner, Pausable) else None
        self._rungs = {-1 - at: (key, rung) for at, (key, rung) in enumerate(rungs.items())}
        self._mine: set[int] = set()
        self._part = part
        self._clock = clock
        self._give_back = give_back
        self._next_ms = 0
        self._reads = 0
        self._read_ms = clock.monotonic_ms()
        self._show()

    def begin(self) -> None:
        """The application asks for messages, and waits."""
        self._reads += 1

    def end(self) -> None:
        """It does not any more."""
        self._reads -= 1
        self._read_ms = self._clock.monotonic_ms()

    @property
    def is_away(self) -> bool:
        """Whether the application has not asked for long."""
        return not self._reads and self._clock.monotonic_ms() - self._read_ms > _IDLE_MS

    @property
    def _others(self) -> dict[int, str]:
        """The turns that this reader does not have, with the rungs."""
        missing = [(number, *each) for number, each in self._rungs.items() if number not in self._mine]
        return {number: key for number, key, rung in missing if isinstance(rung, Scatters) and rung.scatters}

    def lanes(self, wanted: Collection[int]) -> frozenset[int]:
        """Of what others ask for, that which is no turn."""
        return frozenset(wanted) - self._rungs.keys()

    def lost(self) -> None:
        """This reader was silent for too long."""
        self._mine.clear()
        self._show()

    async def turn(self, wanted: Collection[int]) -> None:
        """Ask for the turns that others have, and give up those that are asked for and not made use of. Raises
        Unavailable and Uncertain as the store does."""
        self._show()
        now_ms = self._clock.monotonic_ms()
        if self.is_away:
            # What is asked for is this reader's as the store sees it, whether its application ever heard of it or not.
            if idle := self._rungs.keys() & set(wanted):
                self._mine -= idle
                self._show()
                await self._part.give_back(idle)
        elif now_ms >= self._next_ms and self._inner and (others := self._others):
            self._next_ms = now_ms + _ASK_MS
            self._mine.update(await self._part.claim(others.keys()))
            self._show()

    def _show(self) -> None:
        """To whoever reads the rungs, again and again: one that was opened late tells late how it hands out, and a poll
        that was ended may bring something all the same."""
        if self._inner and (back := self._inner.pause(set(self._others.values()))):
            self._give_back(back)
