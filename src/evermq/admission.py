"""What a queue made of queues refuses at its own door: what one of its children would refuse later.

A message that only some rungs could take would be accepted or refused by the weather; and one that was acknowledged
locally and is too large for the remote queue would end among the dead letters.
"""

from __future__ import annotations

from collections.abc import Sequence

from evermq.batch import Batch, size_of
from evermq.errors import TooLarge, Unsupported
from evermq.message import DELIVER_AT, Message
from evermq.traits import Traits

__all__ = ["admit"]


def admit(messages: Sequence[Message], traits: Traits, now_ms: int) -> Batch:
    """The same messages, to be passed on with what is known of them by now.

    Raises TooLarge over message_bytes_max or batch_count_max, Unsupported over delay_ms_max."""
    batch = Batch.of(messages)
    if len(batch) > traits.batch_count_max:
        raise TooLarge(f"a batch of {len(batch)} messages is over batch_count_max = {traits.batch_count_max}")
    if batch.bytes_max > traits.message_bytes_max:
        _admit_sizes(batch, traits.message_bytes_max)
    if batch.is_delayed:
        for message in batch:
            _admit_delay(message, traits.delay_ms_max, now_ms)
    return batch


def _admit_sizes(batch: Batch, bytes_max: int) -> None:
    for message in batch:
        if size_of(message) > bytes_max:
            raise TooLarge(f"message {message.id} is over message_bytes_max = {bytes_max}")


def _admit_delay(message: Message, delay_ms_max: int, now_ms: int) -> None:
    try:
        if DELIVER_AT not in message.headers:
            return
        delay_ms = int(message.headers[DELIVER_AT]) - now_ms
    except (AttributeError, TypeError, ValueError):
        return  # the child says what is wrong with it
    if delay_ms > delay_ms_max:
        raise Unsupported(f"message {message.id}: a delay of {delay_ms} ms is over delay_ms_max = {delay_ms_max} here")
