"""A batch is what aiokafka's builder makes of its messages, byte for byte."""

from __future__ import annotations

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from evermq.adapters.kafka.batch import COMPRESSIONS, LaneBatch, Ticket, put
from evermq.adapters.kafka.records import record_of
from evermq.batch import Columns
from evermq.message import NO_HEADERS, Message

NOW_MS = 1_700_000_000_000
BYTES_MAX = 1 << 20
HEADERS = st.one_of(st.just(NO_HEADERS), st.dictionaries(st.text("ab", max_size=3), st.text("cd", max_size=9)))
TIMES = st.integers(NOW_MS - 600_000, NOW_MS + 600_000)
BODIES = st.one_of(st.binary(max_size=40), st.integers(100, 9_000).map(bytes))
MESSAGE = st.builds(Message, st.text("ef", min_size=1), st.one_of(st.none(), st.binary()), BODIES, HEADERS, TIMES)
APPENDS = st.lists(st.lists(MESSAGE, min_size=1, max_size=20), min_size=1, max_size=3)


def ours(appends: list[list[Message]], stamp_ms: int | None, compression: int) -> bytes:
    batches: list[LaneBatch] = []
    for each in appends:
        ticket = Ticket(each, Columns.of(each), stamp_ms=stamp_ms, bytes_max=BYTES_MAX, compression=compression)
        put(batches, 0, ticket, range(len(each)))
    [batch] = batches
    batch.number(5, 1, 2)
    batch.number(7, 3, 11)
    assert batch.payload is not None
    assert batch.size == len(batch.payload)
    return bytes(batch.payload)


def theirs(appends: list[list[Message]], stamp_ms: int | None, compression: int) -> bytes:
    builder = DefaultRecordBatchBuilder(2, compression, 0, 7, 3, 11, BYTES_MAX)
    for number, message in enumerate(message for each in appends for message in each):
        assert builder.append(number, *record_of(message, stamp_ms)) is not None
    return bytes(builder.build())


@settings(max_examples=60)
@given(appends=APPENDS, stamped=st.booleans())
def test_batch_is_what_the_builder_makes(appends: list[list[Message]], stamped: bool) -> None:
    stamp_ms = NOW_MS + 5 if stamped else None
    assert ours(appends, stamp_ms, 0) == theirs(appends, stamp_ms, 0)


@pytest.mark.parametrize("name", ["gzip"])
def test_batch_that_is_compressed_is_too(name: str) -> None:
    appends = [[Message(f"id-{i}", b"k", b"body" * 100, NO_HEADERS, NOW_MS + i) for i in range(50)]]
    whole = ours(appends, None, COMPRESSIONS[name])
    assert len(whole) < 2_000
    assert whole[61:] == theirs(appends, None, COMPRESSIONS[name])[61:]
