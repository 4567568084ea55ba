"""What may stand behind `?` in the URL of a RabbitMQ."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields

from evermq.errors import Misconfigured
from evermq.traits import Durable

__all__ = ["RabbitOptions"]

_LIMITS = {
    "lanes": (1, 1_024),
    "prefetch": (1, 65_535),
    "timeout_ms": (50, 600_000),
    "message_bytes_max": (1_024, 512 << 20),
    "heartbeat_s": (2, 3_600),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RabbitOptions:
    """lanes: of a topic that is made, 4 if None; of one that exists, it has to be the count that it has.

    prefetch: messages of a lane that a reader has on its way or in hand at most. timeout_ms: longest wait for an
    answer; a batch that is not confirmed by then is Uncertain. message_bytes_max: body, key and headers together; if
    None what the version of the server takes by default. heartbeat_s: a peer that is silent for two or three of these
    is given up. registry: the queue in which the topics are written down. management: host:port,… of the management
    plugin, which tells what AMQP does not. require: refuse queues that keep less than this class. username; password: a
    reference, env:NAME or file:PATH. ca, cert, key: PEM files.
    """

    lanes: int | None = None
    prefetch: int = 500
    timeout_ms: int = 5_000
    message_bytes_max: int | None = None
    heartbeat_s: int = 10
    registry: str = "evermq-topics"
    management: str = ""
    require: str = ""
    username: str = "guest"
    password: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> RabbitOptions:
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
        raise Misconfigured(f"option {name} of a rabbitmq URL: {hint}")
    if name in _LIMITS:
        least, most = _LIMITS[name]
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise Misconfigured(f"{name} = {text!r}: give a whole number from {least} to {most}")
        return int(text)
    if name == "require" and text.upper() not in Durable.__members__:
        raise Misconfigured(f"require = {text!r}: give one of {', '.join(each.name.lower() for each in Durable)}")
    if name == "registry" and not text:
        raise Misconfigured("registry = '': give the name of a queue")
    return text
