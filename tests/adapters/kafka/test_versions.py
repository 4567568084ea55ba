"""Brokers that are too old or too new are told as that when a place is opened, and not by every append."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import aiokafka.errors as driver
import pytest

from evermq.adapters.kafka.batch import Ticket
from evermq.adapters.kafka.request import Produce
from evermq.adapters.kafka.sender import Sender
from evermq.adapters.kafka.settings import Settings
from evermq.batch import Batch
from evermq.errors import Unsupported
from evermq.message import MessageFactory

# What brokers of these versions answer: request, least version, newest version (of those that evermq asks, and others).
KAFKA_2_4 = {0: (0, 8), 1: (0, 11), 8: (0, 8), 9: (0, 6), 10: (0, 3), 13: (0, 4), 22: (0, 2), 42: (0, 2)}
KAFKA_2_4 |= dict.fromkeys((43, 44, 45, 46), (0, 1)) | {47: (0, 0)}
KAFKA_2_0 = {0: (0, 6), 1: (0, 8), 8: (0, 4), 9: (0, 4), 10: (0, 2), 13: (0, 2), 22: (0, 1), 42: (0, 1)}
KAFKA_0_10 = {0: (0, 2), 1: (0, 3), 8: (0, 2), 9: (0, 2), 10: (0, 0), 13: (0, 0)}
LATER = {**KAFKA_2_4, 0: (9, 20)}


class Client:
    """In place of the driver's."""

    cluster = SimpleNamespace(
        leader_for_partition=lambda partition: 0, partitions_for_topic=lambda topic: [0], unauthorized_topics=set()
    )

    def __init__(self, spoken: dict[int, tuple[int, int]] | None) -> None:
        self.spoken = spoken

    async def bootstrap(self) -> None: ...

    async def ready(self, node: int, *, group: int) -> bool:
        return True

    async def force_metadata_update(self) -> bool:
        return False

    def get_random_node(self) -> int:
        return 0

    async def send(self, node: int, request: Any, *, group: int = 0) -> Any:
        if self.spoken is None:
            raise driver.NodeNotReadyError
        if request.API_KEY:
            return SimpleNamespace(error_code=0, api_versions=[(key, *some) for key, some in self.spoken.items()])
        return request.prepare(self.spoken)


async def sender_over(spoken: dict[int, tuple[int, int]] | None) -> Sender:
    sender = Sender(Settings(bootstrap="h:1", send_ms_max=2_000))
    await sender.client.close()
    sender.client = Client(spoken)
    return sender


@pytest.mark.parametrize(
    ("spoken", "said"),
    [
        (KAFKA_2_0, r"kafka://h:1: a broker is Kafka 2\.0, .* Produce of version 7: evermq needs Kafka 2\.4 or newer"),
        ({**KAFKA_2_0, 0: (0, 7), 43: (0, 0)}, r"Kafka 2\.2, .* OffsetDelete of version 0: .* 2\.4"),
        (KAFKA_0_10, r"Kafka 0\.10 or older"),
        (LATER, "too new: it knows Produce from version 9 on, this evermq up to 7"),
    ],
)
async def test_broker_that_does_not_speak_what_is_needed_is_told_with_its_version_and_the_least_one(
    spoken: dict[int, tuple[int, int]], said: str
) -> None:
    with pytest.raises(Unsupported, match=said):
        await (await sender_over(spoken)).open()


@pytest.mark.parametrize("spoken", [KAFKA_2_4, None], ids=["2.4", "silent"])
async def test_broker_that_is_new_enough_or_does_not_answer_is_no_hindrance(
    spoken: dict[int, tuple[int, int]] | None,
) -> None:
    await (await sender_over(spoken)).open()


async def test_append_that_a_broker_does_not_understand_is_unsupported_and_not_uncertain() -> None:
    """One of the others, perhaps, in a cluster of several versions."""
    sender = await sender_over(KAFKA_2_0)
    sender._identity = 1, 0
    batch = Batch.of([MessageFactory()("x")])
    ticket = Ticket(batch, batch.columns, stamp_ms=None, bytes_max=1 << 20, compression=0)
    async with asyncio.timeout(10):
        await sender.send("orders", ticket, {0: [0]})
    [share] = ticket.shares
    assert type(share.error) is Unsupported
    assert "2.4" in str(share.error)


def test_request_says_which_kafka_it_needs_where_the_driver_would_not() -> None:
    with pytest.raises(driver.IncompatibleBrokerVersion, match=r"2\.4"):
        Produce([], 1).prepare(KAFKA_2_0)
