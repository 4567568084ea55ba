"""The life of a process that uses a log and writes down, outside of itself, all that it was told.

Every line of the history is in the page cache before the process goes on, so it survives the process. What a life has
been told can therefore be held against what its successors find.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.system_disk import SystemDisk
from evermq.errors import EvermqError, Uncertain
from evermq.message import Message, MessageFactory
from evermq.port import Delivery, Place, Queue, Reader
from evermq.testing.checker import Expect, Verdict, check
from evermq.testing.history import Event, Recorder, body_of, digest, load

TOPIC, GROUP, AUDIT = "orders", "g", "audit"
KEYS = (b"a", b"b", b"c", b"d")
OPTIONS = LogOptions(segment_bytes=32 << 10, lanes=3, interval_ms=20, spares_max=1)


class Life:
    """Appends, reads, acknowledges and releases at random. `name` is unique among all lives of a history."""

    def __init__(self, place: Place, history: Path, name: str, chance: random.Random) -> None:
        self._place = place
        self._recorder = Recorder(history / f"{name}.jsonl")
        self._name = name
        self._chance = chance
        self._make = MessageFactory()
        self._numbers: Counter[bytes] = Counter()
        self._queue: Queue | None = None
        self._reader: Reader | None = None
        self._held: list[Delivery] = []

    async def play(self, actions: int) -> None:
        """So many random actions; what the log refuses is written down too."""
        self._queue = await self._place.queue(TOPIC)
        parent = os.getppid()
        for _ in range(actions):
            if os.getppid() != parent:
                return  # whoever was to kill this one is gone itself
            act = self._chance.choices((self._append, self._read, self._settle, self._release), (40, 20, 20, 4))[0]
            try:
                await act()
            except EvermqError:
                self._reader, self._held = None, []
                await asyncio.sleep(0.002)

    async def _append(self) -> None:
        assert self._queue
        batch = [self._message() for _ in range(self._chance.choice((1, 1, 3, 20)))]
        try:
            await self._queue.append([message for message, _ in batch])
        except Uncertain:
            self._note("send_unknown", batch)
        except EvermqError:
            self._note("send_fail", batch)
            raise
        else:
            self._note("send_ok", batch)

    def _message(self) -> tuple[Message, int]:
        key = self._chance.choice(KEYS)
        self._numbers[key] += 1
        made = self._make(b"", key=key, id=f"{self._name}-{sum(self._numbers.values())}")
        made = made._replace(body=body_of(made.id, self._chance.choice((0, 50, 400))))
        self._note("send_invoke", [(made, self._numbers[key])])
        return made, self._numbers[key]

    async def _read(self) -> None:
        assert self._queue
        if self._reader is None:
            self._reader = await self._queue.reader(GROUP)
        found = await self._reader.read(count_max=self._chance.randint(1, 30), wait_ms=0)
        deliver(self._recorder, GROUP, found)
        self._held += found

    async def _settle(self) -> None:
        count = self._chance.randint(0, len(self._held))
        done, self._held = self._held[:count], self._held[count:]
        if done and self._reader:
            self._recorder.record([event("handler_ok", GROUP, delivery) for delivery in done])
            await self._reader.ack(done)
            self._recorder.record([event("acked", GROUP, delivery) for delivery in done])

    async def _release(self) -> None:
        if self._held and self._reader:
            back, self._held = self._held[-3:], self._held[:-3]
            await self._reader.release(back)
            self._held = []  # what is behind these of the same key comes again too
            await self._reader.close()
            self._reader = None

    def _note(self, ev: str, batch: Iterable[tuple[Message, int]]) -> None:
        self._recorder.record(
            [
                Event(
                    t=time.monotonic_ns(),
                    ev=ev,
                    id=m.id,
                    key=(m.key or b"").decode(),
                    kseq=n,
                    producer=self._name,
                    sha=digest(m.body),
                )
                for m, n in batch
            ]
        )


def event(ev: str, group: str, delivery: Delivery) -> Event:
    """What happened to a delivery."""
    message = delivery.message
    at = f"{delivery.position.lane}/{delivery.position.offset}"
    return Event(
        t=time.monotonic_ns(),
        ev=ev,
        id=message.id,
        sha=digest(message.body),
        group=group,
        attempt=delivery.attempt,
        detail=at,
    )


def deliver(recorder: Recorder, group: str, found: list[Delivery]) -> None:
    """Write down what was handed out."""
    recorder.record([event("deliver", group, delivery) for delivery in found])


async def read_all(place: Place, history: Path, name: str, groups: tuple[str, ...]) -> None:
    """Read what is left in these groups and write it down as handled."""
    recorder = Recorder(history / f"{name}.jsonl")
    queue = await place.queue(TOPIC)
    for group in groups:
        reader = await queue.reader(group)
        while found := await reader.read(count_max=1_000, wait_ms=0):
            deliver(recorder, group, found)
            recorder.record([event("handler_ok", group, delivery) for delivery in found])
            await reader.ack(found)
            recorder.record([event("acked", group, delivery) for delivery in found])
        await reader.close()
    recorder.close()


def open_place(directory: Path, options: LogOptions = OPTIONS) -> LogPlace:
    """The place of a directory without any thread, so that this process may fork."""
    return LogPlace(SystemDisk(directory), options, threaded=False)


def judge(history: Path) -> tuple[Verdict, list[Event]]:
    """The verdict over all lives."""
    events = load(sorted(history.glob("*.jsonl")))
    return check(events, Expect(acknowledged_min=0)), events


def came_again(events: list[Event]) -> list[str]:
    """Messages that were handed out after their acknowledgement had returned."""
    acked: set[tuple[str, str]] = set()
    again = []
    for each in events:
        if each.ev == "acked":
            acked.add((each.group, each.id))
        elif each.ev == "deliver" and (each.group, each.id) in acked:
            again.append(each.id)
    return again


def out_of_order(events: list[Event]) -> list[str]:
    """Messages that lie in their lane behind a later one of their producer and key."""
    sent = {each.id: each for each in events if each.ev == "send_invoke"}
    places: dict[tuple[str, int], str] = {}
    for each in events:
        if each.ev == "deliver" and each.group == AUDIT and each.id in sent:
            lane, _, offset = each.detail.partition("/")
            places.setdefault((lane, int(offset)), each.id)
    last: dict[tuple[str, str], int] = {}
    wrong = []
    for _, id in sorted(places.items()):
        stream = (sent[id].producer, sent[id].key)
        if sent[id].kseq <= last.get(stream, 0):
            wrong.append(id)
        last[stream] = max(sent[id].kseq, last.get(stream, 0))
    return wrong
