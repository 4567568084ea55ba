"""Calls to the proxies of a RocketMQ: one of them serves, another one when it cannot be reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from evermq.adapters.rocketmq.errors import of_code, of_rpc
from evermq.adapters.rocketmq.login import Login
from evermq.adapters.rocketmq.protocol import CODE_NAMES, calls
from evermq.errors import Closed, Uncertain

__all__ = ["Proxy", "is_told_to_stop"]

_OPTIONS = [
    ("grpc.enable_retries", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # how long one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 1_000),
]
_ELSEWHERE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class Proxy:
    """hosts: host:port of each. turn: rises whenever another proxy is taken; sessions begin anew then."""

    def __init__(
        self, hosts: Sequence[str], credentials: grpc.ChannelCredentials | None, login: Login, timeout_ms: int
    ) -> None:
        self._hosts = list(hosts)
        self._credentials = credentials
        self._login = login
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None
        self._closed = False
        self.timeout_s = timeout_ms / 1000
        self.turn = 0

    @property
    def count(self) -> int:
        """How many proxies there are."""
        return len(self._hosts)

    @property
    def where(self) -> str:
        """The proxy that serves."""
        return self._hosts[self.turn % len(self._hosts)]

    async def ask(self, call: str, request: Any, doing: str, *, client: str = "evermq") -> Any:
        """Return the answer of a call, whose status is OK. Raises what the table of errors says."""
        turn, doing = self.turn, f"rocketmq {self.where}: {doing}"
        metadata = self._login.metadata(client)
        try:
            answer = await getattr(self._open(), call)(request, metadata=metadata, timeout=self.timeout_s)
        except grpc.aio.AioRpcError as error:
            self._failed(error, turn)
            raise of_rpc(error, doing) from None
        except asyncio.CancelledError:
            if is_told_to_stop():
                raise
            raise Uncertain(f"{doing}: the connection was closed meanwhile") from None
        self.check(answer.status, doing, "OK", "MULTIPLE_RESULTS")
        return answer

    async def receive(self, request: Any, doing: str, *, client: str, wait_s: float) -> AsyncIterator[Any]:
        """The messages that a call for messages brings. Raises as `ask`."""
        turn, doing = self.turn, f"rocketmq {self.where}: {doing}"
        metadata = self._login.metadata(client)
        try:
            async for each in self._open().ReceiveMessage(request, metadata=metadata, timeout=wait_s):
                if each.HasField("message"):
                    yield each.message
                elif each.HasField("status"):
                    self.check(each.status, doing, "OK", "MESSAGE_NOT_FOUND")
        except grpc.aio.AioRpcError as error:
            self._failed(error, turn)
            raise of_rpc(error, doing) from None
        except asyncio.CancelledError:
            if is_told_to_stop():
                raise
            raise Uncertain(f"{doing}: the connection was closed meanwhile") from None

    def telemetry(self, client: str) -> Any:
        """The two-way stream by which a client says who it is."""
        return self._open().Telemetry(metadata=self._login.metadata(client))

    @staticmethod
    def check(status: Any, doing: str, *good: str) -> None:
        """Raise what a status says, unless it is one of those that are good."""
        if CODE_NAMES.get(status.code) not in good:
            raise of_code(status.code, status.message, doing)

    def _open(self) -> Any:
        if self._closed:
            raise Closed("this place was closed: open another one")
        if self._channel is None:
            if self._credentials:
                self._channel = grpc.aio.secure_channel(self.where, self._credentials, _OPTIONS)
            else:
                self._channel = grpc.aio.insecure_channel(self.where, _OPTIONS)
            self._stub = calls.MessagingServiceStub(self._channel)
        return self._stub

    def _failed(self, error: grpc.aio.AioRpcError, turn: int) -> None:
        """Try another proxy from now on; one failure may be seen by many calls."""
        if error.code() in _ELSEWHERE and turn == self.turn and len(self._hosts) > 1:
            channel, self._channel = self._channel, None
            self.turn += 1
            if channel:
                _leaving.add(task := asyncio.create_task(channel.close(grace=self.timeout_s)))
                task.add_done_callback(_leaving.discard)

    async def close(self) -> None:
        """What is under way ends with an error."""
        self._closed = True
        if self._channel:
            await self._channel.close()


_leaving: set[asyncio.Task[None]] = set()


def is_told_to_stop() -> bool:
    """Whether somebody cancelled the task that runs. gRPC raises the same where a channel is closed under a call."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
