"""What the settings of a topic make of evermq's promises."""

from __future__ import annotations

import pytest

from evermq.adapters.kafka.topic import deletions, durable_of, weaknesses
from evermq.traits import Durable

STRONG = {"min.insync.replicas": "2", "cleanup.policy": "delete"}


@pytest.mark.parametrize("policy", ["compact", "compact,delete", "delete,compact"])
def test_topic_that_is_compacted_keeps_nothing_however_many_replicas_it_has(policy: str) -> None:
    config = {**STRONG, "cleanup.policy": policy}
    assert durable_of(3, STRONG) is Durable.REPLICATED
    assert durable_of(3, config) is durable_of(3, {**config, "flush.messages": "1"}) is Durable.MEMORY
    [(setting, value, advice)] = weaknesses(3, config)
    assert (setting, value) == ("cleanup.policy", policy)
    assert "compaction" in advice


@pytest.mark.parametrize(
    ("kept_ms", "kept_bytes", "advised"),
    [
        ("604800000", "-1", []),
        ("-1", "1073741824", []),
        ("3599999", "-1", ["retention.ms"]),
        ("0", "1048576", ["retention.ms", "retention.bytes"]),
    ],
)
def test_retention_that_deletes_what_was_not_read_is_advised_against(
    kept_ms: str, kept_bytes: str, advised: list[str]
) -> None:
    found = deletions({"retention.ms": kept_ms, "retention.bytes": kept_bytes})
    assert [value for _, value, _ in found] == [kept_ms, kept_bytes]
    assert [setting for setting, _, advice in found if advice] == advised
