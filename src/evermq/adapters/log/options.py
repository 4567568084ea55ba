"""How a directory of the embedded log is opened."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields

from evermq.adapters.log.retention import Retention
from evermq.errors import Misconfigured
from evermq.traits import Durable

__all__ = ["LogOptions"]

_LOSES = {
    "always": Durable.DISK,  # an acknowledged message survives the loss of power
    "interval": Durable.PROCESS,  # the loss of power takes the last interval_ms
    "never": Durable.PROCESS,  # the loss of power takes what the kernel had not written by itself
}
_WRITERS = ("thread", "loop")
_BYTES_MAX = 1 << 62
_OWN = ("lanes", "writer")
_SHOWN = ("fsync", "retain_bytes", "retain_ms", "bytes_max", "unread", "message_bytes_max")
_MESSAGE_BYTES_MAX = 192 << 20  # with all that a read may bring beside it, it crosses the socket to another process
_LIMITS = {
    "interval_ms": (1, 3_600_000),
    "lanes": (1, 65_536),
    "segment_bytes": (4_096, 2 << 30),  # positions in a segment are 32 bits
    "spares_max": (0, 1_000),
    "message_bytes_max": (1, _BYTES_MAX),
    "retain_bytes": (0, _BYTES_MAX),
    "retain_ms": (0, _BYTES_MAX),
    "bytes_max": (0, _BYTES_MAX),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """fsync: always, interval or never. interval_ms: between flushes, for messages with `interval` and for
    acknowledgements of readers always. lanes: of topics made from now on. segment_bytes: size of a file.
    spares_max: how many recycled files are kept ready. writer: thread, or loop, where an event loop that appends writes
    and flushes itself: it stands still meanwhile. The rest: see Retention.
    """

    fsync: str = "always"
    interval_ms: int = 1_000
    lanes: int = 16
    segment_bytes: int = 64 << 20
    spares_max: int = 2
    message_bytes_max: int = 16 << 20
    retain_bytes: int = 1 << 30
    retain_ms: int = 7 * 86_400_000
    bytes_max: int = 0
    unread: str = "refuse"
    writer: str = "thread"

    def __post_init__(self) -> None:
        if self.fsync not in _LOSES:
            raise Misconfigured(f'fsync = "{self.fsync}": give always, interval or never')
        if self.writer not in _WRITERS:
            raise Misconfigured(f'writer = "{self.writer}": give thread or loop')
        for name, (least, most) in _LIMITS.items():
            if not least <= getattr(self, name) <= most:
                raise Misconfigured(f"{name} = {getattr(self, name)}: give {least} to {most}")
        most = min(self.segment_bytes * 3 // 8, _MESSAGE_BYTES_MAX)
        if self.message_bytes_max > most:
            object.__setattr__(self, "message_bytes_max", most)

    @property
    def durable(self) -> Durable:
        return _LOSES[self.fsync]

    @property
    def shown(self) -> dict[str, str]:
        """What `describe` shows: the directory's options that bound what is kept, of all its topics together."""
        return {name: str(getattr(self, name)) for name in _SHOWN}

    @property
    def shared(self) -> dict[str, str]:
        """What binds all who use the directory, as it is in effect: everything but `lanes`, which is of a topic, and
        `writer`, which is of its owner."""
        return {each.name: str(getattr(self, each.name)) for each in fields(self) if each.name not in _OWN}

    @property
    def retention(self) -> Retention:
        return Retention(self.retain_bytes, self.retain_ms, self.bytes_max, self.unread)

    @classmethod
    def of(cls, given: Mapping[str, object]) -> LogOptions:
        """From names and values, which may be text. Raises Misconfigured for a name or value that is wrong."""
        known = {field.name: str if field.type == "str" else int for field in fields(cls)}
        chosen: dict[str, object] = {}
        for name, value in given.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                raise Misconfigured(f'log option "{name}" is not known: {hint}')
            try:
                chosen[name] = known[name](str(value))
            except (TypeError, ValueError) as error:
                raise Misconfigured(f'log option {name} = "{value}": give a whole number') from error
        return cls(**chosen)  # type: ignore[arg-type]
