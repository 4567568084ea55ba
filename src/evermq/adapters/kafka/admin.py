"""The control plane of a cluster, in asyncio: the only file that uses librdkafka's AdminClient."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from evermq.adapters.kafka.errors import of_librdkafka
from evermq.adapters.kafka.making import made
from evermq.adapters.kafka.settings import Settings
from evermq.adapters.kafka.thread import in_thread
from evermq.adapters.kafka.topic import Topic
from evermq.clock import SYSTEM
from evermq.errors import Closed, EvermqError, NoSuchTopic, Unavailable

__all__ = ["Admin"]

K = TypeVar("K")
T = TypeVar("T")

_ANSWER_S = 6.0
_POLL_S = 0.02
_MISSING = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)
_REFUSED = (KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED)
_UNSEEN = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
_PASSING = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError._NOENT,  # "No leaders found": a broker that was away has not told yet that it is back
)
_OF_BROKERS = {
    "cleanup.policy": "log.cleanup.policy",
    "retention.bytes": "log.retention.bytes",
    "retention.ms": "log.retention.ms",
    "flush.messages": "log.flush.interval.messages",
    "max.message.bytes": "message.max.bytes",
    "message.timestamp.type": "log.message.timestamp.type",
}
_QUIET = {"log_level": 5}  # else it writes to standard error where it is closed before all answers have come
_NO_BROKER = (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)
_PASSING_MS, _PASSING_PAUSE_S, _LOOK_S = 8_000, 0.1, 1.0


class Admin:
    """Of one place. Every call has an answer within some seconds, or raises Unavailable."""

    def __init__(self, settings: Settings) -> None:
        self._where = f"kafka://{settings.bootstrap}"
        self._refusal: KafkaError | None = None
        self._given = {**settings.admin, **_QUIET, "error_cb": self._on_error}
        self._opened: AdminClient | None = made(AdminClient, self._given)
        self._age = 0  # how many clients there were before it
        self._left: dict[int, AdminClient] = {}  # those that calls still wait for, by age
        self._underway: Counter[int] = Counter()  # calls, by the age of their client

    async def ping(self) -> int:
        """How many brokers there are. Raises Denied or Unavailable."""
        return len((await self._cluster()).brokers)

    async def close(self) -> None:
        """Let the driver's threads end; again is harmless. What is under way ends with Closed.

        They end with the last reference. The driver's own way, the end of a `with`, frees what a thread may be using.
        """
        held = [*self._left.values(), self._opened]
        self._opened, self._left = None, {}
        await asyncio.wrap_future(in_thread(held.clear))

    async def topics(self) -> list[str]:
        """Those that are not Kafka's own."""
        return sorted(name for name in (await self._cluster()).topics if not name.startswith("__"))

    async def topic(self, name: str) -> Topic:
        """What there is to know of a topic. Raises NoSuchTopic."""
        found = await self._described(name)
        return Topic(
            name=name,
            id=str(found.topic_id),
            lanes=len(found.partitions),
            replicas=min((len(each.replicas) for each in found.partitions), default=0),
            config=await self._config(ConfigResource(ResourceType.TOPIC, name)),
        )

    async def identity(self, name: str) -> tuple[str, int]:
        """The id of a topic, and how many lanes it has by now. Raises NoSuchTopic."""
        found = await self._described(name)
        return str(found.topic_id), len(found.partitions)

    async def create(self, name: str, *, lanes: int, replicas: int, config: Mapping[str, str]) -> None:
        """0 lanes or replicas: as the brokers have it. Harmless where the topic exists."""
        new = NewTopic(name, lanes or -1, replicas or -1, config=dict(config))
        future = self._client.create_topics([new], request_timeout=_ANSWER_S)[name]
        try:
            await self._controlled(future, f"creating topic {name}")
        except EvermqError as error:
            if _code(error) != KafkaError.TOPIC_ALREADY_EXISTS:
                raise

    async def drop(self, name: str) -> None:
        """Raises NoSuchTopic."""
        await self._controlled(self._client.delete_topics([name], request_timeout=_ANSWER_S)[name], f"topic {name}")

    async def lanes(self, topic: str) -> int:
        """How many a topic has by now. Raises NoSuchTopic."""
        # Without a name for the bound method: an error that keeps this frame would keep the driver's client with it.
        asked = in_thread(partial(self._client.list_topics, topic, timeout=_ANSWER_S))
        found = (await self._wait(asked, f"topic {topic}")).topics[topic]
        if found.error is not None and not found.partitions:
            raise self._error(found.error, f"topic {topic}")
        return len(found.partitions)

    async def bounds(self, topic: str, lanes: Iterable[int], at: OffsetSpec) -> dict[int, int]:
        """Offset of each lane; -1 where no message is at that time or later."""
        asked = {lane: TopicPartition(topic, lane) for lane in lanes}

        def ask() -> Future[Any]:
            partitions = dict.fromkeys(asked.values(), at)
            return _all(self._client.list_offsets(partitions, request_timeout=_ANSWER_S))

        found: Any = await self._ask(ask, f"offsets of {topic}", topic) if asked else {}
        return {partition.partition: each.offset for partition, each in found.items()}

    async def groups(self) -> list[str]:
        """All groups of the cluster. Raises where one broker does not tell those that it coordinates."""
        found: Any = await self._wait(self._client.list_consumer_groups(request_timeout=_ANSWER_S), "groups")
        for error in found.errors:
            raise self._error(error, "groups of one of the brokers")
        return sorted(each.group_id for each in found.valid)

    async def _described(self, name: str) -> Any:
        futures = self._client.describe_topics(TopicCollection([name]), request_timeout=_ANSWER_S)
        return await self._controlled(futures[name], f"topic {name}")

    async def _cluster(self) -> Any:
        """Its metadata; not by describe_cluster: librdkafka ends the process by a failed assertion where the answer
        names neither brokers nor topics, as that of a broker does which stood still for seconds and was taken for dead
        (rd_kafka_admin_response_parse, 2.16.1). An answer to describe_topics always names the topics."""
        return await self._wait(in_thread(partial(self._client.list_topics, timeout=_ANSWER_S)), "connecting")

    async def defaults(self) -> dict[str, str]:
        """Settings of a broker, under the names that those of a topic have."""
        broker = min((await self._cluster()).brokers)
        config = await self._config(ConfigResource(ResourceType.BROKER, str(broker)))
        return config | {name: config[other] for name, other in _OF_BROKERS.items() if other in config}

    async def _config(self, resource: ConfigResource) -> dict[str, str]:
        """Effective settings, none where this user may not see them."""
        future = self._client.describe_configs([resource], request_timeout=_ANSWER_S)[resource]
        try:
            found: Any = await self._wait(future, f"settings of {resource.name}")
        except EvermqError as error:
            if _code(error) in _UNSEEN:
                return {}
            raise
        return {name: entry.value for name, entry in found.items() if entry.value is not None}

    async def _ask(self, ask: Callable[[], Future[T]], doing: str, topic: str) -> T:
        """As `_wait`, again for a while where leaders are changing, or do not know yet of a topic that was just made;
        librdkafka goes on asking with what it remembers of them, unless somebody lets it look again."""
        until_ms = SYSTEM.monotonic_ms() + _PASSING_MS
        while True:
            try:
                return await self._wait(ask(), doing)
            except EvermqError as error:
                code = _code(error)
                passes = code in _PASSING or (code in _MISSING and await self._is_known(topic))
                if not passes or SYSTEM.monotonic_ms() > until_ms:
                    raise
            await asyncio.sleep(_PASSING_PAUSE_S)
            await self._look(topic)

    async def _is_known(self, topic: str) -> bool:
        """Whether the cluster has it, unless it says that it does not."""
        try:
            return await self.lanes(topic) > 0
        except NoSuchTopic:
            return False
        except EvermqError:
            return True  # nobody could be asked

    async def _controlled(self, future: Future[T], doing: str) -> T:
        """As `_wait`, of what the controller answers. Where none is known, as when a broker had stood still, librdkafka
        waits for one to the end, unless somebody lets it look again."""
        looking = asyncio.ensure_future(self._look_on())
        try:
            return await self._wait(future, doing)
        finally:
            looking.cancel()

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            await self._look()

    async def _look(self, *topic: str) -> None:
        with contextlib.suppress(EvermqError):
            looking = in_thread(partial(self._client.list_topics, *topic, timeout=_LOOK_S))
            await self._wait(looking, "looking", is_patient=False)

    async def _wait(self, future: Future[T], doing: str, *, is_patient: bool = True) -> T:
        """The answer; a refusal at the connection is told at once, where librdkafka tries till the end. The client is
        another one from then on, where it found no broker for as long as this waited."""
        waiting, age = asyncio.wrap_future(future), self._age
        self._underway[age] += 1
        try:
            return await self._answer(waiting, doing)
        except EvermqError as error:
            if is_patient and age == self._age and _code(error) in _NO_BROKER:
                self._renew()
            raise
        finally:
            waiting.cancel()
            self._underway[age] -= 1
            if not self._underway[age]:
                del self._underway[age]
                self._leave(age)

    def _leave(self, age: int) -> None:
        """Let the driver's threads of a client end that is not the one in use, in a thread: they are waited for."""
        if age in self._left:
            held = [self._left.pop(age)]
            in_thread(held.clear)

    async def _answer(self, waiting: asyncio.Future[T], doing: str) -> T:
        try:
            for _ in range(int(2 * _ANSWER_S / _POLL_S)):
                self._client.poll(0)
                done, _ = await asyncio.wait([waiting], timeout=_POLL_S)
                if done:
                    return waiting.result()
                if self._refusal:
                    raise self._error(self._refusal, doing)
        except KafkaException as error:
            raise self._error(self._refusal or error.args[0], doing) from error
        raise Unavailable(f"{self._where}: {doing}: no answer within {2 * _ANSWER_S} s")

    def _renew(self) -> None:
        """A client that a broker told of no brokers may never find one again, whatever becomes of them: librdkafka
        forgets all that it knew, and where to begin (https://github.com/confluentinc/librdkafka/issues/5301)."""
        if self._opened is None:
            return
        with contextlib.suppress(EvermqError):
            fresh = made(AdminClient, self._given)
            self._left[self._age], self._opened = self._opened, fresh
            self._age += 1

    @property
    def _client(self) -> AdminClient:
        if self._opened is None:
            raise Closed("this place was closed: open another one")
        return self._opened

    def _error(self, error: KafkaError, doing: str) -> EvermqError:
        code, where = error.code(), f"{self._where}: {doing}"
        self._refusal = None
        if code in _MISSING:
            return NoSuchTopic(f"{where}: it does not exist: `evermq topics create` makes it")
        if code in _NO_BROKER:
            return Unavailable(f"{where}: no broker answers ({error.str()})")
        return of_librdkafka(error, where)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in _REFUSED:
            self._refusal = error


def _code(error: BaseException) -> int | None:
    """The code of Kafka behind an error of evermq."""
    cause = error.__cause__
    return cause.args[0].code() if isinstance(cause, KafkaException) else None


def _all(futures: Mapping[K, Future[T]]) -> Future[dict[K, T]]:
    """One future of all, which fails as the first that fails."""
    whole: Future[dict[K, T]] = Future()
    left = set(futures)

    def done(key: K, future: Future[T]) -> None:
        left.discard(key)
        if whole.done():
            return
        if error := future.exception():
            whole.set_exception(error)
        elif not left:
            whole.set_result({each: futures[each].result() for each in futures})

    for key, future in futures.items():
        future.add_done_callback(partial(done, key))
    return whole
