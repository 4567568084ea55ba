"""Is it up? Outcomes and latencies of attempts in, a verdict out. Pure: it takes the time, and touches nothing.

Three rules, each about attempts (an append of a batch is one):
ten failures in a row; three in a row that took longer than the budget, whether they failed or not; half of at least
twenty within ten seconds failed or were too slow. What comes in a row must be about two different messages at least,
so that one which an engine chokes on cannot look like an outage; and all of it must go on for half a second, so that
one broken connection with many senders behind it cannot either.

Only what says something about availability counts. A message that is Rejected tells nothing, however many there are.
Attempts that began before the last change of state are left out: they speak of another time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evermq.errors import Closed, EvermqError, Misconfigured, Rejected
from evermq.message import Message

__all__ = ["Health", "Limits", "tells"]

_PARTS = 10  # of the window, so that it moves in steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a rung counts as down.

    failures: so many in a row. slow_ms: the latency budget of an attempt; slow: so many in a row break it. span_ms:
    from the first to the last of them, at least. window_ms, attempts, bad_percent: within the window, of so many
    attempts at least, this share failed or was slow.
    """

    failures: int = 10
    slow_ms: int = 800
    slow: int = 3
    span_ms: int = 500
    window_ms: int = 10_000
    attempts: int = 20
    bad_percent: int = 50


def tells(error: EvermqError) -> bool:
    """Whether an error says that what was tried is not available."""
    return not isinstance(error, Rejected | Closed | Misconfigured)


class _Row:
    """Attempts in a row that went badly."""

    __slots__ = ("_first_id", "_other", "count", "since_ms")

    def __init__(self) -> None:
        self.count = 0
        self.since_ms = 0
        self._first_id = ""
        self._other = False

    def add(self, messages: Sequence[Message], now_ms: int) -> None:
        if not self.count:
            self.since_ms, self._first_id, self._other = now_ms, messages[0].id, False
        self._other = self._other or self._first_id != messages[0].id or len(messages) > 1
        self.count += 1

    def breaks(self, count: int, limits: Limits, now_ms: int) -> bool:
        return self.count >= count and now_ms - self.since_ms >= limits.span_ms and self._other


@dataclass(slots=True)
class _Part:
    """Of the window. bad_ms: when the first bad one was."""

    number: int
    attempts: int = 0
    bad: int = 0
    bad_ms: int = 1 << 62


class Health:
    """Of one scope: a rung, or one lane of it.

    verdict: empty while it is well, else why it is not; it stays until `reset`.
    generation: counts the changes; give it the one that was current when the attempt began.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.generation = 0
        self.reset()

    def reset(self) -> None:
        """Begin anew: what was under way is not counted any more."""
        self.generation += 1
        self.verdict = ""
        self._failed = _Row()
        self._slow = _Row()
        self._parts = [_Part(-_PARTS)] * _PARTS

    @property
    def fails(self) -> bool:
        """Whether the last attempts went badly."""
        return bool(self._failed.count or self._slow.count)

    def saw(
        self, messages: Sequence[Message], error: EvermqError | None, took_ms: int, now_ms: int, generation: int
    ) -> None:
        """An attempt ended. error: None if all of it went in."""
        if generation != self.generation or self.verdict or (error is not None and not tells(error)):
            return
        slow = took_ms >= self._limits.slow_ms
        self._count(bool(slow or error), now_ms)
        if error is None and not slow:
            self._failed.count = self._slow.count = 0
            return
        self._note(self._failed, bool(error), messages, now_ms)
        self._note(self._slow, slow, messages, now_ms)
        self.verdict = self._judge(error, now_ms)

    def _note(self, row: _Row, bad: bool, messages: Sequence[Message], now_ms: int) -> None:
        if bad:
            row.add(messages, now_ms)
        else:
            row.count = 0

    def _judge(self, error: EvermqError | None, now_ms: int) -> str:
        limits = self._limits
        why = f": {error}" if error else ""
        if self._failed.breaks(limits.failures, limits, now_ms):
            return f"{self._failed.count} failures in a row{why}"
        if self._slow.breaks(limits.slow, limits, now_ms):
            return f"{self._slow.count} attempts in a row took {limits.slow_ms} ms or longer{why}"
        recent = self._recent(now_ms)
        attempts, bad = sum(part.attempts for part in recent), sum(part.bad for part in recent)
        lasted_ms = now_ms - min(part.bad_ms for part in recent)
        enough = attempts >= limits.attempts and lasted_ms >= limits.span_ms
        if enough and bad * 100 >= limits.bad_percent * attempts:
            return f"{bad} of {attempts} attempts failed or were slow{why}"
        return ""

    def _count(self, bad: bool, now_ms: int) -> None:
        number = now_ms * _PARTS // self._limits.window_ms
        part = self._parts[number % _PARTS]
        if part.number != number:
            part = self._parts[number % _PARTS] = _Part(number)
        part.attempts += 1
        if bad:
            part.bad_ms = part.bad_ms if part.bad else now_ms
            part.bad += 1

    def _recent(self, now_ms: int) -> list[_Part]:
        number = now_ms * _PARTS // self._limits.window_ms
        return [part for part in self._parts if number - part.number < _PARTS]
