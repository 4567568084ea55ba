"""Where the lanes of a group go on: as it left them, or, where the log has that offset no more, at what is left.

All of it happens in the consumer's thread.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from evermq.adapters.kafka.group import Group
from evermq.adapters.kafka.lane import Lane
from evermq.adapters.kafka.progress import is_of_another_topic, unpack
from evermq.adapters.kafka.topic import Topic
from evermq.clock import Clock

__all__ = ["Restorer"]

_log = logging.getLogger("evermq.kafka")

_ANSWER_S = 4.0
_TRIES = 3
# The broker tells the driver where the log ends of which it had read on, and the driver tells it in words only
# (librdkafka 2.16: rd_kafka_offset_validate). Where it says it in others, more is read again.
_END = re.compile(r"broker end offset is (\d+)")


class Restorer:
    """starts: where lanes begin that the group has committed nothing of; others begin at their oldest message."""

    def __init__(self, consumer: Any, group: Group, topic: Topic, starts: Mapping[int, int], clock: Clock) -> None:
        self._consumer = consumer
        self._group = group
        self._topic = topic
        self._starts = starts
        self._clock = clock

    def restore(self, partitions: list[TopicPartition]) -> list[Lane]:
        """Lanes as the group left them."""
        return [self._restore(each) for each in self._committed(partitions)] if partitions else []

    def go_on(self, lane: Lane, said: str) -> bool:
        """The offset that was to be fetched next is not there: go on at what is left, and nearest. said: by the driver.
        False where readers have messages that the log has lost: what they acknowledge may be of others by now."""
        low, high = self._bounds(lane.number)
        where = f"group {self._group.name}, {self._topic.name}, lane {lane.number}"
        with self._group.lock:
            if lane.next < low:
                _log.error(
                    "%s: offsets %d to %d were deleted before the group had read them: it goes on at %d",
                    where,
                    lane.next,
                    low - 1,
                    low,
                )
                lane.reach(low)
                is_whole = True
            else:
                told, settled = _END.search(said), lane.done.low
                # What was fetched from beyond the end was lost, and others may stand there. Where nobody says where
                # that is, all that was not settled is read again, and all that is there if that is gone as well.
                end = int(told[1]) if told else settled if settled <= high else low
                at = max(low, min(end, lane.next))
                _log.error(
                    "%s: it stands at %d, and the log lost what was there, and ends at %d: it goes on at %d (%s)",
                    where,
                    lane.next,
                    high,
                    at,
                    said,
                )
                is_whole = max(lane.out, default=-1) < at
                lane.cut(at)
        self._assign(lane)
        return is_whole

    def _assign(self, lane: Lane) -> None:
        """Fetch from where it stands, also where it was paused before."""
        at = TopicPartition(self._topic.name, lane.number, lane.next)
        if lane.paused:
            self._consumer.resume([at])
            lane.paused = False
        self._consumer.incremental_unassign([at])
        self._consumer.incremental_assign([at])

    def _committed(self, partitions: list[TopicPartition]) -> list[Any]:
        for attempt in range(_TRIES):
            try:
                return list(self._consumer.committed(partitions, timeout=_ANSWER_S))
            except KafkaException as error:
                _log.info("group %s: %s", self._group.name, error.args[0].str())
                if attempt == _TRIES - 1:
                    raise
        return []

    def _restore(self, found: Any) -> Lane:
        number, offset, metadata = found.partition, found.offset, found.metadata or ""
        if offset >= 0 and is_of_another_topic(self._topic.id, metadata):
            offset = -1
        if offset < 0:
            offset, metadata = self._start(number), ""
        progress = unpack(self._topic.id, offset, metadata)
        ahead_ms = self._clock.now_ms() - self._clock.monotonic_ms()
        lane = Lane.restore(number, str(number), offset, progress, ahead_ms=ahead_ms)
        lane.dirty = found.offset < 0
        return lane

    def _start(self, number: int) -> int:
        return self._starts[number] if number in self._starts else self._bounds(number)[0]

    def _bounds(self, number: int) -> tuple[int, int]:
        low, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic.name, number), timeout=_ANSWER_S)
        return int(low), int(high)
