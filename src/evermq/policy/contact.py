"""Whether the store of progress is there, as far as a reader that hands out messages has to know."""

from __future__ import annotations

from evermq.clock import Clock
from evermq.policy.gate import Gate
from evermq.settling import Part

__all__ = ["Contact"]


class Contact:
    """A reader that is not heard of loses its lanes, and others handle what it handled since it last settled anything.
    So it hands out nothing once that may be so, nor while more than a window is settled that cannot be written down."""

    def __init__(self, gate: Gate, part: Part, window_count_max: int, clock: Clock) -> None:
        self._gate = gate
        self._part = part
        self._window_count_max = window_count_max
        self._clock = clock
        self._heard_ms = clock.monotonic_ms()
        self._writes = True  # the last write did not fail

    @property
    def is_lost(self) -> bool:
        """Whether nothing may be handed out now."""
        if self._clock.monotonic_ms() - self._heard_ms > self._part.silent_ms_max:
            return True
        return not self._writes and self._gate.unwritten_count >= self._window_count_max

    def heard(self, asked_ms: int) -> bool:
        """The store was told then that this reader lives, and answered. Returns whether this ends a loss."""
        was_lost, self._heard_ms = self.is_lost, asked_ms
        return was_lost

    def wrote(self, *, is_known: bool) -> bool:
        """What was settled was written down, or that is not known. Returns whether this ends a loss."""
        was_lost, self._writes = self.is_lost, is_known
        return was_lost
