"""Producer: bounds of one append, and callers that share a batch and nothing else."""

import asyncio
import traceback
from collections.abc import Sequence
from typing import Any

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.client import Producer
from evermq.errors import Closed, Overloaded, Partial, Unavailable, Uncertain
from evermq.message import Message
from evermq.position import Position


class Counted(MemoryQueue):
    """Notes what each append carries."""

    def __init__(self, appends_max: int) -> None:
        super().__init__("t", lanes=1)
        self.appends_max = appends_max
        self.appended: list[list[bytes]] = []

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self.appended.append([message.body for message in messages])
        await asyncio.sleep(0)
        return await super().append(messages)


BODIES = [b"%03d" % number for number in range(300)]


@pytest.mark.parametrize("appends_max", [1, 2])
@pytest.mark.parametrize(("bounds", "count_max"), [({"batch_count_max": 7}, 7), ({"batch_bytes_max": 30}, 10)])
async def test_no_append_carries_more(appends_max: int, bounds: dict[str, int], count_max: int) -> None:
    queue = Counted(appends_max)
    async with Producer(queue, **bounds) as producer:  # type: ignore[arg-type]
        ones, several = BODIES[:100], [BODIES[at : at + 5] for at in range(100, 300, 5)]
        await asyncio.gather(*map(producer.send, ones), *map(producer.send_many, several))
        await producer.send(b"end")
    assert max(map(len, queue.appended)) <= count_max
    assert [body for bodies in queue.appended for body in bodies] == [*BODIES, b"end"]


async def test_what_is_settled_no_longer_counts() -> None:
    queue = Counted(1)
    async with Producer(queue, batch_count_max=10, batch_bytes_max=100) as producer:
        for _ in range(5):
            await asyncio.gather(*map(producer.send, BODIES[:10]))
            await producer.send_many(BODIES[:10])
    assert [len(bodies) for bodies in queue.appended] == [10] * 10


class Broken(Counted):
    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        raise Unavailable("down") from OSError("no route")


async def test_callers_do_not_share_the_error() -> None:
    """One that is raised again and again would grow by a traceback for each caller."""
    async with Producer(Broken(1)) as producer:
        calls = [producer.send(b"x") for _ in range(50)] + [producer.send_many([b"x", b"y"])]
        found = await asyncio.gather(*calls, return_exceptions=True)
    errors = [each for each in found if isinstance(each, BaseException)]
    assert len(errors) == 51
    assert {type(error) for error in errors} == {Unavailable}
    assert len(set(map(id, errors))) == len(errors)
    assert max(len(traceback.extract_tb(error.__traceback__)) for error in errors) < 10
    assert {str(error.__cause__) for error in errors} == {"no route"}


async def test_callback_that_fails_holds_up_nobody() -> None:
    told: list[bytes] = []
    raised: list[str] = []

    def on_outcome(message: Message, outcome: object) -> None:
        told.append(message.body)
        raise KeyError(message.body)

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: raised.append(context["message"]))
    async with Producer(Counted(1), on_outcome=on_outcome) as producer:
        sent = [producer.send_nowait(body) for body in BODIES[:3]]
        assert (await producer.send(b"x")).offset == 3
    assert told == BODIES[:3]
    assert raised == [f"on_outcome failed for message {message.id}" for message in sent]


async def test_queue_that_loses_count_leaves_nobody_waiting() -> None:
    class Short(Counted):
        async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
            return (await super().append(messages))[1:]

    async with Producer(Short(1)) as producer:
        with pytest.raises(Uncertain, match="0 positions for 1 messages"):
            await producer.send(b"x")


async def test_send_that_is_given_up_takes_no_other_with_it() -> None:
    go = asyncio.Event()

    class Waits(Counted):
        async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
            await go.wait()
            return await super().append(messages)

    queue = Waits(1)
    async with Producer(queue) as producer:
        sends = [asyncio.create_task(producer.send(body)) for body in BODIES[:9]]
        sends.append(asyncio.create_task(asyncio.wait_for(producer.send(BODIES[9]), 0.01)))
        many = asyncio.create_task(producer.send_many(BODIES[10:12]))
        await asyncio.sleep(0)
        for index in (0, 4):
            sends[index].cancel()
        await asyncio.sleep(0.02)
        sends[5].cancel()
        go.set()
        found = await asyncio.gather(*sends, return_exceptions=True)
        positions = await many
    kinds = [type(each) for each in found]
    assert [index for index, kind in enumerate(kinds) if kind is asyncio.CancelledError] == [0, 4, 5]
    assert kinds[9] is TimeoutError
    assert [each.offset for each in found if isinstance(each, Position)] == [1, 2, 3, 6, 7, 8]
    # The one that was given up began before these, or after them: that is the interpreter's choice.
    assert [position.offset for position in positions] in ([9, 10], [10, 11])
    sent = [body for bodies in queue.appended for body in bodies]
    assert sent == [*BODIES[:9], *BODIES[10:12], BODIES[9]]  # wait_for begins a turn of the loop later


async def test_send_that_is_given_up_when_there_is_room_for_it_passes_its_turn_on() -> None:
    """Nothing else would: the others would wait for ever."""
    waiting: list[asyncio.Task[Position]] = []

    def give_up(message: Message, outcome: object) -> None:
        waiting[0].cancel()

    queue = Counted(1)
    async with Producer(queue, memory_bytes_max=1_000, on_outcome=give_up) as producer:
        producer.send_nowait(b"x" * 900)
        waiting += [asyncio.create_task(producer.send(body * 900)) for body in (b"y", b"z")]
        async with asyncio.timeout(10):
            assert isinstance(await waiting[1], Position)
        assert waiting[0].cancelled()
    assert [body[:1] for bodies in queue.appended for body in bodies] == [b"x", b"z"]


async def test_close_refuses_what_waits_for_room_and_settles_the_rest() -> None:
    queue = Counted(1)
    producer = Producer(queue, memory_bytes_max=3)
    sends = [asyncio.create_task(producer.send(body)) for body in BODIES[:6]]
    await asyncio.sleep(0)
    await producer.close()
    async with asyncio.timeout(20):
        found = await asyncio.gather(*sends, return_exceptions=True)
    assert [type(each) for each in found] == [Position, *[Closed] * 5]
    assert queue.appended == [[BODIES[0]]]


class Waits(Counted):
    """Appends once it is let go."""

    def __init__(self) -> None:
        super().__init__(1)
        self.go = asyncio.Event()

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        await self.go.wait()
        return await super().append(messages)


@pytest.mark.parametrize("what", [{"key": b"k" * 1_000}, {"headers": {"h": "v" * 1_000}}, {}])
async def test_memory_is_that_of_keys_headers_and_the_messages_themselves_too(what: dict[str, Any]) -> None:
    queue = Waits()
    async with Producer(queue, memory_bytes_max=10_000) as producer:
        with pytest.raises(Overloaded):
            send_50_nowait(producer, what)
        queue.go.set()
        await producer.flush()
        for _ in range(50):  # what is settled takes none
            await producer.send(b"", **what)
            await producer.send_many([b"x", producer.message(b"", **what)])
        producer.send_nowait(b"x" * 10_000)


def send_50_nowait(producer: Producer, what: dict[str, Any]) -> None:
    for _ in range(50):
        producer.send_nowait(b"", **what)


@pytest.mark.parametrize("appends_max", [1, 2])
@pytest.mark.parametrize(("bounds", "count_max"), [({"batch_count_max": 100}, 100), ({"batch_bytes_max": 30}, 10)])
async def test_many_that_are_sent_at_once_are_cut_into_appends(
    appends_max: int, bounds: dict[str, int], count_max: int
) -> None:
    queue = Counted(appends_max)
    async with Producer(queue, **bounds) as producer:  # type: ignore[arg-type]
        first = asyncio.create_task(producer.send(b"one"))
        await asyncio.sleep(0)
        positions = await producer.send_many(BODIES)
        await first
    assert max(map(len, queue.appended)) == count_max
    assert [body for bodies in queue.appended for body in bodies] == [b"one", *BODIES]
    assert [position.offset for position in positions] == list(range(1, 301))


async def test_message_beyond_the_bound_goes_alone() -> None:
    queue = Counted(1)
    async with Producer(queue, batch_bytes_max=10) as producer:
        await producer.send_many([b"a", b"b" * 50, b"c", b"d"])
    assert queue.appended == [[b"a"], [b"b" * 50], [b"c", b"d"]]


async def test_many_of_which_one_append_fails_are_told_what_went_in() -> None:
    class Second(Counted):
        async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
            if len(self.appended) == 1:
                self.appended.append([])
                raise Unavailable("down")
            return await super().append(messages)

    async with Producer(Second(1), batch_count_max=2) as producer:
        with pytest.raises(Partial) as told:
            await producer.send_many(BODIES[:5])
    kinds = [type(outcome) for outcome in told.value.outcomes]
    assert kinds == [Position, Position, Unavailable, Unavailable, Position]


@pytest.mark.parametrize("bounds", [{"batch_count_max": 10}, {"batch_bytes_max": 30}])
async def test_append_that_is_full_does_not_linger(bounds: dict[str, int]) -> None:
    queue = Counted(1)
    async with asyncio.timeout(20):
        producer = Producer(queue, linger_ms=3_600_000, **bounds)  # type: ignore[arg-type]
        for body in BODIES[:10]:
            producer.send_nowait(body)
            await asyncio.sleep(0)
        await producer.close()
    assert queue.appended == [BODIES[:10]]


@pytest.mark.parametrize("appends_max", [1, 2])
@pytest.mark.parametrize("end", ["flush", "close"])
async def test_flush_and_close_do_not_linger(appends_max: int, end: str) -> None:
    queue = Counted(appends_max)
    for turns in (0, 1, 5):
        async with asyncio.timeout(20):
            producer = Producer(queue, linger_ms=3_600_000)
            producer.send_nowait(b"x")
            for _ in range(turns):
                await asyncio.sleep(0)
            await getattr(producer, end)()
    assert queue.appended == [[b"x"]] * 3


@pytest.mark.parametrize("appends_max", [1, 2])
async def test_flush_waits_for_nothing_that_is_sent_later(appends_max: int) -> None:
    class Stream(Counted):
        """Something new is there before an append has ended."""

        async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
            if not is_flushed:
                producer.send_nowait(b"later")
            return await super().append(messages)

    queue, is_flushed = Stream(appends_max), False
    async with asyncio.timeout(20), Producer(queue) as producer:
        producer.send_nowait(b"x")
        try:
            await producer.flush()
        finally:
            is_flushed = True
        assert queue.appended[0] == [b"x"]


@pytest.mark.parametrize("kind", [Unavailable, Uncertain])
async def test_what_fails_in_whole_is_no_partial_however_many_appends_it_took(kind: type[Exception]) -> None:
    class Down(Counted):
        async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
            raise kind("down")

    async with Producer(Down(1), batch_count_max=2) as producer:
        with pytest.raises(kind, match="down"):
            await producer.send_many(BODIES[:5])


async def test_send_that_finds_too_little_room_is_not_overtaken_by_a_smaller_one_behind_it() -> None:
    queue = Counted(1)
    async with Producer(queue, memory_bytes_max=1_000, batch_count_max=1) as producer:
        sends = [producer.send(body, key="k") for body in (b"1" * 100, b"2" * 100, b"3" * 800, b"4")]
        await asyncio.gather(*sends)
    assert [body[:1] for bodies in queue.appended for body in bodies] == [b"1", b"2", b"3", b"4"]


async def test_nothing_that_is_sent_later_takes_the_room_of_a_send_that_is_about_to_have_it() -> None:
    refused: list[Overloaded] = []

    def send_more(message: Message, outcome: object) -> None:
        if message.body[:1] == b"1":
            with pytest.raises(Overloaded) as found:
                producer.send_nowait(b"3", key="k")
            refused.append(found.value)

    queue = Counted(1)
    async with Producer(queue, memory_bytes_max=1_000, on_outcome=send_more) as producer:
        producer.send_nowait(b"1" * 700, key="k")
        await producer.send(b"2" * 300, key="k")
        producer.send_nowait(b"4", key="k")
    assert [body[:1] for bodies in queue.appended for body in bodies] == [b"1", b"2", b"4"]
    assert len(refused) == 1
