"""What all contenders of one engine share: the server, messages, and topics of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any

from evermq.adapters.kafka.records import Record, record_of
from evermq.drills.engines.kafka import Kafka
from evermq.message import Message, MessageFactory
from rig.progress import say

__all__ = ["BATCH", "LANES", "SENDERS", "WARM_S", "Arena", "batches"]

LANES = 4
BATCH = 1_000
SENDERS = 4  # appends under way at a time
WARM_S = 30
_BATCHES = 8
_KEYS = 256
_NUMBERS = count(1)


class Arena:
    """Use as a context. The server is started when somebody asks for it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._server: Kafka | None = None
        self._stocked: dict[tuple[int, int], str] = {}

    def __enter__(self) -> Arena:
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    @property
    def bootstrap(self) -> str:
        """host:port of the server."""
        if self._server is None:
            say("starting Kafka")
            self._server = self._stack.enter_context(Kafka())
            say(f"warming it up for {WARM_S} s: a server that has just started compiles its own code meanwhile")
            _warm_up(self._server.bootstrap(), self.topic())
        return self._server.bootstrap()

    @property
    def url(self) -> str:
        """The same as evermq has it."""
        return f"kafka://{self.bootstrap}"

    def topic(self) -> str:
        """A new topic with LANES lanes."""
        from confluent_kafka.admin import AdminClient, NewTopic

        name = f"bench-{next(_NUMBERS)}"
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        admin.create_topics([NewTopic(name, LANES, 1)])[name].result(30)
        return name

    def stocked(self, messages: int, size: int) -> str:
        """A topic that holds so many messages of `size` bytes; the same one for all who ask."""
        if (messages, size) not in self._stocked:
            name = self._stocked[messages, size] = self.topic()
            say(f"filling a topic with {messages} messages of {size} bytes")
            with producing(self.bootstrap) as producer:
                for batch in batches(size, messages // BATCH):
                    for _, key, body, headers in records(batch):
                        producer.produce(name, body, key, headers=headers)
                    producer.flush(60)
        return self._stocked[messages, size]


def _warm_up(bootstrap: str, topic: str) -> None:
    """Small requests and reads of the plain client: what is compared is not how fast Java gets fast."""
    body = bytes(1_024)
    end = time.monotonic() + WARM_S
    with producing(bootstrap) as producer, consuming(bootstrap, topic) as consumer:
        while time.monotonic() < end:
            for _ in range(64):
                producer.produce(topic, body)
            producer.flush(30)
            consumer.consume(64, 0)


@contextmanager
def consuming(bootstrap: str, topic: str, **more: Any) -> Iterator[Any]:
    """The plain client in a new group, from the first message. more: of its configuration, with _ for dots."""
    from confluent_kafka import Consumer

    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"confluent-{next(_NUMBERS)}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **{name.replace("_", "."): value for name, value in more.items()},
        }
    )
    consumer.subscribe([topic])
    yield consumer
    consumer.close()


@contextmanager
def producing(bootstrap: str) -> Iterator[Any]:
    """The plain client, with the same promises: idempotent, acks=all, keys to lanes as Java's client does."""
    from confluent_kafka import Producer

    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 1 << 20,
        }
    )
    yield producer
    producer.flush(30)


def batches(size: int, number: int = _BATCHES) -> list[list[Message]]:
    """Batches of messages with a key each."""
    message = MessageFactory()
    body = bytes(range(256)) * (size // 256 + 1)
    return [
        [message(body[:size], key=f"key-{i % _KEYS}") for i in range(start, start + BATCH)]
        for start in range(0, number * BATCH, BATCH)
    ]


def records(batch: Sequence[Message]) -> list[Record]:
    """The very records that evermq writes for these messages, headers included."""
    return [record_of(message) for message in batch]
