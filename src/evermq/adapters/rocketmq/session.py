"""A client as the proxy knows it: it says what it reads or sends, and that it lives, and may be asked something."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from evermq.adapters.rocketmq.errors import certain, of_rpc
from evermq.adapters.rocketmq.protocol import PRODUCER, SIMPLE_CONSUMER, service
from evermq.adapters.rocketmq.proxy import Proxy, is_told_to_stop
from evermq.clock import Clock
from evermq.errors import EvermqError, Unavailable

__all__ = ["Session", "reads", "sends"]

_HEARTBEAT_MS = 10_000
_TAG = 1  # FilterType.TAG


def reads(topic: str, group: str) -> Any:
    """What a consumer says of itself; topic and group as RocketMQ names them."""
    command = service.TelemetryCommand()
    command.settings.client_type = SIMPLE_CONSUMER
    subscription = command.settings.subscription
    subscription.group.name = group
    entry = subscription.subscriptions.add()
    entry.topic.name = topic
    entry.expression.expression, entry.expression.type = "*", _TAG
    return command


def sends(topic: str) -> Any:
    """What a producer says of itself."""
    command = service.TelemetryCommand()
    command.settings.client_type = PRODUCER
    command.settings.publishing.topics.add().name = topic
    command.settings.publishing.validate_message_type = True
    return command


class Session:
    """says: what the client says of itself. doing: the same in words, for errors."""

    def __init__(self, proxy: Proxy, says: Any, doing: str, clock: Clock) -> None:
        self._proxy = proxy
        self._says, self._doing = says, doing
        self._kind, self._group = says.settings.client_type, says.settings.subscription.group.name
        self._clock = clock
        self._opening = asyncio.Lock()
        self._turn = -1
        self._stream: Any = None
        self._beating: asyncio.Task[None] | None = None
        self.client = f"evermq-{clock.token()}"

    async def open(self) -> None:
        """Make the proxy that serves know this client, if it does not. Raises Unavailable, Denied."""
        async with self._opening:
            if self._stream is not None and self._turn == self._proxy.turn and not self._stream.done():
                return
            self.forget()
            self._turn = self._proxy.turn
            doing = f"rocketmq {self._proxy.where}: {self._doing}"
            stream = self._proxy.telemetry(self.client)
            try:
                async with asyncio.timeout(self._proxy.timeout_s):
                    await stream.write(self._says)
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
        if isinstance(error, asyncio.CancelledError) and not is_told_to_stop():
            return Unavailable(f"{doing}: the session was given up")  # the stream was cancelled, not who reads it
        return error

    async def heard(self) -> Any:
        """What the proxy says next, over a session that is opened if it is not. Raises Unavailable, Denied."""
        await self.open()
        stream, doing = self._stream, f"rocketmq {self._proxy.where}: {self._doing}"
        try:
            answer = await stream.read()
            if answer is grpc.aio.EOF:
                raise Unavailable(f"{doing}: the proxy ended the session")
        except BaseException as error:
            if stream is self._stream:
                self.forget()
            raise self._failure(error, doing) from None
        return answer

    def forget(self) -> None:
        """The proxy may not know this client any more: open it anew."""
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(_HEARTBEAT_MS)
            request = service.HeartbeatRequest(client_type=self._kind)
            request.group.name = self._group
            try:
                await self._proxy.ask("Heartbeat", request, f"{self._doing}: live", client=self.client)
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
