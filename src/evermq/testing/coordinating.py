"""What every coordinator must do: checks for the adapters of evermq, and for those of others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

from evermq.clock import SYSTEM
from evermq.coordinator import VALUE_BYTES_MAX, Coordinator, Lease, Versioned
from evermq.errors import Closed, EvermqError, Fenced, TooLarge

__all__ = ["CHECKS", "Opens", "check"]

Opens = Callable[[], Awaitable[Coordinator]]
Check = Callable[["_Bench"], Awaitable[None]]
CHECKS: dict[str, Check] = {}
_TTL_MS = 4_000
_LIMIT_S = 60


class _Bench:
    """Opens clients of one place, and closes them at the end."""

    def __init__(self, opens: Opens, stack: AsyncExitStack) -> None:
        self._opens = opens
        self._stack = stack

    async def client(self) -> Coordinator:
        client = await self._opens()
        self._stack.push_async_callback(client.close)
        return client


async def check(name: str, opens: Opens) -> None:
    """Run one check. opens: another client of one place, which nobody used before; AssertionError if it fails."""
    async with AsyncExitStack() as stack, asyncio.timeout(_LIMIT_S):
        await CHECKS[name](_Bench(opens, stack))


def _check(act: Check) -> Check:
    CHECKS[getattr(act, "__name__", "?").lstrip("_")] = act
    return act


async def _raised(kind: type[EvermqError], act: Awaitable[object]) -> None:
    try:
        await act
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    while not await holds():
        await asyncio.sleep(0.02)


async def _next_of(watch: AsyncIterator[Versioned], version: int) -> Versioned:
    async for found in watch:
        if found.version >= version:
            return found
    raise AssertionError("the watch ended")


@_check
async def _value_that_was_never_written_is_empty(bench: _Bench) -> None:
    assert await (await bench.client()).get() == Versioned(b"", 0)


@_check
async def _what_was_dropped_is_as_if_it_had_never_been(bench: _Bench) -> None:
    one = await bench.client()
    await one.put(b"a", version=0)
    await one.lease("decider", ttl_ms=_TTL_MS)
    await one.drop()
    again = await bench.client()
    assert await again.get() == Versioned(b"", 0)
    assert await again.members() == {}
    assert await again.put(b"b", version=0) == Versioned(b"b", 1)


@_check
async def _written_value_is_read_by_another(bench: _Bench) -> None:
    one, other = await bench.client(), await bench.client()
    assert await one.put(b"a\x00\n", version=0) == Versioned(b"a\x00\n", 1)
    assert await other.get() == Versioned(b"a\x00\n", 1)
    assert await other.put(b"", version=1) == Versioned(b"", 2)
    assert await one.get() == Versioned(b"", 2)


@_check
async def _write_over_a_version_that_moved_is_fenced(bench: _Bench) -> None:
    one, other = await bench.client(), await bench.client()
    await _raised(Fenced, one.put(b"x", version=3))
    await one.put(b"a", version=0)
    await _raised(Fenced, other.put(b"b", version=0))
    await one.put(b"b", version=1)
    await _raised(Fenced, other.put(b"c", version=1))
    assert (await other.get()).value == b"b"


@_check
async def _of_writers_at_the_same_time_one_wins(bench: _Bench) -> None:
    clients = [await bench.client() for _ in range(4)]
    puts = [client.put(b"%d" % i, version=0) for i, client in enumerate(clients)]
    results = await asyncio.gather(*puts, return_exceptions=True)
    won = [result for result in results if isinstance(result, Versioned)]
    assert sum(isinstance(result, Fenced) for result in results) == 3
    assert won == [await clients[0].get()]


@_check
async def _value_over_the_limit_is_refused(bench: _Bench) -> None:
    client = await bench.client()
    await _raised(TooLarge, client.put(b"x" * (VALUE_BYTES_MAX + 1), version=0))
    assert (await client.put(b"x" * VALUE_BYTES_MAX, version=0)).version == 1


@_check
async def _watch_gives_the_value_and_then_its_changes(bench: _Bench) -> None:
    one, other = await bench.client(), await bench.client()
    watch = one.watch()
    assert await anext(watch) == Versioned(b"", 0)
    await other.put(b"a", version=0)
    assert await _next_of(watch, 1) == Versioned(b"a", 1)
    for version in range(1, 6):
        await other.put(b"%d" % version, version=version)
    assert await _next_of(watch, 6) == Versioned(b"5", 6)
    assert await anext(one.watch()) == Versioned(b"5", 6)


@_check
async def _watch_ends_with_its_coordinator(bench: _Bench) -> None:
    client = await bench.client()
    watch = client.watch()
    await anext(watch)
    waiting = asyncio.ensure_future(anext(watch, None))
    await asyncio.sleep(0.05)
    await client.close()
    assert await waiting is None


@_check
async def _lease_has_one_holder_and_a_number_that_rises(bench: _Bench) -> None:
    one, other = await bench.client(), await bench.client()
    first = await one.lease("decider", ttl_ms=_TTL_MS)
    waiting = asyncio.ensure_future(other.lease("decider", ttl_ms=_TTL_MS))
    elsewhere = await other.lease("another", ttl_ms=_TTL_MS)
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert first.held
    assert elsewhere.held
    assert not done
    await first.release()
    await first.release()
    second = await waiting
    assert second.held
    assert not first.held
    assert second.number > first.number


@_check
async def _lease_passes_on_when_its_holder_closes(bench: _Bench) -> None:
    one, other = await bench.client(), await bench.client()
    first = await one.lease("decider", ttl_ms=_TTL_MS)
    waiting = asyncio.ensure_future(other.lease("decider", ttl_ms=_TTL_MS))
    await one.close()
    second: Lease = await waiting
    assert second.number > first.number


@_check
async def _one_that_waits_for_a_lease_and_gives_up_does_not_get_it(bench: _Bench) -> None:
    one, other, third = await bench.client(), await bench.client(), await bench.client()
    first = await one.lease("decider", ttl_ms=_TTL_MS)
    given_up = asyncio.ensure_future(other.lease("decider", ttl_ms=_TTL_MS))
    await asyncio.sleep(0.2)
    given_up.cancel()
    await asyncio.wait([given_up])
    await first.release()
    assert (await third.lease("decider", ttl_ms=_TTL_MS)).held


@_check
async def _members_are_those_who_joined_and_what_they_say_now(bench: _Bench) -> None:
    one, other = await bench.client(), await bench.client()
    assert await one.members() == {}
    mine = await one.join("one", b"1", ttl_ms=_TTL_MS)
    await other.join("other", b"", ttl_ms=_TTL_MS)
    assert await other.members() == {"one": b"1", "other": b""}
    await mine.update(b"2")
    assert (await other.members())["one"] == b"2"
    await mine.leave()
    await mine.leave()
    assert await other.members() == {"other": b""}


@_check
async def _member_outlives_its_ttl_and_goes_with_its_coordinator(bench: _Bench) -> None:
    one, other = await bench.client(), await bench.client()
    await one.join("one", b"1", ttl_ms=2_000)
    await asyncio.sleep(3)
    assert await other.members() == {"one": b"1"}
    await one.close()

    async def gone() -> bool:
        return await other.members() == {}

    await _until(gone)


@_check
async def _member_enters_over_its_own_earlier_entry(bench: _Bench) -> None:
    one, other = await bench.client(), await bench.client()
    await one.join("name", b"old", ttl_ms=_TTL_MS)
    await other.join("name", b"new", ttl_ms=_TTL_MS)
    assert await one.members() == {"name": b"new"}


@_check
async def _closed_coordinator_refuses(bench: _Bench) -> None:
    client = await bench.client()
    await client.close()
    await client.close()
    await _raised(Closed, client.get())
    await _raised(Closed, client.put(b"", version=0))
    await _raised(Closed, client.members())
    await _raised(Closed, client.lease(SYSTEM.token(), ttl_ms=_TTL_MS))
    await _raised(Closed, client.join("name", b"", ttl_ms=_TTL_MS))
