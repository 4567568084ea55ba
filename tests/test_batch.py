"""What is found out once of a batch, and what is told of what are no messages."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.admission import admit
from evermq.batch import Batch, Columns
from evermq.errors import TooLarge, Unsupported
from evermq.message import DELIVER_AT, Message, MessageFactory

make = MessageFactory()
LIMITS = replace(MemoryQueue("t").traits, message_bytes_max=100, batch_count_max=10, delay_ms_max=0)


def test_batch_of_a_batch_is_the_same_one() -> None:
    batch = Batch.of([make(b"x")])
    assert Batch.of(batch) is batch
    assert admit(batch, LIMITS, 0) is batch


@pytest.mark.parametrize("count", [1, 499, 500, 501, 1_203])
def test_columns_are_the_messages_turned(count: int) -> None:
    messages = [make(b"%d" % number, key=b"k") for number in range(count)]
    columns = Columns.of(messages)
    assert list(zip(*columns, strict=True)) == [tuple(each) for each in messages]
    with pytest.raises((TypeError, ValueError)):
        Columns.of([*messages, ("no", "message")])  # type: ignore[list-item]


def test_large_batch_does_not_set_off_the_garbage_collector() -> None:
    messages = [make(b"x") for _ in range(20_000)]
    gc.collect()
    before = gc.get_stats()[0]["collections"]
    Columns.of(messages)
    assert gc.get_stats()[0]["collections"] <= before + 1


def test_batch_does_not_change_with_the_list_it_was_made_of() -> None:
    messages = [make(b"x")]
    batch = Batch.of(messages)
    messages.append(make(b"y" * 1_000))
    assert len(batch) == len(batch.columns.bodies) == 1


@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize("headers", [{}, {"h": "v" * 10}])
def test_no_message_is_larger_than_its_batch_says(key: str | None, headers: dict[str, str]) -> None:
    batch = Batch.of([make(b"x" * count, key=key, headers=headers) for count in (1, 80, 5)])
    assert 80 <= batch.bytes_max <= 100


def test_keys_that_are_many_do_not_make_a_message_too_large() -> None:
    """Together with the longest body they are over the limit; no message is."""
    batch = Batch.of([make(b"x" * 80, key="k" * 20) for _ in range(10)])
    assert admit(batch, LIMITS, 0) is batch
    with pytest.raises(TooLarge, match="message_bytes_max = 100"):
        admit([*batch[1:], make(b"x" * 81, key="k" * 20)], LIMITS, 0)


def test_headers_count_and_delays_are_seen() -> None:
    with pytest.raises(TooLarge):
        admit([make(b"x" * 80, headers={"name": "v" * 20})], LIMITS, 0)
    with pytest.raises(Unsupported, match="delay"):
        admit([make(b"x"), make(b"x", headers={DELIVER_AT: "5000"})], LIMITS, 0)
    assert not Batch.of([make(b"x", headers={"name": "v"})]).is_delayed


@pytest.mark.parametrize("wrong", [None, "text", 7, (1, 2), Message("i", 5, b"", None, 0)])  # type: ignore[arg-type]
def test_what_is_no_message_passes_for_a_queue_to_name(wrong: Any) -> None:
    batch = Batch.of([make(b"x"), wrong])
    assert admit(batch, LIMITS, 0) is batch
    assert batch.bytes_max <= 100


def test_numbered_messages_are_not_looked_at_again() -> None:
    batch = Batch.numbered([make(b"x" * 500)], 90)
    assert admit(batch, LIMITS, 0) is batch
