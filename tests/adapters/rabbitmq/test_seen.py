"""What a queue keeps, by what the management interface tells of it."""

from __future__ import annotations

from typing import Any

import pytest

from evermq.adapters.rabbitmq.seen import seen
from evermq.traits import Durable

OURS = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000, "x-single-active-consumer": True}


def queue(policy: Any = None, arguments: dict[str, Any] | None = None, kind: str = "quorum") -> dict[str, Any]:
    given = {**OURS, **(arguments or {})}
    return {"members": ["a", "b", "c"], "type": kind, "arguments": given, "effective_policy_definition": policy}


@pytest.mark.parametrize(
    "right",
    [
        queue(),
        queue([]),  # as old servers write none
        queue({"max-length": 5, "overflow": "reject-publish"}),
        queue({"overflow": "reject-publish"}, {"x-max-length-bytes": 9}),
        queue({"delivery-limit": 5_000_000_000}),
        queue({"delivery-limit": -1}),
        {"members": ["a", "b", "c"]},
    ],
    ids=repr,
)
def test_quorum_queue_of_three_that_deletes_nothing_is_replicated(right: dict[str, Any]) -> None:
    assert (seen(right).durable, seen(right).drops) == (Durable.REPLICATED, ())


@pytest.mark.parametrize(
    ("wrong", "drops"),
    [
        (queue({"max-length": 3}), (("max-length", "3"),)),
        (queue({"max-length": 3, "overflow": "drop-head"}), (("max-length", "3"),)),
        (queue({"max-length": 9}, {"x-max-length": 3}), (("max-length", "3"),)),
        (queue(None, {"x-max-length-bytes": 3}), (("max-length-bytes", "3"),)),
        (queue({"max-length": 3, "overflow": "reject-publish"}, {"x-overflow": "drop-head"}), (("max-length", "3"),)),
        (queue({"message-ttl": 1_000, "overflow": "reject-publish"}), (("message-ttl", "1000"),)),
        (queue({"expires": 1_000}), (("expires", "1000"),)),
        (queue({"delivery-limit": 20}), (("delivery-limit", "20"),)),
    ],
    ids=repr,
)
def test_queue_that_deletes_what_it_confirmed_keeps_nothing(
    wrong: dict[str, Any], drops: tuple[tuple[str, str], ...]
) -> None:
    assert (seen(wrong).durable, seen(wrong).drops) == (Durable.MEMORY, drops)


def test_queue_of_another_kind_does_not_flush() -> None:
    found = seen(queue(kind="classic"))
    assert (found.kind, found.durable) == ("classic", Durable.PROCESS)
