"""Which numbers of a stream have landed, as what came of it says."""

from __future__ import annotations

from collections.abc import Collection

from evermq.numbers import Number, number_of
from evermq.policy.lane import Stream

__all__ = ["Landed"]


class Landed:
    """By stream, below which number all have landed for good."""

    def __init__(self) -> None:
        self._below: dict[str, int] = {}

    def below(self, stream: str) -> int:
        """0 where nothing is known."""
        return self._below.get(stream, 0)

    def note(self, number: Number) -> None:
        """This one came."""
        if self._below.get(number.stream, 0) < number.open:
            self._below[number.stream] = number.open

    def note_last(self, stream: Stream) -> None:
        """What came last of a stream may not have been told."""
        number = number_of(stream.latest) if stream.latest else None
        if number:
            self.note(number)

    def forget(self, stream: str) -> None:
        """It begins anew, should it."""
        self._below.pop(stream, None)

    def keep(self, streams: Collection[str]) -> None:
        """Forget all but these."""
        self._below = {stream: below for stream, below in self._below.items() if stream in streams}
