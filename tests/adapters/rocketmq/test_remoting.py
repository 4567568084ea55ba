"""What brokers and name servers answer that nobody listed, or do not answer at all."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from evermq.adapters.rocketmq.login import Login
from evermq.adapters.rocketmq.remoting import Remoting
from evermq.errors import EvermqError, Unavailable, Uncertain


@asynccontextmanager
async def broker(
    answer: Callable[[asyncio.StreamWriter, int], None], timeout_ms: int = 5_000
) -> AsyncIterator[Remoting]:
    """A broker that does this with each request, of which it gets the number."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.read(8):
            size, header_size = struct.unpack(">II", head)
            header = json.loads((await reader.readexactly(size - 4))[:header_size])
            answer(writer, header["opaque"])
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    remoting = Remoting("127.0.0.1", server.sockets[0].getsockname()[1], Login(), timeout_ms)
    yield remoting
    await remoting.close()
    server.close()


def odd(writer: asyncio.StreamWriter, number: int) -> None:
    header = json.dumps({"code": 4711, "opaque": number, "remark": "what is this"}).encode()
    writer.write(struct.pack(">II", len(header) + 4, len(header)) + header)


def gone(writer: asyncio.StreamWriter, _: int) -> None:
    writer.close()


class Silent:
    """Answers requests, but not on the connections whose numbers are `silent`, nor those whose number is `never`."""

    def __init__(self, *, silent: int = 0, never: int = 0) -> None:
        self._silent, self._never = silent, never
        self.connections: list[asyncio.StreamWriter] = []

    def __call__(self, writer: asyncio.StreamWriter, number: int) -> None:
        if writer not in self.connections:
            self.connections.append(writer)
        if self.connections.index(writer) >= self._silent and number != self._never:
            header = json.dumps({"code": 0, "opaque": number}).encode()
            writer.write(struct.pack(">II", len(header) + 4, len(header)) + header)


async def test_connection_on_which_nothing_comes_is_not_used_again() -> None:
    async with broker(Silent(silent=1), timeout_ms=300) as remoting:
        asked = [remoting.change(17, {}, "do something"), remoting.ask(17, {}, "ask something")]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert list(map(type, found)) == [Uncertain, Unavailable]
        assert await remoting.ask(17, {}, "ask again")


async def test_connection_on_which_nothing_comes_is_not_used_again_where_callers_give_up_sooner() -> None:
    async with broker(Silent(silent=1), timeout_ms=300) as remoting, asyncio.timeout(20):
        answer = None
        while answer is None:
            with suppress(TimeoutError, Unavailable):
                async with asyncio.timeout(0.05):
                    answer = await remoting.ask(17, {}, "ask something")


async def test_connection_on_which_others_are_answered_is_kept() -> None:
    silent = Silent(never=1)
    async with broker(silent, timeout_ms=300) as remoting:
        asked = [remoting.ask(17, {}, "ask in vain"), remoting.ask(17, {}, "ask something")]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert type(found[0]) is Unavailable
        assert await remoting.ask(17, {}, "ask again")
    assert len(silent.connections) == 1


async def test_server_that_takes_nothing_keeps_nobody_from_closing() -> None:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    ended = asyncio.Event()
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    remoting = Remoting("127.0.0.1", server.sockets[0].getsockname()[1], Login(), 300)
    asked = asyncio.create_task(remoting.change(17, {}, "do something", bytes(32 << 20)))
    while remoting._connection is None:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)
    async with asyncio.timeout(20):
        await remoting.close()
    with pytest.raises(Uncertain):
        await asked
    ended.set()
    server.close()


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
