"""Content: a message comes out as it went in."""

from __future__ import annotations

from evermq.errors import Rejected
from evermq.message import PREFIX, Message
from evermq.testing.conformance.bench import Bench
from evermq.testing.conformance.chapter import Chapter

__all__ = ["content"]

content = Chapter("content")

_ESCAPES = "é".encode().decode("ascii", "surrogateescape")


async def _comes_back(bench: Bench, *messages: Message) -> None:
    """Everything but what evermq itself may add under its own prefix."""
    await bench.queue.append(messages)
    found = {d.message.id: d.message for d in await bench.take(await bench.reader(), len(messages))}
    for sent in messages:
        got = found[sent.id]
        assert (got.key, got.body, got.created_ms) == (sent.key, sent.body, sent.created_ms)
        assert type(got.body) is bytes
        assert {n: v for n, v in got.headers.items() if n in sent.headers or not n.startswith(PREFIX)} == sent.headers


async def _comes_back_or_is_refused(bench: Bench, message: Message) -> None:
    try:
        await _comes_back(bench, message)
    except Rejected:
        pass


@content()
async def headers_come_back(bench: Bench) -> None:
    """Names and values, the empty ones and those that are not ASCII too."""
    headers = {"trace": "a1", "empty": "", "größe": "十", "quote": "\"',;=\r\n", "X": "1", "x": "2"}
    await _comes_back(bench, bench.message("x", headers=headers), bench.message("y"))


@content()
async def many_headers_come_back(bench: Bench) -> None:
    """Two hundred, one of them long."""
    headers = {f"h{i}": "v" * i for i in range(200)} | {"long": "v" * 20_000}
    await _comes_back(bench, bench.message("x", headers=headers))


@content()
async def headers_of_evermq_come_back(bench: Bench) -> None:
    """What one technique writes, another reads behind any number of queues."""
    await _comes_back(bench, bench.message("x", headers={"evermq-mark": "7"}))


@content()
async def headers_that_are_not_utf_8_come_back(bench: Bench) -> None:
    """As surrogate escapes, both ways."""
    text = b"\xff\xfe caf\xe9".decode(errors="surrogateescape")
    await _comes_back(bench, bench.message("x", headers={"latin": text}))


@content()
async def header_of_escapes_that_are_utf_8_together_becomes_no_other_text(bench: Bench) -> None:
    """Refused, or back as it was: the bytes that it stands for read as a character."""
    await _comes_back_or_is_refused(bench, bench.message("x", headers={"h": _ESCAPES}))


@content()
async def id_of_escapes_that_are_utf_8_together_becomes_no_other_id(bench: Bench) -> None:
    """As a header of them."""
    await _comes_back_or_is_refused(bench, bench.message("x", id=f"{bench.topic}-{_ESCAPES}"))


@content()
async def empty_body_comes_back(bench: Bench) -> None:
    """It is a message like any other."""
    await _comes_back(bench, bench.message(b""), bench.message(b"", key="k"))


@content()
async def no_key_is_not_an_empty_key(bench: Bench) -> None:
    """None stays None, and b"" stays b""."""
    await _comes_back(bench, bench.message("none"), bench.message("empty", key=b""), bench.message("k", key="k"))


@content()
async def binary_key_and_body_come_back(bench: Bench) -> None:
    """All 256 bytes."""
    every = bytes(range(256))
    await _comes_back(bench, bench.message(every, key=every), bench.message(every * 9, key=b"\x00"))


@content()
async def unicode_id_comes_back(bench: Bench) -> None:
    """An id is any text without NUL."""
    await _comes_back(bench, *(bench.message("x", id=f"{bench.topic}-{text}") for text in ("größe-十-🙂", "a b\tc/d")))


@content()
async def long_id_comes_back(bench: Bench) -> None:
    """Of 250 characters."""
    await _comes_back(bench, bench.message("x", id=bench.topic + "i" * (250 - len(bench.topic))))


@content()
async def body_of_a_megabyte_comes_back(bench: Bench) -> None:
    """Or of half of what the queue takes, where that is less."""
    size = min(1 << 20, bench.traits.message_bytes_max // 2)
    await _comes_back(bench, bench.message(bytes(range(256)) * (size // 256), key="k"), bench.message("small"))


@content()
async def time_of_creation_comes_back(bench: Bench) -> None:
    """It is a label: any time is good, 1970 too."""
    times = (0, 1, 1_700_000_000_000, 4_102_444_800_000)
    await _comes_back(bench, *(bench.message("x")._replace(created_ms=each) for each in times))


@content()
async def messages_of_one_batch_keep_their_own(bench: Bench) -> None:
    """Keys, headers and bodies are not mixed up."""
    some = [bench.message(f"b{i}", key=f"k{i}", headers={f"h{i}": f"v{i}"}) for i in range(50)]
    none = [bench.message(f"n{i}") for i in range(50)]
    await _comes_back(bench, *(message for pair in zip(some, none, strict=True) for message in pair))
