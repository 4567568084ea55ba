"""A group of a topic in this process: what its readers share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from evermq.adapters.rocketmq.content import message_of
from evermq.adapters.rocketmq.errors import certain
from evermq.adapters.rocketmq.lease import clear_of, surely
from evermq.adapters.rocketmq.protocol import service
from evermq.adapters.rocketmq.session import Session, reads
from evermq.adapters.rocketmq.topic import Topic, both
from evermq.adapters.rocketmq.window import Item, Window
from evermq.errors import EvermqError, Fenced, Unavailable
from evermq.port import Start
from evermq.position import Position

if TYPE_CHECKING:
    from evermq.adapters.rocketmq.place import RocketPlace

__all__ = ["Group"]

_log = logging.getLogger("evermq.rocketmq")

_RECEIVE_MAX = 32  # of one request; a broker gives no more
_POLLS_MAX = 4
_LOOK_MS = 30_000  # how long queues and brokers that are added wait for a reader
_TEND_PARTS = 6  # leases are looked after so often while one lasts


class Group:
    """Receives while somebody reads, renews the leases of what is in hand, and settles."""

    def __init__(self, place: RocketPlace, topic: Topic, name: str) -> None:
        self._place = place
        self._proxy, self._options, self._clock = place.proxy, place.options, place.clock
        self._topic, self._name = topic, name
        self._begun = dict(topic.queues)  # in these it stands
        self._turn = count()
        self._look_ms = self._clock.monotonic_ms() + _LOOK_MS
        doing = f"begin to read {topic.name} as {name}"
        self._session = Session(place.proxy, reads(topic.wire_name, name), doing, place.clock)
        self._polls: set[asyncio.Task[None]] = set()
        self._readers: set[Hashable] = set()
        self._settling = asyncio.Lock()
        self._tending: asyncio.Task[None] | None = None
        self._error: EvermqError | None = None
        self._full = False
        self._is_read = False  # since what is in hand was looked after last
        self.window = Window(ordered=topic.kind == "fifo")
        self.news = asyncio.Event()

    @property
    def client(self) -> str:
        """The name by which the proxy knows it."""
        return self._session.client

    def reach(self, queues: Mapping[str, int]) -> None:
        """It has begun in these as well."""
        self._topic.reach(queues)
        self._begun = both(self._begun, queues)

    def join(self, reader: Hashable) -> None:
        """A reader comes."""
        self._readers.add(reader)
        if self._tending is None:
            self._tending = asyncio.create_task(self._tend())

    async def leave(self, reader: Hashable) -> None:
        """A reader goes; the last one gives everything back to the broker."""
        self._readers.discard(reader)
        self.window.give_up(reader, self._clock.monotonic_ms())
        self.news.set()
        if not self._readers:
            await self._give_back(list(self.window.items))

    def fail(self) -> None:
        """Raise what a request for messages ended with."""
        error, self._error = self._error, None
        if error:
            raise error

    def want(self, count: int) -> None:
        """Receive, so that there will be so many to hand out."""
        self._is_read = True
        if self.window.ordered and self.window.items:
            return  # the broker gives a FIFO group nothing before these are settled
        missing = count - self.window.ready_count
        wanted = min(_POLLS_MAX, -(-missing // _RECEIVE_MAX)) if self._full else 1
        while missing > 0 and len(self._polls) < wanted:
            self._polls.add(asyncio.create_task(self._poll()))

    async def _poll(self) -> None:
        """One request for messages. Whatever becomes of it, the next reader may ask again."""
        try:
            await self._fetch()
            if not self._readers:
                await self._give_back(list(self.window.items))
        finally:
            self._polls.discard(asyncio.current_task())
            self.news.set()

    async def _fetch(self) -> None:
        """A failure is the next reader's."""
        try:
            await self._session.open()
            if self._clock.monotonic_ms() >= self._look_ms:
                await self._look()
            self._full = await self._receive() == _RECEIVE_MAX
        except Exception as error:
            self._session.forget()
            self._broke(error)

    async def _look(self) -> None:
        """Begin in the queues that the topic got, at their oldest message: the group is older than they are. Where that
        fails the others are read all the same."""
        self._look_ms = self._clock.monotonic_ms() + _LOOK_MS
        topic = self._topic
        try:
            await self._place.look(topic)
            if (queues := topic.queues) != self._begun:
                await self._place.begin(topic, topic.group_of(self._name), Start.OLDEST)
                self._begun = both(self._begun, queues)
        except EvermqError as error:
            if topic.queues != self._begun:
                _log.warning("the new queues of topic %s are not read as %s yet: %s", topic.name, self._name, error)

    def _broke(self, error: Exception) -> None:
        doing = f"read {self._topic.name} as {self._name}"
        self._error = certain(error) if isinstance(error, EvermqError) else Unavailable(f"{doing}: {error!r}")
        self.news.set()

    def _next_broker(self) -> str:
        """The brokers in turn: a request for messages goes to one of them."""
        brokers = list(self._begun)
        return brokers[next(self._turn) % len(brokers)]

    async def _receive(self) -> int:
        options, request = self._options, service.ReceiveMessageRequest(batch_size=_RECEIVE_MAX)
        request.group.name, request.message_queue.topic.name = self._name, self._topic.wire_name
        request.message_queue.id = -1
        request.message_queue.broker.name = self._next_broker()
        request.filter_expression.expression, request.filter_expression.type = "*", 1
        request.invisible_duration.FromMilliseconds(options.lease_ms)
        request.long_polling_timeout.FromMilliseconds(options.poll_ms)
        doing = f"read {self._topic.name} as {self._name}"
        wait_s = self._proxy.timeout_s + max(options.poll_ms, 5_000) / 1000
        until_ms = self._clock.monotonic_ms() + options.lease_ms
        client, found = self._session.client, list[Item]()
        try:
            async for wire in self._proxy.receive(request, doing, client=client, wait_s=wait_s):
                if not found:  # the lease began when the broker answered, which is now at the latest
                    until_ms = self._clock.monotonic_ms() + surely(options.lease_ms)
                found.append(self._item(wire, until_ms))
        finally:  # all at once: a reader that goes meanwhile must not give back the first ones without the others
            for item in found:
                self.window.add(item)
        return len(found)

    def _item(self, wire: Any, until_ms: float) -> Item:
        system = wire.system_properties
        position = Position(str(system.queue_id), system.queue_offset)
        attempt = max(1, system.delivery_attempt)
        return Item(message_of(wire), position, attempt, system.message_id, system.receipt_handle, until_ms)

    async def ack(self, owner: Hashable, tokens: Sequence[int]) -> None:
        """Raises Unavailable where it is not known to be done, Denied where it may not be: those stay the reader's, who
        may acknowledge them again, the others are settled."""
        async with self._settling:
            held = {token: self.window.items[token] for token in tokens if self.window.holds(owner, token)}
            failed = await self._ack(held.values()) if held else {}
            self.window.settle(owner, [token for token, item in held.items() if item.id not in failed])
        self.news.set()
        if failed:
            raise certain(next(iter(failed.values())))

    async def _ack(self, items: Collection[Item]) -> dict[str, EvermqError]:
        """What is not settled, by id, and why; not what had its lease over, which comes again by itself."""
        request = service.AckMessageRequest()
        request.group.name, request.topic.name = self._name, self._topic.wire_name
        for item in items:
            request.entries.add(message_id=item.id, receipt_handle=item.handle)
        doing, failed = f"ack {len(items)} of {self._topic.name}", dict[str, EvermqError]()
        try:
            answer = await self._proxy.ask("AckMessage", request, doing, client=self._session.client)
        except Fenced:
            return {}
        except EvermqError as error:
            return {item.id: error for item in items}
        for entry in answer.entries:
            try:
                self._proxy.check(entry.status, f"ack of {self._topic.name}", "OK")
            except Fenced:
                pass
            except EvermqError as error:
                failed[entry.message_id] = error
        return failed

    async def release(self, owner: Hashable, tokens: Iterable[int], due_ms: float) -> None:
        """They wait here for their time; their leases are renewed."""
        self.window.release(owner, tokens, due_ms)
        self.news.set()

    async def _tend(self) -> None:
        """Renew the leases of what is out or waits for its time; give back what nobody came for."""
        while True:
            await self._clock.sleep(self._options.lease_ms / _TEND_PARTS)
            try:
                await self._look_after()
            except Exception as error:  # one that nobody listed: the leases that are left are looked after all the same
                self._broke(error)

    async def _look_after(self) -> None:
        now_ms = self._clock.monotonic_ms()
        old = [t for t, item in self.window.items.items() if item.until_ms - now_ms < self._options.lease_ms / 2]
        waiting = self.window.delays()
        left = old if self._is_read else list(self.window.items)
        idle = [t for t in left if self.window.items[t].owner is None and waiting.get(t, 0) <= now_ms]
        self._is_read = False
        await self._give_back(idle)
        await self._renew(old)
        gone = [t for t, item in self.window.items.items() if item.until_ms < self._clock.monotonic_ms()]
        self.window.drop(gone)

    async def _give_back(self, tokens: Sequence[int]) -> None:
        """To the broker, which hands it out anew, not before what is left of a delay."""
        waiting, now_ms, lease_ms = self.window.delays(), self._clock.monotonic_ms(), self._options.lease_ms
        gone = self.window.drop(tokens)
        if gone:
            hidden = [
                clear_of(lease_ms, round(item.until_ms - now_ms), max(0, round(waiting.get(token, 0) - now_ms)))
                for token, item in gone.items()
            ]
            async with self._settling:
                await asyncio.gather(*map(self._hide, gone.values(), hidden))

    async def _renew(self, tokens: Sequence[int]) -> None:
        async with self._settling:
            items = [self.window.items[token] for token in tokens if token in self.window.items]
            await asyncio.gather(*(self._hide(item, self._options.lease_ms) for item in items))

    async def _hide(self, item: Item, hidden_ms: int) -> None:
        """For so long from now on; where that fails the lease runs out."""
        request = service.ChangeInvisibleDurationRequest(receipt_handle=item.handle, message_id=item.id)
        request.group.name, request.topic.name = self._name, self._topic.wire_name
        request.invisible_duration.FromMilliseconds(hidden_ms)
        until_ms = self._clock.monotonic_ms() + hidden_ms
        doing, client = f"renew a lease of {self._topic.name}", self._session.client
        try:
            answer = await self._proxy.ask("ChangeInvisibleDuration", request, doing, client=client)
        except EvermqError:
            return
        item.handle, item.until_ms = answer.receipt_handle or item.handle, until_ms

    async def close(self) -> None:
        """Wait for what is being received, and give it back."""
        if self._tending:
            self._tending.cancel()
            await asyncio.wait([self._tending])
        self._readers.clear()
        if self._polls:
            await asyncio.wait(self._polls)
        await self._give_back(list(self.window.items))
        await self._session.close()
