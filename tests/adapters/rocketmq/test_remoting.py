"""What brokers and name servers answer that nobody listed, or do not answer at all."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from evermq.adapters.rocketmq.login import Login
from evermq.adapters.rocketmq.remoting import Remoting
from evermq.errors import EvermqError, Unavailable, Uncertain


@asynccontextmanager
async def broker(answer: Callable[[asyncio.StreamWriter, int], None]) -> AsyncIterator[Remoting]:
    """A broker that does this with each request, of which it gets the number."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.read(8):
            size, header_size = struct.unpack(">II", head)
            header = json.loads((await reader.readexactly(size - 4))[:header_size])
            answer(writer, header["opaque"])
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    remoting = Remoting("127.0.0.1", server.sockets[0].getsockname()[1], Login(), 5_000)
    yield remoting
    await remoting.close()
    server.close()


def odd(writer: asyncio.StreamWriter, number: int) -> None:
    header = json.dumps({"code": 4711, "opaque": number, "remark": "what is this"}).encode()
    writer.write(struct.pack(">II", len(header) + 4, len(header)) + header)


def gone(writer: asyncio.StreamWriter, _: int) -> None:
    writer.close()


@pytest.mark.parametrize("answer", [odd, gone])
@pytest.mark.parametrize(("asks", "kind"), [(Remoting.ask, Unavailable), (Remoting.change, Uncertain)])
async def test_answer_that_says_nothing_leaves_a_change_open_and_a_question_to_be_asked_again(
    answer: Callable[[asyncio.StreamWriter, int], None],
    asks: Callable[..., object],
    kind: type[EvermqError],
) -> None:
    async with broker(answer) as remoting:
        with pytest.raises(EvermqError) as raised:
            await asks(remoting, 17, {}, "do something")  # type: ignore[misc]
    assert type(raised.value) is kind


async def test_broker_that_cannot_be_reached_has_changed_nothing() -> None:
    with pytest.raises(Unavailable):
        await Remoting("127.0.0.1", 1, Login(), 5_000).change(17, {}, "do something")
