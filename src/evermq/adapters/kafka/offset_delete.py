"""The request that takes the offsets of a group from topics: neither of the drivers has it."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Schema, String

__all__ = ["OffsetDelete"]

# https://kafka.apache.org/protocol#The_Messages_OffsetDelete
_KEY, _VERSION = 47, 0
_OUTCOME = Array(("partition", Int32), ("error_code", Int16))


class _Answer(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = _KEY, _VERSION
    SCHEMA = Schema(
        ("error_code", Int16),
        ("throttle_time_ms", Int32),
        ("topics", Array(("topic", String("utf-8")), ("partitions", _OUTCOME))),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION = _KEY, _VERSION
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("topics", Array(("topic", String("utf-8")), ("partitions", Array(Int32)))),
    )


class OffsetDelete(Request[_Question]):  # type: ignore[misc]
    """Of one group: for each topic the partitions of which it is to know nothing any more. Since Kafka 2.4."""

    API_KEY = _KEY

    def __init__(self, group: str, topics: Sequence[tuple[str, Sequence[int]]]) -> None:
        self._group = group
        self._topics = topics

    def build(self, request_struct_class: type[_Question]) -> _Question:
        """The request in its only version."""
        return request_struct_class(self._group, self._topics)
