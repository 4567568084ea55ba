"""What cannot be sent is Rejected by whichever face it was given to, and the error says what was wrong with it."""

from pathlib import Path
from typing import Any

import pytest

import evermq
from evermq.adapters.memory import MemoryQueue
from evermq.client import Producer, blocking
from evermq.errors import Misconfigured, Rejected
from evermq.message import MessageFactory

GOOD = MessageFactory()(b"good")
HALF = "\ud800"  # half a character

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"body": 5}, "its body is to be bytes, not int"),
    ({"body": None}, "its body is to be bytes, not NoneType"),
    ({"body": ["a"]}, "its body is to be bytes, not list"),
    ({"body": HALF}, "body = .* half a character"),
    ({"key": 5}, "its key is to be bytes or None, not int"),
    ({"key": ["k"]}, "its key is to be bytes or None, not list"),
    ({"key": HALF}, "key = .* half a character"),
    ({"headers": [("a", "b")]}, "its headers are to be a mapping, not list"),
    ({"headers": [("a", "b")], "delay_ms": 1}, r"headers = \[\('a', 'b'\)\]: give a mapping"),
    ({"headers": 5}, "its headers are to be a mapping, not int"),
    ({"headers": {"a": 5}}, "header 'a' is to be text"),
    ({"delay_ms": "5"}, "delay_ms = '5': give a whole number of milliseconds"),
    ({"delay_ms": None}, "delay_ms = None: give a whole number of milliseconds"),
    ({"id": 5}, "message 5: its id is to be text"),
]
MANY: list[tuple[Any, str]] = [
    (None, "messages = None: give a sequence"),
    ("abc", "messages = 'abc': give a sequence"),
    (b"abc", "messages = b'abc': give a sequence"),
    (GOOD, r"messages = Message\(.*: give a sequence"),
    ([b"x", 5], "its body is to be bytes, not int"),
    ([GOOD._replace(key=5)], "its key is to be bytes or None, not int"),  # type: ignore[arg-type]
    ([GOOD._replace(headers=["a"])], "its headers are to be a mapping, not list"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("wrong", "said"), WRONG)
async def test_field_that_cannot_be_sent_is_named(wrong: dict[str, Any], said: str) -> None:
    queue = MemoryQueue("t")
    async with Producer(queue) as producer:
        with pytest.raises(Rejected, match=said):
            await producer.send(**{"body": b"x", **wrong})
        assert await queue.backlog("g") == 0
        await producer.send(b"x")


@pytest.mark.parametrize(("wrong", "said"), WRONG)
def test_blocking_producer_names_it_as_well(wrong: dict[str, Any], said: str) -> None:
    with blocking.Producer(MemoryQueue("t")) as producer, pytest.raises(Rejected, match=said):
        producer.send(**{"body": b"x", **wrong})


@pytest.mark.parametrize(("wrong", "said"), [each for each in WRONG if each[0].keys() != {"id"}])
async def test_one_way_send_is_refused_at_once_or_tells_its_outcome(wrong: dict[str, Any], said: str) -> None:
    outcomes: list[Any] = []
    async with Producer(MemoryQueue("t"), on_outcome=lambda _, outcome: outcomes.append(outcome)) as producer:
        try:
            producer.send_nowait(**{"body": b"x", **wrong})
        except Rejected as error:
            outcomes.append(error)
    [outcome] = outcomes
    with pytest.raises(Rejected, match=said):
        raise outcome


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_body_that_may_change_is_stored_as_it_was_when_it_was_sent(kind: Any, tmp_path: Path) -> None:
    for url in (f"memory://{kind.__name__}/t", f"log://{tmp_path}/t"):
        queue = await evermq.open(url)
        async with Producer(queue) as producer:
            body, key = bytearray(b"hello"), bytearray(b"key")
            producer.send_nowait(kind(body), key=kind(key))
            body[:], key[:] = b"WORLD", b"yek"
        [delivery] = await (await queue.reader("g")).read(count_max=2, wait_ms=1_000)
        assert (delivery.message.body, delivery.message.key) == (b"hello", b"key")
        await queue.close()


@pytest.mark.parametrize(("wrong", "said"), MANY)
async def test_many_that_cannot_be_sent_are_named(wrong: Any, said: str) -> None:
    async with Producer(MemoryQueue("t")) as producer:
        with pytest.raises(Rejected, match=said):
            await producer.send_many(wrong)


@pytest.mark.parametrize(("wrong", "said"), MANY)
def test_blocking_producer_names_them_as_well(wrong: Any, said: str) -> None:
    with blocking.Producer(MemoryQueue("t")) as producer, pytest.raises(Rejected, match=said):
        producer.send_many(wrong)


@pytest.mark.parametrize("wrong", [None, 5, "x", b"a body", ("a",), [*GOOD]])
async def test_what_is_no_message_is_not_sent_as_one(wrong: Any) -> None:
    async with Producer(MemoryQueue("t")) as producer:
        with pytest.raises(Rejected, match="is no message"):
            await producer.send_message(wrong)


@pytest.mark.parametrize("target", [5, None, b"log:///tmp/a/b", ["a"]])
async def test_target_that_is_no_text_is_misconfigured(target: Any) -> None:
    with pytest.raises(Misconfigured, match=r"target = .*: give a URL"):
        await evermq.open(target)
    with pytest.raises(Misconfigured, match=r"target = .*: give a URL"):
        blocking.run(evermq.open(target))


@pytest.mark.parametrize("config", [5, b"evermq.toml", ["a"]])
async def test_configuration_that_is_no_path_is_misconfigured(config: Any) -> None:
    with pytest.raises(Misconfigured, match=r"config = .*: give the path"):
        await evermq.open("orders", config)
