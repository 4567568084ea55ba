"""Offsets of groups, asked of their coordinators through aiokafka's client.

librdkafka's AdminClient is not asked: where a coordinator has just moved, or its topic was just made, the answer to
ListConsumerGroupOffsets ends the whole process (2.16: rd_kafka_handle_OffsetFetch without a consumer group).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import aiokafka.errors as driver
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from confluent_kafka import KafkaError

from evermq.adapters.kafka.errors import of_aiokafka
from evermq.clock import SYSTEM
from evermq.errors import Unavailable

__all__ = ["Committed", "Offsets"]

_ANSWER_MS, _PAUSE_S = 15_000, 0.1  # a new cluster makes the topic of offsets when the first group is asked for
_ACTIVE = (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION)


class Committed(NamedTuple):
    """Where a group stands in a lane; metadata: see `progress`."""

    offset: int
    metadata: str


class Offsets:
    """Of one place, over the client of its sender."""

    def __init__(self, client: AIOKafkaClient) -> None:
        self._client = client
        self._coordinators: dict[str, int] = {}

    async def committed(self, group: str, topic: str, lanes: int) -> dict[int, Committed]:
        """Lanes in which the group has committed."""
        asked = [(topic, list(range(lanes)))]

        def codes(answer: Any) -> list[int]:
            return [answer.error_code, *(each[3] for _, partitions in answer.topics for each in partitions)]

        answer = await self._ask(group, lambda: OffsetFetchRequest(group, asked), codes)
        found = [each for _, partitions in answer.topics for each in partitions]
        # librdkafka writes the end of its C string along
        return {lane: Committed(offset, (text or "").rstrip("\0")) for lane, offset, text, _ in found if offset >= 0}

    async def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> bool:
        """Commit for a group that has no members; False where it has, and nothing was changed."""
        asked = [(topic, [(lane, offset, "") for lane, offset in offsets.items()])]

        def codes(answer: Any) -> list[int]:
            return [each[1] for _, partitions in answer.topics for each in partitions if each[1] not in _ACTIVE]

        answer = await self._ask(group, lambda: OffsetCommitRequest(group, -1, "", -1, asked), codes)
        return not any(each[1] for _, partitions in answer.topics for each in partitions)

    async def _ask(self, group: str, ask: Callable[[], Any], codes: Callable[[Any], list[int]]) -> Any:
        """The coordinator's answer; again for a while where there is none, or it moves."""
        until_ms = SYSTEM.monotonic_ms() + _ANSWER_MS
        while True:
            try:
                node = await self._coordinator(group)
                answer = await self._client.send(node, ask(), group=ConnectionGroup.COORDINATION)
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
            await self._client.force_metadata_update()
            await asyncio.sleep(_PAUSE_S)

    async def _coordinator(self, group: str) -> int:
        node = self._coordinators.get(group)
        if node is None:
            node = await self._client.coordinator_lookup(CoordinationType.GROUP, group)
            self._coordinators[group] = node
        return node
