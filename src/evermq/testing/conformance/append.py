"""Append: every message gets a place of its own, or none of the batch does."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from evermq.errors import Rejected, TooLarge
from evermq.message import Message
from evermq.position import Position
from evermq.testing.conformance.bench import Bench, bodies, raised
from evermq.testing.conformance.chapter import Chapter
from evermq.testing.conformance.needs import Need

__all__ = ["append"]

append = Chapter("append")


@append()
async def traits_are_those_declared(bench: Bench) -> None:
    """The queue promises what the subject says."""
    assert bench.queue.traits == bench.traits


@append()
async def queue_has_the_name_of_its_topic(bench: Bench) -> None:
    """Errors and metrics name it."""
    assert bench.queue.name == bench.topic


@append()
async def every_message_gets_a_position_of_its_own(bench: Bench) -> None:
    """Within a batch, and from batch to batch."""
    found: list[Position] = []
    for size in (1, 7, 30):
        batch = [bench.message(str(i), key=f"k{i}" if i % 2 else None) for i in range(size)]
        positions = await bench.queue.append(batch)
        assert len(positions) == size
        found += positions
    assert all(isinstance(position, Position) for position in found)
    if all(position.offset is not None for position in found):
        assert len(set(found)) == len(found)


@append()
async def positions_are_a_sequence(bench: Bench) -> None:
    """However lazily they are made."""
    batch = [bench.message(str(i), key=f"k{i}") for i in range(10)]
    for messages in (batch, [bench.message("x") for _ in range(10)]):
        positions = await bench.queue.append(messages)
        every = list(positions)
        assert [positions[i] for i in range(10)] == every
        assert positions[-1] == every[-1]
        assert list(positions[2:5]) == every[2:5]
        assert list(positions[::-3]) == every[::-3]
        assert _raises_index_error(positions)


def _raises_index_error(positions: Any) -> bool:
    try:
        positions[10]
    except IndexError:
        return True
    return False


@append(Need.ORDER)
async def offsets_of_a_key_rise(bench: Bench) -> None:
    """Where there are offsets at all."""
    positions = [p for _ in range(3) for p in await bench.queue.append([bench.message("x", key="k")] * 1)]
    offsets = [position.offset for position in positions]
    assert offsets == sorted(offsets, key=lambda offset: offset or 0)
    assert len({position.lane for position in positions}) == 1


@append()
async def empty_batch_does_nothing(bench: Bench) -> None:
    """And is no error."""
    assert len(await bench.queue.append([])) == 0
    await bench.nothing_comes(await bench.reader())
    await bench.backlog_becomes(0)


@append()
async def batches_of_any_size_arrive(bench: Bench) -> None:
    """From one message to a thousand."""
    reader = await bench.reader()
    sent = [f"{size}.{i}" for size in (1, 2, 10, 100, 1000) for i in range(size)]
    for size in (1, 2, 10, 100, 1000):
        await bench.append(*(f"{size}.{i}" for i in range(size)), key=f"k{size}")
    found = await bench.take_acked(reader, len(sent))
    assert sorted(bodies(found)) == sorted(text.encode() for text in sent)
    await bench.nothing_comes(reader)


@append()
async def batch_may_be_any_sequence(bench: Bench) -> None:
    """A tuple is as good as a list, and the queue keeps its hands off a list."""
    messages = [bench.message("a"), bench.message("b")]
    await bench.queue.append(messages)
    await bench.queue.append(tuple(bench.message(text) for text in "cd"))
    assert len(messages) == 2
    messages.clear()
    found = await bench.take(await bench.reader(), 4)
    assert sorted(bodies(found)) == [b"a", b"b", b"c", b"d"]


@append()
async def concurrent_appends_all_arrive(bench: Bench) -> None:
    """Each once."""
    batches = [[f"{task}.{i}" for i in range(10)] for task in range(40)]
    await asyncio.gather(*(bench.append(*texts, key=f"k{task}") for task, texts in enumerate(batches)))
    reader = await bench.reader()
    found = await bench.take_acked(reader, 400)
    assert sorted(bodies(found)) == sorted(text.encode() for texts in batches for text in texts)
    await bench.nothing_comes(reader)


@append()
async def cancelled_append_leaves_others_unharmed(bench: Bench) -> None:
    """It is appended once or not at all; those beside it and after it arrive."""
    for turn in range(10):
        given_up = asyncio.create_task(bench.append(f"lost {turn}"))
        beside = asyncio.create_task(bench.append(f"beside {turn}"))
        for _ in range(turn):
            await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        await beside
    await bench.append("last")
    reader = await bench.reader()
    found: list[bytes] = []
    while b"last" not in found or len([body for body in found if b"lost" not in body]) < 11:
        some = await reader.read(count_max=100, wait_ms=10_000)
        assert some, f"what was appended beside a cancelled append did not come: {found}"
        await reader.ack(some)
        found += bodies(some)
    await bench.nothing_comes(reader)
    assert len(set(found)) == len(found)


@append(Need.SMALL_MESSAGES)
async def message_over_the_limit_is_refused_with_its_batch(bench: Bench) -> None:
    """TooLarge, and nothing of the batch is there."""
    huge = bench.message(bytes(bench.traits.message_bytes_max + 1))
    await _refused(bench, [bench.message("before"), huge, bench.message("behind")], TooLarge)


@append(Need.SMALL_MESSAGES)
async def largest_message_arrives(bench: Bench) -> None:
    """Body, key and headers together may have message_bytes_max bytes."""
    key, headers = "k" * 10, {"h" * 10: "v" * 10}
    body = bytes(bench.traits.message_bytes_max - 30)
    await bench.queue.append([bench.message(body, key=key, headers=headers)])
    [delivery] = await bench.take(await bench.reader(), 1)
    assert len(delivery.message.body) == len(body)
    assert delivery.message.body == body


@append(Need.SMALL_BATCHES)
async def longest_batch_is_appended(bench: Bench) -> None:
    """batch_count_max messages."""
    count = bench.traits.batch_count_max
    reader = await bench.reader()
    positions = await bench.queue.append([bench.message("") for _ in range(count)])
    assert len(positions) == count
    await bench.backlog_becomes(count)
    await reader.close()


@append(Need.SMALL_BATCHES)
async def batch_over_the_limit_is_refused(bench: Bench) -> None:
    """Rejected, and nothing of it is there."""
    await _refused(bench, [bench.message("x")] * (bench.traits.batch_count_max + 1), Rejected)


@append()
async def body_that_is_not_bytes_is_refused(bench: Bench) -> None:
    """Rejected, with the batch."""
    wrong = bench.message("x")._replace(body=cast(bytes, "text"))
    await _refused(bench, [bench.message("before"), wrong], Rejected)


@append()
async def header_that_is_not_text_is_refused(bench: Bench) -> None:
    """Rejected, with the batch."""
    wrong = bench.message("x")._replace(headers=cast("dict[str, str]", {"n": 1}))
    await _refused(bench, [bench.message("before"), wrong], Rejected)


@append()
async def what_is_no_message_is_refused(bench: Bench) -> None:
    """Rejected, with the batch, and the error says what it was."""
    for wrong in ("x", b"a body", None, 5, ("a", None)):
        for batch in ([wrong], [bench.message("before"), wrong]):
            error = await raised(Rejected, bench.queue.append(cast("list[Message]", batch)))
            assert f"{wrong!r} is no message" in str(error)
    await bench.append("after")
    assert bodies(await bench.take(await bench.reader(), 1)) == [b"after"]


async def _refused(bench: Bench, messages: list[Message], error: type[Rejected]) -> None:
    await raised(error, bench.queue.append(messages))
    await bench.append("after")
    reader = await bench.reader()
    assert bodies(await bench.take(reader, 1)) == [b"after"]
    await bench.nothing_comes(reader)
