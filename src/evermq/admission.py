"""What a queue made of queues refuses at its own door: what one of its children would refuse later.

A message that only some rungs could take would be accepted or refused by the weather; and one that was acknowledged
locally and is too large for the remote queue would end among the dead letters.
"""

from __future__ import annotations

from collections.abc import Sequence

from evermq.errors import TooLarge, Unsupported
from evermq.message import DELIVER_AT, Message
from evermq.traits import Traits

__all__ = ["admit"]


def admit(messages: Sequence[Message], traits: Traits, now_ms: int) -> None:
    """Raise TooLarge over message_bytes_max or batch_count_max, Unsupported over delay_ms_max."""
    if len(messages) > traits.batch_count_max:
        raise TooLarge(f"a batch of {len(messages)} messages is over batch_count_max = {traits.batch_count_max}")
    if _are_plain_and_small(messages, traits.message_bytes_max):
        return
    for message in messages:
        if _size(message) > traits.message_bytes_max:
            raise TooLarge(f"message {message.id} is over message_bytes_max = {traits.message_bytes_max}")
        if message.headers and DELIVER_AT in message.headers:
            _admit_delay(message, traits.delay_ms_max, now_ms)


def _are_plain_and_small(messages: Sequence[Message], bytes_max: int) -> bool:
    """Whether none has headers, and the longest body and key would fit together: in C, as it is mostly so."""
    try:
        _, keys, bodies, headers, _ = zip(*messages, strict=True)
        return not any(headers) and max(map(len, bodies)) + max(map(len, filter(None, keys)), default=0) <= bytes_max
    except (TypeError, ValueError):
        return False  # no message at all, or none that is one


def _size(message: Message) -> int:
    _, key, body, headers, _ = message
    try:
        size = len(body) + (len(key) if key else 0)
        if headers:
            text = "".join([*headers, *headers.values()])
            size += len(text) if text.isascii() else len(text.encode(errors="surrogateescape"))
    except (TypeError, AttributeError, UnicodeError):
        return 0  # no message at all: the child says what is wrong with it
    return size


def _admit_delay(message: Message, delay_ms_max: int, now_ms: int) -> None:
    try:
        delay_ms = int(message.headers[DELIVER_AT]) - now_ms
    except ValueError:
        return  # likewise
    if delay_ms > delay_ms_max:
        raise Unsupported(f"message {message.id}: a delay of {delay_ms} ms is over delay_ms_max = {delay_ms_max} here")
