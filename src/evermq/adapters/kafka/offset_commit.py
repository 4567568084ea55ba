"""The request by which a member commits: aiokafka's ends before the version that the groups of Kafka 4 speak."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetCommitRequest_v3
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

from evermq.adapters.kafka.generation import Generation

__all__ = ["OffsetCommit"]

# https://kafka.apache.org/protocol#The_Messages_OffsetCommit; version 9 is the first for groups of KIP-848
_KEY, _VERSION = 8, 9
_TEXT, _TAGS = CompactString("utf-8"), ("tags", TaggedFields)
_NO_TAGS: dict[int, bytes] = {}
_NO_INSTANCE, _NO_EPOCH, _NO_RETENTION = None, -1, -1


class _Answer(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = _KEY, _VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", _TEXT),
                ("partitions", CompactArray(("partition", Int32), ("error_code", Int16), _TAGS)),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION = _KEY, _VERSION
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("group", _TEXT),
        ("generation", Int32),
        ("member", _TEXT),
        ("instance", _TEXT),
        (
            "topics",
            CompactArray(
                ("topic", _TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32), ("offset", Int64), ("leader_epoch", Int32), ("metadata", _TEXT), _TAGS
                    ),
                ),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class OffsetCommit(Request[OffsetCommitRequest_v3 | _Question]):  # type: ignore[misc]
    """Of one member: where its group stands in partitions of a topic, and the text beside each. The version is the
    newest that the broker knows."""

    API_KEY = _KEY

    def __init__(self, group: str, generation: Generation, topic: str, offsets: Mapping[int, tuple[int, str]]) -> None:
        self._group = group
        self._generation = generation
        self._topic = topic
        self._offsets = offsets

    def build(self, request_struct_class: type[RequestStruct]) -> RequestStruct:
        """The request in that version."""
        number, member = self._generation
        if request_struct_class is OffsetCommitRequest_v3:
            old = [(lane, offset, text) for lane, (offset, text) in self._offsets.items()]
            return OffsetCommitRequest_v3(self._group, number, member, _NO_RETENTION, [(self._topic, old)])
        rows = [(lane, offset, _NO_EPOCH, text, _NO_TAGS) for lane, (offset, text) in self._offsets.items()]
        topics = [(self._topic, rows, _NO_TAGS)]
        return _Question(self._group, number, member, _NO_INSTANCE, topics, _NO_TAGS)
