"""Where messages go that no handler can handle."""

from __future__ import annotations

from evermq.errors import TooLarge
from evermq.message import Message
from evermq.port import Queue

__all__ = ["DeadLetters"]

_REASON_BYTES_MAX = 1_024


class DeadLetters:
    """The dead letters of one group of one topic."""

    def __init__(self, queue: Queue, topic: str, group: str) -> None:
        self.name = queue.name
        self._queue = queue
        self._topic = topic
        self._group = group

    async def append(self, message: Message, attempts: int, error: BaseException) -> None:
        """Add it, with headers that say where it comes from and why. Where it is too large with these, it goes without
        the reason, or else as it came."""
        where = {
            "evermq-dead-topic": self._topic,
            "evermq-dead-group": self._group,
            "evermq-dead-attempts": str(attempts),
        }
        why = {"evermq-dead-reason": _reason_of(error)}
        for headers in ({**message.headers, **where, **why}, {**message.headers, **where}):
            try:
                await self._queue.append([message._replace(headers=headers)])
                return
            except TooLarge:
                continue
        await self._queue.append([message])


def _reason_of(error: BaseException) -> str:
    """An error may quote a whole message, and half a surrogate pair, which no queue can store."""
    reason = f"{type(error).__name__}: {error}"[:_REASON_BYTES_MAX]
    return reason.encode(errors="backslashreplace")[:_REASON_BYTES_MAX].decode(errors="ignore")
