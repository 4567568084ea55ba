"""Appends to one topic: what waits travels together, in a few requests at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from evermq.adapters.rocketmq.content import fill
from evermq.adapters.rocketmq.protocol import DELAY, FIFO, NORMAL, service
from evermq.adapters.rocketmq.proxy import Proxy
from evermq.errors import Closed, EvermqError, Unavailable, Uncertain
from evermq.message import DELIVER_AT, Message
from evermq.position import Position

__all__ = ["LANE", "Sender", "send"]

LANE = "any"  # the proxy chooses the queue, and does not tell which
_COUNT_MAX, _BYTES_MAX = 1_000, 3 << 20  # of a request; the broker takes 4 MiB with all properties
_EXTRA_BYTES = 400  # properties and framing of a message
_DELAYED_MAX = 64  # delayed messages cannot share a request: so many are under way
_EARLY_MS = 1_000  # a timer of RocketMQ counts in seconds, and may be that much too early


@dataclass(slots=True, eq=False)
class _Piece:
    """Messages of one append that travel in one request."""

    messages: list[Any]
    size: int
    done: asyncio.Future[int]


class Sender:
    """kind: as in `Topic`. requests_max: that are under way; 1 where order matters."""

    def __init__(self, proxy: Proxy, topic: str, wire_topic: str, kind: str, requests_max: int) -> None:
        self._proxy = proxy
        self._topic, self._wire_topic = topic, wire_topic
        self._type = {"delay": DELAY, "fifo": FIFO}.get(kind, NORMAL)
        self._requests_max = 1 if kind == "fifo" else requests_max
        self._waiting: deque[_Piece] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._late = asyncio.Semaphore(_DELAYED_MAX)

    async def append(self, messages: Sequence[Message], sizes: Sequence[int], late: Sequence[int]) -> list[Any]:
        """Positions and errors, by message. late: which ones wait for their time. Raises TooLarge."""
        outcomes: list[Any] = [None] * len(messages)
        apart = set(late)
        at_once = [number for number in range(len(messages)) if number not in apart]
        pieces = self._cut(messages, sizes, at_once)
        alone = [(number, self._wire(messages[number], late=True)) for number in late]
        for piece, _ in pieces:
            self._waiting.append(piece)
        self._start()
        await asyncio.gather(
            *(self._settle(piece, numbers, outcomes) for piece, numbers in pieces),
            *(self._delayed(number, wire, outcomes) for number, wire in alone),
        )
        return outcomes

    def _cut(self, messages: Sequence[Message], sizes: Sequence[int], numbers: list[int]) -> list[Any]:
        """Pieces, and the numbers of the messages in each."""
        found: list[tuple[_Piece, list[int]]] = []
        loop = asyncio.get_running_loop()
        for number in numbers:
            wire, size = self._wire(messages[number]), sizes[number] + _EXTRA_BYTES
            if not found or len(found[-1][1]) >= _COUNT_MAX or found[-1][0].size + size > _BYTES_MAX:
                found.append((_Piece([], 0, loop.create_future()), []))
            piece, inside = found[-1]
            piece.messages.append(wire)
            piece.size += size
            inside.append(number)
        return found

    def _wire(self, message: Message, *, late: bool = False) -> Any:
        wire = service.SendMessageRequest().messages.add()
        fill(wire, message)
        wire.topic.name = self._wire_topic
        system = wire.system_properties
        system.message_type = self._type
        system.body_encoding = 1
        if self._type == FIFO:
            system.message_group = "0"
        if self._type == DELAY:  # one whose time is past is delivered at once
            due_ms = int(message.headers[DELIVER_AT]) + _EARLY_MS if late else 1
            system.delivery_timestamp.FromMilliseconds(due_ms)
        return wire

    def _start(self) -> None:
        while self._waiting and len(self._tasks) < self._requests_max:
            self._tasks.add(asyncio.create_task(self._run()))
            if len(self._tasks) >= len(self._waiting):
                break

    async def _run(self) -> None:
        """Send what waits, and what comes to wait meanwhile. It counts as one that runs until it has seen that nothing
        waits, and no longer: what comes after that look would start nobody, and wait for ever."""
        try:
            while self._waiting:
                await self._send(self._take())
        finally:
            self._tasks.discard(asyncio.current_task())

    def _take(self) -> list[_Piece]:
        """What goes in the next request."""
        taken = [self._waiting.popleft()]
        size, count = taken[0].size, len(taken[0].messages)
        while self._waiting:
            size, count = size + self._waiting[0].size, count + len(self._waiting[0].messages)
            if size > _BYTES_MAX or count > _COUNT_MAX:
                break
            taken.append(self._waiting.popleft())
        return taken

    async def _send(self, pieces: list[_Piece]) -> None:
        pieces = [piece for piece in pieces if not piece.done.done()]
        if not pieces:
            return
        request = service.SendMessageRequest(messages=[wire for piece in pieces for wire in piece.messages])
        try:
            offset = await self._ask(request)
        except Exception as raised:  # one that nobody listed must not leave callers waiting for ever
            error = _listed(raised)
            self._fail(pieces, error)
            if self._type == FIFO:  # nothing overtakes what failed
                waiting, self._waiting = self._waiting, deque()
                self._fail(waiting, Unavailable(f"not sent, because what was before it failed: {error}"))
            return
        for piece in pieces:
            if not piece.done.done():
                piece.done.set_result(offset)
            offset += len(piece.messages)

    @staticmethod
    def _fail(pieces: Iterable[_Piece], error: EvermqError) -> None:
        for piece in pieces:
            if not piece.done.done():
                piece.done.set_exception(type(error)(*error.args))

    async def _ask(self, request: Any) -> int:
        """The offset of the first message. One answer is for all of a request."""
        return int((await send(self._proxy, request, self._topic)).offset)

    async def _settle(self, piece: _Piece, numbers: list[int], outcomes: list[Any]) -> None:
        try:
            offset = await piece.done
        except EvermqError as error:
            for number in numbers:
                outcomes[number] = error
            return
        for at, number in enumerate(numbers):
            outcomes[number] = Position("0", offset + at) if self._type == FIFO else Position(LANE, None)

    async def _delayed(self, number: int, wire: Any, outcomes: list[Any]) -> None:
        async with self._late:
            try:
                offset = await self._ask(service.SendMessageRequest(messages=[wire]))
                outcomes[number] = Position("timer", offset)
            except Exception as raised:
                outcomes[number] = _listed(raised)

    async def close(self) -> None:
        """Let what is under way end; what still waits is refused."""
        waiting, self._waiting = self._waiting, deque()
        self._fail(waiting, Closed(f"queue {self._topic} was closed: open it again"))
        if self._tasks:
            await asyncio.wait(self._tasks)


async def send(proxy: Proxy, request: Any, topic: str) -> Any:
    """Send, and return the result for the first message. Raises what the table of errors says."""
    doing = f"append {len(request.messages)} to {topic}"
    answer = await proxy.ask("SendMessage", request, doing)
    for entry in answer.entries:
        proxy.check(entry.status, doing, "OK")
    if not answer.entries:
        raise Uncertain(f"{doing}: an answer without a result")
    return answer.entries[0]


def _listed(error: Exception) -> EvermqError:
    return error if isinstance(error, EvermqError) else Uncertain(f"perhaps stored: {error!r}")
