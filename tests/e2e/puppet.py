"""A process that opens a log directory and does as it is told, a line a command; the test holds its strings."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from evermq.adapters.open import open_log
from evermq.adapters.remote.shared import SharedPlace
from evermq.errors import EvermqError
from evermq.message import MessageFactory
from evermq.port import Queue

ROOT = Path(__file__).parents[2]


class Puppet:
    """The test's end. `tell` gives a command and does not wait, `hear` waits for its answer."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.e2e.puppet"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def tell(self, *command: object) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps([str(word) for word in command]) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def do(self, *command: object) -> Any:
        self.tell(*command)
        return self.hear()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


class _Strings:
    """The puppet's end."""

    def __init__(self) -> None:
        self._place: SharedPlace | None = None
        self._opened: Queue | None = None
        self._make = MessageFactory()

    async def _queue(self) -> Any:
        assert self._place
        if self._opened is None:
            self._opened = await self._place.queue("orders")
        return self._opened

    async def open(self, directory: str, silence_ms: str = "5000") -> Any:
        place = await open_log(directory, silence_ms=int(silence_ms), interval_ms=20, segment_bytes=1 << 20)
        assert isinstance(place, SharedPlace)
        self._place, self._opened = place, None
        return place.is_owner

    async def append(self, *bodies: str) -> Any:
        queue = await self._queue()
        await queue.append([self._make(body) for body in bodies])
        return len(bodies)

    async def append_many(self, count: str) -> Any:
        """One after the other; returns those that were acknowledged before the first error, and its name."""
        queue = await self._queue()
        acknowledged: list[str] = []
        for number in range(int(count)):
            try:
                await queue.append([self._make(f"{os.getpid()}-{number}")])
            except EvermqError as error:
                return [acknowledged, type(error).__name__]
            acknowledged.append(f"{os.getpid()}-{number}")
        return [acknowledged, ""]

    async def bodies(self, group: str) -> Any:
        """All that a group has left."""
        reader = await (await self._queue()).reader(group)
        bodies: list[str] = []
        while found := await reader.read(count_max=500, wait_ms=100):
            bodies += [delivery.message.body.decode() for delivery in found]
            await reader.ack(found)
        return bodies

    async def append_within(self, wait_ms: str, body: str) -> Any:
        """Whether it ended in time; cancelled where it did not."""
        queue = await self._queue()
        try:
            async with asyncio.timeout(int(wait_ms) / 1000):
                await queue.append([self._make(body)])
        except TimeoutError:
            return False
        return True

    async def close(self) -> Any:
        if self._place:
            await self._place.close()
        return None

    async def fork(self) -> Any:
        """The process number of a forked child that lives on, and what it is told when it appends."""
        queue = await self._queue()
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            asyncio._set_running_loop(None)
            try:
                queue.append_blocking([self._make("from a forked child")])
                told = "nothing"
            except EvermqError as error:
                told = f"{type(error).__name__}: {error}"
            os.write(writing, told.encode())
            os.close(1)
            signal.pause()
        return [pid, os.read(reading, 1_000).decode()]

    async def obey(self, words: Sequence[str]) -> Any:
        try:
            return await getattr(self, words[0])(*words[1:])
        except EvermqError as error:
            return f"{type(error).__name__}: {error}"


async def _serve() -> None:
    strings = _Strings()
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await strings.obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve())
