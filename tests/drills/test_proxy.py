"""The proxy in front of a server that answers every line with the same line in capitals."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from evermq.drills.engines.engine import Door
from evermq.drills.engines.kafka_linked import KafkaLinked
from evermq.drills.engines.ports import HOST, free_ports
from evermq.drills.faults.proxy import Fault, Proxy
from evermq.errors import Misconfigured


class Shouting:
    """The server. It keeps what arrived, whole lines or not."""

    def __init__(self) -> None:
        self.heard = b""
        self.open = 0
        self.may_end = asyncio.Event()  # once its client has said all
        self.may_end.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while data := await reader.read(65_536):
                self.heard += data
                writer.write(data.upper())
                await writer.drain()
            await self.may_end.wait()
        except OSError:
            pass
        finally:
            self.open -= 1
            writer.close()


class Talk:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, text: bytes, wait_s: float = 5.0) -> bytes:
        self.writer.write(text)
        return await asyncio.wait_for(self.reader.read(65_536), wait_s)

    async def is_silent(self, text: bytes = b"hello") -> bool:
        try:
            await self.ask(text, 0.3)
        except TimeoutError:
            return True
        return False


class Stage:
    """Server, proxy, and the clients, which are closed at the end."""

    def __init__(self, proxy: Proxy, server: Shouting) -> None:
        self.proxy, self.server = proxy, server
        self.talks: list[Talk] = []

    async def talk(self) -> Talk:
        talk = Talk(*await asyncio.open_connection(HOST, self.proxy.door.front))
        self.talks.append(talk)
        return talk


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    front, back = free_ports(2)
    server = Shouting()
    listening = await asyncio.start_server(server.serve, HOST, back)
    async with Proxy(Door(front, back)) as proxy:
        stage = Stage(proxy, server)
        yield stage
    for talk in stage.talks:
        talk.writer.close()
        with contextlib.suppress(OSError):
            await talk.writer.wait_closed()
    listening.close()


async def is_reset(talk: Talk, text: bytes = b"hello") -> bool:
    try:
        return await talk.ask(text) == b""
    except ConnectionError:
        return True


async def test_healthy_proxy_passes_both_ways(stage: Stage) -> None:
    assert await (await stage.talk()).ask(b"hello") == b"HELLO"
    assert stage.server.heard == b"hello"


async def test_healthy_proxy_passes_the_end_of_a_request_and_the_answer_after_it(
    stage: Stage,
) -> None:
    talk = await stage.talk()
    talk.writer.write(b"x" * 3_000_000)
    talk.writer.write_eof()
    assert await asyncio.wait_for(talk.reader.read(-1), 10) == b"X" * 3_000_000


async def test_cut_resets_and_refuses_until_it_is_healed(stage: Stage) -> None:
    server, proxy = stage.server, stage.proxy
    talk = await stage.talk()
    await talk.ask(b"hello")
    await proxy.set(Fault(cut=True))
    assert await is_reset(talk)
    with pytest.raises(ConnectionRefusedError):
        await stage.talk()
    await proxy.heal()
    assert await (await stage.talk()).ask(b"again") == b"AGAIN"
    assert server.heard == b"helloagain"


async def test_reset_passes_half_of_the_request_and_no_answer(stage: Stage) -> None:
    server, proxy = stage.server, stage.proxy
    await proxy.set(Fault(reset=1.0))
    assert await is_reset(await stage.talk(), b"12345678")
    assert server.heard in (b"1234", b"")  # a reset may overtake what it follows
    assert proxy.happened["resets"] == 1


async def test_swallowed_answer_was_heard_and_the_connection_ends(stage: Stage) -> None:
    server, proxy = stage.server, stage.proxy
    await proxy.set(Fault(swallow=1.0))
    assert await is_reset(await stage.talk())
    assert server.heard == b"hello"
    assert proxy.happened["swallowed"] == 1


async def test_share_of_the_answers_is_swallowed_and_small_requests_are_spared(
    stage: Stage,
) -> None:
    proxy = stage.proxy
    await proxy.set(Fault(swallow=0.2, bytes_min=100))
    for _ in range(200):
        talk = await stage.talk()
        assert await talk.ask(b"ping") == b"PING"
        with contextlib.suppress(ConnectionError):
            await talk.ask(b"x" * 100)
        talk.writer.close()
    assert 15 <= proxy.happened["swallowed"] <= 70


async def test_swallowed_answer_may_leave_the_connection_hanging(stage: Stage) -> None:
    server, proxy = stage.server, stage.proxy
    await proxy.set(Fault(swallow=1.0, hang=True))
    talk = await stage.talk()
    assert await talk.is_silent()
    assert server.heard == b"hello"
    await proxy.heal()
    assert await is_reset(talk)


async def test_half_open_connection_loses_its_server_and_is_not_told(stage: Stage) -> None:
    server, proxy = stage.server, stage.proxy
    talk = await stage.talk()
    await talk.ask(b"hello")
    await proxy.set(Fault(half_open=True))
    assert await talk.is_silent(b"lost")
    assert await (await stage.talk()).is_silent(b"lost")
    assert (server.open, server.heard) == (0, b"hello")
    await proxy.heal()
    assert await is_reset(talk)
    assert await (await stage.talk()).ask(b"again") == b"AGAIN"


async def test_client_of_a_half_open_connection_can_leave(stage: Stage) -> None:
    proxy = stage.proxy
    await proxy.set(Fault(half_open=True))
    talk = await stage.talk()
    talk.writer.close()
    await talk.writer.wait_closed()
    await asyncio.wait_for(proxy.set(Fault(cut=True)), 5)


async def test_half_open_connection_whose_client_had_said_all_ends_when_it_is_dropped(stage: Stage) -> None:
    server, proxy = stage.server, stage.proxy
    server.may_end.clear()
    talk = await stage.talk()
    await talk.ask(b"hello")
    talk.writer.write_eof()
    await asyncio.sleep(0.1)  # the server has heard that
    await proxy.set(Fault(half_open=True))
    await asyncio.sleep(0.1)
    try:
        await asyncio.wait_for(proxy.set(Fault(cut=True)), 5)
    finally:
        server.may_end.set()


async def test_delay_comes_twice_in_a_round_trip_and_does_not_thin_a_stream(
    stage: Stage,
) -> None:
    proxy = stage.proxy
    await proxy.set(Fault(delay_ms=100))
    talk = await stage.talk()
    begin = asyncio.get_running_loop().time()
    assert await talk.ask(b"hello") == b"HELLO"
    assert asyncio.get_running_loop().time() - begin >= 0.19
    talk.writer.write(b"y" * 2_000_000)
    talk.writer.write_eof()
    assert await asyncio.wait_for(talk.reader.read(-1), 10) == b"Y" * 2_000_000


async def test_limited_link_is_no_faster_than_its_limit(stage: Stage) -> None:
    proxy = stage.proxy
    await proxy.set(Fault(bytes_per_s=200_000))
    talk = await stage.talk()
    begin = asyncio.get_running_loop().time()
    talk.writer.write(b"z" * 100_000)
    talk.writer.write_eof()
    assert await asyncio.wait_for(talk.reader.read(-1), 30) == b"Z" * 100_000
    assert asyncio.get_running_loop().time() - begin >= 0.45


async def test_proxy_without_a_server_behind_it_ends_connections(stage: Stage) -> None:
    front, back = free_ports(2)
    async with Proxy(Door(front, back)) as proxy:
        assert await is_reset(await Stage(proxy, stage.server).talk())


def test_servers_whose_links_would_end_with_their_starter_are_not_left_behind(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="use it in drills and tests alone"):
        KafkaLinked(tmp_path, lasting=True)
    KafkaLinked(tmp_path).stop()  # of what was never started
