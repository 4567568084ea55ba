"""The keys of a topic in Redis; all keys of a lane share a hash tag, so that they live on one node of a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field

from evermq.adapters.redis.script import argument

__all__ = ["TOPICS", "Lane", "lanes_of", "readers_key", "topic_key"]

TOPICS = "evermq:topics"


def topic_key(topic: str) -> str:
    """The hash that says what a topic is."""
    return f"evermq:{{{topic}}}:topic"


def readers_key(topic: str, group: str) -> str:
    """The sorted set of those who read lately."""
    return f"evermq:{{{topic}}}:readers:{group}"


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """name: as positions have it. tag: what decides its place in a cluster. keys: by letters, encoded for a request."""

    name: str
    epoch: int
    number: int
    tag: str
    keys: dict[str, bytes] = field(repr=False)

    @classmethod
    def of(cls, topic: str, epoch: int, number: int) -> Lane:
        tag = f"{topic}.{epoch}.{number}"
        one = {letter: b"".join(argument(f"evermq:{{{tag}}}:{word}")) for letter, word in _WORDS.items()}
        keys = {kinds: b"".join(one[letter] for letter in kinds) for kinds in ("s", "l", "sl", "sld")}
        return cls(str(number) if epoch == 1 else f"{epoch}.{number}", epoch, number, tag, keys)


_WORDS = {"s": "state", "l": "list", "d": "delayed"}


def lanes_of(topic: str, epoch: int, count: int) -> list[Lane]:
    """All lanes of one epoch."""
    return [Lane.of(topic, epoch, number) for number in range(count)]
