"""Appends that share a batch: none loses, doubles, reorders or spoils what is another's."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from aiokafka.record.memory_records import MemoryRecords

from evermq.adapters.kafka.batch import LaneBatch, Ticket, put
from evermq.batch import Columns
from evermq.errors import Rejected, TooLarge, Unavailable, Uncertain
from evermq.message import NO_HEADERS, Message

NOW_MS = 1_700_000_000_000
KIB = 1_024


def ticket(*bodies: bytes, first: int = 0, bytes_max: int = 1 << 20, late_ms: int = 0) -> Ticket:
    messages = [Message(f"id-{first + i}", b"k", body, {}, NOW_MS + late_ms) for i, body in enumerate(bodies)]
    return of(messages, bytes_max=bytes_max)


def of(messages: Sequence[Message], bytes_max: int = 1 << 20) -> Ticket:
    return Ticket(messages, Columns.of(messages), stamp_ms=None, bytes_max=bytes_max, compression=0)


def append(batches: list[LaneBatch], each: Ticket) -> Ticket:
    put(batches, 0, each, range(len(each.messages)))
    return each


def records(batch: LaneBatch) -> list[tuple[int, str, bytes]]:
    """What a broker reads out of it: offset, id and body."""
    batch.number(7, 0, 0)
    assert batch.payload is not None
    found = MemoryRecords(bytes(batch.payload)).next_batch()
    assert found is not None
    assert found.validate_crc()
    return [(each.offset, dict(each.headers)["evermq-id"].decode(), each.value) for each in found]


def test_appends_that_wait_for_one_lane_share_a_batch_in_order() -> None:
    batches: list[LaneBatch] = []
    first = append(batches, ticket(b"a", b"b"))
    second = append(batches, ticket(b"c", first=2))
    [batch] = batches
    assert records(batch) == [(0, "id-0", b"a"), (1, "id-1", b"b"), (2, "id-2", b"c")]
    batch.appended(100)
    assert [(share.base, list(share.rows)) for share in (*first.shares, *second.shares)] == [(100, [0, 1]), (102, [0])]
    assert (first.left, second.left) == (0, 0)


@pytest.mark.parametrize(
    "ids", [["a"], ["a", "b"], ["\udcff", "é", "a"], ["a\0b", "c"], ["\0", ""], ["", ""]], ids=repr
)
def test_every_id_reads_back_as_it_was(ids: list[str]) -> None:
    made = [Message(id, b"k%d" % i, b"b%d" % i, NO_HEADERS, NOW_MS + i) for i, id in enumerate(ids)]
    batches: list[LaneBatch] = []
    append(batches, of([Message("x", None, b"", NO_HEADERS, NOW_MS)]))
    append(batches, of(made))
    batches[0].number(7, 0, 0)
    found = MemoryRecords(bytes(batches[0].payload or b"")).next_batch()
    assert found is not None
    read = [
        (dict(each.headers)["evermq-id"].decode("utf-8", "surrogateescape"), each.key, each.value, each.timestamp)
        for each in found
    ]
    assert read[1:] == [(each.id, each.key, each.body, each.created_ms) for each in made]


def test_batch_that_is_full_or_numbered_takes_no_more() -> None:
    batches: list[LaneBatch] = []
    large = append(batches, ticket(*[bytes(KIB)] * 10, bytes_max=4 * KIB))
    assert [batch.count for batch in batches] == [3, 3, 3, 1]
    assert [list(share.rows) for share in large.shares] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    batches[-1].number(7, 0, 9)
    append(batches, ticket(b"x", first=10, bytes_max=4 * KIB))
    assert [batch.count for batch in batches] == [3, 3, 3, 1, 1]
    assert all(len(batch.payload or b"") <= 4 * KIB for batch in batches if records(batch))


def test_what_cannot_be_a_record_leaves_the_batch_as_it_was() -> None:
    batches: list[LaneBatch] = []
    append(batches, ticket(b"a", b"b"))
    spoiled = [Message("id-2", b"k", b"c", {}, NOW_MS), Message("id-3", b"k", b"d", {"h": "\ud800"}, NOW_MS)]
    with pytest.raises(UnicodeEncodeError):
        append(batches, of(spoiled))
    append(batches, ticket(b"e", first=4))
    [batch] = batches
    assert records(batch) == [(0, "id-0", b"a"), (1, "id-1", b"b"), (2, "id-4", b"e")]


def test_message_over_the_limit_is_refused_alone() -> None:
    batches: list[LaneBatch] = []
    append(batches, ticket(b"a", bytes_max=KIB))
    with pytest.raises(TooLarge, match="id-1"):
        append(batches, ticket(bytes(KIB), first=1, bytes_max=KIB))
    append(batches, ticket(b"b", first=2, bytes_max=KIB))
    assert [row for batch in batches for row in records(batch)][-1][1:] == ("id-2", b"b")
    assert sum(batch.count for batch in batches) == 2


def test_what_was_told_not_to_be_appended_is_not_sent() -> None:
    batches: list[LaneBatch] = []
    kept, gone = append(batches, ticket(b"a")), append(batches, ticket(b"b", first=1))
    later = append(batches, ticket(b"c", first=2, late_ms=700))
    [batch] = batches
    batch.abandon(gone.shares[0], Unavailable("time is over"))
    [again] = batch.again(apart=False)
    assert records(again) == [(0, "id-0", b"a"), (1, "id-2", b"c")]
    again.appended(50)
    assert [share.base for share in (*kept.shares, *later.shares)] == [50, 51]
    assert [each.left for each in (kept, gone, later)] == [0, 0, 0]
    assert isinstance(gone.shares[0].error, Unavailable)


def test_appends_that_were_refused_together_are_sent_apart() -> None:
    batches: list[LaneBatch] = []
    tickets = [append(batches, ticket(b"a", b"b")), append(batches, ticket(b"c", first=2))]
    apart = batches[0].again(apart=True)
    assert [records(batch) for batch in apart] == [[(0, "id-0", b"a"), (1, "id-1", b"b")], [(0, "id-2", b"c")]]
    apart[0].failed(Rejected, "no")
    apart[1].appended(9)
    assert isinstance(tickets[0].shares[0].error, Rejected)
    assert tickets[1].shares[0].base == 9


def test_records_whose_time_was_refused_are_sent_without_any() -> None:
    batches: list[LaneBatch] = []
    tickets = [append(batches, ticket(b"a", b"b")), append(batches, ticket(b"c", first=2, late_ms=700))]
    [timed] = batches
    assert timed.has_times
    assert records(timed)
    [batch] = timed.without_times()
    assert not batch.has_times
    assert records(batch) == [(0, "id-0", b"a"), (1, "id-1", b"b"), (2, "id-2", b"c")]
    assert times(batch) == [(-1, NOW_MS), (-1, NOW_MS), (-1, NOW_MS + 700)]
    batch.appended(7)
    assert [share.base for each in tickets for share in each.shares] == [7, 9]


def times(batch: LaneBatch) -> list[tuple[int, int]]:
    """Of each record its own, and that of the message."""
    found = MemoryRecords(bytes(batch.payload or b"")).next_batch()
    assert found is not None
    return [(each.timestamp, int(dict(each.headers)["evermq-created-ms"])) for each in found]


def test_batches_apart_take_nobody_else() -> None:
    batches: list[LaneBatch] = []
    append(batches, ticket(b"a"))
    append(batches, ticket(b"b", first=1))
    apart = batches[0].again(apart=True)
    append(apart, ticket(b"c", first=2))
    assert [batch.count for batch in apart] == [1, 1, 1]


def test_failure_of_what_may_have_landed_is_uncertain_for_all_but_those_who_know_better() -> None:
    batches: list[LaneBatch] = []
    told, waiting = append(batches, ticket(b"a")), append(batches, ticket(b"b", first=1))
    [batch] = batches
    batch.uncertain = True
    batch.abandon(told.shares[0], Uncertain("time is over"))
    assert batch.is_awaited
    batch.failed(Unavailable, "no broker")
    assert isinstance(waiting.shares[0].error, Uncertain)
    assert str(told.shares[0].error) == "time is over"
    batch.abandon(waiting.shares[0], Uncertain("gone too"))
    assert not batch.is_awaited
