"""Messages on their way through several doors, each of which asks the same of them: it is found out once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import NamedTuple

from evermq.message import DELIVER_AT, NO_HEADERS, Message

__all__ = ["TURNED_AT_ONCE", "Batch", "Columns", "size_of"]

TURNED_AT_ONCE = 500  # an iterator each: with 700 of them every batch would have all objects of the process looked at


class Columns(NamedTuple):
    """A batch of messages, a tuple a field: what is looked at in every message is looked at in one go."""

    ids: tuple[str, ...]
    keys: tuple[bytes | None, ...]
    bodies: tuple[bytes, ...]
    headers: tuple[Mapping[str, str], ...]
    created: tuple[int, ...]

    @classmethod
    def of(cls, messages: Sequence[Message]) -> Columns:
        """Of one message at least. Raises TypeError or ValueError where one of them is no message."""
        if len(messages) <= TURNED_AT_ONCE:
            return cls(*zip(*messages, strict=True))
        return cls(*[tuple(chain.from_iterable(columns)) for columns in zip(*cls.parts(messages), strict=True)])

    @classmethod
    def parts(cls, messages: Sequence[Message]) -> Iterator[Columns]:
        """As `of`, so many at a time as are turned at once."""
        for at in range(0, len(messages), TURNED_AT_ONCE):
            yield cls(*zip(*messages[at : at + TURNED_AT_ONCE], strict=True))

    @property
    def has_headers(self) -> bool:
        return self.headers.count(NO_HEADERS) != len(self.headers)


class Batch(tuple[Message, ...]):
    """A sequence of messages that does not change, and what is known of all of them.

    Its columns are as of Columns.of, and raise what that raises; the rest is told of what are no messages, too."""

    @classmethod
    def of(cls, messages: Sequence[Message]) -> Batch:
        """The same one, where it is one."""
        return messages if type(messages) is Batch else cls(messages)

    @classmethod
    def numbered(cls, messages: Sequence[Message], bytes_max: int) -> Batch:
        """Of messages that were looked at before something was added to them: none is delayed, or larger than this."""
        batch = cls(messages)
        batch.__dict__.update(bytes_max=bytes_max, is_delayed=False)
        return batch

    @cached_property
    def columns(self) -> Columns:
        return Columns.of(self)

    @cached_property
    def body_bytes_max(self) -> int:
        """Of the longest body; raises as the columns do."""
        return max(map(len, self.columns.bodies))

    @cached_property
    def bytes_max(self) -> int:
        """No message has more bytes; where none has headers, those of the longest body and of all keys."""
        try:
            columns = self.columns
            if not columns.has_headers:
                return self.body_bytes_max + _bytes_of(columns.keys)
        except (TypeError, ValueError):
            pass  # no message at all, or some that are none
        return max(map(size_of, self), default=0)

    @cached_property
    def is_delayed(self) -> bool:
        """Whether any message is to be delivered later."""
        try:
            return self.columns.has_headers and any(DELIVER_AT in headers for headers in self.columns.headers)
        except (TypeError, ValueError):
            return True  # whoever asks will look at each


def _bytes_of(keys: Sequence[bytes | None]) -> int:
    try:
        return len(b"".join(keys))  # type: ignore[arg-type]  # the quickest way to touch each of them
    except TypeError:
        return sum(map(len, filter(None, keys)))


def size_of(message: Message) -> int:
    """Bytes of body, key and headers; 0 of what is no message: the queue that it goes to says what is wrong with it."""
    try:
        _, key, body, headers, _ = message
        size = len(body) + (len(key) if key else 0)
        if headers:
            text = "".join([*headers, *headers.values()])
            size += len(text) if text.isascii() else len(text.encode(errors="surrogateescape"))
    except (TypeError, ValueError, AttributeError, UnicodeError):
        return 0
    return size
