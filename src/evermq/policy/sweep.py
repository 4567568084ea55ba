"""What a reader acknowledges and gives back in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

from evermq.apart import apart
from evermq.policy.gate import Gate
from evermq.policy.lane import Drops
from evermq.policy.read_to import ReadTo
from evermq.port import Delivery, Reader
from evermq.settling import Ahead

__all__ = ["Sweep"]

_RETURN_MS = 200


class Sweep:
    """A rung that does not answer must not hold up anything else. write: writes down what changed in all lanes."""

    def __init__(self, gate: Gate, inner: Reader, read_to: ReadTo, write: Callable[[], Awaitable[None]]) -> None:
        self._gate = gate
        self._inner = inner
        self._read_to = read_to
        self._write = write
        self._back: dict[int, list[Delivery]] = {}  # by when it may come again
        self._dues = asyncio.Event()

    def give_back(self, deliveries: Iterable[Delivery], delay_ms: int = _RETURN_MS) -> None:
        """To the engine."""
        back = list(deliveries)
        if back:
            self._read_to.gave_back(back)
            self._back.setdefault(delay_ms, []).extend(back)
            self._dues.set()

    def look(self) -> None:
        """Something is to be acknowledged, perhaps."""
        if self._gate.is_dropping:
            self._dues.set()

    async def wait(self, wait_ms: int) -> None:
        """Until there is something to do, but not for longer."""
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self._dues.wait()
        except TimeoutError:
            pass

    async def turn(self) -> None:
        """Acknowledge what nobody has to see, once what makes it superfluous is written down; give back what others
        are to have."""
        self._dues.clear()
        drops = self._gate.take_drops()
        try:
            await self._write()
        except BaseException:
            for taken in drops:
                taken.lane.drops += taken.deliveries if taken.are_due else ()
            raise
        finally:
            self.give_back(each for taken in drops if not taken.are_due for each in taken.deliveries)
        failed: Exception | None = None
        try:
            await self._acknowledge([taken for taken in drops if taken.are_due])
        except Exception as error:  # not a cancellation: what goes wrong next would hide that
            failed = error
        await self._release_back()
        if failed:
            raise failed

    def behind(self, back: Sequence[Delivery], delay_ms: int) -> list[Delivery]:
        """What goes back with these although it never came here: it must not be taken for something that is nowhere,
        where what is behind it in its lane was read."""
        behind = self._inner.take_behind(back) if isinstance(self._inner, Ahead) else []
        self._gate.gone(behind, delay_ms)
        return behind

    async def _acknowledge(self, drops: Sequence[Drops]) -> None:
        if not drops:
            return
        left = [each for taken in drops for each in taken.deliveries]
        try:
            left, error = await apart(self._inner.ack, left)
        finally:
            again = set(map(id, left))
            for lane, _, deliveries in drops:
                lane.drops += [each for each in deliveries if id(each) in again]
        if error:
            raise error

    async def _release_back(self) -> None:
        failed: Exception | None = None
        for delay_ms in list(self._back):
            back = self._back.pop(delay_ms)
            back += self.behind(back, delay_ms)
            try:
                back, error = await apart(partial(self._inner.release, delay_ms=delay_ms), back)
            finally:
                if back:
                    self._back.setdefault(delay_ms, []).extend(back)
            failed = failed or error
        if failed:
            raise failed
