"""What may stand behind `?` in the URL of a RabbitMQ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from evermq.adapters.options import Options
from evermq.errors import Misconfigured

__all__ = ["RabbitOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RabbitOptions(Options):
    """See `Options`. lanes: of a topic that is made, 4 if None; of one that exists, it has to be the count that it has.

    prefetch: messages of a lane that a reader has on its way or in hand at most. timeout_ms: longest wait for an
    answer; a batch that is not confirmed by then is Uncertain. message_bytes_max: body, key and headers together; if
    None what the version of the server takes by default. heartbeat_s: a peer that is silent for two or three of these
    is given up. registry: the queue in which the topics are written down. management: host:port,… of the management
    plugin, which tells what AMQP does not.
    """

    ENGINE: ClassVar = "rabbitmq"
    LIMITS: ClassVar = {
        "lanes": (1, 1_024),
        "prefetch": (1, 65_535),
        "timeout_ms": (50, 600_000),
        "message_bytes_max": (1_024, 512 << 20),
        "heartbeat_s": (2, 3_600),
    }

    lanes: int | None = None
    prefetch: int = 500
    timeout_ms: int = 5_000
    message_bytes_max: int | None = None
    heartbeat_s: int = 10
    registry: str = "evermq-topics"
    management: str = ""
    username: str = "guest"

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        """From text. Raises Misconfigured."""
        if given.get("registry") == "":
            raise Misconfigured("registry = '': give the name of a queue")
        return super(RabbitOptions, cls).of(given)
