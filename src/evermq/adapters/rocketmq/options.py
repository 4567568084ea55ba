"""What may stand behind `?` in the URL of a RocketMQ."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields

from evermq.errors import Misconfigured
from evermq.traits import Durable

__all__ = ["KINDS", "RocketOptions"]

KINDS = ("normal", "delay", "fifo", "transaction")
_LIMITS = {
    "lanes": (1, 1_024),
    "lease_ms": (1_000, 43_200_000),
    "poll_ms": (100, 20_000),
    "timeout_ms": (50, 600_000),
    "message_bytes_max": (1_024, 64 << 20),
    "requests_max": (1, 64),
    "check_after_ms": (6_000, 3_600_000),  # earlier it would ask about what was settled just now
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RocketOptions:
    """lanes: queues of a topic that is made, 4 if None; of one that exists, what it has to have.

    kind: of a topic that is made: normal, delay (messages may wait for their time), fifo (one lane, order per key) or
    transaction (half messages). check_after_ms: how old a half message is before the broker asks after it.
    name_servers: host:port,… ; if empty port 9876 of the proxies' hosts. lease_ms: how long a message that was
    received stays hidden from others unless the lease is renewed, which a living reader does. poll_ms: how long a
    request for messages waits in the proxy. timeout_ms: longest wait for any other answer. message_bytes_max: body, key
    and headers. requests_max: of appends of a topic that are under way at the same time. require: refuse what keeps
    less than this class. username: the access key; password: a reference, env:NAME or file:PATH. ca, cert, key: PEM.
    """

    lanes: int | None = None
    kind: str = "normal"
    name_servers: str = ""
    lease_ms: int = 30_000
    poll_ms: int = 5_000
    timeout_ms: int = 5_000
    message_bytes_max: int = (4 << 20) - (64 << 10)
    requests_max: int = 4
    check_after_ms: int = 30_000
    require: str = ""
    username: str = ""
    password: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> RocketOptions:
        """From text. Raises Misconfigured."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: _value(name, known, text) for name, text in given.items()})  # type: ignore[arg-type]

    @property
    def required(self) -> Durable:
        """The class that `require` names."""
        return Durable[self.require.upper()] if self.require else Durable.MEMORY


def _value(name: str, known: set[str], text: str) -> int | str:
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
        raise Misconfigured(f"option {name} of a rocketmq URL: {hint}")
    if name in _LIMITS:
        least, most = _LIMITS[name]
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise Misconfigured(f"{name} = {text!r}: give a whole number from {least} to {most}")
        return int(text)
    if name == "kind" and text not in KINDS:
        raise Misconfigured(f"kind = {text!r}: give one of {', '.join(KINDS)}")
    if name == "require" and text.upper() not in Durable.__members__:
        raise Misconfigured(f"require = {text!r}: give one of {', '.join(each.name.lower() for each in Durable)}")
    return text
