"""The processes of a load, producer and consumer, over whatever queue it names. Each is `python -m` this module."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from evermq.adapters.address import parse
from evermq.adapters.open import open_log
from evermq.client.producer import Producer
from evermq.compose.build import open as open_queue
from evermq.drills.roles import delivered, end_with_conductor, handle, record_switch, send, tell
from evermq.errors import Closed, EvermqError, Unavailable, Uncertain
from evermq.message import NO_HEADERS, Message
from evermq.port import Delivery, Queue, Reader
from evermq.testing.history import Recorder, body_of, load

if TYPE_CHECKING:
    from evermq.drills.effects import Effects

__all__ = ["Plan", "effects_at", "main"]

_BATCHES_PER_S = 20
_BATCH_MAX = 200


class Plan(msgspec.Struct, frozen=True):
    """target and config: as of the command line. rate: messages a second of one producer. bytes: of a body.
    keys: how many each producer uses, 0 for messages without a key. retry_ms: how long a batch is sent again. effects:
    the database of `progress`, where effects share the transaction that settles; "" where there is none. run: whose
    effects they are. configs: of processes that have one of their own."""

    target: str
    config: str | None
    rate: float
    bytes: int
    keys: int
    retry_ms: int
    effects: str = ""
    run: str = ""
    configs: dict[str, str] = {}

    @classmethod
    def read(cls, directory: Path) -> Plan:
        """The plan of a run."""
        return msgspec.json.decode((directory / "plan.json").read_bytes(), type=cls)

    def write(self, directory: Path) -> None:
        """For the processes of a run."""
        path = directory / "plan.json"
        path.touch(mode=0o600)  # URLs of databases have passwords in them
        path.write_bytes(msgspec.json.encode(self))

    async def open(self, name: str, producer: str | None = None) -> Queue:
        """The queue, for a process; tried again while it cannot be reached. producer: the name by which it is the same
        one again."""
        while True:
            try:
                return await open_queue(self.target, self.configs.get(name, self.config), producer=producer)
            except (Unavailable, Uncertain):
                await asyncio.sleep(0.2)

    def message(self, producer: str, number: int) -> Message:
        """The message of a number; the same one whenever it is asked for."""
        id = f"{producer}-{number:07d}"
        key = f"{producer}-{number % self.keys}".encode() if self.keys else None
        return Message(id, key, body_of(id, self.bytes), NO_HEADERS, time.time_ns() // 1_000_000)

    def kseq(self, number: int) -> int:
        """The number of a message in its key."""
        return number // self.keys if self.keys else number


def _stopped() -> asyncio.Event:
    """Set by SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    return stopped


async def producer(directory: Path, name: str) -> None:
    """Send at the rate until told to end; one that was killed first sends what it does not know to be acknowledged."""
    plan, stopped = Plan.read(directory), _stopped()
    history = directory / f"history-{name}.jsonl"
    invoked, acknowledged = _known(history)
    recorder = Recorder(history)
    record_switch(name, recorder)
    queue = await plan.open(name, producer=name)
    size = max(1, min(_BATCH_MAX, round(plan.rate / _BATCHES_PER_S)))
    sent = len(acknowledged)
    async with Producer(queue, retry_ms_max=plan.retry_ms) as sender:
        todo = [number for number in invoked if number not in acknowledged]
        upcoming = max(invoked, default=-1) + 1
        begun, batches = time.monotonic(), 0
        while not stopped.is_set():
            numbers: Sequence[int] = todo[:size] or range(upcoming, upcoming + size)
            todo, upcoming = todo[size:], upcoming if todo else upcoming + size
            messages = [plan.message(name, number) for number in numbers]
            kseqs = {message.id: plan.kseq(number) for message, number in zip(messages, numbers, strict=True)}
            rung = await send(sender, messages, name, kseqs, recorder)
            sent += len(messages)
            batches += 1
            tell(sent=sent, rung=rung)
            await asyncio.sleep(begun + batches * size / plan.rate - time.monotonic())
    await queue.close()


def _known(history: Path) -> tuple[list[int], set[int]]:
    """The numbers that this producer tried, in order, and those that were acknowledged."""
    events = load([history]) if history.exists() else []
    invoked = dict.fromkeys(_number(event.id) for event in events if event.ev == "send_invoke")
    return list(invoked), {_number(event.id) for event in events if event.ev == "send_ok"}


def _number(id: str) -> int:
    return int(id.rpartition("-")[2])


def effects_at(url: str, run: str) -> Effects | None:
    """The effects of a run in a database; None where there is none. What needs no database needs no package for it."""
    if not url:
        return None
    from evermq.drills.effects import Effects

    return Effects(url, run)


async def consumer(directory: Path, name: str, group: str) -> None:
    """Handle until told to end; handling is writing it into the history, or into the database of `progress`."""
    plan, stopped = Plan.read(directory), _stopped()
    recorder = Recorder(directory / f"history-{name}.jsonl")
    queue = await plan.open(name)
    reader: Reader | None = None
    effects = effects_at(plan.effects, plan.run)
    handled = 0
    owed: list[Delivery] = []  # handled, and perhaps not acknowledged
    while not stopped.is_set():
        try:
            reader = reader or await queue.reader(group)
            found = await reader.read(count_max=500, wait_ms=200)
            if found:
                if effects:
                    await _take_effect(found, group, queue, reader, recorder, effects)
                else:
                    handle(found, group, recorder)
                handled += len(found)
                owed += found
            if owed:
                await reader.ack(owed)
                owed.clear()
        except EvermqError as error:
            tell(errors=str(error))
            if isinstance(error, Closed):
                reader = None  # what was not acknowledged comes again
                owed.clear()
            await asyncio.sleep(0.1)
        tell(handled=handled)
    if reader:
        await reader.close()
    if effects:
        await effects.close()
    await queue.close()


async def _take_effect(
    found: Sequence[Delivery], group: str, queue: Any, reader: Reader, recorder: Recorder, effects: Effects
) -> None:
    recorder.record(delivered(found, group))
    try:
        await effects.take(found, group, queue.progress)
    except EvermqError:
        await reader.release(found)  # what is this reader's still comes again
        raise


async def owner(url: str) -> None:
    """Hold a log, as its owner if nobody else is, until told to end."""
    address = parse(url)
    place = await open_log(address.place)
    await place.topics()
    tell(holds="owner" if _owner_pid(address.place) == os.getpid() else f"process {_owner_pid(address.place)} has it")
    await _stopped().wait()
    await place.close()


def _owner_pid(directory: str) -> int:
    return int((Path(directory) / "lock").read_bytes()[:20])


def main(arguments: list[str]) -> None:
    """role, directory, name, and for a consumer its group; for an owner only the URL of its log."""
    if arguments[0] == "owner":
        return asyncio.run(owner(arguments[1]))
    role, directory, name, *rest = arguments
    return asyncio.run(
        producer(Path(directory), name) if role == "producer" else consumer(Path(directory), name, *rest)
    )


if __name__ == "__main__":
    end_with_conductor()
    main(sys.argv[1:])
