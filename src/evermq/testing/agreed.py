"""A coordinator in memory, for tests and simulations: its clients can be cut off from it, and all of it can be lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

from evermq.coordinator import VALUE_BYTES_MAX, Versioned
from evermq.errors import Closed, Fenced, TooLarge, Unavailable

__all__ = ["Agreed", "AgreedClient"]


class Agreed:
    """The place. value: may be set by hand, as a forger would; `changed` then."""

    def __init__(self) -> None:
        self.value = Versioned(b"", 0)
        self.entries: dict[str, tuple[AgreedClient, bytes]] = {}
        self.holders: dict[str, AgreedClient] = {}
        self.numbers: Counter[str] = Counter()
        self.news = asyncio.Condition()

    def client(self) -> AgreedClient:
        """One process's connection."""
        return AgreedClient(self)

    async def changed(self) -> None:
        """Wake those who watch."""
        async with self.news:
            self.news.notify_all()

    async def forge(self, value: bytes, *, version: int | None = None) -> None:
        """Put something there past every check."""
        self.value = Versioned(value, self.value.version + 1 if version is None else version)
        await self.changed()


class AgreedClient:
    """See `Coordinator`. `cut` takes its session away, `heal` gives it another one."""

    def __init__(self, place: Agreed) -> None:
        self._place = place
        self._cut = False
        self._closed = False
        self._joined: dict[str, bytes] = {}

    async def cut(self) -> None:
        """It reaches nobody any more; what it held is lost."""
        self._cut = True
        await self._vanish()

    async def heal(self) -> None:
        """It reaches the place again, and is a member again where it was one."""
        self._cut = False
        self._place.entries |= {name: (self, value) for name, value in self._joined.items()}
        await self._place.changed()

    async def get(self) -> Versioned:
        self._check()
        return self._place.value

    async def put(self, value: bytes, *, version: int) -> Versioned:
        self._check()
        if len(value) > VALUE_BYTES_MAX:
            raise TooLarge(f"a value of {len(value)} bytes is over {VALUE_BYTES_MAX}")
        if version != self._place.value.version:
            raise Fenced(f"it is at version {self._place.value.version}, not {version}")
        self._place.value = Versioned(value, version + 1)
        await self._place.changed()
        return self._place.value

    async def watch(self) -> AsyncIterator[Versioned]:
        seen: Versioned | None = None
        while not self._closed:
            if not self._cut and self._place.value != seen:
                seen = self._place.value
                yield seen
            else:
                async with self._place.news:
                    await self._place.news.wait()

    async def lease(self, name: str, *, ttl_ms: int) -> _Held:
        while True:
            self._check()
            async with self._place.news:
                if name not in self._place.holders:
                    self._place.holders[name] = self
                    self._place.numbers[name] += 1
                    return _Held(self._place, self, name, self._place.numbers[name])
                await self._place.news.wait()

    async def join(self, name: str, value: bytes, *, ttl_ms: int) -> _Joined:
        self._check()
        self.say(name, value)
        return _Joined(self._place, self, name)

    async def members(self) -> dict[str, bytes]:
        self._check()
        return {name: value for name, (_, value) in self._place.entries.items()}

    async def drop(self) -> None:
        self._check()
        self._place.value, self._place.entries, self._place.holders = Versioned(b"", 0), {}, {}
        await self._place.changed()

    async def close(self) -> None:
        self._closed = True
        await self._vanish()

    async def _vanish(self) -> None:
        place = self._place
        place.entries = {name: each for name, each in place.entries.items() if each[0] is not self}
        place.holders = {name: holder for name, holder in place.holders.items() if holder is not self}
        await place.changed()

    def say(self, name: str, value: bytes | None) -> None:
        """What it says as a member from now on, or once it is possible; None: it leaves."""
        if value is None:
            self._joined.pop(name, None)
        else:
            self._joined[name] = value
            self._check()
            self._place.entries[name] = (self, value)

    def _check(self) -> None:
        if self._closed:
            raise Closed("this coordinator was closed: open it again")
        if self._cut:
            raise Unavailable("the coordinator cannot be reached")


class _Held:
    def __init__(self, place: Agreed, client: AgreedClient, name: str, number: int) -> None:
        self._place, self._client, self._name = place, client, name
        self.number = number

    @property
    def held(self) -> bool:
        return self._place.holders.get(self._name) is self._client and (self._place.numbers[self._name] == self.number)

    async def release(self) -> None:
        if self.held:
            del self._place.holders[self._name]
            await self._place.changed()


class _Joined:
    def __init__(self, place: Agreed, client: AgreedClient, name: str) -> None:
        self._place, self._client, self._name = place, client, name

    async def update(self, value: bytes) -> None:
        self._client.say(self._name, value)

    async def leave(self) -> None:
        self._client.say(self._name, None)
        if self._place.entries.get(self._name, (None,))[0] is self._client:
            del self._place.entries[self._name]
