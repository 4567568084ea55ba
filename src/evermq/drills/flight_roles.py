"""The processes of the flights demo: owner of a log, producer, consumer. Each is `python -m` this module."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from evermq.adapters.open import open_log, open_queue
from evermq.client.producer import Producer
from evermq.compose.build import open as open_topic
from evermq.drills.roles import end_with_conductor, handle, send, tell
from evermq.errors import EvermqError
from evermq.ha.failover import Choice, Failover
from evermq.message import Message
from evermq.port import Queue
from evermq.testing.history import Recorder, load

__all__ = ["GROUP", "TOPIC", "main"]

CONFIG = "evermq.toml"
TOPIC = "flights"
GROUP = "tower"
_BATCH = 200
_now = time.monotonic_ns


async def _ladder(directory: Path, choice: Choice, producer: str | None = None) -> Queue:
    """The ladder of the demo: of its configuration, or two logs, each owned by another process."""
    if (directory / CONFIG).exists():
        return await open_topic(TOPIC, directory / CONFIG, producer=producer)
    primary = await open_queue(f"log://{directory}/primary/{TOPIC}")
    standby = await open_queue(f"log://{directory}/standby/{TOPIC}")
    return Failover(primary=primary, standby=standby, choice=choice)


async def _obey(choice: Choice) -> None:
    """Follow the conductor's choice of rung, a line on standard input each time."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        choice.set(int(line))


async def owner(directory: Path, name: str) -> None:
    """Own one log and serve it until the end."""
    place = await open_log(directory / name)
    await place.create(TOPIC, groups=[GROUP], lanes=48)
    tell(ready=name)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await place.close()


async def producer(directory: Path, number: int, rate: float) -> None:
    """Send this producer's flights in order; one that was killed goes on behind what it knows to be acknowledged."""
    name = f"producer-{number}"
    history = directory / f"history-{name}.jsonl"
    acknowledged = {event.id for event in load([history]) if event.ev == "send_ok"} if history.exists() else set()
    recorder = Recorder(history)
    choice = Choice()
    queue = await _ladder(directory, choice, name)
    obeying = asyncio.create_task(_obey(choice))
    messages, kseqs = _messages(directory / f"flights-{number}.jsonl", name)
    todo = [message for message in messages if message.id not in acknowledged]
    began = _now()
    async with Producer(queue, retry_ms_max=60_000) as sender:
        for at in range(0, len(todo), _BATCH):
            await asyncio.sleep(max(0, at / rate - (_now() - began) / 1e9))
            rung = await send(sender, todo[at : at + _BATCH], name, kseqs, recorder)
            tell(sent=min(len(todo), at + _BATCH) + len(acknowledged), rung=rung)
    obeying.cancel()
    await queue.close()


def _messages(path: Path, producer: str) -> tuple[list[Message], dict[str, int]]:
    messages, kseqs = [], {}
    count: Counter[str] = Counter()
    with path.open() as lines:
        for number, line in enumerate(lines):
            key, _, body = line.rstrip("\n").partition("\t")
            id = f"{producer}-{number:06d}"
            count[key] += 1
            kseqs[id] = count[key]
            messages.append(Message(id, key.encode() or None, body.encode(), {}, time.time_ns() // 1_000_000))
    return messages, kseqs


async def consumer(directory: Path, number: int) -> None:
    """Handle flights until told to end; handling is writing it into the history."""
    recorder = Recorder(directory / f"history-consumer-{number}.jsonl")
    queue = await _ladder(directory, Choice())
    reader = await queue.reader(GROUP)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    handled = 0
    while not stopped.is_set():
        try:
            found = await reader.read(count_max=500, wait_ms=200)
            if found:
                handle(found, GROUP, recorder)
                handled += len(found)
                await reader.ack(found)
        except EvermqError:
            await asyncio.sleep(0.1)  # a rung is away: what was not acknowledged comes again
        tell(handled=handled)
    await reader.close()
    await queue.close()


def main(arguments: list[str]) -> None:
    """role, directory, and what the role takes."""
    role, directory, *rest = arguments
    roles: dict[str, Callable[[], object]] = {
        "owner": lambda: owner(Path(directory), rest[0]),
        "producer": lambda: producer(Path(directory), int(rest[0]), float(rest[1])),
        "consumer": lambda: consumer(Path(directory), int(rest[0])),
    }
    asyncio.run(roles[role]())  # type: ignore[arg-type]


if __name__ == "__main__":
    end_with_conductor()
    main(sys.argv[1:])
