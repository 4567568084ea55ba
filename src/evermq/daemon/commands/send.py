"""evermq send: one message a line of standard input."""

from __future__ import annotations

import asyncio
import os
import select
from concurrent.futures import CancelledError
from enum import StrEnum
from pathlib import Path
from threading import Thread
from typing import Annotated

import typer

from evermq.client.appending import outcomes_of
from evermq.daemon.completion import topics
from evermq.daemon.lines import BadInput, acknowledged, message_of, refused
from evermq.daemon.running import NOT_ALL_SENT, config_path, need_standard, run, say, stop_on_signals, write
from evermq.errors import EvermqError, Misconfigured
from evermq.message import Message, MessageFactory
from evermq.port import Queue
from evermq.position import Position

__all__ = ["Format", "send"]

_WAITING_MAX = 4
_ESCAPE_BYTES = 6  # of JSON, for a byte


class Format(StrEnum):
    """What a line is."""

    text = "text"
    json = "json"


def send(
    target: Annotated[
        str, typer.Argument(help="A queue URL (log:///dir/orders), or a topic of --config.", autocompletion=topics)
    ],
    format: Annotated[Format, typer.Option(help="text: the line is the body; json: an object.")] = Format.text,
    key_field: Annotated[str | None, typer.Option(help="Take the key from this field of a JSON body.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Messages an append carries at most.")] = 500,
    linger_ms: Annotated[int, typer.Option(min=0, help="How long a partial batch waits for more.")] = 20,
    producer: Annotated[str | None, typer.Option(help="Keep this producer's identity over restarts.")] = None,
    config: Annotated[Path | None, typer.Option(help="The configuration file.")] = None,
) -> None:
    """Send standard input, one message a line; print one line for each after its acknowledgement.

    Exit status 3 when a line was malformed or a message was not acknowledged.
    """
    if key_field and format == Format.json:
        raise Misconfigured("--key-field goes with --format text; with json the key is the field key")
    if producer is not None and "://" in target:
        raise Misconfigured("--producer needs a topic of --config with a last rung: a URL keeps no producer")
    for name in ("input", "output"):
        need_standard(name)
    run(_send(target, format, key_field, batch, linger_ms, config_path(config), producer))


async def _send(
    target: str,
    format: str,
    key_field: str | None,
    batch: int,
    linger_ms: int,
    config: Path | None,
    producer: str | None = None,
) -> int:
    from evermq.compose.build import open as open_queue

    queue = await open_queue(target, config, producer=producer)
    try:
        sender = _Sender(queue, format, key_field)
        lines = _Lines(linger_ms, batch, sender.line_bytes_max)
        stop_on_signals(lines.stop)
        try:
            while (batch_lines := await lines.next()) is not None:
                await sender.send(batch_lines)
        except OSError as error:
            why = "was closed" if isinstance(error, BrokenPipeError) else f"failed: {error.strerror or error}"
            say(f"evermq: standard output {why}: of {sender.sent} messages nobody saw all acknowledgements")
            return NOT_ALL_SENT
        if sender.failed:
            say(f"evermq: {sender.sent} messages acknowledged, {sender.failed} lines were not")
        if lines.failure:
            raise Misconfigured(f"standard input cannot be read: {lines.failure}; {sender.sent} messages were sent")
        return NOT_ALL_SENT if sender.failed else 0
    finally:
        await queue.close()


class _Lines:
    """Standard input in batches; a thread reads it, so that a signal never waits for a line.

    failure: why it could not be read to its end."""

    def __init__(self, linger_ms: int, batch: int, line_bytes_max: int) -> None:
        self._linger_ms = linger_ms
        self._batch = batch
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._stopped = False
        self._room = asyncio.Semaphore(_WAITING_MAX)
        self._lines: list[bytes] = []
        self._rest = bytearray()
        self._line_bytes_max = line_bytes_max
        self._ended = False
        self.failure = ""
        Thread(target=self._read, name="stdin", daemon=True).start()

    def stop(self) -> None:
        """No more input: the lines that are here are sent, but for one that is not whole."""
        self._stopped = True
        self._chunks.put_nowait(None)

    async def next(self) -> list[bytes] | None:
        """The next lines, up to a batch; fewer after linger_ms; None at the end."""
        while not self._lines and not self._ended:
            self._split(await self._chunks.get())
        try:
            async with asyncio.timeout(self._linger_ms / 1000):
                while len(self._lines) < self._batch and not self._ended:
                    self._split(await self._chunks.get())
        except TimeoutError:
            pass
        taken, self._lines = self._lines[: self._batch], self._lines[self._batch :]
        return taken or None

    def _split(self, chunk: bytes | None) -> None:
        if chunk is None:
            self._ended = True
            if self._rest and not self._stopped and not self.failure:
                self._lines.append(bytes(self._rest))
            self._rest.clear()
            return
        self._room.release()
        *lines, rest = chunk.split(b"\n")
        if lines:
            self._lines.append(bytes(self._rest) + lines[0])
            self._lines += lines[1:]
            self._rest.clear()
        # Of a line that is too long anyway only so much is kept that this can be seen.
        self._rest += rest[: self._line_bytes_max + 1 - len(self._rest)]

    def _read(self) -> None:
        try:
            while chunk := self._read_some():
                asyncio.run_coroutine_threadsafe(self._room.acquire(), self._loop).result()
                self._loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)
            self._loop.call_soon_threadsafe(self._chunks.put_nowait, None)
        except (RuntimeError, CancelledError):
            pass  # the loop has ended

    def _read_some(self) -> bytes:
        try:
            while True:
                try:
                    return os.read(0, 1 << 20)
                except BlockingIOError:  # somebody who shares the pipe made it so
                    select.select([0], [], [])
        except OSError as error:
            self.failure = error.strerror or str(error)
            return b""


class _Sender:
    """line_bytes_max: of any line that can be a message, with what its format adds."""

    def __init__(self, queue: Queue, format: str, key_field: str | None) -> None:
        self._queue = queue
        self._format = format
        self._key_field = key_field
        self._make = MessageFactory()
        self._number = 0
        self._output: list[bytes] = []
        bytes_max = queue.traits.message_bytes_max
        self.line_bytes_max = bytes_max if format == "text" else _ESCAPE_BYTES * bytes_max + (1 << 20)
        self.sent = 0
        self.failed = 0

    async def send(self, lines: list[bytes]) -> None:
        messages = []
        for line in lines:
            self._number += 1
            if len(line) > self.line_bytes_max:
                self._refuse(
                    None, f"line {self._number}: it is over the limit of {self.line_bytes_max} bytes", "TooLarge"
                )
                continue
            try:
                messages.append(message_of(line, self._format, self._key_field, self._make))
            except BadInput as error:
                self._refuse(None, f"line {self._number}: {error}", "BadInput")
        if messages:
            await self._append(messages)
        output, self._output = self._output, []
        await write(b"".join(output))

    async def _append(self, messages: list[Message]) -> None:
        outcomes = await outcomes_of(self._queue.append, messages)
        positions = [outcome for outcome in outcomes if isinstance(outcome, Position)]
        if len(positions) == len(messages):
            self.sent += len(messages)
            self._output.append(acknowledged(messages, positions, self._format))
            return
        for message, outcome in zip(messages, outcomes, strict=True):
            if isinstance(outcome, Position):
                self.sent += 1
                self._output.append(acknowledged([message], [outcome], self._format))
            else:
                self._refuse(message.id, outcome)

    def _refuse(self, id: str | None, error: EvermqError | str, kind: str = "") -> None:
        self.failed += 1
        self._output.append(refused(id, error, kind))
