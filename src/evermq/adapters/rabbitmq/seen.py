"""What the management interface tells of one queue, and what that makes of evermq's promises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from evermq.traits import Durable

__all__ = ["COLUMNS", "MEMBERS_MIN", "SHOWN", "Seen", "seen"]

COLUMNS = "name,type,members,messages_unacknowledged,arguments,effective_policy_definition"
MEMBERS_MIN = 3  # of which two have what was confirmed, whoever of them is lost
_QUORUM = "quorum"
_LENGTHS = ("max-length", "max-length-bytes")
_OTHERS = ("message-ttl", "expires", "delivery-limit")
SHOWN = ("x-queue-type", "members", *_LENGTHS, *_OTHERS, "overflow")
_DELIVERIES_MIN = 1_000_000  # evermq's own limit is far above it


class Seen(NamedTuple):
    """members: replicas of a queue. unsettled: messages of it that readers hold, here and elsewhere. kind: its type.
    drops: each setting by which it deletes what it confirmed, with its value. limits: of policies and arguments
    together, all that bound it."""

    members: int
    unsettled: int
    kind: str = _QUORUM
    drops: tuple[tuple[str, str], ...] = ()
    limits: tuple[tuple[str, str], ...] = ()

    @property
    def is_quorum(self) -> bool:
        return self.kind == _QUORUM

    @property
    def shown(self) -> dict[str, str]:
        """What `describe` shows."""
        bounds = dict.fromkeys(SHOWN[2:], "none") | dict(self.limits)
        return {"x-queue-type": self.kind, "members": str(self.members), **bounds}

    @property
    def durable(self) -> Durable:
        """Only quorum queues flush what they confirm."""
        if self.drops:
            return Durable.MEMORY
        if not self.is_quorum:
            return Durable.PROCESS
        return Durable.REPLICATED if self.members >= MEMBERS_MIN else Durable.DISK


def seen(answer: Mapping[str, Any]) -> Seen:
    """From the columns of a queue; of old servers some are missing."""
    members, unsettled = len(answer.get("members") or ()), answer.get("messages_unacknowledged") or 0
    policy = answer.get("effective_policy_definition") or {}
    given = answer.get("arguments") or {}
    arguments = {name.removeprefix("x-"): value for name, value in given.items()}
    numbers, overflows = _limits(dict(policy), arguments)
    limits = {name: str(value) for name, value in numbers.items()} | {"overflow": ", ".join(sorted(overflows))}
    drops = _drops(numbers, overflows)
    return Seen(members, unsettled, answer.get("type") or _QUORUM, drops, tuple(limits.items()))


def _limits(policy: Mapping[str, Any], arguments: Mapping[str, Any]) -> tuple[dict[str, int], set[str]]:
    """Numbers, and ways to overflow. Of a number that both have, the server takes the lower one."""
    numbers = {
        name: min(int(each[name]) for each in (policy, arguments) if name in each)
        for name in (*_LENGTHS, *_OTHERS)
        if name in policy or name in arguments
    }
    return numbers, {each["overflow"] for each in (policy, arguments) if "overflow" in each} or {"drop-head"}


def _drops(limits: Mapping[str, int], overflows: set[str]) -> tuple[tuple[str, str], ...]:
    """Of two ways to overflow, the safe one counts only if nothing else is said."""
    numbers = dict(limits)
    if numbers.get("delivery-limit", 0) >= _DELIVERIES_MIN or numbers.get("delivery-limit", 0) < 0:
        del numbers["delivery-limit"]
    if overflows == {"reject-publish"}:
        numbers = {name: value for name, value in numbers.items() if name not in _LENGTHS}
    return tuple((name, str(value)) for name, value in numbers.items())
