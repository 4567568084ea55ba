"""How lanes that are ready share requests to their broker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import TopicPartition

from evermq.adapters.kafka.sender_lane import SenderLane, requests


def lane_with(number: int, size: int) -> SenderLane:
    batch: Any = SimpleNamespace(size=size)
    return SenderLane(TopicPartition("orders", number), batch=batch)


@pytest.mark.parametrize(
    ("kilobytes", "shared"),
    [
        ([1, 1, 1], [[0, 1, 2]]),
        ([100, 100, 100], [[0, 1], [2]]),
        ([900, 1, 900], [[0], [1], [2]]),  # a large one keeps nobody waiting
    ],
)
def test_small_batches_share_a_request_and_large_ones_do_not(kilobytes: list[int], shared: list[list[int]]) -> None:
    lanes = [lane_with(number, size << 10) for number, size in enumerate(kilobytes)]
    assert [[lane.partition.partition for lane in some] for some in requests(lanes)] == shared
