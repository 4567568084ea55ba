"""What may stand behind `?` in the URL of a RocketMQ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from evermq.adapters.options import Options

__all__ = ["RocketOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RocketOptions(Options):
    """See `Options`; username is the access key. lanes: queues of a topic that is made, 4 if None; of one that exists,
    what it has to have.

    kind: of a topic that is made: normal, delay (messages may wait for their time), fifo (one lane, order per key) or
    transaction (half messages). check_after_ms: how old a half message is before the broker asks after it.
    name_servers: host:port,… ; if empty port 9876 of the proxies' hosts. remoting_tls: name servers and brokers, too,
    are reached by TLS. lease_ms: how long a message that was
    received stays hidden from others unless the lease is renewed, which a living reader does. poll_ms: how long a
    request for messages waits in the proxy. timeout_ms: longest wait for any other answer. message_bytes_max: body, key
    and headers. requests_max: of appends of a topic that are under way at the same time.
    """

    ENGINE: ClassVar = "rocketmq"
    LIMITS: ClassVar = {
        "lanes": (1, 1_024),
        "lease_ms": (3_000, 43_200_000),  # far from the second for which a proxy hides what it could not pass on
        "poll_ms": (100, 20_000),
        "timeout_ms": (50, 600_000),
        "message_bytes_max": (1_024, 64 << 20),
        "requests_max": (1, 64),
        "check_after_ms": (6_000, 3_600_000),  # earlier it would ask about what was settled just now
    }
    CHOICES: ClassVar = {"kind": ("normal", "delay", "fifo", "transaction")}

    lanes: int | None = None
    kind: str = "normal"
    name_servers: str = ""
    remoting_tls: bool = False
    lease_ms: int = 30_000
    poll_ms: int = 5_000
    timeout_ms: int = 5_000
    message_bytes_max: int = (4 << 20) - (64 << 10)
    requests_max: int = 4
    check_after_ms: int = 30_000
