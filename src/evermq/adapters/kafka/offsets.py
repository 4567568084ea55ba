"""Offsets of groups, asked of their coordinators through aiokafka's client.

librdkafka's AdminClient is not asked: where a coordinator has just moved, or its topic was just made, the answer to
ListConsumerGroupOffsets ends the whole process (2.16: rd_kafka_handle_OffsetFetch without a consumer group).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import aiokafka.errors as driver
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.group import LeaveGroupRequest
from confluent_kafka import KafkaError

from evermq.adapters.kafka.errors import of_aiokafka
from evermq.adapters.kafka.generation import Generation
from evermq.adapters.kafka.offset_commit import OffsetCommit
from evermq.adapters.kafka.offset_delete import OffsetDelete
from evermq.clock import SYSTEM
from evermq.errors import Closed, EvermqError, Unavailable

__all__ = ["Committed", "Offsets"]

T = TypeVar("T")

_log = logging.getLogger("evermq.kafka")

_LEAVE_S_MAX = 2.0
_COMMIT_MS = 3_000
_ANSWER_MS, _PAUSE_S = 15_000, 0.1  # a new cluster makes the topic of offsets when the first group is asked for
_ACTIVE = (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION)
_AGAIN = (*_ACTIVE, KafkaError.OFFSET_METADATA_TOO_LARGE, KafkaError.STALE_MEMBER_EPOCH, KafkaError.FENCED_MEMBER_EPOCH)
_READ = (KafkaError.GROUP_SUBSCRIBED_TO_TOPIC, KafkaError.NON_EMPTY_GROUP)


class Committed(NamedTuple):
    """Where a group stands in a lane; metadata: see `progress`."""

    offset: int
    metadata: str


class Offsets:
    """Of one place, over the client of its sender."""

    def __init__(self, client: AIOKafkaClient) -> None:
        self._client = client
        self._coordinators: dict[str, int] = {}
        self._steps: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def committed(self, group: str, topic: str, lanes: int) -> dict[int, Committed]:
        """Lanes in which the group has committed."""
        asked = [(topic, list(range(lanes)))]

        def codes(answer: Any) -> list[int]:
            return [answer.error_code, *(each[3] for _, partitions in answer.topics for each in partitions)]

        answer = await self._ask(group, lambda: OffsetFetchRequest(group, asked), codes)
        found = [each for _, partitions in answer.topics for each in partitions]
        return {lane: Committed(offset, (text or "").rstrip("\0")) for lane, offset, text, _ in found if offset >= 0}

    async def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> bool:
        """Commit for a group that has no members; False where it has, and nothing was changed."""
        asked = [(topic, [(lane, offset, "") for lane, offset in offsets.items()])]

        def codes(answer: Any) -> list[int]:
            return [each[1] for _, partitions in answer.topics for each in partitions if each[1] not in _ACTIVE]

        answer = await self._ask(group, lambda: OffsetCommitRequest(group, -1, "", -1, asked), codes)
        return not any(each[1] for _, partitions in answer.topics for each in partitions)

    async def commit_as(self, generation: Generation, group: str, topic: str, offsets: Mapping[int, Committed]) -> int:
        """Commit as a member of the group. Returns 0, or the code for which it has to be tried again, perhaps in the
        next generation. Raises Unavailable where no coordinator answers soon."""
        # librdkafka, which reads it, takes it for a C string (2.16: rd_kafka_topic_partition_t.metadata)
        asked = {lane: (offset, text and f"{text}\0") for lane, (offset, text) in offsets.items()}

        def found(answer: Any) -> list[int]:
            return [each[1] for named in answer.topics for each in named[1]]

        def codes(answer: Any) -> list[int]:
            return [code for code in found(answer) if code not in _AGAIN]

        request = OffsetCommit(group, generation, topic, asked)
        try:
            async with asyncio.timeout(_COMMIT_MS / 1000):
                answer = await self._ask(group, lambda: request, codes)
        except TimeoutError:
            raise Unavailable(f"group {group}: its coordinator does not answer") from None
        return next((code for code in found(answer) if code), 0)

    async def delete(self, group: str, topic: str, lanes: Iterable[int]) -> bool:
        """Forget where the group stands in a topic; False where it has members that read it, and nothing was changed.
        Raises Unsupported where a broker is older than 2.4."""
        asked = [(topic, list(lanes))]

        def found(answer: Any) -> list[int]:
            return [answer.error_code, *(each[1] for _, partitions in answer.topics for each in partitions)]

        def codes(answer: Any) -> list[int]:
            return [code for code in found(answer) if code not in _READ]

        return not any(found(await self._ask(group, lambda: OffsetDelete(group, asked), codes)))

    async def leave(self, group: str, member: str) -> None:
        """A member of the group is no more; harmless where the coordinator knows that already.

        librdkafka leaves no group that it is just joining (rd_kafka_cgrp_unsubscribe, 2.16): the coordinator would wait
        for it as for one that died."""

        def codes(answer: Any) -> list[int]:
            return [] if answer.error_code in _ACTIVE else [answer.error_code]

        try:
            async with asyncio.timeout(_LEAVE_S_MAX):
                await self._ask(group, lambda: LeaveGroupRequest(group, member), codes)
        except (EvermqError, TimeoutError) as error:
            _log.info("group %s: nobody heard that it was left: %r", group, error)

    async def close(self) -> None:
        """Who waits for an answer gets it, or Closed. To be called before the client is closed, which answers nothing
        any more, and connects anew."""
        self._closed = True
        if self._steps:
            await asyncio.wait(self._steps)

    async def _ask(self, group: str, ask: Callable[[], Any], codes: Callable[[Any], list[int]]) -> Any:
        """The coordinator's answer; again for a while where there is none, or it moves.

        Nothing is sent once the caller was cancelled: it may have sent something newer by then, and an older commit
        would come last."""
        until_ms = SYSTEM.monotonic_ms() + _ANSWER_MS
        while True:
            try:
                node = await self._step(self._coordinator(group))
                answer = await self._step(self._send(node, ask))
                code = next((code for code in codes(answer) if code), 0)
                if not code:
                    return answer
                raise driver.for_code(code)()
            except driver.KafkaError as error:
                self._coordinators.pop(group, None)
                if not error.retriable:
                    raise of_aiokafka(error, f"group {group}") from None
                if SYSTEM.monotonic_ms() > until_ms:
                    raise Unavailable(f"group {group}: its coordinator does not answer ({error!r})") from None
            await self._step(self._look())
            await asyncio.sleep(_PAUSE_S)

    async def _step(self, step: Coroutine[Any, Any, T]) -> T:
        """Goes on where the caller is cancelled: the driver would lose a connection that is being made."""
        task = asyncio.create_task(step)
        self._steps.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, step: asyncio.Task[Any]) -> None:
        self._steps.discard(step)
        if not step.cancelled():
            step.exception()  # it was told where somebody still waited

    async def _send(self, node: int, ask: Callable[[], Any]) -> Any:
        self._check()
        return await self._client.send(node, ask(), group=ConnectionGroup.COORDINATION)

    async def _look(self) -> None:
        self._check()
        await self._client.force_metadata_update()

    def _check(self) -> None:
        if self._closed:
            raise Closed("this place was closed: open another one")

    async def _coordinator(self, group: str) -> int:
        self._check()
        node = self._coordinators.get(group)
        if node is None:
            node = await self._client.coordinator_lookup(CoordinationType.GROUP, group)
            self._coordinators[group] = node
        return node
