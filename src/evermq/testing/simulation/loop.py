"""A deterministic event loop with virtual time.

One callback runs at a time, picked by the seed among those that are ready; when none is, the clock jumps to the next
timer. The same seed gives the same run, which the trace hash shows: it covers which callback ran, and when.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
import random
import selectors
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from hashlib import blake2b
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

from evermq.testing.simulation.clock import SimulatedClock

__all__ = ["Deadlock", "Outcome", "SimulatedLoop", "simulate"]

T = TypeVar("T")
_TURNS_MAX = 5_000_000  # a long run of a whole ladder takes a hundredth of it


class Deadlock(Exception):
    """Nothing can ever happen any more, and the main task has not ended; or things go on for ever without an end."""


class Outcome(NamedTuple, Generic[T]):
    """What a simulation gave. trace_hash: a fingerprint of the schedule."""

    result: T
    trace_hash: str
    virtual_ms: int


class _Selector(selectors.BaseSelector):
    """Watches no files, but for the loop's own wake-up pipe, which stays silent."""

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, 0, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def close(self) -> None:
        self._keys.clear()


class SimulatedLoop(asyncio.SelectorEventLoop):
    """See the module. Threads, executors and sockets are refused: they would make the run depend on the machine."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._now_s = 1_000.0
        self._turns = 0
        self._trace = blake2b(digest_size=8)
        super().__init__(_Selector())

    def time(self) -> float:
        return self._now_s

    def trace_hash(self) -> str:
        """A fingerprint of everything that ran so far, in its order."""
        return self._trace.hexdigest()

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("a simulation has no threads")

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("a simulation has no threads")

    def expect_end(self) -> None:
        """Begin anew to count turns: what comes now is to end as well."""
        self._turns = 0

    def _run_once(self) -> None:
        self._turns += 1
        if self._turns > _TURNS_MAX:
            raise Deadlock(f"at {self._now_s:.3f} s there is no end after {_TURNS_MAX:,} turns")
        ready = self._ready  # type: ignore[attr-defined]
        self._wake_timers(ready)
        if len(ready) > 1:
            ready.rotate(-self.random.randrange(len(ready)))
        handle = ready.popleft()
        if not handle._cancelled:
            self._trace.update(f"{_name_of(handle._callback)} {len(ready)} {self._now_s:.6f};".encode())
            handle._run()

    def _wake_timers(self, ready: deque[Any]) -> None:
        """Make the timers that are due ready; where nothing else is, the clock jumps to the first."""
        timers = self._scheduled  # type: ignore[attr-defined]
        while timers and (timers[0]._cancelled or timers[0]._when <= self._now_s or not ready):
            timer = heapq.heappop(timers)
            timer._scheduled = False
            if not timer._cancelled:
                self._now_s = max(self._now_s, timer._when)
                ready.append(timer)
        if not ready:
            raise Deadlock(f"at {self._now_s:.3f} s nothing is ready and no timer is set")


def _name_of(callback: Any) -> str:
    """What a callback is called in the source; for a task, its coroutine and what that awaits. No
    addresses and no counters, which differ from run to run."""
    while isinstance(callback, partial):
        callback = callback.func
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        inner: Any = owner.get_coro()
        names = []
        while inspect.iscoroutine(inner):
            names.append(inner.__qualname__)
            inner = inner.cr_await
        return ">".join(names)
    return str(getattr(callback, "__qualname__", type(callback).__qualname__))


def simulate(seed: int, main: Callable[[SimulatedClock], Awaitable[T]]) -> Outcome[T]:
    """Run `main(clock)` to its end. Raises Deadlock, and whatever main raises; leaves no task and no loop behind."""
    loop = SimulatedLoop(seed)
    clock = SimulatedClock(loop.time, loop.random)
    began = loop.time()
    try:
        asyncio.set_event_loop(loop)
        result = loop.run_until_complete(_as_coroutine(main(clock)))
        outcome = Outcome(result, loop.trace_hash(), round((loop.time() - began) * 1000))
        _cancel_rest(loop)
        return outcome
    except BaseException:
        _cancel_rest(loop)
        raise
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _as_coroutine(work: Awaitable[T]) -> T:
    return await work


def _cancel_rest(loop: SimulatedLoop) -> None:
    loop.expect_end()
    rest = asyncio.all_tasks(loop)
    for task in rest:
        task.cancel()
    if rest:
        loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
