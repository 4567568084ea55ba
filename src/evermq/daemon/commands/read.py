"""evermq read: one message a line of standard output."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from evermq.clock import SYSTEM
from evermq.daemon.commands.send import Format
from evermq.daemon.completion import topics
from evermq.daemon.lines import delivered
from evermq.daemon.owed import Owed
from evermq.daemon.running import CHECK_FAILED, config_path, need_standard, run, say, stop_on_signals, write
from evermq.daemon.starts import start_of
from evermq.errors import Damaged, EvermqError
from evermq.port import Delivery, Queue, Reader, Start

__all__ = ["read"]

_COUNT_MAX = 250  # an engine may be committing one batch while the next one is handled: 500 in all
_SAME_DAMAGE_MAX = 10  # with nothing read between
_SAME_DAMAGE_PAUSE_MS = 200


def read(
    target: Annotated[
        str, typer.Argument(help="A queue URL (log:///dir/orders), or a topic of --config.", autocompletion=topics)
    ],
    group: Annotated[str, typer.Option(help="The group to read in; it is made if it is missing.")],
    format: Annotated[Format, typer.Option(help="text: the body; json: an object.")] = Format.text,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many messages.")] = None,
    until_empty: Annotated[bool, typer.Option("--until-empty", help="End when nothing is left.")] = False,
    idle_ms: Annotated[int, typer.Option(min=0, help="With --until-empty: nothing was left for so long.")] = 1000,
    from_: Annotated[
        str, typer.Option("--from", help="Where a new group begins: oldest, newest, an ISO time or an offset.")
    ] = "oldest",
    config: Annotated[Path | None, typer.Option(help="The configuration file.")] = None,
) -> None:
    """Read messages, one a line; each is acknowledged once its line is written. Killed, it repeats 500 at most. Exit
    status 1 if messages were damaged, which standard error tells."""
    need_standard("output")
    run(
        _read(
            target,
            group,
            format,
            count,
            idle_ms if until_empty else None,
            start_of(from_, "--from"),
            config_path(config),
        )
    )


async def _read(
    target: str, group: str, format: str, count: int | None, idle_ms: int | None, start: Start, config: Path | None
) -> int:
    from evermq.compose.build import open as open_queue

    queue = await open_queue(target, config)
    try:
        reader = await queue.reader(group, start=start)
        stopped = asyncio.Event()
        stop_on_signals(stopped.set)
        owed = Owed(reader)
        whole = Whole(reader)
        try:
            await _copy(queue, whole, owed, group, format, count, idle_ms, stopped)
            await owed.close()
        finally:
            await reader.close()
        return CHECK_FAILED if whole.is_damaged else 0
    finally:
        await queue.close()


async def _copy(
    queue: Queue,
    reader: Whole,
    owed: Owed,
    group: str,
    format: str,
    count: int | None,
    idle_ms: int | None,
    stopped: asyncio.Event,
) -> None:
    left = count
    empty_since: int | None = None
    while not stopped.is_set() and not reader.is_stuck and (left is None or left > 0):
        wait_ms = 1_000 if idle_ms is None else min(1_000, max(1, idle_ms))
        found = await _next(reader, min(_COUNT_MAX, left or _COUNT_MAX), wait_ms, stopped)
        if found:
            await _hand_over(owed, found, format)
            left = None if left is None else left - len(found)
            empty_since = None
        elif idle_ms is not None:
            if await _backlog(queue, group):
                empty_since = None
            elif empty_since is None:
                empty_since = SYSTEM.monotonic_ms()
            if empty_since is not None and SYSTEM.monotonic_ms() - empty_since >= idle_ms - wait_ms:
                return


class Whole:
    """A reader whose damage is told on standard error; the next read goes on behind it.

    is_stuck: it met nothing but the same damage, again and again."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._said = ""
        self._again = 0
        self.is_damaged = False
        self.is_stuck = False

    async def read(self, count_max: int, wait_ms: int) -> list[Delivery]:
        """As Reader.read, nothing where messages were passed over."""
        try:
            found = await self._reader.read(count_max=count_max, wait_ms=wait_ms)
        except Damaged as error:
            self.is_damaged = True
            await self._tell(str(error))
            return []
        if found:
            self._again = 0
        return found

    async def _tell(self, text: str) -> None:
        if text != self._said:
            self._said, self._again = text, 0
            say(f"evermq: {text}")
            return
        self._again += 1
        self.is_stuck = self._again >= _SAME_DAMAGE_MAX
        await SYSTEM.sleep(_SAME_DAMAGE_PAUSE_MS)


async def _next(reader: Whole, count_max: int, wait_ms: int, stopped: asyncio.Event) -> list[Delivery]:
    """What comes next, nothing once `stopped`: what a read that is given up had taken comes again."""
    reading = asyncio.ensure_future(reader.read(count_max, wait_ms))
    ending = asyncio.ensure_future(stopped.wait())
    await asyncio.wait([reading, ending], return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    if not reading.done():
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return []
    return reading.result()


async def _hand_over(owed: Owed, found: list[Delivery], format: str) -> None:
    """Write, then acknowledge: always both, since a signal only stops what comes next."""
    await write(delivered(found, format))
    await owed.ack(found)


async def _backlog(queue: Queue, group: str) -> int:
    try:
        return await queue.backlog(group)
    except EvermqError:
        return 1  # a child that cannot say may hold something
