"""What is no message is refused, and the log serves on: by its owner, through the socket, and to a calling thread."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from evermq.adapters.open import open_log
from evermq.errors import Rejected
from evermq.message import MessageFactory
from evermq.port import AppendsBlocking, Queue

make = MessageFactory()
good = make(b"good")
BAD: dict[str, Any] = {
    "text": "text",
    "three letters": "abc",
    "no text": "",
    "bytes": b"abc",
    "nothing": None,
    "mapping": {"a": 1},
    "too few fields": tuple(good)[:3],
    "list of headers": good._replace(headers=["a"]),  # type: ignore[arg-type]
    "number as headers": good._replace(headers=5),  # type: ignore[arg-type]
    "no headers": good._replace(headers=None),  # type: ignore[arg-type]
    "bytes as id": good._replace(id=b"id"),  # type: ignore[arg-type]
    "time beyond 64 bits": good._replace(created_ms=1 << 70),
    "id with half a character": good._replace(id="\ud800"),
    "header with half a character": good._replace(headers={"name": "\ud800"}),
}


@asynccontextmanager
async def opened(directory: Path, door: bool) -> AsyncIterator[Queue]:
    owner = await open_log(directory)
    guest = await open_log(directory) if door else owner
    try:
        yield await guest.queue("orders")
    finally:
        await guest.close()
        await owner.close()


@pytest.mark.parametrize("door", [False, True])
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_what_is_no_message_is_refused(tmp_path: Path, bad: Any, door: bool) -> None:
    async with opened(tmp_path, door) as queue:
        for batch in ([bad], [good, bad], [bad] * 100):
            with pytest.raises(Rejected):
                await queue.append(batch)
        await queue.append([good])
        assert await queue.backlog("billing") == 1


@pytest.mark.parametrize("door", [False, True])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("headers", None),
        ("headers", {"a": 1}),
        ("id", b"a"),
        ("key", "k"),
        ("body", "text"),
        ("body", None),
        ("created_ms", 1.5),
    ],
)
async def test_message_and_field_that_cannot_be_stored_are_named(
    tmp_path: Path, door: bool, field: str, value: Any
) -> None:
    bad = make(b"bad", id="the-id")._replace(**{field: value})
    named = f"message (the-id|b'a'): .*{field.removesuffix('s') if field == 'headers' else field}"
    async with opened(tmp_path, door) as queue:
        for batch in ([bad], [good, bad]):
            with pytest.raises(Rejected, match=named):
                await queue.append(batch)


class Broken(dict[str, str]):
    """Headers with an error of their own."""

    def __contains__(self, name: object) -> bool:
        raise RuntimeError("broken")


@pytest.mark.parametrize("others", [0, 3, 100])
async def test_headers_that_raise_are_refused_and_close_nothing(tmp_path: Path, others: int) -> None:
    async with opened(tmp_path, door=False) as queue:
        assert isinstance(queue, AppendsBlocking)
        batch = [*[good] * others, good._replace(headers=Broken(a="b"))]
        with pytest.raises(Rejected):
            await asyncio.to_thread(queue.append_blocking, batch)
        outcomes = await asyncio.gather(queue.append([good]), queue.append(batch), return_exceptions=True)
        assert [isinstance(outcome, Rejected) for outcome in outcomes] == [False, True]
        assert not isinstance(outcomes[0], BaseException)
        await queue.append([good])
        assert await queue.backlog("billing") == 2


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_what_is_no_message_is_refused_to_a_thread(tmp_path: Path, bad: Any) -> None:
    async with opened(tmp_path, door=False) as queue:
        assert isinstance(queue, AppendsBlocking)
        for batch in ([bad], [good, bad]):
            with pytest.raises(Rejected):
                await asyncio.to_thread(queue.append_blocking, batch)
        await queue.append([good])
        assert await queue.backlog("billing") == 1
