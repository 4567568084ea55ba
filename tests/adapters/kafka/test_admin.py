"""The control plane tells all or says what is missing."""

from __future__ import annotations

import asyncio
import weakref
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

import evermq.adapters.kafka.admin as admin_module
from evermq.adapters.kafka.admin import Admin
from evermq.adapters.kafka.settings import Settings
from evermq.errors import Denied, EvermqError, NoSuchTopic, Unavailable


class Brokers:
    """Answers as librdkafka does, of which each broker's answer may be an error."""

    def __init__(self, codes: list[int]) -> None:
        self.errors = [KafkaError(code) for code in codes]

    def poll(self, wait_s: float) -> None:
        pass

    def list_consumer_groups(self, request_timeout: float) -> Future[Any]:
        found: Future[Any] = Future()
        groups = [SimpleNamespace(group_id=name) for name in ("shipping", "billing")]
        found.set_result(SimpleNamespace(valid=groups, errors=self.errors))
        return found


def admin(*codes: int) -> Admin:
    made = Admin(Settings(bootstrap="127.0.0.1:1"))
    made._opened = Brokers(list(codes))
    return made


class Slow:
    """A cluster that has a topic, of which the leader hears after it was asked so many times."""

    def __init__(
        self, hears_after: int, *, is_there: bool = True, says: int = KafkaError.UNKNOWN_TOPIC_OR_PART
    ) -> None:
        self.left = hears_after
        self.says = says
        self.error = None if is_there else KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)

    def poll(self, wait_s: float) -> None:
        pass

    def list_topics(self, topic: str, timeout: float) -> Any:
        partitions = {} if self.error else {0: None}
        return SimpleNamespace(topics={topic: SimpleNamespace(error=self.error, partitions=partitions)})

    def list_offsets(self, asked: dict[TopicPartition, OffsetSpec], request_timeout: float) -> dict[Any, Future[Any]]:
        found: Future[Any] = Future()
        self.left -= 1
        if self.left >= 0:
            found.set_exception(KafkaException(KafkaError(self.says)))
        else:
            found.set_result(SimpleNamespace(offset=7))
        return dict.fromkeys(asked, found)


@pytest.mark.parametrize(
    "says", [KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError._NOENT]
)
async def test_leader_that_has_not_heard_of_a_topic_yet_or_is_not_there_yet_is_asked_again(says: int) -> None:
    made = admin()
    made._opened = Slow(2, says=says)
    assert await made.bounds("orders", [0], OffsetSpec.latest()) == {0: 7}


async def test_topic_that_is_not_there_is_asked_for_once() -> None:
    made = admin()
    made._opened = slow = Slow(2, is_there=False)
    with pytest.raises(NoSuchTopic):
        await made.bounds("orders", [0], OffsetSpec.latest())
    assert slow.left == 1


async def test_groups_are_those_of_all_brokers() -> None:
    assert await admin().groups() == ["billing", "shipping"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._TIMED_OUT, Unavailable),
        (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, Unavailable),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, Denied),
    ],
)
async def test_groups_that_one_broker_does_not_tell_are_not_left_out_in_silence(
    code: int, kind: type[EvermqError]
) -> None:
    with pytest.raises(kind, match="groups of one of the brokers"):
        await admin(code).groups()


class Silent:
    """A client whose answers come when they are set, one for each question."""

    def __init__(self) -> None:
        self.asked: list[Future[Any]] = []

    def poll(self, wait_s: float) -> None:
        pass

    def list_consumer_groups(self, request_timeout: float) -> Future[Any]:
        self.asked.append(Future())
        return self.asked[-1]


async def test_client_that_found_no_broker_goes_with_its_last_call_though_others_are_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else, while somebody always asks, each one's threads stay for as long as the process does."""
    asked = admin()
    asked._opened = old = Silent()
    fresh = Silent()
    monkeypatch.setattr(admin_module, "made", lambda *_: fresh)
    calls = [asyncio.create_task(asked.groups()) for _ in range(2)]
    await asyncio.sleep(0)
    first, second = old.asked
    gone = weakref.ref(old)
    del old
    first.set_exception(KafkaException(KafkaError(KafkaError._TRANSPORT)))
    with pytest.raises(Unavailable):
        await calls[0]
    later = asyncio.create_task(asked.groups())
    await asyncio.sleep(0)
    assert gone()
    second.set_result(SimpleNamespace(valid=[], errors=[]))
    assert await calls[1] == []
    async with asyncio.timeout(20):
        while gone():
            await asyncio.sleep(0.01)
    fresh.asked[0].set_result(SimpleNamespace(valid=[], errors=[]))
    assert await later == []
