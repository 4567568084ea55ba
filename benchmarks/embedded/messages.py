"""What a message is here: what a service would send, made by `MessageFactory` before the clock runs.

- `plain`, the default: an id of its own (18 to 22 characters), a time, and a body. What peers store is less: a body.
- `keyed`: one of 10,000 keys (customers, or sensors where the body has 100 bytes) as well, so that a batch goes to
  all lanes of the topic.
- `headers`: a key and two headers (content type, trace parent), as a service with tracing sends them.

What is compared is messages a second: the raw reference and the peers write the bodies only, so ids, keys, times,
headers and frames are at our own expense.
"""

from __future__ import annotations

import random

from evermq.message import Message, MessageFactory

__all__ = ["KINDS", "body_batches", "joined_bodies", "make_batches"]

KINDS = ("keyed", "plain", "headers")
_KEYS = 10_000
_POOL_BYTES = 32 << 20


def make_batches(kind: str, callers: int, count: int, size: int) -> list[list[list[Message]]]:
    """For each caller some different batches of `count` messages, to be sent in turn."""
    each = _batches(callers * count * size)
    make = MessageFactory()
    chance = random.Random(callers * count * size)
    return [[[_message(kind, make, chance, size) for _ in range(count)] for _ in range(each)] for _ in range(callers)]


def body_batches(count: int, size: int) -> list[list[bytes]]:
    """Some different batches of `count` bodies, for peers."""
    chance = random.Random(size)
    return [[chance.randbytes(size) for _ in range(count)] for _ in range(_batches(count * size))]


def joined_bodies(count: int, size: int) -> list[bytes]:
    """The same as one buffer a batch, for the disk."""
    return [b"".join(batch) for batch in body_batches(count, size)]


def _batches(batch_bytes: int) -> int:
    """As many as fit in a pool that no cache of the processor holds, 16 at most."""
    return max(1, min(16, _POOL_BYTES // batch_bytes))


def _message(kind: str, make: MessageFactory, chance: random.Random, size: int) -> Message:
    body = chance.randbytes(size)
    if kind == "plain":
        return make(body)
    key = f"{'customer' if size >= 1024 else 'sensor'}-{chance.randrange(_KEYS)}"
    if kind == "keyed":
        return make(body, key=key)
    trace = f"00-{chance.randbytes(16).hex()}-{chance.randbytes(8).hex()}-01"
    return make(body, key=key, headers={"content-type": "application/octet-stream", "traceparent": trace})
