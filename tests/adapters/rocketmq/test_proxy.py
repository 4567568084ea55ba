"""A way to the proxies that is taken away under a call, over a real gRPC server that answers nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from evermq.adapters.rocketmq.login import Login
from evermq.adapters.rocketmq.protocol import calls, service
from evermq.adapters.rocketmq.proxy import Proxy
from evermq.errors import Uncertain


class Silent(calls.MessagingServiceServicer):  # type: ignore[misc]
    """Takes requests and never answers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def QueryRoute(self, *_: Any) -> Any:  # noqa: N802
        self.asked.set()
        await asyncio.Event().wait()

    async def ReceiveMessage(self, *_: Any) -> AsyncIterator[Any]:  # noqa: N802
        self.asked.set()
        await asyncio.Event().wait()
        yield


@asynccontextmanager
async def silent() -> AsyncIterator[tuple[Silent, Proxy]]:
    server, servicer = grpc.aio.server(), Silent()
    calls.add_MessagingServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    proxy = Proxy([f"127.0.0.1:{port}"], None, Login(), 60_000)
    yield servicer, proxy
    await proxy.close()
    await server.stop(0)


async def received(proxy: Proxy) -> list[Any]:
    request = service.ReceiveMessageRequest()
    return [each async for each in proxy.receive(request, "read", client="c", wait_s=60)]


async def asked(proxy: Proxy) -> Any:
    return await proxy.ask("QueryRoute", service.QueryRouteRequest(), "look")


@pytest.mark.parametrize("call", [received, asked])
async def test_call_whose_channel_is_closed_under_it_is_uncertain(call: Any) -> None:
    async with silent() as (servicer, proxy):
        calling = asyncio.create_task(call(proxy))
        await servicer.asked.wait()
        assert proxy._channel
        await proxy._channel.close()
        with pytest.raises(Uncertain, match="closed meanwhile"):
            await calling


@pytest.mark.parametrize("call", [received, asked])
async def test_call_that_is_cancelled_by_its_caller_is_cancelled(call: Any) -> None:
    async with silent() as (servicer, proxy):
        calling = asyncio.create_task(call(proxy))
        await servicer.asked.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
