"""A consumer as the proxy knows it: it says which group and topic it reads, and that it lives."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from evermq.adapters.rocketmq.errors import certain, of_rpc
from evermq.adapters.rocketmq.protocol import SIMPLE_CONSUMER, service
from evermq.adapters.rocketmq.proxy import Proxy
from evermq.clock import Clock
from evermq.errors import EvermqError, Unavailable

__all__ = ["Session"]

_HEARTBEAT_MS = 10_000
_TAG = 1  # FilterType.TAG


class Session:
    """topic and group: as RocketMQ names them."""

    def __init__(self, proxy: Proxy, topic: str, group: str, clock: Clock) -> None:
        self._proxy = proxy
        self._topic, self._group = topic, group
        self._clock = clock
        self._opening = asyncio.Lock()
        self._turn = -1
        self._stream: Any = None
        self._beating: asyncio.Task[None] | None = None
        self.client = f"evermq-{clock.token()}"

    async def open(self) -> None:
        """Make the proxy that serves know this consumer, if it does not. Raises Unavailable, Denied."""
        async with self._opening:
            if self._stream is not None and self._turn == self._proxy.turn and not self._stream.done():
                return
            self.forget()
            self._turn = self._proxy.turn
            doing = f"rocketmq {self._proxy.where}: begin to read {self._topic} as {self._group}"
            stream = self._proxy.telemetry(self.client)
            try:
                async with asyncio.timeout(self._proxy.timeout_s):
                    await stream.write(self._settings())
                    answer = await stream.read()
                if answer is grpc.aio.EOF:
                    raise Unavailable(f"{doing}: the proxy ended the session")
                self._proxy.check(answer.status, doing, "OK")
            except BaseException as error:
                stream.cancel()
                raise self._failure(error, doing) from None
            self._stream = stream
            if self._beating is None:
                self._beating = asyncio.create_task(self._beat())

    @staticmethod
    def _failure(error: BaseException, doing: str) -> BaseException:
        if isinstance(error, grpc.aio.AioRpcError):
            return certain(of_rpc(error, doing))
        if isinstance(error, EvermqError):
            return certain(error)
        if isinstance(error, TimeoutError | grpc.aio.UsageError | asyncio.InvalidStateError):
            return Unavailable(f"{doing}: {error or 'no answer in time'}")
        return error

    def forget(self) -> None:
        """The proxy may not know this consumer any more: open it anew."""
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None

    def _settings(self) -> Any:
        command = service.TelemetryCommand()
        command.settings.client_type = SIMPLE_CONSUMER
        subscription = command.settings.subscription
        subscription.group.name = self._group
        entry = subscription.subscriptions.add()
        entry.topic.name = self._topic
        entry.expression.expression, entry.expression.type = "*", _TAG
        return command

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(_HEARTBEAT_MS)
            request = service.HeartbeatRequest(client_type=SIMPLE_CONSUMER)
            request.group.name = self._group
            try:
                await self._proxy.ask("Heartbeat", request, f"live as {self._group}", client=self.client)
            except EvermqError:
                self.forget()

    async def close(self) -> None:
        """Say goodbye, if anybody listens."""
        if self._beating:
            self._beating.cancel()
            await asyncio.wait([self._beating])
        if self._stream is not None:
            request = service.NotifyClientTerminationRequest()
            request.group.name = self._group
            try:
                await self._proxy.ask("NotifyClientTermination", request, "end a session", client=self.client)
            except EvermqError:
                pass
            self.forget()
