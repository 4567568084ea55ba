"""The third port: how processes agree on one small value. It only steers; the data path is correct without it.

A coordinator that cannot be reached raises `Unavailable`, and one that answers after its session was lost goes on by
itself. What it said last is kept by those who follow it. Nothing here may stand in the way of a message.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

__all__ = ["VALUE_BYTES_MAX", "Coordinator", "Lease", "Membership", "Versioned", "is_version"]

VALUE_BYTES_MAX = 65_536
_DIGITS_MAX = 18


def is_version(text: bytes) -> bool:
    """Whether a file says a number in it that was counted: a forged one may be longer than Python converts."""
    return text.isdigit() and len(text) <= _DIGITS_MAX


class Versioned(NamedTuple):
    """A value and how often it was written; version 0: nothing is there yet, and the value is empty."""

    value: bytes
    version: int


class Lease(Protocol):
    """The right to do something alone, until it is released or lost."""

    @property
    def number(self) -> int:
        """Rises with every holder, so that whatever is written under it can refuse an earlier holder."""
        ...

    @property
    def held(self) -> bool:
        """Whether it is still held, as far as this process knows. A process that was frozen learns of it late."""
        ...

    async def release(self) -> None:
        """Let the next one have it; again is harmless."""
        ...


class Membership(Protocol):
    """One's own entry in the list of members, kept alive in the background until `leave`."""

    async def update(self, value: bytes) -> None:
        """Say this from now on; of what is said already, see that it stands there, and write it only where it does
        not. Raises Unavailable, and says it all the same once that is possible."""
        ...

    async def leave(self) -> None:
        """Take the entry away; again is harmless."""
        ...


class Coordinator(Protocol):
    """One value with its members and leases, in one place that a URL names.

    Every call raises Unavailable where nobody answers in time, Denied without the right to do it, and Closed after
    `close`; `put`, `lease` and `join` raise Uncertain where the answer was lost.
    """

    async def get(self) -> Versioned:
        """The value as it stands now."""
        ...

    async def put(self, value: bytes, *, version: int) -> Versioned:
        """Write the value if `version` is still the current one, and return it with its new version.

        Raises Fenced where it is not, and TooLarge over VALUE_BYTES_MAX."""
        ...

    def watch(self) -> AsyncIterator[Versioned]:
        """The value now, and then each time that it has changed. Values in between may be left out; the last never is.

        It does not end while the coordinator cannot be reached: it goes on when that is over."""
        ...

    async def lease(self, name: str, *, ttl_ms: int) -> Lease:
        """Wait until nobody else holds the lease, then hold it, renewed in the background.

        ttl_ms: a holder that is silent for so long has lost it."""
        ...

    async def join(self, name: str, value: bytes, *, ttl_ms: int) -> Membership:
        """Enter the list of members under a name of one's own; over an entry of that name.

        ttl_ms: a member that is silent for so long is taken off."""
        ...

    async def members(self) -> dict[str, bytes]:
        """Who is on the list, and what each of them says."""
        ...

    async def drop(self) -> None:
        """Take value, members and leases away, of a place that nobody uses any more; call `close` after it."""
        ...

    async def close(self) -> None:
        """Leave, release what is held, and end; again is harmless."""
        ...
